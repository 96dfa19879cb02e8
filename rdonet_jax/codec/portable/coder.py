"""The level coder of portable models, in either direction.

Encoder and decoder run the same function, level by level and plane by plane, and differ only in
where the symbols of a run come from, a `CodeRun`. The probability tables of a run follow from
integers that were coded before, by exact arithmetic. So a file decodes to the same symbols on every
device. Only the transforms between pixels and latents are computed in floats, and a pixel may
differ by one gray level between devices.

Images of any size are coded in steps, which an `Engine` computes: transforms work on tiles, priors
on lists of positions. The state of a level is in host memory.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rdonet_jax.codec import level_coder, tiles
from rdonet_jax.codec.level_coder import CodeRun
from rdonet_jax.codec.portable.asynchronous import compute_ahead
from rdonet_jax.codec.portable.encoder_latents import (
    EncoderLatents,
    GivenLatents,
    ImageLatents,
    RecordedLatents,
)
from rdonet_jax.codec.portable.engine import Array, Engine
from rdonet_jax.codec.portable.state import (
    ImageQualities,
    LevelState,
    Positions,
    gather_neighborhoods,
    masks_with_finer,
    zero_pad,
)
from rdonet_jax.codec.tiles import Tile
from rdonet_jax.core import partition
from rdonet_jax.core.config import PortableConfig
from rdonet_jax.core.partition import BLOCK, HYPER_STRIDE, STRIDES
from rdonet_jax.entropy.runs import Run
from rdonet_jax.models.portable import integer_format
from rdonet_jax.models.portable.integer_format import PLANES, Parity
from rdonet_jax.models.portable.quality_maps import QualityMaps


class PortableLevelCoder(level_coder.LevelCoder):
    """Codes the levels of one image.

    Args:
      config: of the model.
      engine: its steps, at all qualities of the image.
      masks: by level, where it is coded, bool [h, w].
      size: height and width of the image in pixels.
      qualities: those of all positions where they differ.
    """

    def __init__(
        self,
        config: PortableConfig,
        engine: Engine,
        masks: tuple[np.ndarray, ...],
        size: tuple[int, int],
        qualities: QualityMaps | None = None,
    ) -> None:
        super().__init__()
        self.config, self.engine, self.masks = config, engine, masks
        self._qualities = ImageQualities(qualities)
        grid = partition.block_grid(*size)
        self._extents = [
            tuple(partition.latent_size(side, level) for side in size)
            for level in range(config.levels)
        ]
        self._groups = [
            integer_format.channel_groups(config, level) for level in range(config.levels)
        ]
        self._tile_shape = tiles.tile_shape_for(grid)
        self._tile_sides = [
            tiles.tile_sides(self._tile_shape, level)
            if engine.fixed_shapes
            else tiles.fitting_sides(grid, level)
            for level in range(config.levels)
        ]
        self._masks_with_finer = masks_with_finer(masks)
        self._features: dict[int, np.ndarray] = {}
        self._coarser: LevelState | None = None
        coarsest = config.levels - 1
        d = np.zeros((*masks[coarsest].shape, config.features[coarsest]), np.float32)
        self._state = LevelState(config, masks[coarsest], self._masks_with_finer[coarsest], d)
        self._state_level = coarsest
        self._pending_z_hat: dict[int, np.ndarray] = {}
        self._given: ImageLatents | None = None

    def use_latents(self, latents: ImageLatents) -> None:
        self._given = latents

    def analyze(self, image: np.ndarray) -> None:
        grid, extent = self.masks[0].shape, self._extents[0]
        compute_padded = functools.partial(self._analyze_tile, image, grid)
        compute_ended = functools.partial(self._analyze_tile, image, extent)
        features = self.config.features
        e = self._compute_tiles(0, tiles.MARGIN, compute_padded, features[0])
        self._features[0] = e
        for level in range(1, self.config.levels):
            compute = functools.partial(self._coarsen_tile, level, self._features[level - 1])
            self._features[level] = self._compute_tiles(level, 2, compute, features[level])
        # The finest level codes an image that ends with its own last positions, see
        # `models.portable.network`.
        all_tiles = tiles.cover(grid, self._tile_sides[0], tiles.MARGIN)
        ends = (tile for tile in all_tiles if np.any(tile.extent(extent) < tile.extent(grid)))
        for tile, ended in compute_ahead(ends, compute_ended):
            e[tile.core_slices()] = tile.crop_core(ended)

    def _analyze_tile(self, image: np.ndarray, extent: tuple[int, int], tile: Tile) -> Array:
        pixels = tiles.cut(image, tile, STRIDES[0])
        return self.engine.analyze(pixels, tile.extent(extent) * STRIDES[0])

    def _coarsen_tile(self, level: int, finer: np.ndarray, tile: Tile) -> Array:
        return self.engine.coarsen(level, tiles.cut(finer, tile, 2), tile.extent(finer.shape, 2))

    def encode_level(self, level: int, continues: bool) -> list[Run]:
        if level >= self.config.levels:
            self.record(level, [])
            return []
        self._enter(level)
        runs: list[Run] = []
        latents = self.encode_latents(level)
        self.code_level(level, level_coder.encoder_run(runs), latents, continues)
        return runs

    def decode_level(self, level: int, read_symbols: level_coder.ReadSymbols) -> None:
        if level >= self.config.levels:
            self.record(level, [])
            return
        self.code_level(level, level_coder.decoder_run(read_symbols), None)

    def reconstruct(self, is_16bit: bool = False) -> np.ndarray:
        self._enter(0)

        def compute(tile: Tile) -> Array:
            return self.engine.synthesize(is_16bit, *self._features_in(tile, 0))

        dtype = np.uint16 if is_16bit else np.uint8
        return self._compute_tiles(0, tiles.MARGIN, compute, 3, STRIDES[0], dtype)

    def encode_recorded(self, level: int) -> tuple[np.ndarray, np.ndarray]:
        self._enter(level)
        latents = RecordedLatents(self.config, level, self._state)
        self._analyze_latents(level, latents)
        self.code_level(level, level_coder.encoder_run([]), latents, continues=level > 0)
        return latents.recorded, latents.z

    def encode_latents(self, level: int) -> EncoderLatents:
        """Encoder only: the latents of the level. To be called once, frees the features."""
        if self._given is not None:
            y, z = self._given.y[level], self._given.z[level]
            return GivenLatents(self.config, level, self._state, y, z)
        latents = EncoderLatents(self.config, level, self._state)
        self._analyze_latents(level, latents)
        return latents

    def _analyze_latents(self, level: int, latents: EncoderLatents) -> None:
        """Computes the latents of a level from its features."""
        e, d = self._features.pop(level), self._state.d

        def compute(tile: Tile) -> tuple[Array, Array]:
            e_tile, d_tile = (tiles.cut(values, tile, HYPER_STRIDE) for values in (e, d))
            extent = tile.extent(e.shape, HYPER_STRIDE)
            at = self._qualities.in_tile(level, tile)
            return self.engine.encode_latents(level, e_tile, d_tile, extent, at)

        rows, columns = self._tile_sides[level]
        sides = rows // HYPER_STRIDE, columns // HYPER_STRIDE
        areas = latents.z.shape[0], latents.z.shape[1]
        for tile, (y, z) in compute_ahead(tiles.cover(areas, sides, 1), compute):
            latents.store(tile, y, z)

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
        steps = integer_format.DECODE_ORDER[self.config.context]
        z_hat = self._code_hyper_latents(level, code_run, latents)
        if latents is None and not self.masks[level].any():
            # Computed when a finer level has begun: a short file that claims a large image is
            # refused before the work.
            self._pending_z_hat[level] = z_hat
            for _ in range(len(PLANES) * len(self._groups[level])):
                code_run(np.zeros(0, np.uint8), lambda: None)
        else:
            self._enter(level)
            self._set_context(level, z_hat)
            for step in steps:
                coded = {p: self._code_plane(level, p, code_run, latents) for p in step}
                if continues or step != steps[-1]:
                    for parity, (mu, plane_symbols) in coded.items():
                        self._update_plane(level, parity, mu, plane_symbols)
        self.record(level, symbols)

    def _code_hyper_latents(
        self, level: int, code_run: CodeRun, latents: EncoderLatents | None
    ) -> np.ndarray:
        """z_hat int32 [·, ·, ·], 0 where not coded."""
        coded = partition.hyper_mask(self.masks[level])
        positions = Positions(*np.nonzero(coded))
        index = self.engine.z_index(level, self._qualities.of_z(level, positions))
        channels = index.shape[-1]
        indices = np.broadcast_to(index, (len(positions.rows), channels))
        symbols = code_run(indices.ravel(), lambda: np.rint(latents.z[coded]))
        z_hat = np.zeros((*coded.shape, channels), np.int32)
        z_hat[coded] = symbols.reshape(-1, channels)
        return z_hat

    def _code_plane(
        self, level: int, parity: Parity, code_run: CodeRun, latents: EncoderLatents | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """mu in 1/16 step and the symbols of the coded positions of a plane, [n, L]."""
        hidden = self._hidden_features(level, parity)
        at = self._qualities.at(level, self._state.planes[parity])
        mu: list[np.ndarray] = []
        symbols: list[np.ndarray] = []

        def code_group(group: int, channels: slice) -> None:
            group_mu, index = self._predict(level, group, hidden, symbols, at)
            run = code_run(
                index.ravel(), lambda: latents.quantize(parity, channels, group_mu, index)
            )
            mu.append(group_mu)
            symbols.append(run.reshape(group_mu.shape))

        for group, channels in enumerate(self._groups[level]):
            code_group(group, channels)
        if latents is not None:
            latents.drop_plane(parity)
        return _joined(mu), _joined(symbols)

    def _set_context(self, level: int, z_hat: np.ndarray) -> None:
        """Computes the context features of the level, before its first plane."""
        state, coarser = self._state, self._coarser

        def compute(batch: tuple[slice, Positions]) -> Array:
            _, areas = batch
            coarse_context = coarser.coarse_context(areas) if coarser else None
            neighborhoods = gather_neighborhoods(z_hat, areas)
            at = self._qualities.of_z(level, areas)
            return self.engine.compute_context(level, neighborhoods, coarse_context, at)

        batches = self._batches(state.areas, self._positions(level) // HYPER_STRIDE**2)
        for (part, areas), features in compute_ahead(batches, compute):
            count = part.stop - part.start
            state.set_context(areas.first(count), features[:count])
        self._coarser = None

    def _hidden_features(self, level: int, parity: Parity) -> np.ndarray:
        """Hidden features int8 of the coded positions of a plane, [n, ·]."""
        state = self._state

        def compute(batch: tuple[slice, Positions]) -> Array:
            _, at = batch
            neighbors, features = state.neighbor_embeddings(at), state.context_features(at)
            inputs = (neighbors, features, self._qualities.at(level, at))
            return self.engine.hidden_features(level, PLANES.index(parity), *inputs)

        positions = state.planes[parity]
        hidden = np.empty((len(positions.rows), 2 * self.config.hidden), np.int8)
        batches = self._batches(positions, self._plane_positions(level))
        for (part, _), features in compute_ahead(batches, compute):
            hidden[part] = features[: part.stop - part.start]
        return hidden

    def _predict(
        self,
        level: int,
        group: int,
        hidden: np.ndarray,
        symbols: list[np.ndarray],
        at: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """mu int16 and scale indices uint8 of a group of channels, [n, ·].

        From the hidden features [n, ·], the symbols [n, ·] of each earlier group, and the qualities
        [n] where they differ.
        """
        size, channels = self._plane_positions(level), self._groups[level][group]

        def compute(part: slice) -> tuple[Array, Array]:
            rows = part.stop - part.start
            earlier = np.zeros((rows, channels.start), np.int32)
            if symbols:
                np.concatenate([values[part] for values in symbols], axis=1, out=earlier)
            values = (hidden[part], earlier, *([] if at is None else [at[part]]))
            if self.engine.fixed_shapes:
                values = tuple(zero_pad(v, size) for v in values)
            return self.engine.predict(level, group, *values)

        shape = (len(hidden), channels.stop - channels.start)
        mu, index = np.empty(shape, np.int16), np.empty(shape, np.uint8)
        parts = (slice(i, min(i + size, len(hidden))) for i in range(0, len(hidden), size))
        for part, prediction in compute_ahead(parts, compute):
            mu[part], index[part] = (v[: part.stop - part.start] for v in prediction)
        return mu, index

    def _update_plane(
        self, level: int, parity: Parity, mu: np.ndarray, symbols: np.ndarray
    ) -> None:
        """Adds the decoded latents of a plane to the state."""
        state, size = self._state, self._plane_positions(level)

        def compute(batch: tuple[slice, Positions]) -> tuple[Array, Array]:
            part, at = batch
            values = (mu[part], symbols[part].astype(np.int32))
            if self.engine.fixed_shapes:
                values = tuple(zero_pad(v, size) for v in values)
            inputs = (*values, state.d[at.rows, at.columns], self._qualities.at(level, at))
            return self.engine.update_plane(level, *inputs)

        for (part, at), updated in compute_ahead(
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
        return positions.batches(size, self.engine.fixed_shapes)

    def _positions(self, level: int) -> int:
        """How many positions of a level are computed at a time, in all planes."""
        return math.prod(self._tile_shape) * (BLOCK // STRIDES[level]) ** 2

    def _plane_positions(self, level: int) -> int:
        """How many positions of a plane of a level are computed at a time."""
        return self._positions(level) // len(PLANES)

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
        covering = tiles.cover(grid, self._tile_sides[level], margin)
        for tile, values in compute_ahead(covering, compute):
            whole[tile.core_slices(factor)] = tile.crop_core(values, factor)
        return whole


def _joined(groups: list[np.ndarray]) -> np.ndarray:
    """Groups of channels [n, ·] side by side; one alone is not copied."""
    return groups[0] if len(groups) == 1 else np.concatenate(groups, axis=1)
