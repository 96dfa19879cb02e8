"""Costs of partitions, and cost functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition
from rdonet_jax.rdo.search import blocks

_PER_BLOCK = 4  # areas of 16x16 pixels on the side of a block


class Costs(NamedTuple):
    """The costs of K partitions, in any additive unit; float64."""

    areas: np.ndarray  # [K, H/16, W/16], by areas of 16x16 pixels
    totals: np.ndarray  # [K], of the whole image


Cost = Callable[[Sequence[Partition]], Costs]


class EvaluatedPartition(NamedTuple):
    """A partition and its cost."""

    partition: Partition
    areas: np.ndarray  # [H/16, W/16]
    total: float


@dataclasses.dataclass
class SearchStats:
    """The number of evaluations of a search so far."""

    evaluations: int = 0  # of a whole image, or of the region that is searched at a time
    calls: int = 0  # of the cost function


def count_evaluations(cost: Cost, stats: SearchStats) -> Cost:
    """A cost function that counts its calls in `stats`."""

    def counting_cost(candidates: Sequence[Partition]) -> Costs:
        stats.evaluations += len(candidates)
        stats.calls += 1
        return cost(candidates)

    return counting_cost


def evaluate(cost: Cost, p: Partition) -> EvaluatedPartition:
    """A partition with its cost."""
    p = Partition(np.asarray(p.split64, bool), np.asarray(p.split32, bool))
    areas, totals = cost([p])
    return EvaluatedPartition(p, areas[0], float(totals[0]))


def of_quarters(areas: np.ndarray) -> np.ndarray:
    """Costs by quarters of blocks, [..., rows, columns, 2, 2]."""
    return blocks.by_block(partition.tile_sums(areas, _PER_BLOCK // 2))


def of_surroundings(areas: np.ndarray) -> np.ndarray:
    """Costs of the square around every block, by quarter: [rows, columns, 2, 2].

    The square has twice the side of the block. Beyond the areas nothing costs anything.
    """
    rows, cols = (side // _PER_BLOCK for side in areas.shape)
    halves = partition.tile_sums(np.pad(areas, _PER_BLOCK // 2), _PER_BLOCK // 2)
    squares = np.zeros((rows, cols, 2, 2))
    for i, j in np.ndindex(4, 4):
        squares[:, :, i // 2, j // 2] += halves[i : i + 2 * rows : 2, j : j + 2 * cols : 2]
    return squares
