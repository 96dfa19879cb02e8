"""The transforms of a portable model between pixels, features and latents, in tiles.

The margins of the tiles are what the convolutions of a step reach, so the results do not depend on
the tiles. Nothing here codes a symbol.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from rdonet_jax.codec import tiles
from rdonet_jax.codec.portable.asynchronous import compute_ahead
from rdonet_jax.codec.portable.encoder_latents import EncoderLatents
from rdonet_jax.codec.portable.engine import Array, Engine
from rdonet_jax.codec.portable.state import ImageQualities, LevelState
from rdonet_jax.codec.tiles import Sides, Tile
from rdonet_jax.core import partition
from rdonet_jax.core.config import PortableConfig
from rdonet_jax.core.partition import BLOCK, HYPER_STRIDE, STRIDES


class TiledTransforms:
    """The transforms of one image.

    Args:
      config: of the model.
      engine: its steps, at all qualities of the image.
      size: height and width of the image in pixels.
      qualities: those of its positions.
    """

    def __init__(
        self,
        config: PortableConfig,
        engine: Engine,
        size: tuple[int, int],
        qualities: ImageQualities,
    ) -> None:
        self._config, self._engine, self._qualities = config, engine, qualities
        levels, blocks = range(config.levels), partition.block_grid(*size)
        self._grids = [
            tuple(count * (BLOCK // STRIDES[level]) for count in blocks) for level in levels
        ]
        self._extents = [
            tuple(partition.latent_size(side, level) for side in size) for level in levels
        ]
        shape = tiles.tile_shape_for(blocks)
        self._sides: list[Sides] = [
            tiles.tile_sides(shape, level)
            if engine.fixed_shapes
            else tiles.fitting_sides(blocks, level)
            for level in levels
        ]

    def analyze(self, image: np.ndarray) -> list[np.ndarray]:
        """Encoder only: the features e [h, w, C] of all levels, from pixels [H, W, 3]."""
        grid, extent = self._grids[0], self._extents[0]
        compute_padded = functools.partial(self._analyze_tile, image, grid)
        compute_ended = functools.partial(self._analyze_tile, image, extent)
        channels = self._config.features
        features = [self._compute(0, tiles.MARGIN, compute_padded, channels[0])]
        for level in range(1, self._config.levels):
            compute = functools.partial(self._coarsen_tile, level, features[-1])
            features.append(self._compute(level, 2, compute, channels[level]))
        # The finest level codes an image that ends with its own last positions, see
        # `models.portable.network`.
        all_tiles = tiles.cover(grid, self._sides[0], tiles.MARGIN)
        ends = (tile for tile in all_tiles if np.any(tile.extent(extent) < tile.extent(grid)))
        for tile, ended in compute_ahead(ends, compute_ended):
            features[0][tile.core_slices()] = tile.crop_core(ended)
        return features

    def encode_latents(
        self, level: int, e: np.ndarray, d: np.ndarray, latents: EncoderLatents
    ) -> None:
        """Encoder only: stores the latents of a level in `latents`, from its features e and d."""

        def compute(tile: Tile) -> tuple[Array, Array]:
            e_tile, d_tile = (tiles.cut(values, tile, HYPER_STRIDE) for values in (e, d))
            extent = tile.extent(e.shape, HYPER_STRIDE)
            at = self._qualities.in_tile(level, tile)
            return self._engine.encode_latents(level, e_tile, d_tile, extent, at)

        rows, columns = self._sides[level]
        sides = rows // HYPER_STRIDE, columns // HYPER_STRIDE
        areas = latents.z.shape[0], latents.z.shape[1]
        for tile, (y, z) in compute_ahead(tiles.cover(areas, sides, 1), compute):
            latents.store(tile, y, z)

    def upsample(self, level: int, state: LevelState) -> np.ndarray:
        """d of the next finer level [2 h, 2 w, C], from the state of a level."""

        def compute(tile: Tile) -> Array:
            return self._engine.upsample(level, *self._decoded_tile(level, state, tile))

        return self._compute(level, 2, compute, self._config.features[level - 1], 2)

    def synthesize(self, state: LevelState, is_16bit: bool) -> np.ndarray:
        """Padded pixels uint8 [H, W, 3], or uint16 if `is_16bit`, from the state of level 0."""

        def compute(tile: Tile) -> Array:
            return self._engine.synthesize(is_16bit, *self._decoded_tile(0, state, tile))

        dtype = np.uint16 if is_16bit else np.uint8
        return self._compute(0, tiles.MARGIN, compute, 3, STRIDES[0], dtype)

    def _analyze_tile(self, image: np.ndarray, extent: tuple[int, ...], tile: Tile) -> Array:
        pixels = tiles.cut(image, tile, STRIDES[0])
        return self._engine.analyze(pixels, tile.extent(extent) * STRIDES[0])

    def _coarsen_tile(self, level: int, finer: np.ndarray, tile: Tile) -> Array:
        return self._engine.coarsen(level, tiles.cut(finer, tile, 2), tile.extent(finer.shape, 2))

    def _decoded_tile(
        self, level: int, state: LevelState, tile: Tile
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """d in a tile, where latents have been added to it, and the extent of the image."""
        d, updated = tiles.cut(state.d, tile), tiles.cut(state.mask, tile)
        return d, updated, tile.extent(self._extents[level])

    def _compute(
        self,
        level: int,
        margin: int,
        compute: Callable[[Tile], Array],
        channels: int,
        factor: int = 1,
        dtype: Any = np.float32,
    ) -> np.ndarray:
        """The result of a step for all tiles of a level: [factor · h, factor · w, channels]."""
        rows, columns = self._grids[level]
        whole = np.empty((factor * rows, factor * columns, channels), dtype)
        covering = tiles.cover((rows, columns), self._sides[level], margin)
        for tile, values in compute_ahead(covering, compute):
            whole[tile.core_slices(factor)] = tile.crop_core(values, factor)
        return whole
