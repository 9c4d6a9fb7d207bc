"""Lookbehind and PyTorch side by side, on the same cores, in alternating rounds.

    python tests/python/compare_training.py target/release/lookbehind [--rounds N] [--only PART]

For each network: seconds of one gradient, and of a whole outer step of Lookbehind-SAM, for which PyTorch computes 2k
gradients as the published algorithm does (Mordido et al., ICML 2024, algorithm 1). Ours are outer steps of
`lookbehind train`: coordinator and one worker over the same services as on two machines. Random CIFAR-shaped inputs.
Prints a Markdown table; needs torch, numpy and safetensors (tests/python/compare_training.sh installs them).
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NETWORKS = {
    "ResNet-18, batch 32": ("resnet18", 32),
    "WRN-28-10, batch 16": ("wrn-28-10", 16),
}
MODELS = {
    "resnet18": 'kind = "resnet"\nname = "resnet18"',
    "wrn-28-10": 'kind = "wide_resnet"\ndepth = 28\nwidth = 10',
}
WARMUP = 2
STEPS = 5


def seconds_of(steps):
    return steps[WARMUP:]


# PyTorch ------------------------------------------------------------------------------------------------------------


def build(model):
    import torch.nn.functional as F
    from torch import nn

    def conv(inputs, outputs, size, stride=1):
        return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)

    class PostBlock(nn.Module):
        """He et al. 2016: normalisation behind each convolution."""

        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.conv1, self.bn1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
            self.conv2, self.bn2 = conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)
            self.shortcut = nn.Sequential()
            if stride != 1 or inputs != outputs:
                self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

        def forward(self, x):
            y = F.relu(self.bn1(self.conv1(x)))
            return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    class PreBlock(nn.Module):
        """Zagoruyko and Komodakis 2016: normalisation before each convolution."""

        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs, 3)
            self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv(outputs, outputs, 3, stride)
            self.shortcut = conv(inputs, outputs, 1, stride) if stride != 1 or inputs != outputs else None

        def forward(self, x):
            y = self.conv1(F.relu(self.bn1(x)))
            y = self.conv2(F.relu(self.bn2(y)))
            return y + (x if self.shortcut is None else self.shortcut(x))

    def stages(block, inputs, widths, count):
        layers = []
        for stage, outputs in enumerate(widths):
            for number in range(count):
                layers.append(block(inputs, outputs, 2 if stage > 0 and number == 0 else 1))
                inputs = outputs
        return layers

    if model == "resnet18":
        body = stages(PostBlock, 64, [64, 128, 256, 512], 2)
        stem = [conv(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU()]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)]
    else:
        body = stages(PreBlock, 16, [160, 320, 640], 4)
        stem = [conv(3, 16, 3)]
        head = [nn.BatchNorm2d(640), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(640, 10)]
    return nn.Sequential(*stem, *body, *head)


def torch_steps(model, batch, k):
    """Prints the seconds of some gradients (k = 0) or outer steps as JSON."""
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(os.cpu_count())
    network = build(model)
    parameters = list(network.parameters())
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=5e-4)
    inputs, targets = torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))

    def gradient():
        optimizer.zero_grad()
        F.cross_entropy(network(inputs), targets).backward()

    @torch.no_grad()
    def copy(source, target):
        torch._foreach_copy_(target, source)

    slow, fast, perturbed = ([p.detach().clone() for p in parameters] if k else [] for _ in range(3))

    def outer_step(rho=0.05, alpha=0.5):
        with torch.no_grad():
            for copies in (slow, fast, perturbed):
                copy(parameters, copies)
        for _ in range(k):
            copy(perturbed, parameters)
            gradient()
            with torch.no_grad():
                gradients = [p.grad for p in parameters]
                norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
                torch._foreach_add_(perturbed, gradients, alpha=(rho / (norm + 1e-16)).item())
            copy(perturbed, parameters)
            gradient()
            copy(fast, parameters)
            optimizer.step()
            with torch.no_grad():
                copy(parameters, fast)
        with torch.no_grad():
            torch._foreach_lerp_(slow, fast, alpha)
            copy(slow, parameters)

    seconds = []
    for _ in range(WARMUP + STEPS):
        begun = time.perf_counter()
        gradient() if k == 0 else outer_step()
        seconds.append(time.perf_counter() - begun)
    print(json.dumps(seconds))


# Ours ---------------------------------------------------------------------------------------------------------------


def write_job(folder, model, batch, k):
    import numpy
    from safetensors.numpy import save_file

    samples = batch * (WARMUP + STEPS)
    random = numpy.random.default_rng(1)
    inputs = random.standard_normal((samples, 3, 32, 32), dtype=numpy.float32)
    save_file({"inputs": inputs, "targets": numpy.arange(samples) % 10}, folder / "data.safetensors")
    method = f'method = "lookbehind"\nk = {k}\nrho = 0.05\nalpha = 0.5' if k else 'method = "sgd"'
    (folder / "job.toml").write_text(
        f'name = "side by side"\n[model]\n{MODELS[model]}\n[data]\nkind = "safetensors"\ntrain = "data.safetensors"\n'
        f"[train]\nepochs = 1\nbatch_size = {batch}\nshards = 1\n[checkpoint]\nevery_steps = 0\n"
        f"[optimizer]\n{method}\n[optimizer.base]\nkind = \"sgd\"\nlr = 0.1\nmomentum = 0.9\nweight_decay = 5e-4\n"
    )
    return folder / "job.toml"


def child(command):
    """Runs a program to its end; returns its output and its peak memory in MiB."""
    with tempfile.TemporaryFile("w+") as problems:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=problems, text=True)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            problems.seek(0)
            sys.exit(f"{command[0]} failed: {problems.read()}")
    return output, usage.ru_maxrss / 1024


def ours(program, model, batch, k):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        job = write_job(folder, model, batch, k)
        _, peak = child([program, "train", str(job), "--workers", "1", "--out", str(folder / "out")])
        steps = [json.loads(line) for line in (folder / "out" / "metrics.jsonl").read_text().splitlines()]
        part = "total" if k else "compute"
        return seconds_of([step["time"][part] for step in steps]), peak


def peer(model, batch, k):
    output, peak = child([sys.executable, __file__, "--torch", model, str(batch), str(k)])
    return seconds_of(json.loads(output)), peak


# The table ----------------------------------------------------------------------------------------------------------


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def compare(program, rounds, only):
    import torch

    print(f"{os.cpu_count()} cores, {processor()}; torch {torch.__version__}; best / median of {rounds} rounds\n")
    print("| network | measured | Lookbehind, s | PyTorch, s | ratio of best | ratio of medians | target of medians | "
          "Lookbehind, MiB | PyTorch, MiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, (model, batch) in NETWORKS.items():
        gradient_ratio = None
        for k in (0, 2, 5):
            if only and only not in f"{model} {k}":
                continue
            mine, theirs, peaks = [], [], ([], [])
            for _ in range(rounds):
                for seconds, run, peak in ((mine, lambda: ours(program, model, batch, k), peaks[0]),
                                           (theirs, lambda: peer(model, batch, k), peaks[1])):
                    more, most = run()
                    seconds += more
                    peak.append(most)
            best, ratio = min(mine) / min(theirs), statistics.median(mine) / statistics.median(theirs)
            if k == 0:
                gradient_ratio = ratio
            target = "1.00" if k == 0 else "–"
            if k and gradient_ratio:
                target = f"{(k + 1) / (2 * k) * gradient_ratio * 1.05:.2f}"
            measured = f"outer step, k = {k}" if k else "gradient"
            both = [f"{min(seconds):.3f} / {statistics.median(seconds):.3f}" for seconds in (mine, theirs)]
            print(f"| {name} | {measured} | {both[0]} | {both[1]} | {best:.2f} | {ratio:.2f} | {target} | "
                  f"{max(peaks[0]):.0f} | {max(peaks[1]):.0f} |", flush=True)


def main():
    if sys.argv[1:2] == ["--torch"]:
        return torch_steps(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the lookbehind binary, built with --release")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="part of 'resnet18 0', 'wrn-28-10 5', …")
    arguments = parser.parse_args()
    compare(arguments.program, arguments.rounds, arguments.only)


if __name__ == "__main__":
    main()
