"""Records what PyTorch computes with each kind of model: the cases under tests/fixtures/models.

    python tests/python/make_model_cases.py

Each folder gets `case.json` (the `[model]` table, the shape of an input, the classes), `model.safetensors` (weights
as PyTorch's state_dict has them, its counters included) and `expected.safetensors`: `inputs`, `targets`, `logits` of
a test pass, and of one training pass `gradient.NAME` of the mean cross-entropy (of tensors that are not large) and
`statistic.NAME` of the batch.
Computed in float64, stored in float32. Needs torch and safetensors; what it writes does not change from run to run
on one version of PyTorch.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional

from torch_models import build

FOLDER = Path(__file__).parent.parent / "fixtures" / "models"
SAMPLES = 6
CLASSES = 5
# Most elements of a tensor whose gradient is kept, so that the files stay small.
KEPT = 4096
IMAGE = [3, 8, 8]

CONVOLUTIONS = [
    {"kind": "conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1, "bias": False},
    {"kind": "batch_norm"},
    {"kind": "relu"},
    {"kind": "conv2d", "out_channels": 12, "kernel_size": 3, "padding": 2, "dilation": 2, "groups": 4},
    {"kind": "group_norm", "num_groups": 3},
    {"kind": "silu"},
    {"kind": "max_pool", "kernel_size": 3, "stride": 2, "padding": 1},
    {
        "kind": "residual",
        "body": [
            {"kind": "conv2d", "out_channels": 16, "kernel_size": 3, "stride": 2, "padding": 1, "bias": False},
            {"kind": "batch_norm"},
            {"kind": "gelu"},
            {"kind": "conv2d", "out_channels": 16, "kernel_size": 3, "padding": 1, "bias": False},
            {"kind": "batch_norm"},
        ],
        "shortcut": [
            {"kind": "conv2d", "out_channels": 16, "kernel_size": 1, "stride": 2, "bias": False},
            {"kind": "batch_norm"},
        ],
    },
    {"kind": "relu"},
    {"kind": "residual", "body": [{"kind": "conv2d", "out_channels": 16, "kernel_size": 1}, {"kind": "tanh"}]},
    {"kind": "flatten"},
    {"kind": "linear", "out_features": 12},
    {"kind": "layer_norm"},
    {"kind": "sigmoid"},
    {"kind": "dropout", "p": 0.0},
    {"kind": "linear"},
]

POOLED = [
    {"kind": "conv2d", "out_channels": 6, "kernel_size": 5, "stride": 2, "padding": 2},
    {"kind": "relu"},
    {"kind": "avg_pool", "kernel_size": 2, "padding": 1},
    {"kind": "global_avg_pool"},
    {"kind": "flatten"},
    {"kind": "batch_norm"},
    {"kind": "group_norm", "num_groups": 2},
    {"kind": "linear", "bias": False},
]

RESNET = {"kind": "resnet", "width": 4}
VIT = {"kind": "vit", "patch": 2, "dim": 16, "depth": 2, "heads": 4, "mlp_dim": 24}

CASES = {
    "mlp": ({"kind": "mlp", "hidden": [16, 12]}, IMAGE),
    "resnet-basic": ({**RESNET, "block": "basic", "blocks": [2, 1, 1]}, IMAGE),
    "resnet-bottleneck": ({**RESNET, "block": "bottleneck", "blocks": [1, 2]}, IMAGE),
    "resnet-imagenet": ({**RESNET, "block": "bottleneck", "blocks": [1, 1], "stem": "imagenet"}, [3, 16, 16]),
    "resnet-group": ({**RESNET, "blocks": [1, 1], "norm": "group", "groups": 2}, IMAGE[1:]),
    "wide-resnet": ({"kind": "wide_resnet", "depth": 10, "width": 1}, IMAGE),
    "vit-cls": (VIT, IMAGE),
    "vit-mean": ({**VIT, "pooling": "mean"}, IMAGE[1:]),
    "sequential-residual": ({"kind": "sequential", "layers": CONVOLUTIONS}, IMAGE),
    "sequential-pooled": ({"kind": "sequential", "layers": POOLED}, IMAGE[1:]),
}


def draw(module):
    """No tensor is constant, and none so large that the logits run away."""
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var") or (name.endswith("weight") and tensor.dim() == 1):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith("num_batches_tracked"):
            tensor.fill_(3)
        elif tensor.dim() == 1:
            tensor.uniform_(-0.5, 0.5)
        else:
            bound = (3 / max(1, tensor[0].numel())) ** 0.5
            tensor.uniform_(-bound, bound)


def training_pass(module, inputs, targets):
    """Gradients, and the statistics of the batch as running ones that forget all that was before."""
    module.train()
    for layer in module.modules():
        if hasattr(layer, "momentum"):
            layer.momentum = 1.0
    functional.cross_entropy(module(inputs), targets).backward()
    kept = [(name, tensor) for name, tensor in module.named_parameters() if tensor.numel() <= KEPT]
    gradients = {f"gradient.{name}": tensor.grad for name, tensor in kept}
    statistics = {f"statistic.{name}": value for name, value in module.named_buffers() if "running" in name}
    return gradients | statistics


def single(tensors):
    """Floating-point numbers in 32 bits."""
    return {
        name: (tensor.float() if tensor.is_floating_point() else tensor).detach().clone().contiguous()
        for name, tensor in tensors.items()
    }


def make(name, model, input_shape):
    torch.manual_seed(sum(name.encode()))
    module = build(model, input_shape, CLASSES)
    with torch.no_grad():
        draw(module)
    weights = single(module.state_dict())
    module = module.double().eval()
    inputs = torch.randn(SAMPLES, *input_shape).double()
    targets = torch.arange(SAMPLES) % CLASSES
    expected = {"inputs": inputs, "targets": targets, "logits": module(inputs)}
    expected |= training_pass(module, inputs, targets)
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    case = {"model": model, "input_shape": input_shape, "classes": CLASSES}
    (folder / "case.json").write_text(json.dumps(case, indent=1) + "\n")
    save_file(weights, folder / "model.safetensors")
    save_file(single(expected), folder / "expected.safetensors")
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{name}: {sum(p.numel() for p in module.parameters())} parameters, {size // 1024} KiB")


def main():
    for name, (model, input_shape) in CASES.items():
        make(name, model, input_shape)


if __name__ == "__main__":
    main()
