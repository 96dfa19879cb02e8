"""The rate of partitions: `python benchmarks/partition_cost.py FOLDER [--images N]`.

Codes variance partitions of all images in a folder at several pairs of thresholds. Prints the mean
bits per 64x64 block: of raw flags (1 per block, 4 more if it is split), and as coded in whole
bytes. Every partition is decoded and compared.
"""

from __future__ import annotations

import itertools
import time
from typing import NamedTuple

import images_of_folder
import numpy as np

from rdonet_jax.codec import partition_coding
from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition
from rdonet_jax.imaging import dataset
from rdonet_jax.metrics import distortion

THRESHOLDS64 = (30.0, 100.0, 300.0)
THRESHOLDS32 = (100.0, 200.0, 400.0, 800.0)


class Cost(NamedTuple):
    """One image's partition: bits per block, raw and coded, and seconds to code and decode."""

    raw: float
    coded: float
    encoding: float
    decoding: float


class Variances(NamedTuple):
    """An image's size in pixels and the luma variances of its blocks."""

    height: int
    width: int
    blocks64: np.ndarray
    blocks32: np.ndarray


def measure(image: np.ndarray) -> Variances:
    height, width, _ = image.shape
    padded = np.pad(image, ((0, -height % 64), (0, -width % 64), (0, 0)), mode="edge")
    variances = partition.block_variances(distortion.from_integers(padded))
    return Variances(height, width, *map(np.asarray, variances))


def split(v: Variances, threshold64: float, threshold32: float) -> Partition:
    split64 = v.blocks64 > threshold64
    return Partition(split64, (v.blocks32 > threshold32) & np.kron(split64, np.ones((2, 2), bool)))


def cost(v: Variances, p: Partition) -> Cost:
    start = time.perf_counter()
    data = partition_coding.encode(p, v.height, v.width)
    middle = time.perf_counter()
    decoded = partition_coding.decode(data, v.height, v.width)
    end = time.perf_counter()
    if not all(map(np.array_equal, decoded, partition.trim(p, v.height, v.width))):
        raise SystemExit("a decoded partition differs from the coded one")
    raw = p.split64.size + 4 * int(p.split64.sum())
    blocks = p.split64.size
    return Cost(raw / blocks, 8 * len(data) / blocks, middle - start, end - middle)


def main() -> None:
    files = images_of_folder.named_files(images_of_folder.parser(__doc__).parse_args())
    images = [measure(dataset.load(file)) for file in files.values()]
    print(f"{len(images)} images; bits per 64x64 block, milliseconds per image")
    print(f"{'t64':>5} {'t32':>5} {'raw':>7} {'coded':>7} {'ratio':>7} {'enc ms':>7} {'dec ms':>7}")
    rows = []
    for thresholds in itertools.product(THRESHOLDS64, THRESHOLDS32):
        costs = [cost(v, split(v, *thresholds)) for v in images]
        rows.append(Cost(*np.mean(costs, axis=0)))
        print_row(*(f"{threshold:.0f}" for threshold in thresholds), rows[-1])
    print_row("all", "", Cost(*np.mean(rows, axis=0)))


def print_row(threshold64: str, threshold32: str, c: Cost) -> None:
    times = f"{1e3 * c.encoding:7.1f} {1e3 * c.decoding:7.1f}"
    ratio = c.coded / c.raw
    print(f"{threshold64:>5} {threshold32:>5} {c.raw:7.3f} {c.coded:7.3f} {ratio:7.1%} {times}")


if __name__ == "__main__":
    main()
