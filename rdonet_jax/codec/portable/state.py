"""What the walk of a portable model holds of a level, on the host, whatever the image's size.

Compiled steps take lists of positions, always as many; what a position needs to know is gathered
here, and what they find is put back. All of it is what `models.exact_prior` computes on grids.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rdonet_jax.core import partition
from rdonet_jax.core.config import PortableConfig
from rdonet_jax.core.partition import HYPER_STRIDE
from rdonet_jax.models.portable.integer_prior import PLANES, Parity

_AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
_OTHERS = [step for step in _AROUND if step != (0, 0)]


class Positions(NamedTuple):
    """A list of positions on a grid, int64 [n]."""

    rows: np.ndarray
    columns: np.ndarray

    def first(self, count: int) -> Positions:
        """The first so many of the list."""
        return Positions(self.rows[:count], self.columns[:count])

    def lists(self, size: int) -> Iterator[tuple[slice, Positions]]:
        """Parts of `size` positions each, and where they are in the list.

        The last part is filled up with a position that is there anyway.
        """
        count = len(self.rows)
        for first in range(0, count, size):
            part = slice(first, min(first + size, count))
            missing = size - (part.stop - part.start)
            yield part, Positions(*(np.append(v[part], v[part][-1:].repeat(missing)) for v in self))


def filled_up(values: np.ndarray, size: int) -> np.ndarray:
    """[n, ...] with zeros behind, [size, ...]."""
    if len(values) == size:
        return values
    filled = np.zeros((size, *values.shape[1:]), values.dtype)
    filled[: len(values)] = values
    return filled


class Level:
    """What is known of a level.

    Attributes:
      mask: where it is coded, bool [h, w].
      d: the guess of its features, float32 [h, w, C]; corrected where positions are settled.
      planes: its coded positions by plane, in raster order.
      areas: its hyper-latents whose areas are coded at this level or a finer one: what is known
        there is told to positions that are coded.
    """

    def __init__(
        self, config: PortableConfig, mask: np.ndarray, needed: np.ndarray, d: np.ndarray
    ) -> None:
        """`needed`, bool [h, w]: where this or a finer level is coded."""
        self.mask, self.d = mask, d
        self.planes = {parity: _plane(mask, parity) for parity in PLANES}
        areas = partition.hyper_mask(needed)
        self.areas = Positions(*np.nonzero(areas))
        # Zeros around, and as many positions as the areas of the finer level have coarser ones.
        bordered = [side + side % 2 + 2 for side in mask.shape]
        self._embedded = np.zeros((*bordered, config.embedding), np.int8)
        whole = [HYPER_STRIDE * side for side in areas.shape]
        self._known = np.zeros((*whole, 2 * config.conditioning), np.int8)
        self._conditioning = config.conditioning

    def set_context(self, areas: Positions, context_features: np.ndarray) -> None:
        """Takes what is known before the first plane, int8 [n, 4, 4, ·], in areas."""
        rows, columns = (side // HYPER_STRIDE for side in self._known.shape[:2])
        by_area = self._known.reshape(rows, HYPER_STRIDE, columns, HYPER_STRIDE, -1)
        by_area[areas.rows, :, areas.columns] = context_features

    def context_features(self, at: Positions) -> np.ndarray:
        """What was learnt at positions, int8 [n, ·]."""
        return self._known[at.rows, at.columns]

    def neighbours(self, at: Positions) -> np.ndarray:
        """The embeddings around positions, int8 [n, 8, E] in raster order; 0 where none are."""
        return self._gathered(at, _OTHERS)

    def update_plane(self, at: Positions, embedded: np.ndarray, d: np.ndarray) -> None:
        """Takes decoded positions: their embeddings int8 [n, E] and their corrected d [n, C]."""
        self._embedded[at.rows + 1, at.columns + 1] = embedded
        self.d[at.rows, at.columns] = d

    def without_features(self) -> Level:
        """The level as the next finer one remembers it: without d, which takes the most memory."""
        self.d = np.empty((*self.mask.shape, 0), np.float32)
        return self

    def coarse_context(self, areas: Positions) -> tuple[np.ndarray, np.ndarray]:
        """What the next finer level is told in its areas, which have 2×2 positions of this one.

        int8 [n, 2, 2, 9, E], the embeddings around each, and [n, 2, 2, ·], what z has told.
        """
        rows = (2 * areas.rows[:, None, None] + np.arange(2)[:, None]) + np.zeros((1, 1, 2), int)
        columns = (2 * areas.columns[:, None, None] + np.arange(2)) + np.zeros((1, 2, 1), int)
        at = Positions(rows.ravel(), columns.ravel())
        embedded = self._gathered(at, _AROUND).reshape(*rows.shape, len(_AROUND), -1)
        return embedded, self._known[rows, columns, : self._conditioning]

    def _gathered(self, at: Positions, steps: list[tuple[int, int]]) -> np.ndarray:
        width = self._embedded.shape[1]
        here = (at.rows + 1) * width + at.columns + 1
        places = here[:, None] + np.array([dy * width + dx for dy, dx in steps])
        return self._embedded.reshape(-1, self._embedded.shape[-1])[places]


def around(grid: np.ndarray, at: Positions) -> np.ndarray:
    """The 3×3 neighbors of positions of [h, w, C], zeros outside: [n, 9 C]."""
    bordered = np.pad(grid, ((1, 1), (1, 1), (0, 0)))
    parts = [bordered[at.rows + 1 + dy, at.columns + 1 + dx] for dy, dx in _AROUND]
    return np.concatenate(parts, axis=-1)


def needed(masks: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """By level, where it or a finer one is coded."""
    found = [masks[0]]
    for mask in masks[1:]:
        rows, columns = mask.shape
        found.append(mask | found[-1].reshape(rows, 2, columns, 2).any(axis=(1, 3)))
    return tuple(found)


def _plane(mask: np.ndarray, parity: Parity) -> Positions:
    dy, dx = parity
    rows, columns = np.nonzero(mask[dy::2, dx::2])
    return Positions(2 * rows + dy, 2 * columns + dx)
