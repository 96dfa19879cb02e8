"""The tiles in which an encoder searches, refines latents and measures distortions.

Functions are compiled for a tile, so images of any size take the same compiled functions, and the
memory for them does not grow with the image. Tiles count 64x64 blocks. Unlike those of the codec,
they begin at multiples of 4 blocks, since a hyper-latent of the coarsest level stands for 4x4
blocks. The last tile along a side may go past the end of the image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from rdonet_jax.codec.tiles import Sides, Span, Tile
from rdonet_jax.core.partition import BLOCK, HYPER_STRIDE, STRIDES

TILE_SHAPES: tuple[Sides, ...] = ((4, 4), (8, 8), (8, 12), (12, 8), (16, 16))
"""Sides of the tiles in blocks: four for small images, one for all others."""

MARGIN = 2
"""Blocks around the core of a tile, on each side. The windows of MS-SSIM reach 88 pixels, and a
decoded latent of the coarsest level hardly changes pixels that are further away."""


def cover(grid: Sides, margin: int = MARGIN) -> list[Tile]:
    """The tiles whose cores cover a grid of blocks, of the one of `TILE_SHAPES` with least work.

    With another margin than `MARGIN` they need not begin at multiples of 4 blocks.
    """
    fitting = (shape for shape in TILE_SHAPES if _fits(grid, shape, margin))
    covers = (list(_cover(grid, shape, margin)) for shape in fitting)
    return min(covers, key=lambda tiles: len(tiles) * math.prod(tiles[0].sides))


def _fits(grid: Sides, shape: Sides, margin: int) -> bool:
    """Whether tiles of this shape have a core wherever the grid needs several of them.

    They need one with `MARGIN` too: the smallest tiles would be little else than margins.
    """
    margins = 2 * max(margin, MARGIN)
    return all(n <= side or side > margins for n, side in zip(grid, shape, strict=True))


def _cover(grid: Sides, shape: Sides, margin: int) -> Iterator[Tile]:
    spans = (_spans(length, side, margin) for length, side in zip(grid, shape, strict=True))
    for rows, columns in itertools.product(*spans):
        yield Tile(rows, columns, shape)


def _spans(length: int, side: int, margin: int) -> list[Span]:
    """The fewest spans of `side` blocks whose cores cover `length` blocks."""
    if length <= side:
        return [Span(0, 0, length)]
    step = side - 2 * margin
    starts = range(0, length - 2 * margin, step)
    stops = [start + side - margin for start in starts[:-1]] + [length]
    return [Span(*span) for span in zip(starts, [0, *stops[:-1]], stops, strict=True)]


def of_hyper_latents(tile: Tile, level: int) -> Tile:
    """The tile in hyper-latents of a level: those of which a part lies in its core or in it."""
    blocks = STRIDES[level] * HYPER_STRIDE // BLOCK
    rows, columns = (
        Span(span.start // blocks, span.core_start // blocks, -(-span.core_stop // blocks))
        for span in tile[:2]
    )
    return Tile(rows, columns, tuple(side // blocks for side in tile.sides))
