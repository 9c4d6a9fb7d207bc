"""Records what models of timm, torchvision and Hugging Face compute: the cases under tests/fixtures/imports.

    python tests/python/make_import_cases.py

The weights are not stored: each value is a function of the tensor's name and the value's index (`keyed`), which the test
computes as well. Each file has the library's names and shapes, the `[model]` table that is the same network here, and the
logits for inputs drawn in the same way, computed in float64. `positions.json` has position embeddings that timm resampled.
Needs torch, timm, torchvision, transformers and safetensors. Hugging Face's models are recorded with the names of the files
that they are saved in, and one also with those of its `state_dict`.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

FOLDER = Path(__file__).parent.parent / "fixtures" / "imports"
SAMPLES = 2
CLASSES = 10
SIDE = 64

RESNET = {"kind": "resnet", "stem": "imagenet"}
VIT = {"kind": "vit", "patch": 16, "dim": 192, "depth": 12, "heads": 3}
TINY = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768}


def hugging_face_resnet(depths, widths, layer_type):
    config = ResNetConfig(hidden_sizes=widths, depths=depths, layer_type=layer_type, num_labels=CLASSES)
    return ResNetForImageClassification(config)


def cases():
    basic, bottleneck = [64, 128, 256, 512], [256, 512, 1024, 2048]
    vision = torchvision.models
    yield "timm-resnet18", RESNET | {"name": "resnet18"}, timm.create_model("resnet18", num_classes=CLASSES)
    yield "timm-resnet34", RESNET | {"name": "resnet34"}, timm.create_model("resnet34", num_classes=CLASSES)
    yield "timm-resnet50", RESNET | {"name": "resnet50"}, timm.create_model("resnet50", num_classes=CLASSES)
    yield "torchvision-resnet18", RESNET | {"name": "resnet18"}, vision.resnet18(num_classes=CLASSES)
    yield "torchvision-resnet50", RESNET | {"name": "resnet50"}, vision.resnet50(num_classes=CLASSES)
    model = hugging_face_resnet([2, 2, 2, 2], basic, "basic")
    yield "huggingface-resnet18", RESNET | {"name": "resnet18"}, model
    model = hugging_face_resnet([3, 4, 6, 3], bottleneck, "bottleneck")
    yield "huggingface-resnet50", RESNET | {"name": "resnet50"}, model
    model = timm.create_model("vit_tiny_patch16_224", img_size=SIDE, num_classes=CLASSES)
    yield "timm-vit_tiny", VIT, model
    model = vision.VisionTransformer(SIDE, 16, 12, 3, 192, 768, num_classes=CLASSES)
    yield "torchvision-vit_tiny", VIT, model
    model = ViTForImageClassification(ViTConfig(**TINY, image_size=SIDE, num_labels=CLASSES))
    yield "huggingface-vit_tiny", VIT, model
    yield "huggingface-vit_tiny-state_dict", VIT, model


def keyed(name, shape, low, high):
    """Values in [low, high): splitmix64 of the name's FNV-1a hash and the index, 24 bits of it."""
    key = 0xCBF29CE484222325
    for byte in name.encode():
        key = (key ^ byte) * 0x100000001B3 % 2**64
    with numpy.errstate(over="ignore"):
        z = numpy.uint64(key) + (numpy.arange(numpy.prod(shape), dtype=numpy.uint64) + 1) * 0x9E3779B97F4A7C15
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB
        z = z ^ (z >> 31)
    units = (z >> 40).astype(numpy.float64) / 2**24
    return torch.from_numpy((low + (high - low) * units).astype(numpy.float32).reshape(shape))


def weights(name, shape):
    """Values that keep the size of a layer's output near that of its input."""
    if name.endswith("running_var"):
        return keyed(name, shape, 0.5, 1.5)
    if len(shape) == 1:
        return keyed(name, shape, 0.2, 0.6) if name.endswith("weight") else keyed(name, shape, -0.3, 0.3)
    bound = (3 / numpy.prod(shape[1:])) ** 0.5
    return keyed(name, shape, -bound, bound)


def write(name, value):
    (FOLDER / f"{name}.json").write_text(json.dumps(value, separators=(",", ":")) + "\n")


def from_state_dict(module):
    """The names of the module's own tensors, and the module with keyed weights."""
    state = {key: value for key, value in module.state_dict().items() if value.is_floating_point()}
    module.load_state_dict({key: weights(key, value.shape) for key, value in state.items()}, strict=False)
    return state, module


def from_saved_file(module):
    """The names of the file that Hugging Face writes, which may be others, and the module that it reads from it."""
    with TemporaryDirectory() as folder:
        module.save_pretrained(folder)
        file = Path(folder) / "model.safetensors"
        tensors = load_file(file)
        state = {key: value for key, value in tensors.items() if value.is_floating_point()}
        save_file(tensors | {key: weights(key, value.shape) for key, value in state.items()}, file, {"format": "pt"})
        return state, type(module).from_pretrained(folder)


def record(name, model, module):
    library, *_, form = name.split("-")
    saved = library == "huggingface" and form != "state_dict"
    state, module = from_saved_file(module) if saved else from_state_dict(module)
    module = module.double().eval()
    inputs = keyed("inputs", (SAMPLES, 3, SIDE, SIDE), -1.0, 1.0).double()
    with torch.no_grad():
        logits = module(inputs)
    logits = getattr(logits, "logits", logits)
    tensors = [[key, list(value.shape)] for key, value in state.items()]
    shape = [3, SIDE, SIDE]
    write(name, {
        "library": library, "model": model, "input_shape": shape, "classes": CLASSES,
        "logits": [[round(value, 7) for value in row] for row in logits.tolist()], "tensors": tensors,
    })
    print(f"{name}: {len(tensors)} tensors, logits up to {logits.abs().max():.3f}")


def record_positions():
    found = []
    for before, after in [(3, 5), (4, 4), (7, 4), (2, 9), (9, 2)]:
        embeddings = keyed("positions", (1, 1 + before**2, 2), -1.0, 1.0)
        resampled = resample_abs_pos_embed(embeddings.double(), [after, after]).flatten().tolist()
        found.append({"from": before, "to": after, "resampled": [round(value, 7) for value in resampled]})
    write("positions", found)


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for case in cases():
        record(*case)
    record_positions()


if __name__ == "__main__":
    main()
