"""What the levels of effort give and take: rate, quality, J, time, and Bjøntegaard rates.

    python benchmarks/effort.py FOLDER [--images N] [--crop 256] [--model NAME]
        [--efforts 0 3 5 ...] [--qualities 10 30 50 70]

Real files of the middle of N images. J is the model's own, by real bits. Rates, qualities and J are
means over images and qualities, and J is also given relative to effort 0, as the mean of ratios.
Bjøntegaard rates are against effort 0, over the curves of means. Seconds are those of encoding per
megapixel after compilation, on whatever else the machine does.

Do not choose parameters by results on Kodak images. Here they show what was chosen elsewhere.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import NamedTuple

import images_of_folder
import numpy as np

from rdonet_jax.codec import codec, preparation
from rdonet_jax.core.defaults import DEFAULT_MODEL
from rdonet_jax.evaluation import bd_rates
from rdonet_jax.evaluation.bd_rates import BdRateError, Line
from rdonet_jax.metrics.quality import METRICS, measure
from rdonet_jax.models.library import ModelLibrary
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import effort, encoder
from rdonet_jax.rdo.encode_options import EncodeOptions

QUALITIES = (10.0, 30.0, 50.0, 70.0)
IMAGES = 2


class Measured(NamedTuple):
    """One image at one quality and level of effort."""

    bpp: float
    psnr: float
    ms_ssim: float
    j: float
    seconds: float  # per megapixel


def measured(model: Model, image: np.ndarray, quality: float, level: int) -> Measured:
    """The real file of an image."""
    options = EncodeOptions(quality, plan=effort.plan(level))
    began = time.perf_counter()
    found = encoder.encode(model, image, options)
    seconds = time.perf_counter() - began
    size, pixels = len(found.encoded.data), image[..., 0].size
    decoded = codec.decode(model, found.encoded.data).image
    prepared = preparation.prepare(model.config, image)
    j = encoder.file_cost(model, prepared, quality)(size, decoded)
    found_quality = measure(image, decoded)
    psnr, ms_ssim = found_quality["psnr"], found_quality["ms_ssim"]
    return Measured(8 * size / pixels, psnr, ms_ssim, j, seconds / (pixels / 1e6))


def bd_rate(reference: np.ndarray, other: np.ndarray, metric: str) -> str:
    """The Bjøntegaard rate of curves of `Measured` [qualities, values], as text."""
    column = Measured._fields.index(metric)
    lines = [
        Line.through([(row[0], METRICS[metric].on_curve(row[column])) for row in curve])
        for curve in (other, reference)
    ]
    return f"{bd_rates.bd_rate(*lines).percent:+.2f}"


def table(results: dict[int, np.ndarray]) -> None:
    """Prints a row per level of effort, from `Measured` [images, qualities, values]."""
    print(f"{'effort':>6}{'bpp':>8}{'PSNR':>8}{'MS-SSIM':>9}{'J':>9}{'J %':>8}{'s/MP':>9}"
          f"{'BD PSNR %':>11}{'BD MS-SSIM %':>14}")  # fmt: skip
    reference = results[min(results)]
    for level, values in results.items():
        means = Measured(*values.mean((0, 1)))
        change = 100 * np.mean(values[..., 3] / reference[..., 3] - 1)
        try:
            rates = [bd_rate(reference.mean(0), values.mean(0), m) for m in ("psnr", "ms_ssim")]
        except BdRateError:
            rates = ["", ""]
        print(f"{level:>6}{means.bpp:>8.4f}{means.psnr:>8.2f}{means.ms_ssim:>9.4f}{means.j:>9.4f}"
              f"{change:>+8.2f}{means.seconds:>9.1f}{rates[0]:>11}{rates[1]:>14}")  # fmt: skip


def middle(image: np.ndarray, side: int) -> np.ndarray:
    """The middle of an image, at most `side` pixels each way."""
    rows, columns = (
        slice(max(length - side, 0) // 2, max(length - side, 0) // 2 + side)
        for length in image.shape[:2]
    )
    return np.ascontiguousarray(image[rows, columns])


def run(
    model: Model, images: Sequence[np.ndarray], levels: Sequence[int], qualities: Sequence[float]
) -> dict[int, np.ndarray]:
    """By level, `Measured` [images, qualities, values]."""
    results: dict[int, np.ndarray] = {}
    for level in sorted({0, *levels}):
        for image in {image.shape: image for image in images}.values():
            measured(model, image, qualities[0], level)  # compiles
        results[level] = np.array(
            [[measured(model, image, q, level) for q in qualities] for image in images]
        )
        print(f"effort {level} is measured", flush=True)
    return results


def main() -> None:
    parser = images_of_folder.parser(__doc__, IMAGES)
    parser.add_argument("--crop", type=int, default=256, help="side of the crops in pixels")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--efforts", type=int, nargs="+", default=list(range(len(effort.EFFORTS))))
    parser.add_argument("--qualities", type=float, nargs="+", default=list(QUALITIES))
    options: argparse.Namespace = parser.parse_args()
    loaded = images_of_folder.load_images(options)[: options.images]
    images = [middle(image, options.crop) for image in loaded]
    model = ModelLibrary().load(options.model)
    table(run(model, images, options.efforts, options.qualities))


if __name__ == "__main__":
    main()
