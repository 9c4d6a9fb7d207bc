"""Records what torchvision's functions make of a small image, for worker/data/src/augment/recorded.json.

    python record_augmentations.py > worker/data/src/augment/recorded.json

Needs torch and torchvision; the file was written with 0.29.2. The image is [3, 5, 6] with the values of `LEVELS` over 255.
"""

import json
import math

import torch
import torchvision.transforms._functional_tensor as tensors
from torchvision.transforms import InterpolationMode, functional

HEIGHT, WIDTH = 5, 6
LEVELS = torch.tensor(
    [
        (c * 71 + y * 37 + x * 53 + (x * y * c) % 11 * 13) % 256
        for c in range(3)
        for y in range(HEIGHT)
        for x in range(WIDTH)
    ],
    dtype=torch.float32,
).view(3, HEIGHT, WIDTH)
IMAGE = LEVELS / 255
NEAREST = InterpolationMode.NEAREST


def affine(translate=(0, 0), shear=(0.0, 0.0), center=None):
    shear = [math.degrees(math.atan(slope)) for slope in shear]
    return functional.affine(
        IMAGE, angle=0.0, translate=list(translate), scale=1.0, shear=shear, interpolation=NEAREST, center=center
    )


def area(row, column, height, width):
    bilinear = InterpolationMode.BILINEAR
    return functional.resized_crop(IMAGE, row, column, height, width, [HEIGHT, WIDTH], bilinear, antialias=True)


# Enough pixels that the steps of a histogram are more than one.
MANY = torch.tensor([(c * 71 + i * i * 3 + i * 7) % 97 for c in range(3) for i in range(720)], dtype=torch.uint8)
EQUALIZED = functional.equalize(MANY.view(3, 24, 30)).long().flatten()

recorded = {
    "image": IMAGE,
    "brightness 1.5": tensors.adjust_brightness(IMAGE, 1.5),
    "contrast 0.4": tensors.adjust_contrast(IMAGE, 0.4),
    "saturation 1.7": tensors.adjust_saturation(IMAGE, 1.7),
    "hue 0.2": tensors.adjust_hue(IMAGE, 0.2),
    "hue -0.35": tensors.adjust_hue(IMAGE, -0.35),
    "sharpness 1.6": tensors.adjust_sharpness(IMAGE, 1.6),
    "autocontrast of half": tensors.autocontrast(IMAGE * 0.5 + 0.2),
    "posterize 3": tensors.posterize(LEVELS.to(torch.uint8), 3).float() / 255,
    "solarize 100": tensors.solarize(IMAGE, 100 / 255),
    "equalize": EQUALIZED[::20].float() / 255,
    "shear_x 0.33": affine(shear=(0.33, 0.0), center=[0, 0]),
    "shear_y -0.62": affine(shear=(0.0, -0.62), center=[0, 0]),
    "translate_x 2": affine(translate=(2, 0)),
    "translate_y -1": affine(translate=(0, -1)),
    "rotate 31.5": functional.rotate(IMAGE, 31.5, interpolation=NEAREST),
    "area 1 2 3 2": area(1, 2, 3, 2),
    "area 0 0 5 6": area(0, 0, 5, 6),
    "area 0 1 5 3": area(0, 1, 5, 3),
    "smaller": tensors.resize(MANY.view(3, 24, 30)[:1, :20, :27].float() / 96, [5, 6], "bilinear", antialias=True),
}
print(json.dumps({name: [round(v, 6) for v in values.flatten().tolist()] for name, values in recorded.items()}))
