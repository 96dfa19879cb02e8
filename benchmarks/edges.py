"""How well the lower and the right edge of images of common sizes are coded.

    python benchmarks/edges.py FOLDER [--quality Q ...] [--images N] [--model NAME]

Every image is cut to each size at its top left, turned for upright ones, and coded with its
variance mask. PSNR in dB, of mean squared errors over all images: of the whole image, of its last
row, and of its last column. Sizes that an image does not hold are passed over.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from originals import IMAGES_HELP, load_images

from rdonet_jax.codec import codec
from rdonet_jax.core import decibels
from rdonet_jax.models import zoo

SIZES = (
    (640, 480), (720, 480), (768, 432), (720, 405), (704, 480), (640, 427), (640, 360), (600, 450),
    (600, 400), (512, 384), (500, 375), (500, 333), (480, 360), (480, 320), (400, 300), (352, 288),
    (320, 240), (320, 180), (240, 160), (160, 120),
)  # fmt: skip
"""Width and height."""


def cut(image: np.ndarray, width: int, height: int) -> np.ndarray | None:
    """The top left of an image, or None of one that is too small."""
    if image.shape[0] > image.shape[1]:
        width, height = height, width
    if image.shape[0] < height or image.shape[1] < width:
        return None
    return np.ascontiguousarray(image[:height, :width])


def coded(model: zoo.Model, image: np.ndarray, quality: float) -> tuple[float, ...]:
    """Bytes of a file, and mean squared errors: of all, of the last row, of the last column."""
    p = codec.choose_partition(model, image, "variance", quality)
    encoded = codec.encode(model, image, p, quality)
    squares = np.square(encoded.picture.astype(np.float64) - image)
    return len(encoded.data), squares.mean(), squares[-1].mean(), squares[:, -1].mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quality", type=float, nargs="+", default=[50, 80])
    parser.add_argument("--images", "--pictures", dest="images", type=int, help=IMAGES_HELP)
    parser.add_argument("--model", default="standard")
    options = parser.parse_args()
    model = zoo.load(options.model)
    originals = load_images(options.folder, options.images)
    print(f"{len(originals)} images, model {model.name}")
    print(f"{'quality':>7}{'size':>10}{'bytes':>9}{'whole':>8}{'last row':>10}{'last column':>13}")
    for quality in options.quality:
        for width, height in SIZES:
            images = [cut(image, width, height) for image in originals]
            found = [coded(model, image, quality) for image in images if image is not None]
            if found:
                size, *squares = np.mean(found, axis=0)
                whole, row, column = (decibels.psnr(mse, 255) for mse in squares)
                name = f"{width}x{height}"
                print(f"{quality:>7g}{name:>10}{size:>9.0f}{whole:>8.2f}{row:>10.2f}"
                      f"{column:>13.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
