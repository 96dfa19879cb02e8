"""Windows of one shape over grids of any size: where they lie, how arrays are cut and put together.

A window is for its *core*; around that it sees as much as what is computed in it reaches, except
where the image ends. Windows that an image is larger than lie inside of it; in the others it
lies at the top left, and what is beyond its extent counts as nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rdonet_jax.core.partition import BLOCK, STRIDES

Sides = tuple[int, int]
"""Of a grid or a window: rows and columns."""

TILE_SHAPES: tuple[Sides, ...] = ((8, 8), (8, 12), (12, 8), (16, 16))
"""Sides of the windows in 64x64 blocks: three for small images, one for all others. The oblong
ones are photographs of 0.4 megapixels, in one piece. A hyper-latent of the coarsest level is for 16
blocks, of which each shape has a multiple."""

LEAST_SIDE = 16
"""Positions on the side of a window of a coarse level: less than that would be margins alone."""

MARGIN = 3
"""Positions of 16x16 pixels that a core's transform from pixels, or to them, sees on each side."""


class Span(NamedTuple):
    """A window along one side of a grid, in positions."""

    start: int
    first: int  # of the core
    stop: int


class Tile(NamedTuple):
    """A window on a grid."""

    rows: Span
    columns: Span
    sides: Sides

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
            min(length - span.start * factor, side * factor)
            for length, span, side in zip(shape, self[:2], self.sides, strict=True)
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


def over(grid: Sides, sides: Sides, margin: int) -> Iterator[Tile]:
    """The windows of `sides` over a grid, in positions, row by row."""
    along = (spans(length, side, margin) for length, side in zip(grid, sides, strict=True))
    for rows, columns in itertools.product(*along):
        yield Tile(rows, columns, sides)


def tile_shape_for(grid: Sides) -> Sides:
    """The shape, one of `TILE_SHAPES`, that takes the least work for a grid of blocks.

    What reaches from pixels to the finest level, or back, is most of the work.
    """
    return min(TILE_SHAPES, key=lambda shape: math.prod(shape) * _count(grid, shape))


def sides_at(shape: Sides, level: int) -> Sides:
    """The sides of a level's windows, in its positions."""
    rows, columns = (max(blocks * BLOCK // STRIDES[level], LEAST_SIDE) for blocks in shape)
    return rows, columns


def _count(grid: Sides, shape: Sides) -> int:
    per_block = BLOCK // STRIDES[0]
    sides = zip(grid, sides_at(shape, 0), strict=True)
    return math.prod(len(spans(per_block * n, side, MARGIN)) for n, side in sides)


def cut(array: np.ndarray, tile: Tile, factor: int = 1) -> np.ndarray:
    """What a window sees of [h, w, ...] with `factor` entries per position and side, [1, ...].

    Where the array has ended, it is continued by replication.
    """
    sizes = [side * factor for side in tile.sides]
    starts = [span.start * factor for span in tile[:2]]
    seen = array[tuple(slice(s, s + size) for s, size in zip(starts, sizes, strict=True))]
    missing = [(0, size - have) for size, have in zip(sizes, seen.shape[:2], strict=True)]
    if any(map(any, missing)):
        seen = np.pad(seen, [*missing, *[(0, 0)] * (array.ndim - 2)], mode="edge")
    return seen[None]
