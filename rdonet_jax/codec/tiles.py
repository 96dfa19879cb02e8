"""Tiles over grids of any size.

A tile consists of a *core*, whose values are kept, and a margin that the convolutions reach. There
is no margin where the image ends. If the image is larger than a tile along a side, its tiles lie
within it along that side. Otherwise the tile begins with the image and may go past its end; values
beyond `Tile.extent` are ignored.

Where transforms are compiled for the shape of a tile, tiles have one of a few shapes, so images of
any size use the same compiled functions. Where nothing is compiled, their shape fits the image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rdonet_jax.core.partition import BLOCK, HYPER_STRIDE, STRIDES

Sides = tuple[int, ...]
"""Rows and columns of a grid or a tile."""

TILE_SHAPES: tuple[Sides, ...] = ((8, 8), (8, 12), (12, 8), (16, 16))
"""Sides of the tiles of compiled transforms in 64x64 blocks: three for small images, one for all
others. The oblong ones hold photographs of 0.4 megapixels in one piece. A hyper-latent of the
coarsest level stands for 16 blocks, of which each shape has a multiple."""

LARGEST_SIDE = 16
"""Blocks on the side of a tile that fits the image, at most."""

MIN_SIDE = 16
"""Positions on the side of a tile of a coarse level: fewer would leave nothing but margins."""

MARGIN = 3
"""Margin of tiles of 16x16-pixel positions for transforms from or to pixels, on each side."""


class Span(NamedTuple):
    """A tile along one side of a grid, in positions. The core ends with `core_stop` - 1."""

    start: int
    core_start: int
    core_stop: int


class Tile(NamedTuple):
    """A tile on a grid."""

    rows: Span
    columns: Span
    sides: Sides

    def core_slices(self, factor: int = 1) -> tuple[slice, slice]:
        """Where the core lies in an array with `factor` entries per position and side."""
        rows, columns = (
            slice(span.core_start * factor, span.core_stop * factor) for span in self[:2]
        )
        return rows, columns

    def crop_core(self, values: np.ndarray, factor: int = 1) -> np.ndarray:
        """The core of values computed for the whole tile, [1, ...] -> [h, w, ...]."""
        rows, columns = (
            slice((span.core_start - span.start) * factor, (span.core_stop - span.start) * factor)
            for span in self[:2]
        )
        return values[0, rows, columns]

    def extent(self, shape: tuple[int, ...], factor: int = 1) -> np.ndarray:
        """How many rows and columns of an array [h, w, ...] lie in the tile, int32 [2].

        The array has `factor` entries per position and side.
        """
        counts = [
            min(length - span.start * factor, side * factor)
            for length, span, side in zip(shape[:2], self[:2], self.sides, strict=True)
        ]
        return np.array(counts, np.int32)


def spans(length: int, side: int, margin: int) -> list[Span]:
    """The fewest spans of `side` positions whose cores cover `length` positions.

    Raises ValueError if several are needed, but a span has no room for a core between its margins.
    """
    if length <= side:
        return [Span(0, 0, length)]
    if side <= 2 * margin:
        raise ValueError(f"a tile of {side} positions has no core between margins of {margin}")
    count = -(-(length - 2 * margin) // (side - 2 * margin))
    starts = [min(i * (side - 2 * margin), length - side) for i in range(count)]
    stops = [start + side - margin for start in starts[:-1]] + [length]
    return [Span(*span) for span in zip(starts, [0, *stops[:-1]], stops, strict=True)]


def cover(grid: Sides, sides: Sides, margin: int) -> Iterator[Tile]:
    """The tiles of `sides` whose cores cover a grid, all in positions, row by row."""
    by_side = (spans(length, side, margin) for length, side in zip(grid, sides, strict=True))
    for rows, columns in itertools.product(*by_side):
        yield Tile(rows, columns, sides)


def tile_shape_for(grid: Sides) -> Sides:
    """The shape, one of `TILE_SHAPES`, with the least work for a grid of 64x64 blocks.

    Most of the work is in the transforms between pixels and the finest level, so that is counted.
    """
    return min(TILE_SHAPES, key=lambda shape: math.prod(shape) * _tile_count(grid, shape))


def tile_sides(shape: Sides, level: int) -> Sides:
    """Rows and columns of a level's tiles in its positions, from their shape in 64x64 blocks."""
    rows, columns = (max(blocks * BLOCK // STRIDES[level], MIN_SIDE) for blocks in shape)
    return rows, columns


def fitting_sides(grid: Sides, level: int) -> Sides:
    """Rows and columns of a level's tiles that fit a grid of 64x64 blocks.

    Their shape is that of the least work, which is counted as in `tile_shape_for`. They have whole
    areas of hyper-latents, so a tile that is larger than the grid ends up to three positions past
    it.
    """
    blocks = range(MIN_SIDE * STRIDES[0] // BLOCK, LARGEST_SIDE + 1)
    shape = tuple(min(blocks, key=lambda n: _work(length, n)) for length in grid)
    rows, columns = (
        -(-min(side, length * BLOCK // STRIDES[level]) // HYPER_STRIDE) * HYPER_STRIDE
        for length, side in zip(grid, tile_sides(shape, level), strict=True)
    )
    return rows, columns


def _work(length: int, blocks: int) -> tuple[int, int]:
    """The blocks of all tiles along a side of so many blocks, and how many tiles there are."""
    count = _span_count(length, blocks)
    return count * blocks, count


def _tile_count(grid: Sides, shape: Sides) -> int:
    return math.prod(map(_span_count, grid, shape))


def _span_count(length: int, blocks: int) -> int:
    """Tiles of so many blocks along a side of `length` blocks, for the finest level."""
    per_block = BLOCK // STRIDES[0]
    return len(spans(per_block * length, per_block * blocks, MARGIN))


def cut(array: np.ndarray, tile: Tile, factor: int = 1) -> np.ndarray:
    """The part of [h, w, ...] in a tile, [1, ...], with `factor` entries per position and side.

    Beyond the end of the array its last row and column are replicated.
    """
    sizes = [side * factor for side in tile.sides]
    starts = [span.start * factor for span in tile[:2]]
    part = array[tuple(slice(s, s + size) for s, size in zip(starts, sizes, strict=True))]
    missing = [(0, size - count) for size, count in zip(sizes, part.shape[:2], strict=True)]
    if any(map(any, missing)):
        part = np.pad(part, [*missing, *[(0, 0)] * (array.ndim - 2)], mode="edge")
    return part[None]
