"""Images of kinds that the bundled models were not trained for, beside JPEG and PNG.

    python benchmarks/other_images.py [--model NAME ...] [--quality Q ...] [--out FOLDER]

Colored text on white and a photograph that is dithered to one bit, both made here, and photographs
of `skimage.data` for comparison. PSNR and bytes of whole files. `--out` writes the images.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import rdonet_jax
from rdonet_jax.core.defaults import DEFAULT_MODEL
from rdonet_jax.imaging import pixel_format

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea")
SENTENCE = "Every block of an image is coded at one of three granularities. "
COLORS = ("black", "#204a87", "#a40000", "#4e9a06")
JPEG_QUALITY = 90


def images() -> Iterator[tuple[str, Image.Image]]:
    """All images with their names, in the mode in which PNG is smallest."""
    import skimage.data

    photographs = {name: Image.fromarray(getattr(skimage.data, name)()) for name in PHOTOGRAPHS}
    yield from photographs.items()
    yield "text", text(640, 480)
    gray = photographs["astronaut"].convert("L").crop((0, 0, 512, 480))
    yield "dithered", gray.convert("1")


def text(width: int, height: int) -> Image.Image:
    """Lines of text in four sizes and colors on white, each beginning at another letter."""
    drawn = Image.new("RGB", (width, height), "white")
    draw, y = ImageDraw.Draw(drawn), 6
    for line in range(height):
        size = (11, 13, 16, 20)[line % 4]
        words = (SENTENCE * 4)[line % len(SENTENCE) :]
        draw.text((8, y), words, COLORS[line // 2 % 4], ImageFont.load_default(size))
        y += size + 6
        if y > height:
            break
    return drawn


def encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    """The bytes of the image as Pillow writes it."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def row(name: str, image: Image.Image, how: str, data: bytes, decoded: np.ndarray) -> str:
    psnr = pixel_format.psnr(np.asarray(image.convert("RGB")), decoded)
    size = f"{image.width}x{image.height}"
    bpp = 8 * len(data) / (image.width * image.height)
    return f"{name:<10} {size:>8}  {how:<24} {psnr:6.2f} dB {len(data):8} bytes {bpp:7.3f} bpp"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", nargs="+", default=[DEFAULT_MODEL])
    parser.add_argument("--quality", nargs="+", type=float, default=[50.0, 100.0])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    for name, image in images():
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            image.save(options.out / f"{name}.png")
        pixels = np.asarray(image.convert("RGB"))
        for model in options.model:
            for quality in options.quality:
                data = rdonet_jax.compress(pixels, model=model, quality=quality)
                decoded = rdonet_jax.decompress(data)
                print(row(name, image, f"{model}, quality {quality:g}", data, decoded), flush=True)
        data = encoded(image.convert("RGB"), "JPEG", quality=JPEG_QUALITY)
        decoded = np.asarray(Image.open(io.BytesIO(data)))
        print(row(name, image, f"JPEG, quality {JPEG_QUALITY}", data, decoded))
        print(row(name, image, "PNG", encoded(image, "PNG", optimize=True), pixels))


if __name__ == "__main__":
    main()
