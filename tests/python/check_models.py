"""Trains each kind of model for a few steps and loads what `--out` leaves into PyTorch with strict=True.

    python tests/python/check_models.py target/release/lookbehind [RUN_FOLDER TEST.safetensors CLASSES]

PyTorch's loss and accuracy on the test split, with the weights and running statistics from `model.safetensors`, must be
those of `summary.json`: the loss within 1e-4. With a run's folder, its test file and the
number of classes, that run is checked instead; its `job.toml` says what the model is. Needs torch, numpy and safetensors. Prints what was checked; exits with 1 at the
first mismatch.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import numpy
import torch
from safetensors import numpy as safetensors
from safetensors.torch import load_file
from torch.nn import functional

from torch_models import build

TOLERANCE = 1e-4
CLASSES = 4
IMAGE = [3, 8, 8]

JOB = """
name = "check"
seed = 5
[model]
{model}
[data]
kind = "safetensors"
train = "train.safetensors"
test = "test.safetensors"
[train]
epochs = 2
batch_size = 24
shards = 3
[optimizer]
method = "lookbehind"
k = 2
[optimizer.base]
kind = "sgd"
lr = 0.05
momentum = 0.9
"""

MODELS = {
    "resnet": 'kind = "resnet"\nblocks = [1, 2]\nwidth = 8',
    "bottlenecks": 'kind = "resnet"\nblock = "bottleneck"\nblocks = [1, 1]\nwidth = 4',
    "group normalisation": 'kind = "resnet"\nblocks = [1, 1]\nwidth = 8\nnorm = "group"\ngroups = 4',
    "wide resnet": 'kind = "wide_resnet"\ndepth = 10\nwidth = 1\ndropout = 0.1',
    "vision transformer": 'kind = "vit"\npatch = 2\ndim = 16\ndepth = 2\nheads = 2\ndropout = 0.1',
    "vision transformer, mean": 'kind = "vit"\npatch = 4\ndim = 16\ndepth = 1\nheads = 4\npooling = "mean"',
    "sequential": """kind = "sequential"
layers = [
    { kind = "conv2d", out_channels = 8, kernel_size = 3, padding = 1, bias = false },
    { kind = "batch_norm" },
    { kind = "relu" },
    { kind = "residual", body = [
        { kind = "conv2d", out_channels = 16, kernel_size = 3, stride = 2, padding = 1, bias = false },
        { kind = "batch_norm" },
    ], shortcut = [{ kind = "conv2d", out_channels = 16, kernel_size = 1, stride = 2 }] },
    { kind = "relu" },
    { kind = "avg_pool", kernel_size = 2 },
    { kind = "flatten" },
    { kind = "dropout", p = 0.1 },
    { kind = "linear", out_features = 12 },
    { kind = "layer_norm" },
    { kind = "gelu" },
    { kind = "linear" },
]""",
}


def check(holds, message):
    if not holds:
        sys.exit(f"mismatch: {message}")


def write_data(folder):
    """Classes that differ in their mean image, and noise."""
    random = numpy.random.default_rng(1)
    centres = random.normal(size=(CLASSES, *IMAGE))
    for name, samples in [("train", 96), ("test", 50)]:
        targets = random.integers(0, CLASSES, samples)
        inputs = centres[targets] + random.normal(size=(samples, *IMAGE))
        arrays = {"inputs": inputs.astype(numpy.float32), "targets": targets.astype(numpy.int64)}
        safetensors.save_file(arrays, folder / f"{name}.safetensors")


def check_run(what, run, test, classes):
    job = tomllib.loads((run / "job.toml").read_text())
    samples = load_file(test)
    model = build(job["model"], samples["inputs"].shape[1:], classes)
    model.load_state_dict(load_file(run / "model.safetensors"), strict=True)
    with torch.no_grad():
        logits = model.eval()(samples["inputs"])
    loss = functional.cross_entropy(logits, samples["targets"]).item()
    accuracy = (logits.argmax(1) == samples["targets"]).float().mean().item()
    found = json.loads((run / "summary.json").read_text())["test"]
    check(abs(found["loss"] - loss) <= TOLERANCE, f"{what}: loss {found['loss']}, PyTorch's {loss}")
    check(abs(found["accuracy"] - accuracy) <= 1e-6, f"{what}: accuracy {found['accuracy']}, PyTorch's {accuracy}")
    print(f"{what}: loads strictly; loss {loss:.6f} as in summary.json, off by {abs(found['loss'] - loss):.1e}")


def main():
    if len(sys.argv) == 5:
        run, test, classes = sys.argv[2:]
        return check_run(run, Path(run), Path(test), int(classes))
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_data(folder)
        for what, model in MODELS.items():
            (folder / "job.toml").write_text(JOB.format(model=model))
            run = folder / what
            command = [sys.argv[1], "train", folder / "job.toml", "--out", run]
            done = subprocess.run(command, capture_output=True, text=True)
            check(done.returncode == 0, f"{what}: {done.stderr}")
            check_run(what, run, folder / "test.safetensors", CLASSES)


if __name__ == "__main__":
    main()
