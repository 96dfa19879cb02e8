"""Quality at the lower and right edges of images of common sizes.

    python benchmarks/edges.py FOLDER [--quality Q ...] [--images N] [--model NAME]

Every image is cropped to each size at its top left (width and height are exchanged for upright
images) and coded with its variance mask. The PSNR in dB is that of the mean squared error over all
images: of whole images, of the last rows, and of the last columns. Sizes larger than an image are
skipped for it.
"""

from __future__ import annotations

import images_of_folder
import numpy as np

from rdonet_jax.codec import codec
from rdonet_jax.core import decibels
from rdonet_jax.core.defaults import DEFAULT_MODEL
from rdonet_jax.models import zoo

SIZES = (
    (640, 480), (720, 480), (768, 432), (720, 405), (704, 480), (640, 427), (640, 360), (600, 450),
    (600, 400), (512, 384), (500, 375), (500, 333), (480, 360), (480, 320), (400, 300), (352, 288),
    (320, 240), (320, 180), (240, 160), (160, 120),
)  # fmt: skip
"""Width and height."""


def cut(image: np.ndarray, width: int, height: int) -> np.ndarray | None:
    """The top left of an image; None if the image is too small."""
    if image.shape[0] > image.shape[1]:
        width, height = height, width
    if image.shape[0] < height or image.shape[1] < width:
        return None
    return np.ascontiguousarray(image[:height, :width])


def coded(model: zoo.Model, image: np.ndarray, quality: float) -> tuple[float, ...]:
    """Bytes of the file, and mean squared errors of the image, its last row and last column."""
    p = codec.choose_partition(model, image, "variance", quality)
    encoded = codec.encode(model, image, p, quality)
    squares = np.square(encoded.image.astype(np.float64) - image)
    return len(encoded.data), squares.mean(), squares[-1].mean(), squares[:, -1].mean()


def main() -> None:
    parser = images_of_folder.parser(__doc__, model=DEFAULT_MODEL)
    parser.add_argument("--quality", type=float, nargs="+", default=[50, 80])
    options = parser.parse_args()
    model, images = images_of_folder.model_and_images(options)
    print(f"{len(images)} images, model {model.name}")
    print(f"{'quality':>7}{'size':>10}{'bytes':>9}{'whole':>8}{'last row':>10}{'last column':>13}")
    for quality in options.quality:
        for width, height in SIZES:
            cuts = [cut(image, width, height) for image in images]
            found = [coded(model, image, quality) for image in cuts if image is not None]
            if found:
                size, *squares = np.mean(found, axis=0)
                whole, row, column = (decibels.psnr(mse, 255) for mse in squares)
                name = f"{width}x{height}"
                print(f"{quality:>7g}{name:>10}{size:>9.0f}{whole:>8.2f}{row:>10.2f}"
                      f"{column:>13.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
