"""Windows of one size over grids of any size: where they lie, how arrays are cut and put together.

A window is for its *core*; around that it sees as much as what is computed in it reaches, except
where the picture ends. Windows that a picture is larger than lie inside of it; in the others it
lies at the top left, and what is beyond its extent counts as nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rdonet_jax.partition import BLOCK, STRIDES

LADDER = (8, 16)
"""Sides of the windows in 64x64 blocks: one for small pictures, one for all others."""

LEAST_SIDE = 16
"""Positions on the side of a window of a coarse level: less than that would be margins alone."""

MARGIN = 3
"""Positions of 16x16 pixels that a core's transform from pixels, or to them, sees on each side."""


class Span(NamedTuple):
    """A window along one side of a grid, in positions."""

    start: int
    first: int  # of the core
    stop: int


class Window(NamedTuple):
    """A window on a grid."""

    rows: Span
    columns: Span
    side: int

    def place(self, factor: int = 1) -> tuple[slice, slice]:
        """Where the core lies in an array with `factor` entries per position and side."""
        return tuple(slice(s.first * factor, s.stop * factor) for s in self[:2])

    def core(self, values: np.ndarray, factor: int = 1) -> np.ndarray:
        """The core of what was computed in the window, [1, ...] -> [h, w, ...]."""
        rows, columns = (
            slice((s.first - s.start) * factor, (s.stop - s.start) * factor) for s in self[:2]
        )
        return values[0, rows, columns]

    def extent(self, shape: tuple[int, ...], factor: int = 1) -> np.ndarray:
        """How many rows and columns of an array [h, w] the window sees, int32 [2]."""
        left = [
            min(length - span.start * factor, self.side * factor)
            for length, span in zip(shape, self[:2], strict=True)
        ]
        return np.array(left, np.int32)


def spans(length: int, side: int, margin: int) -> list[Span]:
    """As few as there may be so that their cores cover `length` positions.

    Raises ValueError for a side of nothing but margins where it would need a core.
    """
    if length <= side:
        return [Span(0, 0, length)]
    if side <= 2 * margin:
        raise ValueError(f"a window of {side} positions has no core between margins of {margin}")
    count = -(-(length - 2 * margin) // (side - 2 * margin))
    starts = [min(i * (side - 2 * margin), length - side) for i in range(count)]
    stops = [start + side - margin for start in starts[:-1]] + [length]
    return [Span(*span) for span in zip(starts, [0, *stops[:-1]], stops, strict=True)]


def over(grid: tuple[int, int], side: int, margin: int) -> Iterator[Window]:
    """The windows over `grid` = (rows, columns) of positions, row by row."""
    for rows in spans(grid[0], side, margin):
        for columns in spans(grid[1], side, margin):
            yield Window(rows, columns, side)


def blocks_for(grid: tuple[int, int]) -> int:
    """The side, one of `LADDER`, that takes the least work for `grid` = (rows, columns) of blocks.

    What reaches from pixels to the finest level, or back, is most of the work.
    """
    return min(LADDER, key=lambda blocks: blocks**2 * _count(grid, blocks))


def side_at(blocks: int, level: int) -> int:
    """The side of a level's windows, in its positions."""
    return max(blocks * BLOCK // STRIDES[level], LEAST_SIDE)


def _count(grid: tuple[int, int], blocks: int) -> int:
    per_block = BLOCK // STRIDES[0]
    sides = (len(spans(per_block * n, side_at(blocks, 0), MARGIN)) for n in grid)
    return int(np.prod([*sides]))


def cut(array: np.ndarray, window: Window, factor: int = 1) -> np.ndarray:
    """What a window sees of [h, w, ...] with `factor` entries per position and side, [1, ...].

    Where the array has ended, it is continued by replication.
    """
    size = window.side * factor
    rows, columns = (slice(s.start * factor, s.start * factor + size) for s in window[:2])
    seen = array[rows, columns]
    missing = [(0, size - have) for have in seen.shape[:2]]
    if any(map(any, missing)):
        seen = np.pad(seen, [*missing, *[(0, 0)] * (array.ndim - 2)], mode="edge")
    return seen[None]
