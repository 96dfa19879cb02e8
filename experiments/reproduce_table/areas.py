"""Where the hierarchy saves: the cost of blocks by their variance, for one network.

python -m experiments.reproduce_table.areas FILE FOLDER --quality 25 75 [--images N]

For every quality it prints a row for each quarter of all 64x64 blocks, from the flattest to the
busiest: its largest variance, its share of the cost J with the finest level everywhere, and the
change of its J with the variance mask, and after two passes of the search.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.reproduce_table import evaluations
from rdonet_jax.core import partition
from rdonet_jax.evaluation import real_files
from rdonet_jax.imaging import srgb
from rdonet_jax.models import zoo
from rdonet_jax.rdo import initial_masks
from rdonet_jax.rdo.cost import RDCost
from rdonet_jax.rdo.search.fast import search_fast

QUARTERS = 4


class BlockCosts(NamedTuple):
    """The 64x64 blocks of images that lie wholly inside, [N] each."""

    variance: np.ndarray  # of luma, in squared 8-bit gray levels
    finest: np.ndarray  # J with the finest level everywhere
    variance_mask: np.ndarray
    searched: np.ndarray


class Quarter(NamedTuple):
    """A quarter of the blocks."""

    most_variance: float
    share: float  # of J with the finest level everywhere
    by_variance: float  # change of J, a fraction
    by_search: float


def block_costs(model: zoo.Model, image: np.ndarray, quality: float | None) -> BlockCosts:
    """The blocks of an image uint8 [H, W, 3]."""
    rd_cost = RDCost(model, image, quality)
    starts = [
        initial_masks.initial_partition(model, image, name, quality)
        for name in (initial_masks.STATIC, "variance")
    ]
    *_, best = search_fast(rd_cost, starts[1], 2)
    areas = rd_cost([*starts, best.partition]).areas
    per_block = partition.BLOCK // 16
    rows, columns = (side // partition.BLOCK for side in image.shape[:2])
    costs = partition.tile_sums(areas, per_block)[:, :rows, :columns]
    x = partition.pad_image(image)[0].astype(np.float32) / np.float32(255)
    variance, _ = partition.block_variances(x)
    return BlockCosts(variance[:rows, :columns].ravel(), *costs.reshape(3, -1))


def quarters(blocks: BlockCosts) -> list[Quarter]:
    """The quarters of the blocks, by rising variance."""
    found = []
    for part in np.array_split(np.argsort(blocks.variance, kind="stable"), QUARTERS):
        variance, finest, by_variance, by_search = (values[part] for values in blocks)
        total = finest.sum()
        found.append(
            Quarter(
                float(variance.max()),
                float(total / blocks.finest.sum()),
                float(by_variance.sum() / total - 1),
                float(by_search.sum() / total - 1),
            )
        )
    return found


def table(blocks: BlockCosts) -> str:
    """The quarters in Markdown, and a line for all blocks."""
    lines = [
        "| variance up to | share of J | variance mask | searched |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {q.most_variance:.1f} | {q.share:.1%} | {q.by_variance:+.1%} | {q.by_search:+.1%} |"
        for q in quarters(blocks)
    ]
    total = blocks.finest.sum()
    changes = (values.sum() / total - 1 for values in (blocks.variance_mask, blocks.searched))
    lines.append("| all | 100.0% | " + " | ".join(f"{change:+.1%}" for change in changes) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a bundled model or a weights file")
    parser.add_argument("folder", help="of images")
    parser.add_argument("--quality", type=float, nargs="+", default=[25.0, 75.0])
    parser.add_argument("--images", type=int, default=8, help="at most so many, evenly spread")
    options = parser.parse_args(arguments)
    model = zoo.load(options.model)
    paths: dict[str, Path] = real_files.named_images([options.folder])
    paths = evaluations.chosen(paths, options.images)
    for quality in options.quality:
        found = [block_costs(model, srgb.load(path), quality) for path in paths.values()]
        blocks = BlockCosts(*map(np.concatenate, zip(*found, strict=True)))
        print(f"quality {quality:g}, {len(paths)} images, {len(blocks.variance)} blocks")
        print(table(blocks), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
