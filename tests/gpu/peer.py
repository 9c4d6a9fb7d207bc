"""The PyTorch half of `compare`, in a process of its own: `python3 peer.py SETTINGS` prints seconds as JSON.

A gradient is forward and backward pass; an outer step is Lookbehind-SAM as published (Mordido et al., ICML 2024,
algorithm 1), with 2k gradients and SGD with momentum underneath. Parameters and the optimizer's state stay on the
device, and nothing waits for it within an outer step. In the channels-last format, with cuDNN's own search for
algorithms.
"""

import contextlib
import json
import sys
import time
import tomllib
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

import torch
import torch_models
from torch.nn import functional

import tensors

RHO = 0.05
ALPHA = 0.5
BASE = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
FIXTURES = Path(__file__).resolve().parents[1] / "fixtures/parity"


class Trainer:
    """A network on its device, with one batch."""

    def __init__(self, network, inputs, targets, k, rho=RHO, alpha=ALPHA, base=None, autocast=None):
        self.network, self.inputs, self.targets = network, inputs, targets
        self.k, self.rho, self.alpha = k, rho, alpha
        self.parameters = list(network.parameters())
        self.optimizer = torch.optim.SGD(self.parameters, **(base or BASE))
        self.autocast = autocast or contextlib.nullcontext
        copies = lambda: [parameter.detach().clone() for parameter in self.parameters] if k else []
        self.slow, self.fast, self.perturbed = copies(), copies(), copies()

    def gradient(self):
        """Forward and backward pass at the parameters as they are."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            loss = functional.cross_entropy(self.network(self.inputs), self.targets)
        loss.backward()

    def outer_step(self):
        """k ascents from one perturbed point to the next, a descent of the fast weights after each; interpolation."""
        for weights in (self.slow, self.fast, self.perturbed):
            copy(self.parameters, weights)
        for _ in range(self.k):
            copy(self.perturbed, self.parameters)
            self.gradient()
            self.ascend()
            copy(self.perturbed, self.parameters)
            self.gradient()
            copy(self.fast, self.parameters)
            self.optimizer.step()
            copy(self.parameters, self.fast)
        with torch.no_grad():
            torch._foreach_lerp_(self.slow, self.fast, self.alpha)
        copy(self.slow, self.parameters)

    @torch.no_grad()
    def ascend(self):
        """The perturbed weights go up by rho, along the gradient of all parameters together."""
        gradients = [parameter.grad for parameter in self.parameters]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        # A number on the device: reading it would make the host wait.
        steps = torch._foreach_mul(gradients, self.rho / (norm + 1e-16))
        torch._foreach_add_(self.perturbed, steps)


@torch.no_grad()
def copy(source, target):
    torch._foreach_copy_(target, source)


def set_precision(precision):
    """TF32 is an explicit choice for both of the libraries that have it."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True


def trainer(settings, k):
    """The network that a job's [model] describes, as the project's own PyTorch models have it."""
    device = torch.device(settings["device"])
    torch.manual_seed(1)
    model = tomllib.loads(settings["model"])
    network = torch_models.build({"kind": "resnet", **model}, (3, 32, 32), 10)
    network = network.to(device, memory_format=torch.channels_last).train()
    batch = settings["batch"]
    inputs = torch.rand(batch, 3, 32, 32).to(device, memory_format=torch.channels_last)
    targets = (torch.arange(batch) % 10).to(device)
    autocast = None
    if settings["precision"] == "bf16":
        autocast = lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return Trainer(network, inputs, targets, k, autocast=autocast)


def seconds_of(step, times, warmup, device):
    """Seconds of each of some calls, by the device's own clock where it has one."""
    for _ in range(warmup):
        step()
    if device.type != "cuda":
        seconds = []
        for _ in range(times):
            begun = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - begun)
        return seconds
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(times + 1)]
    torch.cuda.synchronize(device)
    marks[0].record()
    for mark in marks[1:]:
        step()
        mark.record()
    torch.cuda.synchronize(device)
    return [before.elapsed_time(after) / 1e3 for before, after in zip(marks, marks[1:])]


def measured(settings):
    """Seconds of gradients ("0") and of outer steps ("2", "5", …), and the bytes on the device for a gradient."""
    set_precision(settings["precision"])
    device = torch.device(settings["device"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    seconds, memory = {}, None
    for k in settings["k"]:
        one = trainer(settings, k)
        step = one.outer_step if k else one.gradient
        seconds[str(k)] = seconds_of(step, settings["times"][str(k)], settings["warmup"], device)
        if k == 0 and device.type == "cuda":
            # What the library holds for tensors, without the driver's context.
            memory = torch.cuda.max_memory_reserved(device)
        del one, step
    return {"seconds": seconds, "memory": memory}


def faithful(settings, case="resnet-one-lookbehind-sam-step"):
    """How far an outer step of this file is from the parity case's expected weights, of the distance moved."""
    set_precision("f32")
    folder, device = FIXTURES / case, torch.device(settings["device"])
    job = tomllib.loads((folder / "job.toml").read_text())
    files = {name: tensors.read(folder / f"{name}.safetensors") for name in ("init", "data", "expected")}
    as_tensor = lambda entry: torch.tensor(entry[1]).reshape(entry[0])
    shape, _ = files["data"]["inputs"]
    network = torch_models.build(job["model"], shape[1:], 10)
    # Counters of batches are in no file.
    state = {name: as_tensor(entry) for name, entry in files["init"].items()}
    lacking = network.load_state_dict(state, strict=False)
    if lacking.unexpected_keys or any(not key.endswith(tensors.COUNTER) for key in lacking.missing_keys):
        raise ValueError(f"{case}: the model has other tensors: {lacking}")
    network = network.to(device, memory_format=torch.channels_last).train()
    optimizer, size = job["optimizer"], job["train"]["batch_size"]
    base = {key: value for key, value in optimizer["base"].items() if key != "kind"}
    inputs = as_tensor(files["data"]["inputs"]).to(device, memory_format=torch.channels_last)
    targets = as_tensor(files["data"]["targets"]).to(device)
    one = Trainer(network, inputs[:size], targets[:size], optimizer["k"], optimizer["rho"], optimizer["alpha"], base)
    for start in range(0, len(targets), size):
        one.inputs, one.targets = inputs[start : start + size], targets[start : start + size]
        one.outer_step()
    got = {name: (list(p.shape), p.detach().cpu().flatten().tolist()) for name, p in network.named_parameters()}
    return tensors.relative_error(got, files["expected"], files["init"], list(got))


def about(settings):
    """What the table's head says of PyTorch, and whether its outer step is the published one."""
    device = torch.device(settings["device"])
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    cudnn = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else "none"
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda or 'none'}, cuDNN {cudnn}"
    return {"device": name, "versions": versions, "error": faithful(settings)}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(about(given) if given["what"] == "about" else measured(given)))
