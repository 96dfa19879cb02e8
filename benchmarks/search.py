"""Compares the fast search with the original one: result, number of evaluations, and time.

    python benchmarks/search.py FOLDER [--model NAME] [--quality Q ...] [--crops N]
        [--megapixels M ...] [--images N]

Three parts, in one run:

- crops of 256x256 from the middle of N images: J of the original search (block by block, six
  evaluations each) and of the fast one after two passes, from the static and the variance start;
- the first whole image: seconds of two passes of both. The time of the original is extrapolated
  from 100 evaluations, once as published, once with what does not depend on masks computed once;
- seconds of encoding per megapixel with 0, 1 and 2 passes, and the peak memory of one pass for
  images of M megapixels (tiled from the first one), each in a separate process.

Do not choose parameters by results on Kodak images. Here they show what was chosen elsewhere.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import images_of_folder
import jax
import numpy as np

from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.core.config import PortableConfig
from rdonet_jax.core.defaults import DEFAULT_MODEL
from rdonet_jax.imaging import dataset
from rdonet_jax.imaging.dataset import ImageFile
from rdonet_jax.models import zoo
from rdonet_jax.rdo import encoder, image_regions, initial_masks
from rdonet_jax.rdo.cost import RDCost
from rdonet_jax.rdo.encode_options import MAX_PASSES, EncodeOptions, Plan
from rdonet_jax.rdo.search import regions
from rdonet_jax.rdo.search.costs import SearchStats
from rdonet_jax.rdo.search.original import search_original

SIDE = 256
STARTS = (initial_masks.STATIC, "variance")
SAMPLED = 100


def middle(image: np.ndarray) -> np.ndarray:
    """The middle 256x256 pixels."""
    top, left = ((side - SIDE) // 2 for side in image.shape[:2])
    return np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE])


def compare(model: zoo.Model, files: dict[str, ImageFile], qualities: list[float | None]) -> None:
    """Prints J of both searches on crops, and the difference."""
    print(f"{'crop':<12}{'quality':>8}{'start':>10}{'J':>9}{'original':>10}{'fast':>9}{'more':>8}")
    excess = []
    for name, file in files.items():
        image = middle(dataset.load(file))
        for quality in qualities:
            rd_cost = RDCost(model, image, quality)
            for init in STARTS:
                start = initial_masks.initial_partition(model, image, init, quality)
                first, *_, theirs = search_original(rd_cost, start, 2)
                *_, found = regions.search(
                    image_regions.of_image(
                        model, image, parse_quality(model.config, quality), start
                    ),
                    start,
                    2,
                )
                ours = rd_cost([found]).totals[0]
                excess.append(ours / theirs.total - 1)
                j = [total / SIDE**2 for total in (first.total, theirs.total, ours)]
                print(f"{Path(name).stem:<12}{quality!s:>8}{init:>10}{j[0]:>9.4f}{j[1]:>10.4f}"
                      f"{j[2]:>9.4f}{excess[-1]:>+8.2%}", flush=True)  # fmt: skip
    print(f"the fast search costs {np.mean(excess):+.2%} on average, {max(excess):+.2%} at most\n")


def seconds(work: Callable[[], object], rounds: int = 3) -> float:
    """The median time of calls, after one call for compilation."""
    work()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def race(model: zoo.Model, image: np.ndarray, quality: float | None) -> None:
    """Prints the seconds of two passes of both searches on a whole image."""
    rd_cost = RDCost(model, image, quality)
    start = initial_masks.initial_partition(model, image, "variance", quality)
    stats = SearchStats()
    all_regions = image_regions.of_image(model, image, parse_quality(model.config, quality), start)
    fast = seconds(lambda: list(regions.search(all_regions, start, 2)))
    list(regions.search(all_regions, start, 2, stats))
    blocks = start.split64.size
    full = seconds(
        lambda: [RDCost(model, image, quality)([start]) for _ in range(SAMPLED)], rounds=1
    )
    shared = seconds(lambda: [rd_cost([start]) for _ in range(SAMPLED)], rounds=1)
    height, width = image.shape[:2]
    print(f"two passes on {width}x{height} pixels, {blocks} blocks, from the variance mask")
    print(f"fast: {fast:.2f} s ({stats.evaluations} evaluations in {stats.calls} calls)")
    for name, time_of_sample in (
        ("original, full evaluations", full),
        ("original, what depends on no mask computed once", shared),
    ):
        whole = time_of_sample / SAMPLED * 12 * blocks
        print(f"{name}: {whole:.0f} s for {12 * blocks} evaluations (extrapolated from {SAMPLED}), "
              f"{whole / fast:.1f} times as long")  # fmt: skip
    print()


def encoding_times(model: zoo.Model, image: np.ndarray, quality: float | None) -> None:
    """Prints seconds of encoding per megapixel by number of passes."""
    for passes in range(MAX_PASSES + 1):
        options = EncodeOptions(quality, plan=Plan(passes=passes))
        took = seconds(lambda options=options: encoder.encode(model, image, options))
        print(f"encoding with {passes} passes: {took / image[..., 0].size * 1e6:.2f} s/megapixel")
    print()


def large(model: zoo.Model, image: np.ndarray, quality: float | None, megapixels: float) -> None:
    """Prints time and memory of one pass for a large image. Run in a separate process."""
    width = round((1.5e6 * megapixels) ** 0.5)
    height = round(1e6 * megapixels / width)
    repeats = -(-height // image.shape[0]), -(-width // image.shape[1]), 1
    tiled = np.ascontiguousarray(np.tile(image, repeats)[:height, :width])
    began = time.perf_counter()
    found = encoder.encode(model, tiled, EncodeOptions(quality, plan=Plan(passes=1)))
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{width}x{height} pixels, one pass: {took:.0f} s with compilation, "
          f"{found.searched.stats.evaluations} evaluations, "
          f"peak memory {peak:.1f} GiB")  # fmt: skip


def main() -> None:
    parser = images_of_folder.parser(__doc__, model=DEFAULT_MODEL)
    parser.add_argument("--quality", type=float, nargs="+", default=[10.0, 50.0])
    parser.add_argument("--crops", type=int, default=8, help="0 leaves out the first part")
    parser.add_argument("--megapixels", type=float, nargs="*", default=[24.0])
    parser.add_argument("--only-large", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    model = zoo.load(options.model)
    files = images_of_folder.named_files(options)
    whole = dataset.load(next(iter(files.values())))
    qualities = options.quality if isinstance(model.config, PortableConfig) else [None]
    if options.only_large:
        large(model, whole, qualities[0], options.megapixels[0])
        return
    print(f"model {model.name} {model.digest.hex()}, jax {jax.__version__} on {jax.devices()}")
    if options.crops:
        names = list(files)[:: max(1, len(files) // options.crops)][: options.crops]
        compare(model, {name: files[name] for name in names}, qualities)
    race(model, whole, qualities[-1])
    encoding_times(model, whole, qualities[-1])
    for megapixels in options.megapixels:
        subprocess.run(
            [sys.executable, *sys.argv, "--only-large", "--megapixels", str(megapixels)], check=True
        )


if __name__ == "__main__":
    main()
