"""What forms of blocks cost in the three uniform partitions: estimates for any partition."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition
from rdonet_jax.rdo.search import costs
from rdonet_jax.rdo.search.blocks import Blocks, partition_of
from rdonet_jax.rdo.search.costs import Cost


class Estimates(NamedTuple):
    """What changes of the blocks of a partition cost, estimated."""

    current: np.ndarray  # [rows, columns], the cost of the block as it is
    toggled: np.ndarray  # [rows, columns], of the change from split to whole or the reverse
    flipped: np.ndarray  # [rows, columns, 2, 2], of the change of a quarter


class UniformCosts(NamedTuple):
    """The costs of the uniform partitions by level and quarter, [3, rows, columns, 2, 2].

    The cost of a block at a level is that in the image coded at that level alone. So the dependence
    of levels on each other is neglected.
    """

    quarters: np.ndarray

    @property
    def best_quarters(self) -> np.ndarray:
        """Which quarters cost less as four 16x16 blocks, bool [rows, columns, 2, 2]."""
        return self.quarters[0] < self.quarters[1]

    def estimates(self, current: Blocks) -> Estimates:
        """The costs of changes. A block that becomes split gets the `best_quarters`."""
        fine, halves, whole = self.quarters
        is_split = current.split
        is_fine = np.where(is_split[..., None, None], current.quarters, self.best_quarters)
        as_split = np.where(is_fine, fine, halves).sum((-2, -1))
        as_whole = whole.sum((-2, -1))
        return Estimates(
            np.where(is_split, as_split, as_whole),
            np.where(is_split, as_whole - as_split, as_split - as_whole),
            np.where(is_fine, halves - fine, fine - halves),
        )


def evaluate_uniform(cost: Cost, grid: tuple[int, int]) -> UniformCosts:
    """Three evaluations in one call. `grid` counts rows, columns of blocks."""
    areas = cost([partition.uniform(level, grid) for level in range(3)]).areas
    return UniformCosts(costs.of_quarters(areas))


def from_uniform(cost: Cost, grid: tuple[int, int]) -> Partition:
    """Solves every quadtree from the bottom up, by the costs of the three uniform partitions."""
    found = evaluate_uniform(cost, grid)
    best = np.minimum(found.quarters[0], found.quarters[1]).sum((-2, -1))
    split = best < found.quarters[2].sum((-2, -1))
    return partition_of(Blocks(split, found.best_quarters))
