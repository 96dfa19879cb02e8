"""The level coder of portable models, in either direction, and their codec.

Encoder and decoder run the same function, level by level and plane by plane, and differ only in
where the symbols of a run come from, a `CodeRun`. The probability tables of a run follow from
integers that were coded before, by exact arithmetic. So a file decodes to the same symbols on every
device. Only the transforms between pixels and latents are computed in floats, and a pixel may
differ by one gray level between devices.

Images of any size are coded by steps of a few shapes, which an `Engine` computes: transforms work
on tiles, priors on lists of positions. The state of a level is in host memory.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from rdonet_jax.codec import level_coder, working_set
from rdonet_jax.codec.family_codec import FamilyCodec
from rdonet_jax.codec.level_coder import CodeRun
from rdonet_jax.codec.portable import engines, tiles
from rdonet_jax.codec.portable.engine import Array, Engine
from rdonet_jax.codec.portable.state import (
    LevelState,
    Positions,
    gather_neighborhoods,
    masks_with_finer,
    zero_pad,
)
from rdonet_jax.codec.portable.tiles import Tile
from rdonet_jax.core import partition
from rdonet_jax.core.config import COARSEST, LEVELS, PortableConfig
from rdonet_jax.core.partition import BLOCK, HYPER_STRIDE, STRIDES
from rdonet_jax.entropy import dead_zone
from rdonet_jax.entropy.range_coder import Run
from rdonet_jax.models.portable import integer_format
from rdonet_jax.models.portable.integer_format import GRID, PLANES, Parity
from rdonet_jax.models.zoo import Model

AHEAD = 2
"""Steps that are under way while the result of an earlier one is stored."""

QUANTIZED_AT_ONCE = 4096
"""Positions whose latents are quantized at a time, to bound the memory."""

Item = TypeVar("Item")


class EncoderLatents:
    """The latents of a level before quantization, in steps. Encoder only.

    Attributes:
      z: float32 [·, ·, ·].
    """

    def __init__(
        self, level: LevelState, latents: int, z_shape: tuple[int, ...], bounds: np.ndarray
    ) -> None:
        """`bounds` are those of the dead zone, by scale index."""
        self.z, self._bounds = np.empty(z_shape, np.float32), bounds
        self._mask, self._rows = level.mask, np.zeros(level.mask.shape, np.int64)
        self._y: dict[Parity, np.ndarray] = {}
        for parity, positions in level.planes.items():
            self._y[parity] = np.empty((len(positions.rows), latents), np.float32)
            self._rows[positions.rows, positions.columns] = np.arange(len(positions.rows))

    def store(self, tile: Tile, y: np.ndarray, z: np.ndarray) -> None:
        """Stores the core of a tile, which counts hyper-latents."""
        self.z[tile.core_slices()] = tile.crop_core(z)
        core = tile.core_slices(HYPER_STRIDE)
        mask, rows = self._mask[core], self._rows[core]
        y = tile.crop_core(y, HYPER_STRIDE)[: mask.shape[0], : mask.shape[1]]
        for (dy, dx), plane in self._y.items():
            coded = mask[dy::2, dx::2]
            plane[rows[dy::2, dx::2][coded]] = y[dy::2, dx::2][coded]

    def quantize_plane(self, parity: Parity, mu: np.ndarray, index: np.ndarray) -> np.ndarray:
        """The symbols of a plane as floats, [N]: y - mu, rounded. To be called once, frees y.

        From mu in 1/16 step and the scale index, [n, L].
        """
        y = self._y.pop(parity)
        for first in range(0, len(y), QUANTIZED_AT_ONCE):
            part = slice(first, first + QUANTIZED_AT_ONCE)
            offset = y[part] - mu[part] / np.float32(GRID)
            np.rint(dead_zone.apply(offset, self._bounds[index[part]]), out=y[part])
        return y.ravel()


class PortableLevelCoder(level_coder.LevelCoder):
    """Codes the levels of one image.

    Args:
      config: of the model.
      engine: its steps at the quality of the image.
      masks: by level, where it is coded, bool [h, w].
      size: height and width of the image in pixels.
    """

    def __init__(
        self,
        config: PortableConfig,
        engine: Engine,
        masks: tuple[np.ndarray, ...],
        size: tuple[int, int],
    ) -> None:
        super().__init__()
        self.config, self.engine, self.masks = config, engine, masks
        grid = partition.block_grid(*size)
        self._extents = [
            tuple(partition.latent_size(side, level) for side in size) for level in range(LEVELS)
        ]
        self._tile_shape = tiles.tile_shape_for(grid)
        self._masks_with_finer = masks_with_finer(masks)
        self._features: dict[int, np.ndarray] = {}
        self._coarser: LevelState | None = None
        d = np.zeros((*grid, config.features[COARSEST]), np.float32)
        self._state = LevelState(config, masks[COARSEST], self._masks_with_finer[COARSEST], d)
        self._state_level = COARSEST
        self._pending_z_hat: dict[int, np.ndarray] = {}

    def analyze(self, image: np.ndarray) -> None:
        grid, extent = self.masks[0].shape, self._extents[0]
        compute_padded = functools.partial(self._analyze_tile, image, grid)
        compute_ended = functools.partial(self._analyze_tile, image, extent)
        features = self.config.features
        e = self._compute_tiles(0, tiles.MARGIN, compute_padded, features[0])
        self._features[0] = e
        for level in range(1, LEVELS):
            compute = functools.partial(self._coarsen_tile, level, self._features[level - 1])
            self._features[level] = self._compute_tiles(level, 2, compute, features[level])
        # The finest level codes an image that ends with its own last positions, see
        # `models.portable.network`.
        all_tiles = tiles.cover(grid, tiles.tile_sides(self._tile_shape, 0), tiles.MARGIN)
        ends = (tile for tile in all_tiles if np.any(tile.extent(extent) < tile.extent(grid)))
        for tile, ended in _compute_ahead(ends, compute_ended):
            e[tile.core_slices()] = tile.crop_core(ended)

    def _analyze_tile(self, image: np.ndarray, extent: tuple[int, int], tile: Tile) -> Array:
        pixels = tiles.cut(image, tile, STRIDES[0])
        return self.engine.analyze(pixels, tile.extent(extent) * STRIDES[0])

    def _coarsen_tile(self, level: int, finer: np.ndarray, tile: Tile) -> Array:
        return self.engine.coarsen(level, tiles.cut(finer, tile, 2), tile.extent(finer.shape, 2))

    def encode_level(self, level: int, continues: bool) -> list[Run]:
        self._enter(level)
        runs: list[Run] = []
        latents = self.encode_latents(level)
        self.code_level(level, level_coder.encoder_run(runs), latents, continues)
        return runs

    def decode_level(self, level: int, read_symbols: level_coder.ReadSymbols) -> None:
        self.code_level(level, level_coder.decoder_run(read_symbols), None)

    def reconstruct(self, is_16bit: bool = False) -> np.ndarray:
        self._enter(0)

        def compute(tile: Tile) -> Array:
            return self.engine.synthesize(is_16bit, *self._features_in(tile, 0))

        dtype = np.uint16 if is_16bit else np.uint8
        return self._compute_tiles(0, tiles.MARGIN, compute, 3, STRIDES[0], dtype)

    def encode_latents(self, level: int) -> EncoderLatents:
        """Encoder only: the latents of the level. To be called once, frees the features."""
        e, d = self._features.pop(level), self._state.d
        areas = tuple(-(-side // HYPER_STRIDE) for side in self.masks[level].shape)
        z_shape = (*areas, self.config.hyper_latents[level])
        bounds = dead_zone.zero_bounds(self.config.distribution)
        latents = EncoderLatents(self._state, self.config.latents[level], z_shape, bounds)

        def compute(tile: Tile) -> tuple[Array, Array]:
            e_tile, d_tile = (tiles.cut(values, tile, HYPER_STRIDE) for values in (e, d))
            extent = tile.extent(e.shape, HYPER_STRIDE)
            return self.engine.encode_latents(level, e_tile, d_tile, extent)

        rows, columns = tiles.tile_sides(self._tile_shape, level)
        sides = rows // HYPER_STRIDE, columns // HYPER_STRIDE
        for tile, (y, z) in _compute_ahead(tiles.cover(areas, sides, 1), compute):
            latents.store(tile, y, z)
        return latents

    def code_level(
        self,
        level: int,
        code_run: CodeRun,
        latents: EncoderLatents | None,
        continues: bool = True,
    ) -> None:
        """Codes the runs of a level: the hyper-latents, then the latents plane by plane.

        `latents` is None in a decoder. The planes that are decoded last are added to the state only
        if the coder `continues` with the next level. Raises `SymbolError` where an encoder would
        send numbers that cannot be coded.
        """
        symbols: list[np.ndarray] = []
        code_run = level_coder.recorded_run(code_run, symbols)
        groups = integer_format.DECODE_ORDER[self.config.context]
        z_hat = self._code_hyper_latents(level, code_run, latents)
        if latents is None and not self.masks[level].any():
            # Computed when a finer level has begun: a short file that claims a large image is
            # refused before the work.
            self._pending_z_hat[level] = z_hat
            for _ in itertools.chain(*groups):
                code_run(np.zeros(0, np.uint8), lambda: None)
        else:
            self._enter(level)
            self._set_context(level, z_hat)
            for group in groups:
                coded = {p: self._code_plane(level, p, code_run, latents) for p in group}
                if continues or group != groups[-1]:
                    for parity, (mu, plane_symbols) in coded.items():
                        self._update_plane(level, parity, mu, plane_symbols)
        self.record(level, symbols)

    def _code_hyper_latents(
        self, level: int, code_run: CodeRun, latents: EncoderLatents | None
    ) -> np.ndarray:
        """z_hat int32 [·, ·, ·], 0 where not coded."""
        coded = partition.hyper_mask(self.masks[level])
        index = self.engine.z_index(level)
        symbols = code_run(
            np.tile(index, np.count_nonzero(coded)), lambda: np.rint(latents.z[coded])
        )
        z_hat = np.zeros((*coded.shape, len(index)), np.int32)
        z_hat[coded] = symbols.reshape(-1, len(index))
        return z_hat

    def _code_plane(
        self, level: int, parity: Parity, code_run: CodeRun, latents: EncoderLatents | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """mu in 1/16 step and the symbols of the coded positions of a plane, [n, L]."""
        mu, index = self._predict(level, parity)
        symbols = code_run(index.ravel(), lambda: latents.quantize_plane(parity, mu, index))
        return mu, symbols.reshape(mu.shape)

    def _set_context(self, level: int, z_hat: np.ndarray) -> None:
        """Computes the context features of the level, before its first plane."""
        state, coarser = self._state, self._coarser

        def compute(batch: tuple[slice, Positions]) -> Array:
            _, areas = batch
            coarse_context = coarser.coarse_context(areas) if coarser else None
            neighborhoods = gather_neighborhoods(z_hat, areas)
            return self.engine.compute_context(level, neighborhoods, coarse_context)

        batches = self._batches(state.areas, self._positions(level) // HYPER_STRIDE**2)
        for (part, areas), features in _compute_ahead(batches, compute):
            count = part.stop - part.start
            state.set_context(areas.first(count), features[:count])
        self._coarser = None

    def _predict(self, level: int, parity: Parity) -> tuple[np.ndarray, np.ndarray]:
        """mu int16 and scale indices uint8 of the coded positions of a plane, [n, L]."""
        state = self._state

        def compute(batch: tuple[slice, Positions]) -> tuple[Array, Array]:
            _, at = batch
            neighbors, features = state.neighbor_embeddings(at), state.context_features(at)
            return self.engine.predict(level, PLANES.index(parity), neighbors, features)

        positions = state.planes[parity]
        shape = (len(positions.rows), self.config.latents[level])
        mu, index = np.empty(shape, np.int16), np.empty(shape, np.uint8)
        batches = self._batches(positions, self._positions(level) // len(PLANES))
        for (part, _), prediction in _compute_ahead(batches, compute):
            mu[part], index[part] = (v[: part.stop - part.start] for v in prediction)
        return mu, index

    def _update_plane(
        self, level: int, parity: Parity, mu: np.ndarray, symbols: np.ndarray
    ) -> None:
        """Adds the decoded latents of a plane to the state."""
        state, size = self._state, self._positions(level) // len(PLANES)

        def compute(batch: tuple[slice, Positions]) -> tuple[Array, Array]:
            part, at = batch
            values = (mu[part], symbols[part].astype(np.int32))
            if self.engine.fixed_lengths:
                values = tuple(zero_pad(v, size) for v in values)
            return self.engine.update_plane(level, *values, state.d[at.rows, at.columns])

        for (part, at), updated in _compute_ahead(
            self._batches(state.planes[parity], size), compute
        ):
            count = part.stop - part.start
            state.update_plane(at.first(count), *(v[:count] for v in updated))

    def _enter(self, level: int) -> None:
        """Brings the state to a level, through those that have nothing coded."""
        while self._state_level != level:
            if self._state_level in self._pending_z_hat:
                self._set_context(self._state_level, self._pending_z_hat.pop(self._state_level))
            self._upsample_state()

    def _upsample_state(self) -> None:
        """Brings the state to the next finer level."""
        level, finer = self._state_level, self._state_level - 1

        def compute(tile: Tile) -> Array:
            return self.engine.upsample(level, *self._features_in(tile, level))

        d = self._compute_tiles(level, 2, compute, self.config.features[finer], 2)
        self._coarser = self._state.drop_features()
        mask, with_finer = self.masks[finer], self._masks_with_finer[finer]
        self._state = LevelState(self.config, mask, with_finer, d)
        self._state_level = finer

    def _features_in(self, tile: Tile, level: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """d in a tile, where latents have been added to it, and the extent of the image."""
        state = self._state
        d, updated = tiles.cut(state.d, tile), tiles.cut(state.mask, tile)
        return d, updated, tile.extent(self._extents[level])

    def _batches(self, positions: Positions, size: int) -> Iterator[tuple[slice, Positions]]:
        return positions.batches(size, self.engine.fixed_lengths)

    def _positions(self, level: int) -> int:
        """How many positions of a level are computed at a time, in all planes."""
        return math.prod(self._tile_shape) * (BLOCK // STRIDES[level]) ** 2

    def _compute_tiles(
        self,
        level: int,
        margin: int,
        compute: Callable[[Tile], Array],
        channels: int,
        factor: int = 1,
        dtype: Any = np.float32,
    ) -> np.ndarray:
        """The result of a step for all tiles of a level: [factor · h, factor · w, channels]."""
        grid = self.masks[level].shape
        whole = np.empty((factor * grid[0], factor * grid[1], channels), dtype)
        sides = tiles.tile_sides(self._tile_shape, level)
        for tile, values in _compute_ahead(tiles.cover(grid, sides, margin), compute):
            whole[tile.core_slices(factor)] = tile.crop_core(values, factor)
        return whole


def _compute_ahead(
    items: Iterable[Item], compute: Callable[[Item], Any]
) -> Iterator[tuple[Item, Any]]:
    """What a step gives for each item, as NumPy arrays, while the next ones are being computed."""
    under_way: deque[tuple[Item, Any]] = deque()
    for item in items:
        # Weights may overflow. Symbols that are not finite are refused when they are coded.
        with np.errstate(over="ignore", invalid="ignore"):
            under_way.append((item, compute(item)))
        if len(under_way) > AHEAD:
            yield _as_numpy(*under_way.popleft())
    while under_way:
        yield _as_numpy(*under_way.popleft())


def _as_numpy(item: Item, result: Array | tuple[Array, ...]) -> tuple[Item, Any]:
    is_tuple = isinstance(result, tuple)
    return item, tuple(map(np.asarray, result)) if is_tuple else np.asarray(result)


class PortableCodec(FamilyCodec):
    """The codec of the portable models. Their files decode everywhere."""

    def level_coder(
        self,
        model: Model,
        masks: tuple[np.ndarray, ...],
        size: tuple[int, int],
        quality: int | None,
        engine: str,
    ) -> PortableLevelCoder:
        steps = engines.make(engine, model, quality)
        return PortableLevelCoder(model.config, steps, masks, size)

    def engines(self) -> tuple[str, ...]:
        return engines.ENGINES

    def working_set_bytes(self, config: PortableConfig, grid: tuple[int, int]) -> int:
        return working_set.tiled_bytes(config, grid)

    def searching_bytes(self, config: PortableConfig, grid: tuple[int, int]) -> int:
        return working_set.search_bytes(config.features, working_set.portable_scalars(config), grid)

    def jitted_steps(self) -> tuple[Any, ...]:
        return engines.jitted_steps()


CODEC = PortableCodec()
