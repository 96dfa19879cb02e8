"""The regions of an image that are searched one after the other, for images of any size.

A region is a tile of one of a few shapes. So nothing is compiled for the size of an image, and only
the image itself takes memory that grows with it. Fixed-rate networks do not know where an image
ends in an array, so for them the only region is the whole image.

`rdonet_jax.rdo.cost` is imported when there are costs to compute, since it loads JAX.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from rdonet_jax.codec import codec, memory, preparation, tiles
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.codec.image_quality import ImageQuality
from rdonet_jax.codec.preparation import PreparedImage
from rdonet_jax.codec.tiles import Span, Tile
from rdonet_jax.core import partition
from rdonet_jax.core.partition import BLOCK, STRIDES, Partition
from rdonet_jax.imaging import pixel_format
from rdonet_jax.models import registry
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import encoder_tiles
from rdonet_jax.rdo.search.costs import Cost
from rdonet_jax.rdo.search.regions import Region

MARGIN = 1
"""Blocks around the core of a tile, on each side. Changes are judged by half a block around them,
and the result is judged by real files."""


def of_image(
    model: Model,
    image: PreparedImage | np.ndarray,
    quality: ImageQuality,
    around: Partition,
    decoded: np.ndarray | None = None,
) -> list[Region]:
    """The regions of a prepared image, or of pixels uint8 [H, W, 3].

    Distortions that do not add up are linearized around the image coded with the partition
    `around`; `decoded`, uint8 [H, W, 3], is that image where it is known.

    Raises `EncodeError` for an image that cannot be coded, and for one that takes more memory to
    search than there is.
    """
    prepared = preparation.prepare(model.config, image)
    grid = partition.block_grid(*prepared.size)
    is_tiled = registry.family_of(model.config).variable_rate
    covering = encoder_tiles.cover(grid, margin=MARGIN) if is_tiled else [_whole(grid)]
    if lack := memory.searching_shortage(model.config, grid, covering[0].sides):
        raise EncodeError(f"the image is too large: {lack}")
    if is_tiled:
        return _tiled(model, prepared, quality, covering, around, decoded)
    from rdonet_jax.rdo.cost import RDCost

    return [Region(covering[0], lambda: RDCost(model, prepared, quality.quality))]


def _whole(grid: tuple[int, int]) -> Tile:
    rows, columns = (Span(0, 0, length) for length in grid)
    return Tile(rows, columns, grid)


def _tiled(
    model: Model,
    image: PreparedImage,
    quality: ImageQuality,
    covering: Sequence[Tile],
    around: Partition,
    decoded: np.ndarray | None,
) -> list[Region]:
    from rdonet_jax.rdo.cost import TileCost, make_file_cost

    file_cost = make_file_cost(model, image, quality)
    relative = file_cost.relative
    if file_cost.adds_up:
        weights = file_cost.weights(None)
    else:
        if decoded is None:
            encoded = codec.encode_prepared(model, image, around, quality)
            decoded = pixel_format.as_rgb8(encoded.pixels)
        weights = file_cost.weights(decoded)

    def cost(tile: Tile) -> Cost:
        pixels = tiles.cut(image.rgb8, tile, BLOCK)
        size = tuple(tile.extent(image.size, BLOCK).tolist())
        of_tile = None if relative is None else tiles.cut(relative, tile, BLOCK // STRIDES[0])[0]
        return TileCost(
            model, file_cost.distortions, weights, quality.in_tile(tile), pixels, size, of_tile
        )

    return [Region(tile, functools.partial(cost, tile)) for tile in covering]
