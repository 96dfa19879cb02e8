"""Draws what a region of interest does: one photograph in two files of equal size.

    python examples/regions.py [--out regions.jpg] [--image FILE --box X,Y,WIDTH,HEIGHT]
        [--quality 25] [--gain 50]

The first file has one quality. In the second the box is better by the gain, and rate control
chooses the rest so that the file is no larger. Shown are the box and a part of equal size outside
of it, of the original and of both files. PSNR is that of all that lies inside, or outside. Without
an image it takes a photograph of scikit-image, whose box is a face. Needs matplotlib (extra
report).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rdonet_jax.core import decibels
from rdonet_jax.core.config import ConfigError
from rdonet_jax.imaging import srgb
from rdonet_jax.models import zoo
from rdonet_jax.rdo import coding, roi
from rdonet_jax.rdo.encode_options import EncodeOptions, Target
from rdonet_jax.rdo.roi import Box

FACE = "160,32,128,160"
"""The box of the photograph of scikit-image."""


def cut(image: np.ndarray, box: Box) -> np.ndarray:
    """The pixels of the box."""
    return image[box.y : box.y + box.height, box.x : box.x + box.width]


def outside(shape: tuple[int, ...], box: Box) -> Box:
    """The corner of an image that is farthest from the box, in the size of the box."""
    height, width = shape[:2]
    x = 0 if 2 * box.x + box.width > width else width - box.width
    y = 0 if 2 * box.y + box.height > height else height - box.height
    return box._replace(x=x, y=y)


def decoded(
    model: zoo.Model, image: np.ndarray, quality: float, box: Box
) -> tuple[tuple[int, np.ndarray], ...]:
    """The bytes and the pixels of a plain file, and of one of at most its size with the region."""
    plain = coding.encode(model, image, EncodeOptions(quality, reconstruct=True)).encoded
    gains = roi.gains(image.shape[:2], boxes=[box])
    target = Target(size=len(plain.data))
    options = EncodeOptions(target=target, gains=gains, reconstruct=True)
    region = coding.encode(model, image, options).encoded
    return (len(plain.data), plain.image), (len(region.data), region.image)


def draw(
    image: np.ndarray, files: Sequence[tuple[int, np.ndarray]], box: Box, path: Path
) -> list[str]:
    """Writes the figure. Returns a line for each file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 6.3), layout="constrained")
    columns = figure.subplots(2, 1 + len(files))
    parts = {"inside": box, "outside": outside(image.shape, box)}
    for row, (name, part) in zip(columns, parts.items(), strict=True):
        row[0].imshow(cut(image, part))
        row[0].set_title(f"original, {name}", fontsize=9)
    within = np.zeros(image.shape[:2], bool)
    cut(within, box)[:] = True
    said = []
    for column, (title, (size, pixels)) in enumerate(zip(("plain", "region"), files, strict=True)):
        error = np.square(image.astype(float) - pixels).mean(-1)
        found = [decibels.psnr(error[area].mean(), 255) for area in (within, ~within)]
        for row, part, psnr in zip(columns, parts.values(), found, strict=True):
            row[column + 1].imshow(cut(pixels, part))
            row[column + 1].set_title(f"{title}, {size} bytes: {psnr:.1f} dB", fontsize=9)
        said.append(f"{title}: {size} bytes, inside {found[0]:.2f} dB, outside {found[1]:.2f} dB")
    for axes in columns.ravel():
        axes.set_axis_off()
    figure.savefig(path, dpi=120)
    return said


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("regions.jpg"))
    parser.add_argument("--image", type=Path)
    parser.add_argument("--box", help=f"X,Y,WIDTH,HEIGHT in pixels; {FACE} without an image")
    parser.add_argument("--quality", type=float, default=25.0)
    parser.add_argument("--gain", type=float, default=50.0, help="points of quality")
    parser.add_argument("--model", default="standard")
    options = parser.parse_args(arguments)
    if (options.image is None) != (options.box is None):
        parser.error("--image and --box go together")
    try:
        if options.image is None:
            import skimage.data

            image = np.ascontiguousarray(skimage.data.astronaut())
        else:
            image = srgb.load(options.image)
        x, y, width, height = map(int, (options.box or FACE).split(","))
        box = Box(x, y, width, height, options.gain)
        files = decoded(zoo.load(options.model), image, options.quality, box)
        print("\n".join(draw(image, files, box, options.out)))
    except (ConfigError, ImportError, OSError, ValueError) as error:
        sys.exit(f"regions.py: {error}")


if __name__ == "__main__":
    main()
