"""The quality of every position of a level, in an image whose 64x64 blocks differ in it.

Gains, quality basis and scale indices are functions of the quality, so an image may have another
one in every block. A hyper-latent has one quality too. At the coarser levels it stands for several
blocks, and has the mean of theirs. Nothing here loads JAX.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rdonet_jax.core.partition import BLOCK, HYPER_STRIDE, STRIDES


class LevelQuality(NamedTuple):
    """The qualities of a level, integers; one per image, [B], or as given."""

    positions: Any  # [..., h, w]
    areas: Any  # [..., ceil(h/4), ceil(w/4)], of the hyper-latents


class QualityMaps(NamedTuple):
    """The qualities of an image, by level."""

    levels: tuple[LevelQuality, ...]

    def distinct(self) -> np.ndarray:
        """All qualities in them, int32, rising."""
        return np.unique(np.concatenate([np.ravel(q) for level in self.levels for q in level]))


def of_blocks(blocks: np.ndarray, levels: int) -> QualityMaps:
    """The maps of so many levels from the qualities of 64x64 blocks, integers [rows, columns]."""
    blocks = np.asarray(blocks, np.int32)
    return QualityMaps(
        tuple(LevelQuality(_positions(blocks, level), _areas(blocks, level))
              for level in range(levels))
    )  # fmt: skip


def of_pass(quality: Any, level: int) -> Any:
    """The quality of a level, from that of a whole pass: [B], or `QualityMaps`."""
    return quality.levels[level] if isinstance(quality, QualityMaps) else quality


def of_level(quality: Any) -> LevelQuality:
    """A quality [B] as that of both positions and hyper-latents; a `LevelQuality` as it is."""
    return quality if isinstance(quality, LevelQuality) else LevelQuality(quality, quality)


def _positions(blocks: np.ndarray, level: int) -> np.ndarray:
    per_block = BLOCK // STRIDES[level]
    return blocks.repeat(per_block, axis=0).repeat(per_block, axis=1)


def _areas(blocks: np.ndarray, level: int) -> np.ndarray:
    """The mean of the blocks that a hyper-latent stands for, rounded down."""
    side = HYPER_STRIDE * STRIDES[level] // BLOCK
    sums, counts = (_sums(values, side) for values in (blocks, np.ones_like(blocks)))
    return (sums // counts).astype(np.int32)


def _sums(values: np.ndarray, side: int) -> np.ndarray:
    """Sums over squares of `side`, of which the last may go past the end; int64."""
    for axis in (0, 1):
        values = np.add.reduceat(
            values, np.arange(0, values.shape[axis], side), axis=axis, dtype=np.int64
        )
    return values
