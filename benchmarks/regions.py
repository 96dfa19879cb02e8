"""What regions of interest do: PSNR inside and outside of a box, in files of equal size.

    python benchmarks/regions.py FOLDER [--quality Q ...] [--gain G ...] [--refine N] [--images N]

The box is the middle of an image, half of its width and of its height. For each quality, the plain
file of an image gives the size. Rate control then finds files of that size at most:

- "levels": the variance mask inside and the coarsest level outside. It is the most that a choice of
  levels can do, and needs nothing of the format.
- "refined": its latents, refined with the lambda of the first gain inside. The file is then larger.
- "gain G": the box is better by G points of quality, as with `--roi-box X,Y,W,H:G`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import images_of_folder
import numpy as np

from rdonet_jax.codec import codec, preparation
from rdonet_jax.codec.codec import Encoded
from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.core import decibels, partition
from rdonet_jax.core.defaults import DEFAULT_MODEL
from rdonet_jax.core.partition import Partition
from rdonet_jax.models import zoo
from rdonet_jax.rdo import coding, refinement, roi
from rdonet_jax.rdo.cost import make_file_cost
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan, Target
from rdonet_jax.rdo.roi import Box


class Measured(NamedTuple):
    """The bytes of a file, and its PSNR in dB inside and outside of the box."""

    size: float
    inside: float
    outside: float


def middle(image: np.ndarray, gain: float) -> Box:
    """The box of an image [H, W, 3]."""
    height, width = (side // 4 for side in image.shape[:2])
    return Box(width, height, 2 * width, 2 * height, gain)


def measured(image: np.ndarray, encoded: Encoded) -> Measured:
    """What an encoded image, with its pixels, is like."""
    error = np.square(image.astype(float) - encoded.image).mean(-1)
    box = middle(image, 0)
    within = np.zeros(error.shape, bool)
    within[box.y : box.y + box.height, box.x : box.x + box.width] = True
    inside, outside = (decibels.psnr(error[part].mean(), 255) for part in (within, ~within))
    return Measured(len(encoded.data), inside, outside)


def by_levels(model: zoo.Model, image: np.ndarray, quality: float) -> Partition:
    """The variance mask inside of the box, and the coarsest level outside."""
    inside = roi.gains(image.shape[:2], boxes=[middle(image, 1)]) > 0
    p = codec.choose_partition(model, image, "variance", quality)
    return Partition(p.split64 & inside, p.split32 & inside.repeat(2, 0).repeat(2, 1))


def of_size(
    model: zoo.Model, image: np.ndarray, size: int, plan: Plan, gains: np.ndarray | None = None
) -> Encoded:
    """The best file of at most so many bytes."""
    options = EncodeOptions(None, Target(size=size), plan, reconstruct=True, gains=gains)
    return coding.encode(model, image, options).encoded


def refined(
    model: zoo.Model, image: np.ndarray, start: Encoded, p: Partition, gain: float, iterations: int
) -> Encoded:
    """A file with latents that are refined with a higher lambda inside, and one quality."""
    prepared = preparation.prepare(model.config, image)
    p = partition.trim(p, *prepared.size)
    gains = roi.gains(prepared.size, boxes=[middle(image, gain)])
    inside = parse_quality(model.config, start.quality, gains, prepared.size)
    of_file = parse_quality(model.config, start.quality)
    cost = make_file_cost(model, prepared, inside)
    weights = tuple(cost.weights(start.image))
    problem = refinement.Problem(model, image, p, of_file, cost.distortions, weights, cost.relative)
    latents = codec.start_latents(model, prepared, p, of_file)
    found = refinement.refine(problem, latents, iterations).latents
    return codec.encode_prepared(model, prepared, p, of_file, latents=found)


def encodings(
    model: zoo.Model, image: np.ndarray, quality: float, gains: list[float], iterations: int
) -> dict[str, Encoded]:
    """Files of an image by what was done to them."""
    p = codec.choose_partition(model, image, "variance", quality)
    plain = codec.encode(model, image, p, quality)
    files, size = {"plain": plain}, len(plain.data)
    coarse = by_levels(model, image, quality)
    files["levels"] = of_size(model, image, size, Plan(coarse))
    if iterations:
        files["refined"] = refined(model, image, files["levels"], coarse, gains[0], iterations)
    for gain in gains:
        of_blocks = roi.gains(image.shape[:2], boxes=[middle(image, gain)])
        files[f"gain {gain:g}"] = of_size(model, image, size, Plan(), of_blocks)
    return files


def main() -> None:
    parser = images_of_folder.parser(__doc__, model=DEFAULT_MODEL)
    parser.add_argument("--quality", type=float, nargs="+", default=[30.0, 60.0])
    parser.add_argument("--gain", type=float, nargs="+", default=[25.0, 50.0])
    parser.add_argument("--refine", type=int, default=0, help="iterations")
    options = parser.parse_args()
    model, images = images_of_folder.model_and_images(options)
    print(f"{len(images)} images, model {model.name}: means; in relation to the plain files")
    print(f"{'quality':>8}  {'file':<10}{'bytes':>9}{'inside':>10}{'outside':>10}")
    for quality in options.quality:
        code = functools.partial(
            encodings, model, quality=quality, gains=options.gain, iterations=options.refine
        )
        print_rows(quality, images, code)


def print_rows(
    quality: float, images: list[np.ndarray], code: Callable[[np.ndarray], dict[str, Encoded]]
) -> None:
    """Prints the means over images, and how they differ from those of the plain files."""
    found = []
    for image in images:
        found.append({name: measured(image, file) for name, file in code(image).items()})
    plain = np.mean([of["plain"] for of in found], axis=0)
    print(f"{quality:>8g}  {'plain':<10}{plain[0]:>9.0f}{plain[1]:>7.2f} dB{plain[2]:>7.2f} dB")
    for name in list(found[0])[1:]:
        rows = np.mean([of[name] for of in found], axis=0)
        share, (inside, outside) = rows[0] / plain[0] - 1, (rows - plain)[1:]
        print(f"{'':>8}  {name:<10}{share:>+9.2%}{inside:>+7.2f} dB{outside:>+7.2f} dB", flush=True)


if __name__ == "__main__":
    main()
