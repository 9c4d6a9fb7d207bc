"""Checks an --out folder from outside: PyTorch loads the model by name, TensorBoard reads the curves back.

    python tests/python/check_outputs.py RUN_FOLDER

The model is expected to be the built-in `mlp` (layers.N.weight, layers.N.bias). Needs numpy, safetensors and
tensorboard; with torch it also loads the model there. Prints what was checked; exits with 1 at the first mismatch.
"""

import json
import math
import struct
import sys
from pathlib import Path

import numpy
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

try:
    import torch
except ImportError:
    torch = None

SCALARS = ["loss", "accuracy", "gradient_norm", "learning_rate", "alpha"]


def check(holds, message):
    if not holds:
        sys.exit(f"mismatch: {message}")


def check_model(folder):
    state = load_file(folder / "model.safetensors")
    weights = [state[f"layers.{n}.weight"] for n in range(len(state) // 2)]
    sizes = [weights[0].shape[1]] + [weight.shape[0] for weight in weights]
    names = {f"layers.{n}.{part}" for n in range(len(weights)) for part in ("weight", "bias")}
    check(set(state) == names, f"tensors {sorted(state)}")
    for n, (inputs, outputs) in enumerate(zip(sizes, sizes[1:])):
        check(state[f"layers.{n}.weight"].shape == (outputs, inputs), f"shape of layers.{n}.weight")
        check(state[f"layers.{n}.bias"].shape == (outputs,), f"shape of layers.{n}.bias")
    check(all(t.dtype == numpy.float32 and numpy.isfinite(t).all() for t in state.values()), "elements")
    print(f"model.safetensors: an MLP of sizes {sizes} under PyTorch's names and shapes")
    if torch is None:
        print("torch is not installed: load_state_dict was not tried")
    else:
        load_into_torch(state, sizes)


def load_into_torch(state, sizes):
    """Linear layers with ReLU between them, as the job's `[model] kind = "mlp"`."""
    model = torch.nn.Module()
    model.layers = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
    model.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in state.items()}, strict=True)
    x = torch.zeros(3, sizes[0])
    for layer in model.layers:
        x = layer(torch.relu(x))
    check(bool(torch.isfinite(x).all()), "logits are not finite")
    print("torch takes it with strict=True")


def read_metrics(folder):
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    numbers = [step["outer_step"] for step in steps]
    check(numbers == list(range(1, len(steps) + 1)), "outer steps in metrics.jsonl are not 1, 2, 3, …, each once")
    print(f"metrics.jsonl: {len(steps)} outer steps, each once")
    return steps


def check_curve(events, tag, expected):
    found = [(event.step, event.value) for event in events.Scalars(tag)]
    # TensorBoard keeps numbers as float32.
    expected = [(step, struct.unpack("f", struct.pack("f", value))[0]) for step, value in expected]
    check(found == expected, f"tensorboard: {tag} differs from metrics.jsonl")


def check_tensorboard(folder, steps):
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    for tag in SCALARS:
        check_curve(events, tag, [(step["outer_step"], step[tag]) for step in steps])
    tested = [step for step in steps if "test" in step]
    for tag in ["loss", "accuracy"] if tested else []:
        check_curve(events, f"test/{tag}", [(step["outer_step"], step["test"][tag]) for step in tested])
    times = [event.wall_time for event in events.Scalars("loss")]
    check(times == sorted(times), "tensorboard: times do not rise")
    print(f"tensorboard: {len(events.Tags()['scalars'])} curves agree with metrics.jsonl")


def check_summary(folder, steps):
    summary = json.loads((folder / "summary.json").read_text())
    check(summary["outer_steps"] == len(steps), "summary.json: outer_steps")
    check(summary["digest"] == steps[-1]["digest"], "summary.json: digest")
    gradients = sum(step["gradients"] for step in steps)
    check(summary["gradients"]["total"] == gradients, "summary.json: gradients")
    for part, seconds in summary["time"]["seconds"].items():
        total = sum(step["time"][part] for step in steps)
        check(math.isclose(seconds, total, rel_tol=1e-9, abs_tol=1e-9), f"summary.json: seconds of {part}")
    tested = [step for step in steps if "test" in step]
    if tested:
        check(summary["test"]["accuracy"] == tested[-1]["test"]["accuracy"], "summary.json: test accuracy")
    print(f"summary.json: agrees with metrics.jsonl; test {summary['test']}")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    check_model(folder)
    steps = read_metrics(folder)
    check_tensorboard(folder, steps)
    check_summary(folder, steps)


if __name__ == "__main__":
    main()
