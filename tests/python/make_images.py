"""Writes tests/fixtures/images: image files of all formats and, as PNG, the pixels that Pillow reads from each.

    python tests/python/make_images.py

`NAME.EXT` is the file, `NAME.EXT.png` what is expected of it; `resized/KERNEL_HEIGHT_WIDTH.png` is `colours.bmp` resized by
Pillow. Needs Pillow and NumPy.
"""

import pathlib

import numpy as np
from PIL import Image

FOLDER = pathlib.Path(__file__).parent.parent / "fixtures" / "images"


def picture(height=22, width=35):
    """Colours that change slowly, with some edges."""
    down, along = np.mgrid[0:height, 0:width]
    planes = [127 + 100 * np.sin(down / 5 + phase) * np.cos(along / (4 + phase)) for phase in range(3)]
    planes[0][5:9, 7:20] = 250
    return Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8))


def write(name, image, expected=None, mode="RGB", **options):
    """Writes an image and what Pillow reads from it."""
    path = FOLDER / name
    image.save(path, **options)
    with Image.open(path) as read:
        read.seek(0)
        expected = expected or (read.convert(mode) if mode else read.copy())
    expected.save(FOLDER / f"{name}.png")


def cmyk(image):
    """Inks that give about the colours, with black of their own."""
    rgb = np.asarray(image).astype(int)
    black = np.full(rgb.shape[:2] + (1,), 40)
    return Image.fromarray(np.concatenate([255 - rgb, black], axis=-1).astype(np.uint8), mode="CMYK")


def main():
    FOLDER.mkdir(exist_ok=True)
    image, grey = picture(), picture().convert("L")
    write("lossless.webp", image, lossless=True)
    write("lossy.webp", image, quality=80)
    opaque = image.copy()
    opaque.putalpha(grey)
    # Pixels without any opacity keep their colours: `exact`.
    write("opacity.webp", opaque, expected=opaque.convert("RGB"), lossless=True, exact=True)
    frames = [image.rotate(90 * turn) for turn in range(3)]
    write("animation.webp", image, lossless=True, save_all=True, append_images=frames[1:])
    write("colours.bmp", image)
    write("grey.bmp", grey)
    write("palette.bmp", image.convert("P", palette=Image.ADAPTIVE, colors=200))
    # Of a kind that is not read, so nothing is expected of it.
    grey.convert("1").save(FOLDER / "two.bmp")
    write("opacity.bmp", opaque, expected=opaque.convert("RGB"))
    write("palette.gif", image.convert("P", palette=Image.ADAPTIVE, colors=64))
    write("grey.gif", grey)
    write("animation.gif", image.convert("P"), save_all=True, append_images=[frame.convert("P") for frame in frames[1:]])
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        write(f"colours_{compression}.tif", image, compression=compression)
    write("grey.tif", grey, mode="L")
    write("two.tif", grey.convert("1"), mode="L")
    # Of a kind that is not read, so nothing is expected of it.
    image.convert("P", palette=Image.ADAPTIVE, colors=64).save(FOLDER / "palette.tif")
    write("opacity.tif", opaque, expected=opaque.convert("RGB"))
    write("cmyk.tif", cmyk(image))
    deep = Image.fromarray((np.asarray(grey).astype(np.uint16) * 250 + 13))
    write("deep.tif", deep, mode=None)
    for name, subsampling in (("444", 0), ("422", 1), ("420", 2)):
        write(f"baseline_{name}.jpg", image, quality=90, subsampling=subsampling)
        write(f"progressive_{name}.jpg", image, quality=90, subsampling=subsampling, progressive=True)
    write("grey.jpg", grey, mode="L", quality=90)
    write("cmyk.jpg", cmyk(image), quality=95)
    write("restarts.jpg", image, quality=90, restart_marker_rows=1)
    (FOLDER / "resized").mkdir(exist_ok=True)
    for name, kernel in (("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)):
        for height, width in ((8, 8), (22, 7), (9, 35), (50, 61), (1, 1), (13, 80)):
            image.resize((width, height), kernel).save(FOLDER / "resized" / f"{name}_{height}_{width}.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = image.transpose(Image.ROTATE_90)
    write("turned.jpg", turned, expected=None, quality=100, subsampling=0, exif=exif.tobytes())
    write("turned.png", turned, expected=image, exif=exif.tobytes())
    write("turned.webp", turned, expected=image, lossless=True, exif=exif.tobytes())
    write("turned.tif", turned, expected=image, tiffinfo={274: 6})
    with Image.open(FOLDER / "turned.jpg") as read:
        read.transpose(Image.ROTATE_270).save(FOLDER / "turned.jpg.png")


if __name__ == "__main__":
    main()
