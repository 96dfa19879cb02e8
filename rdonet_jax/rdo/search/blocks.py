"""Partitions by blocks, and other forms of the blocks of a partition."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rdonet_jax.core.partition import Partition


class Blocks(NamedTuple):
    """A partition by blocks. `quarters` has an effect only in blocks that are split."""

    split: np.ndarray  # bool [rows, columns]: into four 32x32 blocks
    quarters: np.ndarray  # bool [rows, columns, 2, 2]: which of those into four 16x16 ones


class Changes(NamedTuple):
    """Changes of the blocks of a partition.

    A block that is split becomes whole, or whole becomes split, or it stays split with other
    quarters.
    """

    toggled: np.ndarray  # bool [rows, columns]
    flipped: np.ndarray  # bool [rows, columns, 2, 2]: quarters of blocks that stay split

    @property
    def blocks(self) -> np.ndarray:
        """Which blocks change, bool [rows, columns]."""
        return self.toggled | self.flipped.any((-2, -1))

    def within(self, blocks: np.ndarray) -> Changes:
        """Those of the changes that are of these blocks, bool [rows, columns]."""
        return Changes(self.toggled & blocks, self.flipped & blocks[..., None, None])


def blocks_of(p: Partition) -> Blocks:
    """A partition by blocks."""
    split = np.asarray(p.split64, bool)
    return Blocks(split, by_block(np.asarray(p.split32, bool)))


def partition_of(blocks: Blocks) -> Partition:
    """The inverse of `blocks_of`."""
    return Partition(blocks.split, by_quarter(blocks.quarters & blocks.split[..., None, None]))


def by_block(quarters: np.ndarray) -> np.ndarray:
    """[..., 2 rows, 2 columns] -> [..., rows, columns, 2, 2]."""
    *batch, rows, cols = quarters.shape
    return quarters.reshape(*batch, rows // 2, 2, cols // 2, 2).swapaxes(-3, -2)


def by_quarter(blocks: np.ndarray) -> np.ndarray:
    """The inverse of `by_block`."""
    *batch, rows, cols, _, _ = blocks.shape
    return blocks.swapaxes(-3, -2).reshape(*batch, 2 * rows, 2 * cols)


def changed(current: Blocks, changes: Changes, quarters: np.ndarray) -> Blocks:
    """`current` with changes. A block that becomes split gets these `quarters`."""
    toggled = changes.toggled[..., None, None]
    split = current.split ^ changes.toggled
    flipped = current.quarters ^ changes.flipped
    return Blocks(split, np.where(toggled, quarters, flipped) & split[..., None, None])


def neighborhood(blocks: np.ndarray) -> np.ndarray:
    """Blocks, bool [rows, columns], and their eight neighbors."""
    rows, cols = blocks.shape
    padded = np.pad(blocks, 1)
    shifted = [padded[i : i + rows, j : j + cols] for i, j in np.ndindex(3, 3)]
    return np.logical_or.reduce(shifted)
