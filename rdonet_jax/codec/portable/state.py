"""The decoder's state at one level of a portable model, in host memory, for images of any size.

Steps (`codec.portable.engine`) work on lists of positions, compiled ones of one length. This module
gathers their inputs from the grids and stores their outputs. `models.portable.integer_prior`
computes the same numbers on whole grids.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rdonet_jax.codec import tiles
from rdonet_jax.codec.tiles import Tile
from rdonet_jax.core import partition
from rdonet_jax.core.config import PortableConfig
from rdonet_jax.core.partition import HYPER_STRIDE
from rdonet_jax.models.portable.integer_format import PLANES, Parity
from rdonet_jax.models.quality_maps import LevelQuality, QualityMaps

_NEIGHBORHOOD = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
_NEIGHBORS = [offset for offset in _NEIGHBORHOOD if offset != (0, 0)]


class Positions(NamedTuple):
    """A list of positions on a grid, int64 [n]."""

    rows: np.ndarray
    columns: np.ndarray

    def first(self, count: int) -> Positions:
        """The first `count` of the list."""
        return Positions(self.rows[:count], self.columns[:count])

    def batches(self, size: int, fill: bool) -> Iterator[tuple[slice, Positions]]:
        """Parts of up to `size` positions, each with its slice of the list.

        With `fill`, the last part is filled up with copies of its last position.
        """
        count = len(self.rows)
        for first in range(0, count, size):
            part = slice(first, min(first + size, count))
            missing = size - (part.stop - part.start) if fill else 0
            yield part, Positions(*(np.append(v[part], v[part][-1:].repeat(missing)) for v in self))


def zero_pad(values: np.ndarray, size: int) -> np.ndarray:
    """[n, ...] with zeros appended, [size, ...]."""
    if len(values) == size:
        return values
    padded = np.zeros((size, *values.shape[1:]), values.dtype)
    padded[: len(values)] = values
    return padded


class ImageQualities:
    """The qualities of the positions of an image; None of all of them where they are the same."""

    def __init__(self, maps: QualityMaps | None) -> None:
        self._maps = maps

    def at(self, level: int, positions: Positions) -> np.ndarray | None:
        """Those of positions of a level, int32 [n]."""
        if self._maps is None:
            return None
        return self._maps.levels[level].positions[positions.rows, positions.columns]

    def of_z(self, level: int, areas: Positions) -> np.ndarray | None:
        """Those of hyper-latents of a level, int32 [n]."""
        if self._maps is None:
            return None
        return self._maps.levels[level].areas[areas.rows, areas.columns]

    def in_tile(self, level: int, tile: Tile) -> LevelQuality | None:
        """Those of a tile, which counts hyper-latents: [1, n, m] and [1, n/4, m/4]."""
        if self._maps is None:
            return None
        positions, areas = self._maps.levels[level]
        return LevelQuality(tiles.cut(positions, tile, HYPER_STRIDE), tiles.cut(areas, tile))


class LevelState:
    """The decoder's state at one level.

    Attributes:
      mask: where the level is coded, bool [h, w].
      d: the decoder features predicted from coarser levels, float32 [h, w, C]. At decoded positions
        the latents have been added.
      planes: the coded positions by plane, in raster order.
      areas: the hyper-latents whose 4×4 positions are coded at this level or a finer one. Context
        features are computed there alone.
    """

    def __init__(
        self, config: PortableConfig, mask: np.ndarray, needed: np.ndarray, d: np.ndarray
    ) -> None:
        """`needed`, bool [h, w]: where this or a finer level is coded."""
        self.mask, self.d = mask, d
        self.planes = {parity: _plane(mask, parity) for parity in PLANES}
        areas = partition.hyper_mask(needed)
        self.areas = Positions(*np.nonzero(areas))
        # A border of zeros, and even sides: an area of the finer level has 2×2 of these positions.
        bordered = [side + side % 2 + 2 for side in mask.shape]
        self._embeddings = np.zeros((*bordered, config.embedding), np.int8)
        padded = [HYPER_STRIDE * side for side in areas.shape]
        self._context_features = np.zeros((*padded, 2 * config.conditioning), np.int8)
        self._conditioning = config.conditioning

    def set_context(self, areas: Positions, context_features: np.ndarray) -> None:
        """Stores the context features int8 [n, 4, 4, ·] of areas."""
        rows, columns = (side // HYPER_STRIDE for side in self._context_features.shape[:2])
        by_area = self._context_features.reshape(rows, HYPER_STRIDE, columns, HYPER_STRIDE, -1)
        by_area[areas.rows, :, areas.columns] = context_features

    def context_features(self, positions: Positions) -> np.ndarray:
        """The context features at positions, int8 [n, ·]."""
        return self._context_features[positions.rows, positions.columns]

    def neighbor_embeddings(self, positions: Positions) -> np.ndarray:
        """The embeddings of the 8 neighbors in raster order, int8 [n, 8, E]; 0 if not decoded."""
        return self._gather_embeddings(positions, _NEIGHBORS)

    def update_plane(self, positions: Positions, embeddings: np.ndarray, d: np.ndarray) -> None:
        """Stores decoded positions: their embeddings int8 [n, E] and their updated d [n, C]."""
        self._embeddings[positions.rows + 1, positions.columns + 1] = embeddings
        self.d[positions.rows, positions.columns] = d

    def drop_features(self) -> LevelState:
        """Frees d, which takes the most memory. The next finer level needs only the rest."""
        self.d = np.empty((*self.mask.shape, 0), np.float32)
        return self

    def coarse_context(self, areas: Positions) -> tuple[np.ndarray, np.ndarray]:
        """The context of areas of the next finer level, each of which has 2×2 positions of this.

        int8 [n, 2, 2, 9, E], the embeddings of their 3×3 neighborhoods, and int8 [n, 2, 2, ·], the
        context features from z.
        """
        rows = (2 * areas.rows[:, None, None] + np.arange(2)[:, None]) + np.zeros((1, 1, 2), int)
        columns = (2 * areas.columns[:, None, None] + np.arange(2)) + np.zeros((1, 2, 1), int)
        positions = Positions(rows.ravel(), columns.ravel())
        embeddings = self._gather_embeddings(positions, _NEIGHBORHOOD)
        embeddings = embeddings.reshape(*rows.shape, len(_NEIGHBORHOOD), -1)
        return embeddings, self._context_features[rows, columns, : self._conditioning]

    def _gather_embeddings(
        self, positions: Positions, offsets: list[tuple[int, int]]
    ) -> np.ndarray:
        width = self._embeddings.shape[1]
        centers = (positions.rows + 1) * width + positions.columns + 1
        taps = centers[:, None] + np.array([dy * width + dx for dy, dx in offsets])
        return self._embeddings.reshape(-1, self._embeddings.shape[-1])[taps]


def gather_neighborhoods(grid: np.ndarray, positions: Positions) -> np.ndarray:
    """The 3×3 neighborhoods of positions of [h, w, C], zeros outside: [n, 9 C]."""
    bordered = np.pad(grid, ((1, 1), (1, 1), (0, 0)))
    taps = [
        bordered[positions.rows + 1 + dy, positions.columns + 1 + dx] for dy, dx in _NEIGHBORHOOD
    ]
    return np.concatenate(taps, axis=-1)


def masks_with_finer(masks: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """By level, where it or a finer one is coded, bool [h, w]."""
    unions = [masks[0]]
    for mask in masks[1:]:
        rows, columns = mask.shape
        unions.append(mask | unions[-1].reshape(rows, 2, columns, 2).any(axis=(1, 3)))
    return tuple(unions)


def _plane(mask: np.ndarray, parity: Parity) -> Positions:
    dy, dx = parity
    rows, columns = np.nonzero(mask[dy::2, dx::2])
    return Positions(2 * rows + dy, 2 * columns + dx)
