"""What the levels of effort give and take: rate, quality, J, time, and Bjøntegaard rates.

    python benchmarks/effort.py FOLDER [--images N] [--crop 256] [--model NAME]
        [--efforts 0 3 5 ...] [--qualities 10 30 50 70] [-o FILE] [--plot FILE]

Real files of the middle of N images; `--crop 0` for whole images. J is the model's own, of the
measured rate, PSNR and MS-SSIM. Rates, qualities and J are means over images and qualities, and J
is also given relative to effort 0, as the mean of ratios. Bjøntegaard rates are against effort 0:
over the curves of means, with the best and the worst image. Seconds are medians, those of encoding
per megapixel after compilation, on whatever else the machine does.

Levels 6 to 9 differ in the iterations of one refinement. For images of one tile they are measured
along it, as files after so many iterations, and with the seconds up to there.

With `-o` every measurement is a line of FILE, and those that the file has are not repeated. So a
run can be stopped, continued, and extended by images, levels and qualities. `--plot` draws the
Bjøntegaard rates of the means over the seconds.

Do not choose parameters by results on Kodak images. Here they show what was chosen elsewhere.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import images_of_folder
import numpy as np

from rdonet_jax.codec import codec
from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.core import partition
from rdonet_jax.core.defaults import DEFAULT_MODEL
from rdonet_jax.evaluation import bd_rates
from rdonet_jax.evaluation.bd_rates import BdRateError, Line
from rdonet_jax.evaluation.report import plots
from rdonet_jax.metrics.quality import METRICS, measure
from rdonet_jax.models.library import ModelLibrary
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import effort, encoder, encoder_tiles, refinement
from rdonet_jax.rdo.cost import make_file_cost, trained_loss
from rdonet_jax.rdo.encode_options import EncodeOptions

QUALITIES = (10.0, 30.0, 50.0, 70.0)
IMAGES = 2


class Measured(NamedTuple):
    """One image at one quality and level of effort."""

    bpp: float
    psnr: float
    ms_ssim: float
    seconds: float  # per megapixel


def measured(
    model: Model, image: np.ndarray, quality: float, levels: Sequence[int]
) -> dict[int, Measured]:
    """The real files of an image by level; of several levels, those of `along_descent`."""
    if len(levels) == 1:
        options = EncodeOptions(quality, plan=effort.plan(levels[0]))
        began = time.perf_counter()
        data = encoder.encode(model, image, options).encoded.data
        files = {levels[0]: (data, time.perf_counter() - began)}
    else:
        files = along_descent(model, image, quality, levels)
    return {level: measured_file(model, image, *file) for level, file in files.items()}


def along_descent(
    model: Model, image: np.ndarray, quality: float, levels: Sequence[int]
) -> dict[int, tuple[bytes, float]]:
    """Files by level, and seconds as if each was encoded by itself.

    For an image of one tile and levels that differ in the iterations of the refinement alone: those
    of the longest one pass through all others.
    """
    iterations = {effort.plan(level).refinements: level for level in levels}
    options = EncodeOptions(quality, plan=effort.plan(max(levels)))
    searching = dataclasses.replace(options.plan, refinements=0)
    began = time.perf_counter()
    found = encoder.encode(model, image, dataclasses.replace(options, plan=searching))
    cost = make_file_cost(model, found.prepared, found.quality)
    before = cost.of(found.encoded)
    problem, start = encoder.refinement_problem(model, found, options)
    files, other_seconds = {}, 0.0  # for the files of other levels
    for done, latents in refinement.stages(problem, start, max(iterations)):
        if done not in iterations:
            continue
        paused = time.perf_counter()
        encoded = encoder.encode_given_latents(model, found, options, latents)
        best = encoded if cost.of(encoded) < before else found.encoded
        ended = time.perf_counter()
        files[iterations[done]] = best.data, ended - began - other_seconds
        other_seconds += ended - paused
    return files


def measured_file(model: Model, image: np.ndarray, data: bytes, seconds: float) -> Measured:
    """What a file is that was made in so many seconds."""
    pixels = image[..., 0].size
    metrics = measure(image, codec.decode(model, data).image)
    rate = 8 * len(data) / pixels
    return Measured(rate, metrics["psnr"], metrics["ms_ssim"], seconds / (pixels / 1e6))


def j_of(model: Model, quality: float, values: np.ndarray) -> np.ndarray:
    """J of `Measured` [..., values], by what the model was trained for."""
    bpp, psnr, ms_ssim, _ = np.moveaxis(values, -1, 0)
    distortions = {"mse": 10 ** (-psnr / 10), "ms-ssim": 1 - ms_ssim}
    terms = trained_loss(model, parse_quality(model.config, quality))
    return bpp + sum(weight * d.unit * distortions[d.name] for weight, d in terms if weight)


def groups(levels: Sequence[int], image: np.ndarray) -> list[list[int]]:
    """Levels that are measured together: of an image of one tile, those that refine latents."""
    tiles = encoder_tiles.cover(partition.block_grid(*image.shape[:2]))
    refining = [level for level in levels if effort.plan(level).refinements and len(tiles) == 1]
    return [
        *([level] for level in levels if level not in refining),
        *([refining] if refining else []),
    ]


def bd_rate(reference: np.ndarray, other: np.ndarray, metric: str) -> float:
    """The Bjøntegaard rate of curves of `Measured` [qualities, values] in percent, or NaN."""
    column = Measured._fields.index(metric)
    try:
        lines = [
            Line.through([(row[0], METRICS[metric].on_curve(row[column])) for row in curve])
            for curve in (other, reference)
        ]
        return bd_rates.bd_rate(*lines).percent
    except BdRateError:
        return np.nan


def rates(reference: np.ndarray, values: np.ndarray, metric: str) -> str:
    """Bjøntegaard rates as text, from `Measured` [images, qualities, values]."""
    of_means = bd_rate(reference.mean(0), values.mean(0), metric)
    each = [bd_rate(*pair, metric) for pair in zip(reference, values, strict=True)]
    return f"{of_means:+.2f} ({np.nanmin(each):+.1f} ... {np.nanmax(each):+.1f})"


def table(results: Mapping[int, np.ndarray], model: Model, qualities: Sequence[float]) -> None:
    """Prints a row per level of effort, from `Measured` [images, qualities, values]."""

    def cost(values: np.ndarray) -> np.ndarray:
        by_quality = (j_of(model, q, values[:, i]) for i, q in enumerate(qualities))
        return np.stack(list(by_quality), axis=1)

    print(f"{'effort':>6}{'bpp':>8}{'PSNR':>8}{'MS-SSIM':>9}{'J':>9}{'J %':>8}{'s/MP':>9}"
          f"{'BD PSNR %':>25}{'BD MS-SSIM %':>25}")  # fmt: skip
    reference = results[min(results)]
    for level, values in results.items():
        means = Measured(*values.mean((0, 1)))
        change = 100 * np.mean(cost(values) / cost(reference) - 1)
        seconds = np.median(values[..., -1])
        seen = [rates(reference, values, metric) for metric in ("psnr", "ms_ssim")]
        print(f"{level:>6}{means.bpp:>8.4f}{means.psnr:>8.2f}{means.ms_ssim:>9.4f}{cost(values).mean():>9.4f}"
              f"{change:>+8.2f}{seconds:>9.1f}{seen[0]:>25}{seen[1]:>25}")  # fmt: skip


def plot(results: Mapping[int, np.ndarray], path: Path) -> None:
    """Draws the gain of the levels over their time, from `Measured` [images, qualities, values]."""
    reference, levels = results[min(results)], sorted(results)
    seconds = [np.median(results[level][..., -1]) for level in levels]
    figure = plots.new_figure((5, 3.2), path)
    axes = figure.add_subplot()
    for metric, label in (("psnr", "PSNR"), ("ms_ssim", "MS-SSIM")):
        gains = [bd_rate(reference.mean(0), results[level].mean(0), metric) for level in levels]
        axes.plot(seconds, gains, "o-", label=f"at equal {label}")
    for level, x, y in zip(levels, seconds, gains, strict=True):
        axes.annotate(str(level), (x, y), textcoords="offset points", xytext=(0, -12), ha="center")
    axes.set(xscale="log", xlabel="seconds per megapixel", ylabel="change of rate in %")
    axes.margins(y=0.15)
    axes.legend()
    plots.write(figure, path, force=True)


def middle(image: np.ndarray, side: int) -> np.ndarray:
    """The middle of an image, at most `side` pixels each way; all of it for 0."""
    side = side or max(image.shape)
    rows, columns = (
        slice(max(length - side, 0) // 2, max(length - side, 0) // 2 + side)
        for length in image.shape[:2]
    )
    return np.ascontiguousarray(image[rows, columns])


class Records:
    """Measurements by image, quality and level, kept in a file of one JSON object per line."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._found: dict[tuple, Measured] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                *key, values = json.loads(line)
                self._found[tuple(key)] = Measured(*values)

    def __contains__(self, key: tuple) -> bool:
        return key in self._found

    def __getitem__(self, key: tuple) -> Measured:
        return self._found[key]

    def add(self, key: tuple, value: Measured) -> None:
        self._found[key] = value
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps([*key, value]) + "\n")


def run(
    model: Model,
    images: Mapping[str, np.ndarray],
    levels: Sequence[int],
    qualities: Sequence[float],
    records: Records,
) -> dict[int, np.ndarray]:
    """By level, `Measured` [images, qualities, values]. Adds to the records what they lack."""
    compiled = set()
    levels = sorted({0, *levels})
    for name, image in images.items():
        for quality, group in itertools.product(qualities, groups(levels, image)):
            key = (model.name, name, *image.shape[:2], quality)
            missing = [level for level in group if (*key, level) not in records]
            if not missing:
                continue
            if (*group, image.shape) not in compiled:
                measured(model, image, quality, group[:1])
                compiled.add((*group, image.shape))
            for level, found in measured(model, image, quality, missing).items():
                records.add((*key, level), found)
        print(f"{name} is measured", flush=True)
    return {
        level: np.array(
            [
                [records[(model.name, name, *image.shape[:2], q, level)] for q in qualities]
                for name, image in images.items()
            ]
        )
        for level in levels
    }


def main() -> None:
    parser = images_of_folder.parser(__doc__, IMAGES, DEFAULT_MODEL)
    parser.add_argument("--crop", type=int, default=256, help="side of the crops in pixels")
    parser.add_argument("--efforts", type=int, nargs="+", default=list(range(len(effort.EFFORTS))))
    parser.add_argument("--qualities", type=float, nargs="+", default=list(QUALITIES))
    parser.add_argument("-o", "--out", type=Path, help="file of measurements, added to")
    parser.add_argument("--plot", type=Path, help="a figure, PNG or SVG")
    options: argparse.Namespace = parser.parse_args()
    loaded = dict(list(images_of_folder.named_images(options).items())[: options.images])
    images = {name: middle(image, options.crop) for name, image in loaded.items()}
    model = ModelLibrary().load(options.model)
    records = Records(options.out)
    results = run(model, images, options.efforts, options.qualities, records)
    table(results, model, options.qualities)
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
