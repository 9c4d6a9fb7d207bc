"""The jobs that are run on a GPU, and their data. Each is there in full size and in one that an emulated GPU can do."""

import array
import random
import sys

import tensors

# A residual network on the digits that travel with the workers: convolutions, batch normalisation, a linear layer.
DIGITS = """
name = "digits"
seed = 42
[model]
kind = "resnet"
blocks = {blocks}
width = {width}
[data]
kind = "digits"
drop_last = true
[train]
epochs = {epochs}
batch_size = {batch}
shards = {shards}
precision = "{precision}"
[optimizer]
method = "lookbehind"
ascent = "sam"
k = 2
rho = 0.05
alpha = 0.5
[optimizer.base]
kind = "sgd"
lr = {lr}
momentum = 0.9
weight_decay = 5e-4
[schedule]
kind = "cosine"
[eval]
every_epochs = 0
"""
DIGITS_SIZE = {
    False: {"blocks": "[2, 2, 2]", "width": 32, "epochs": 20, "batch": 128, "shards": 8, "lr": 0.05},
    True: {"blocks": "[1, 1]", "width": 4, "epochs": 1, "batch": 64, "shards": 4, "lr": 0.2},
}

# Many elementwise layers: hardly any arithmetic or weights, but every layer's output is kept for the gradient.
TOO_LARGE = """
name = "too large"
[model]
kind = "sequential"
layers = [{{ kind = "linear", out_features = {width} }}, {layers}, {{ kind = "linear" }}]
[data]
kind = "safetensors"
train = "too-large.safetensors"
[train]
steps = 1
batch_size = {batch}
shards = 1
[optimizer]
method = "sgd"
"""
WIDTH = 1 << 16
FLOAT = 4  # bytes
# A tensor stays below what 32 bits can number, so that nothing but memory is in the way.
MOST_ELEMENTS = 1 << 30

CIFAR = """
name = "{name}"
seed = 1
[model]
kind = "resnet"
{model}
[data]
kind = "cifar10"
train = "cifar.bin"
[train]
{length}
batch_size = {batch}
shards = 1
precision = "{precision}"
[checkpoint]
every_steps = 0
[optimizer]
{method}
[optimizer.base]
kind = "sgd"
lr = 0.1
momentum = 0.9
weight_decay = 5e-4
"""
NETWORKS = {
    False: {"ResNet-18": ('name = "resnet18"', 128), "ResNet-34": ('name = "resnet34"', 128)},
    True: {"small residual network": ("blocks = [1, 1]\nwidth = 8", 16)},
}
PRECISIONS = ("f32", "tf32", "bf16")
IMAGE = 3 * 32 * 32


def digits(folder, precision, quick):
    """Writes the job that the digests are of."""
    path = folder / f"digits-{precision}.toml"
    path.write_text(DIGITS.format(precision=precision, **DIGITS_SIZE[quick]))
    return path


def too_large(folder, memory):
    """Writes a job, and its data, whose one shard keeps at least twice so many bytes."""
    batch = max(1, min(MOST_ELEMENTS, memory // (16 * FLOAT)) // WIDTH)
    layers = 2 * memory // (batch * WIDTH * FLOAT) + 1
    inputs, targets = array.array("f", [0.5, -0.5] * batch), array.array("q", [i % 2 for i in range(batch)])
    if sys.byteorder == "big":
        inputs.byteswap(), targets.byteswap()
    data = {"inputs": ("F32", [batch, 2], inputs.tobytes()), "targets": ("I64", [batch], targets.tobytes())}
    if batch == 1:
        raise ValueError(f"{memory} bytes: expected memory for more than one sample of {WIDTH} elements")
    tensors.write(folder / "too-large.safetensors", data)
    path = folder / "too-large.toml"
    chain = ", ".join(['{ kind = "tanh" }'] * layers)
    path.write_text(TOO_LARGE.format(width=WIDTH, layers=chain, batch=batch))
    return path


def cifar(folder, name, model, batch, precision, k=0, steps=1):
    """Writes a job on random images of CIFAR's shape; k = 0 is plain SGD, else Lookbehind-SAM."""
    images(folder, batch)
    method = f'method = "lookbehind"\nk = {k}\nrho = 0.05\nalpha = 0.5' if k else 'method = "sgd"'
    path = folder / f"{name.replace(' ', '-')}-{precision}-{k}.toml"
    fields = {"name": name, "model": model, "batch": batch, "precision": precision, "method": method}
    path.write_text(CIFAR.format(length=f"steps = {steps}", **fields))
    return path


def images(folder, batch):
    """Writes some batches of noise as CIFAR-10's binary files have it: a label and 3 × 32 × 32 bytes."""
    path, draw = folder / "cifar.bin", random.Random(1)
    with path.open("wb") as file:
        for number in range(4 * batch):
            file.write(bytes([number % 10]) + draw.randbytes(IMAGE))
