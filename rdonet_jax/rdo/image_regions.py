"""The regions of an image that are searched one after the other, for images of any size.

A region is a tile of one of a few shapes. So nothing is compiled for the size of an image, and only
the image itself takes memory that grows with it. Fixed-rate networks do not know where an image
ends in an array, so for them the only region is the whole image.

`rdonet_jax.rdo.cost` is imported when there are costs to compute, since it loads JAX.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rdonet_jax.codec import codec, memory, preparation, qualities, tiles
from rdonet_jax.codec.preparation import EncodeError, PreparedImage
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
    quality: float | None,
    around: Partition,
    decoded: np.ndarray | None = None,
    gains: np.ndarray | None = None,
) -> list[Region]:
    """The regions of a prepared image, or of pixels uint8 [H, W, 3].

    `gains` are points of quality by 64x64 block, for families whose files have them.

    Distortions that do not add up are linearized around the image coded with the partition
    `around`; `decoded`, uint8 [H, W, 3], is that image where it is known.

    Raises `EncodeError` for an image that cannot be coded, for one that takes more memory to search
    than there is, and for a quality that the model does not have.
    """
    prepared = preparation.prepare(model.config, image)
    grid = partition.block_grid(*prepared.size)
    is_tiled = registry.family_of(model.config).variable_rate
    covering = encoder_tiles.cover(grid, margin=MARGIN) if is_tiled else [_whole(grid)]
    if lack := memory.searching_shortage(model.config, grid, covering[0].sides):
        raise EncodeError(f"the image is too large: {lack}")
    if is_tiled:
        return _tiled(model, prepared, quality, covering, around, decoded, gains)
    # Raises for gains, which no model without a quality takes.
    qualities.chosen(model.config, quality, gains, prepared.size)
    from rdonet_jax.rdo.cost import RDCost

    return [Region(covering[0], lambda: RDCost(model, prepared, quality))]


def _whole(grid: tuple[int, int]) -> Tile:
    rows, columns = (Span(0, 0, length) for length in grid)
    return Tile(rows, columns, grid)


def _tiled(
    model: Model,
    image: PreparedImage,
    quality: float | None,
    covering: Sequence[Tile],
    around: Partition,
    decoded: np.ndarray | None,
    gains: np.ndarray | None,
) -> list[Region]:
    from rdonet_jax.rdo.cost import TileCost, of_files

    blocks = qualities.chosen(model.config, quality, gains, image.size).of_blocks(model.config)
    file_cost = of_files(model, image, quality, gains)
    if file_cost.adds_up:
        weights = file_cost.weights(None)
    else:
        if decoded is None:
            encoded = codec.encode(model, image, around, quality, gains=gains)
            decoded = pixel_format.as_rgb8(encoded.image)
        weights = file_cost.weights(decoded)

    def cost(tile: Tile) -> Cost:
        pixels = tiles.cut(image.rgb8, tile, BLOCK)
        size = tuple(tile.extent(image.size, BLOCK).tolist())
        arguments = (model, file_cost.distortions, weights, quality, pixels, size)
        if not isinstance(blocks, np.ndarray):
            return TileCost(*arguments)
        relative = tiles.cut(file_cost.relative, tile, BLOCK // STRIDES[0])[0]
        return TileCost(*arguments, tiles.cut(blocks, tile)[0], relative)

    return [Region(tile, lambda tile=tile: cost(tile)) for tile in covering]
