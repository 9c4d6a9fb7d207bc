"""The models of `[model]`, once more in PyTorch: what a file of weights must load into with strict=True.

`build(model, input_shape, classes)` takes the table as a job file has it. The modules are written from the papers,
with the names that docs/job-file.md gives.
"""

import torch
from torch import nn
from torch.nn import functional


def build(model, input_shape, classes):
    """The module for a model table, for inputs of the given shape."""
    parameters = {key: value for key, value in model.items() if key not in ("kind", "init")}
    return KINDS[model["kind"]](tuple(input_shape), classes, **parameters)


def image(x):
    """Inputs without channels have one."""
    return x.unsqueeze(1) if x.dim() == 3 else x


def channels(input_shape):
    return input_shape[0] if len(input_shape) == 3 else 1


class Mlp(nn.Module):
    def __init__(self, input_shape, classes, hidden):
        super().__init__()
        sizes = [torch.Size(input_shape).numel(), *hidden, classes]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))

    def forward(self, x):
        x = x.flatten(1)
        for number, layer in enumerate(self.layers):
            x = layer(torch.relu(x) if number else x)
        return x


def normalisation(norm, groups):
    return nn.BatchNorm2d if norm == "batch" else lambda channels: nn.GroupNorm(groups, channels)


class ResidualBlock(nn.Module):
    """Basic: 3x3, 3x3. Bottleneck: 1x1, 3x3, 1x1 to four times the width."""

    def __init__(self, kind, inputs, width, stride, norm):
        super().__init__()
        if kind == "basic":
            shapes = [(inputs, width, 3, stride), (width, width, 3, 1)]
        else:
            shapes = [(inputs, width, 1, 1), (width, width, 3, stride), (width, 4 * width, 1, 1)]
        self.count = len(shapes)
        for n, (a, b, size, step) in enumerate(shapes, 1):
            self.add_module(f"conv{n}", nn.Conv2d(a, b, size, step, size // 2, bias=False))
            self.add_module(f"bn{n}", norm(b))
        self.outputs = shapes[-1][1]
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != self.outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, self.outputs, 1, stride, bias=False), norm(self.outputs)
            )

    def forward(self, x):
        y = x
        for n in range(1, self.count + 1):
            y = getattr(self, f"bn{n}")(getattr(self, f"conv{n}")(y))
            y = torch.relu(y) if n < self.count else y
        return torch.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    NAMES = {
        "resnet18": ("basic", [2, 2, 2, 2]),
        "resnet34": ("basic", [3, 4, 6, 3]),
        "resnet50": ("bottleneck", [3, 4, 6, 3]),
    }

    def __init__(
        self,
        input_shape,
        classes,
        name=None,
        block="basic",
        blocks=None,
        width=64,
        stem="cifar",
        norm="batch",
        groups=None,
    ):
        super().__init__()
        if name is not None:
            block, blocks = self.NAMES[name]
        norm = normalisation(norm, groups)
        size, stride, padding = (7, 2, 3) if stem == "imagenet" else (3, 1, 1)
        self.conv1 = nn.Conv2d(channels(input_shape), width, size, stride, padding, bias=False)
        self.pool = nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else nn.Identity()
        self.bn1 = norm(width)
        self.stages = len(blocks)
        inputs = width
        for stage, count in enumerate(blocks):
            layers = []
            for n in range(count):
                stride = 2 if stage and not n else 1
                layers.append(ResidualBlock(block, inputs, width << stage, stride, norm))
                inputs = layers[-1].outputs
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.pool(torch.relu(self.bn1(self.conv1(image(x)))))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.linear(x.mean((2, 3)))


class WideBlock(nn.Module):
    def __init__(self, inputs, outputs, stride, dropout, norm):
        super().__init__()
        self.bn1 = norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = norm(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.changes = stride != 1 or inputs != outputs
        if self.changes:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False))

    def forward(self, x):
        activated = torch.relu(self.bn1(x))
        y = self.conv2(self.dropout(torch.relu(self.bn2(self.conv1(activated)))))
        return y + (self.shortcut(activated) if self.changes else x)


class WideResNet(nn.Module):
    def __init__(self, input_shape, classes, depth, width, dropout=0.0, norm="batch", groups=None):
        super().__init__()
        norm = normalisation(norm, groups)
        self.conv1 = nn.Conv2d(channels(input_shape), 16, 3, 1, 1, bias=False)
        inputs = 16
        for stage in range(3):
            outputs = 16 * width << stage
            layers = []
            for n in range((depth - 4) // 6):
                layers.append(WideBlock(inputs, outputs, 2 if stage and not n else 1, dropout, norm))
                inputs = outputs
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.bn1 = norm(inputs)
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(image(x)))))
        return self.linear(torch.relu(self.bn1(x)).mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, dim, heads, dropout):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        n, tokens, dim = x.shape
        q, k, v = self.qkv(x).view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
        return self.dropout(self.proj((weights @ v).transpose(1, 2).reshape(n, tokens, dim)))


class TransformerMlp(nn.Module):
    def __init__(self, dim, hidden, dropout):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        return self.dropout(self.fc2(self.dropout(functional.gelu(self.fc1(x)))))


class TransformerBlock(nn.Module):
    def __init__(self, dim, heads, hidden, dropout):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, dropout)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = TransformerMlp(dim, hidden, dropout)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    def __init__(
        self, input_shape, classes, patch, dim, depth, heads, mlp_dim=None, dropout=0.0, pooling="cls"
    ):
        super().__init__()
        tokens = (input_shape[-2] // patch) * (input_shape[-1] // patch)
        self.pooling = pooling
        if pooling == "cls":
            self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
            tokens += 1
        self.pos_embed = nn.Parameter(torch.randn(1, tokens, dim) * 0.02)
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(channels(input_shape), dim, patch, patch)
        self.dropout = nn.Dropout(dropout)
        hidden = 4 * dim if mlp_dim is None else mlp_dim
        self.blocks = nn.Sequential(*(TransformerBlock(dim, heads, hidden, dropout) for _ in range(depth)))
        self.add_module("norm" if pooling == "cls" else "fc_norm", nn.LayerNorm(dim, eps=1e-6))
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        x = self.patch_embed.proj(image(x)).flatten(2).transpose(1, 2)
        if self.pooling == "cls":
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        x = self.blocks(self.dropout(x + self.pos_embed))
        return self.head(self.norm(x)[:, 0] if self.pooling == "cls" else self.fc_norm(x.mean(1)))


class Residual(nn.Module):
    def __init__(self, body, shortcut):
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


class Images(nn.Sequential):
    """A Sequential that gives images without channels one."""

    def forward(self, x):
        return super().forward(image(x) if x.dim() == 3 else x)


def sequential(input_shape, classes, layers):
    shape = (channels(input_shape), *input_shape[-2:]) if len(input_shape) in (2, 3) else input_shape
    return chain(Images, torch.zeros(2, *shape), classes, layers)[0]


def chain(container, x, classes, layers):
    """The layers as a Sequential; `x` is an example that tells each layer what it gets."""
    modules = []
    for layer in layers:
        module = layer_of(x, classes, **layer).eval()
        x = module(x)
        modules.append(module)
    return container(*modules).train(), x


def layer_of(x, classes, kind, **parameters):
    features = x.shape[1]
    if kind == "linear":
        return nn.Linear(features, parameters.pop("out_features", classes), **parameters)
    if kind == "conv2d":
        return nn.Conv2d(features, **parameters)
    if kind == "batch_norm":
        return nn.BatchNorm2d(features) if x.dim() == 4 else nn.BatchNorm1d(features)
    if kind == "group_norm":
        return nn.GroupNorm(parameters["num_groups"], features)
    if kind == "layer_norm":
        return nn.LayerNorm(features)
    if kind == "residual":
        body, shortcut = (
            chain(nn.Sequential, x, classes, parameters.get(part, []))[0] for part in ("body", "shortcut")
        )
        return Residual(body, shortcut)
    return SIMPLE[kind](**parameters)


SIMPLE = {
    "max_pool": nn.MaxPool2d,
    "avg_pool": nn.AvgPool2d,
    "global_avg_pool": lambda: nn.AdaptiveAvgPool2d(1),
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "dropout": nn.Dropout,
    "flatten": nn.Flatten,
}

KINDS = {"mlp": Mlp, "resnet": ResNet, "wide_resnet": WideResNet, "vit": Vit, "sequential": sequential}
