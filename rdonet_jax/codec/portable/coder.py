"""The level coder of the portable models.

Encoder and decoder run the same function, level by level and plane by plane. They differ only in
where the symbols of a run come from (`level_coder.CodeRun`). The tables of a run follow by exact
integer arithmetic from symbols that were coded before, so a file decodes to the same symbols on
every device. Only the transforms between pixels and latents use floats. Between devices, pixels may
differ by one gray level.

Images of any size take the same compiled functions (`codec.portable.steps`): transforms of tiles,
priors of lists of positions. The arrays of the whole image are in host memory.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np

from rdonet_jax.codec import level_coder, working_set
from rdonet_jax.codec.family_codec import FamilyCodec
from rdonet_jax.codec.level_coder import CodeRun
from rdonet_jax.codec.portable import steps, tiles
from rdonet_jax.codec.portable.encoder_latents import EncoderLatents
from rdonet_jax.codec.portable.state import (
    LevelState,
    Positions,
    gather_neighborhoods,
    masks_with_finer,
    zero_pad,
)
from rdonet_jax.codec.portable.tiles import Tile
from rdonet_jax.core import partition
from rdonet_jax.core.config import LEVELS, PortableConfig
from rdonet_jax.core.partition import BLOCK, HYPER_STRIDE, STRIDES
from rdonet_jax.entropy import dead_zone
from rdonet_jax.entropy.range_coder import Run
from rdonet_jax.models.hierarchy import COARSEST
from rdonet_jax.models.portable import integer_prior
from rdonet_jax.models.portable.integer_prior import PLANES, Parity

PIPELINE_DEPTH = 2
"""Calls of a compiled step that are dispatched before the result of an earlier one is fetched."""

_COARSE_MARGIN = 2
"""Margin of tiles for transforms between levels, in positions of the coarser one."""

_LATENTS_MARGIN = 1
"""Margin of tiles for `steps.encode_latents`, in hyper-latents."""

Item = TypeVar("Item")


class PortableLevelCoder(level_coder.LevelCoder):
    """Codes one image with a portable model.

    Args:
      masks: by level, where it is coded, bool [h, w].
      quality: on the scale of the configuration, 0 to `steps_of_quality`.
      size: height and width of the image in pixels.
    """

    def __init__(
        self,
        config: PortableConfig,
        params: Any,
        masks: tuple[np.ndarray, ...],
        quality: int,
        size: tuple[int, int],
    ) -> None:
        super().__init__()
        self.config, self.params, self.masks = config, params, masks
        self.quality = np.array([quality], np.int32)
        self._by_quality = steps.quality_parameters(config, params, self.quality)
        grid = partition.grid_of(*size)
        self._tile_shape = tiles.tile_shape_for(grid)
        # By level, the rows and columns of positions that have a pixel of the image.
        self._extents = [tuple(partition.reach(n, level) for n in size) for level in range(LEVELS)]
        self._needed = masks_with_finer(masks)
        self._features: dict[int, np.ndarray] = {}  # of the encoder, by level
        # The state at the level that the coder has reached, and that of the next coarser level. The
        # latter is dropped when the context has been computed.
        self._state_level = COARSEST
        d = np.zeros((*grid, config.features[COARSEST]), np.float32)
        self._state = LevelState(config, masks[COARSEST], self._needed[COARSEST], d)
        self._coarser: LevelState | None = None
        # Decoder only: z_hat of levels without coded positions, see `_code_level`.
        self._pending_z: dict[int, np.ndarray] = {}

    def analyze(self, image: np.ndarray) -> None:
        grid = self.masks[0].shape
        analyze_padded = functools.partial(self._analyze_tile, image, grid)
        channels = self.config.features[0]
        self._features[0] = self._transform(0, tiles.MARGIN, analyze_padded, channels)
        for level in range(1, LEVELS):
            coarsen = functools.partial(self._coarsen_tile, level, self._features[level - 1])
            channels = self.config.features[level]
            self._features[level] = self._transform(level, _COARSE_MARGIN, coarsen, channels)
        # The coarser levels have the features of the padded image. Those of the finest level are
        # of the image that ends with the last coded positions, see `models.portable.network`.
        extent = self._extents[0]
        analyze_unpadded = functools.partial(self._analyze_tile, image, extent)
        sides = tiles.tile_sides(self._tile_shape, 0)
        all_tiles = tiles.cover(grid, sides, tiles.MARGIN)
        with_padding = (t for t in all_tiles if np.any(t.extent(extent) < t.extent(grid)))
        for tile, e in _map_pipelined(analyze_unpadded, with_padding):
            self._features[0][tile.core_slices()] = tile.crop_core(e)

    def encode_level(self, level: int, continues: bool) -> list[Run]:
        self._advance_to(level)
        runs: list[Run] = []
        latents = self._encode_latents(level)
        self._code_level(level, level_coder.encoder_run(runs), latents, continues)
        return runs

    def decode_level(self, level: int, read_symbols: level_coder.ReadSymbols) -> None:
        self._code_level(level, level_coder.decoder_run(read_symbols), None)

    def reconstruct(self, is_16bit: bool = False) -> np.ndarray:
        self._advance_to(0)

        def synthesize(tile: Tile) -> jax.Array:
            return steps.synthesize(self.config, is_16bit, self.params, *self._cut_state(tile))

        dtype = np.uint16 if is_16bit else np.uint8
        return self._transform(0, tiles.MARGIN, synthesize, 3, STRIDES[0], dtype)

    def _analyze_tile(self, image: np.ndarray, extent: tuple[int, int], tile: Tile) -> jax.Array:
        """e[0] of a tile of an image that ends after `extent` positions."""
        pixels = tiles.cut(image, tile, STRIDES[0])
        return steps.analyze(self.config, self.params, pixels, tile.extent(extent) * STRIDES[0])

    def _coarsen_tile(self, level: int, finer: np.ndarray, tile: Tile) -> jax.Array:
        """e[level] of a tile, from e[level - 1] of the image."""
        e, extent = tiles.cut(finer, tile, 2), tile.extent(finer.shape[:2], 2)
        return steps.coarsen(self.config, level, self.params, e, extent)

    def _encode_latents(self, level: int) -> EncoderLatents:
        """Encoder only: y and z of a level. Drops its features, which are not needed again."""
        e, d = self._features.pop(level), self._state.d
        config = self.config
        z_grid = partition.hyper_mask(self.masks[level]).shape
        latents = EncoderLatents(
            self._state.planes,
            self.masks[level].shape,
            (config.latents[level], config.hyper_latents[level]),
            dead_zone.zero_bounds(config.distribution),
        )

        def encode_tile(tile: Tile) -> tuple[jax.Array, jax.Array]:
            e_tile, d_tile = (tiles.cut(v, tile, HYPER_STRIDE) for v in (e, d))
            extent = tile.extent(e.shape[:2], HYPER_STRIDE)
            return steps.encode_latents(
                config, level, self.params, e_tile, d_tile, self.quality, extent
            )

        rows, columns = tiles.tile_sides(self._tile_shape, level)
        sides = rows // HYPER_STRIDE, columns // HYPER_STRIDE
        z_tiles = tiles.cover(z_grid, sides, _LATENTS_MARGIN)
        for tile, (y, z) in _map_pipelined(encode_tile, z_tiles):
            latents.store_tile(tile, y, z)
        return latents

    def _code_level(
        self,
        level: int,
        code_run: CodeRun,
        latents: EncoderLatents | None,
        continues: bool = True,
    ) -> None:
        """Codes the runs of a level: the hyper-latents, then the latents plane by plane.

        `latents` is None in a decoder. The planes of the last step update the state only if the
        coder `continues`.
        """
        symbols: list[np.ndarray] = []
        code_run = level_coder.recorded_run(code_run, symbols)
        z_hat = self._code_hyper_latents(level, code_run, latents)
        groups = integer_prior.DECODE_ORDER[self.config.context]
        if latents is None and not self.masks[level].any():
            # The context of this level is computed when a finer level has its first symbols. So a
            # short file that claims a large image is refused before the work.
            self._pending_z[level] = z_hat
            for _ in itertools.chain(*groups):
                code_run(np.zeros(0, np.uint8), lambda: None)
        else:
            self._advance_to(level)
            self._compute_context(level, z_hat)
            for group in groups:
                # No plane of a group is context for another one of it.
                decoded = {p: self._code_plane(level, p, code_run, latents) for p in group}
                if continues or group != groups[-1]:
                    for parity, (mu, plane_symbols) in decoded.items():
                        self._update_plane(level, parity, mu, plane_symbols)
        self.record(level, symbols)

    def _code_hyper_latents(
        self, level: int, code_run: CodeRun, latents: EncoderLatents | None
    ) -> np.ndarray:
        """Codes z. Returns z_hat int32 [ceil(h/4), ceil(w/4), ·], 0 where not coded."""
        coded = partition.hyper_mask(self.masks[level])
        channel_index = np.asarray(self._by_quality[level].z_index)
        index = np.tile(channel_index, np.count_nonzero(coded))
        symbols = code_run(index, lambda: np.rint(latents.z[coded]))
        z_hat = np.zeros((*coded.shape, len(channel_index)), np.int32)
        z_hat[coded] = symbols.reshape(-1, len(channel_index))
        return z_hat

    def _code_plane(
        self, level: int, parity: Parity, code_run: CodeRun, latents: EncoderLatents | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Codes y of a plane. Returns mu and the symbols, [n, L]."""
        mu, index = self._predict(level, parity)
        symbols = code_run(index.ravel(), lambda: latents.quantize_plane(parity, mu, index))
        return mu, symbols.reshape(mu.shape)

    def _compute_context(self, level: int, z_hat: np.ndarray) -> None:
        """Sets the context features of the state, from z_hat and the coarser level."""
        state, quality_basis = self._state, self._by_quality[level].quality_basis

        def compute_context(batch: tuple[slice, Positions]) -> jax.Array:
            _, areas = batch
            coarser = self._coarser.coarse_context(areas) if self._coarser else None
            z_neighborhood = gather_neighborhoods(z_hat, areas)
            return steps.compute_context(
                self.config, level, self.params, z_neighborhood, coarser, quality_basis
            )

        batches = state.areas.batches(self._positions_per_tile(level) // HYPER_STRIDE**2)
        for (part, areas), features in _map_pipelined(compute_context, batches):
            count = part.stop - part.start
            state.set_context(areas.first(count), features[:count])
        self._coarser = None

    def _predict(self, level: int, parity: Parity) -> tuple[np.ndarray, np.ndarray]:
        """mu int16 in 1/16 step and scale indices uint8 of a plane's coded positions, [n, L]."""
        state, by_quality = self._state, self._by_quality[level]
        one_hot = np.array([[parity == other for other in PLANES]], np.float32)

        def predict(batch: tuple[slice, Positions]) -> tuple[jax.Array, jax.Array]:
            _, positions = batch
            neighbors = state.neighbor_embeddings(positions)
            features = state.context_features(positions)
            return steps.predict(
                self.config, level, self.params, one_hot, neighbors, features, by_quality
            )

        positions = state.planes[parity]
        shape = (len(positions.rows), self.config.latents[level])
        mu, index = np.empty(shape, np.int16), np.empty(shape, np.uint8)
        batches = positions.batches(self._positions_per_tile(level) // len(PLANES))
        for (part, _), prediction in _map_pipelined(predict, batches):
            mu[part], index[part] = (v[: part.stop - part.start] for v in prediction)
        return mu, index

    def _update_plane(
        self, level: int, parity: Parity, mu: np.ndarray, symbols: np.ndarray
    ) -> None:
        """Adds the decoded latents of a plane to the state, from mu and symbols [n, L]."""
        state, gains = self._state, self._by_quality[level].gains
        size = self._positions_per_tile(level) // len(PLANES)

        def update_plane(batch: tuple[slice, Positions]) -> tuple[jax.Array, jax.Array]:
            part, positions = batch
            mu_part = zero_pad(mu[part], size)
            symbols_part = zero_pad(symbols[part].astype(np.int32), size)
            d = state.d[positions.rows, positions.columns]
            return steps.update_plane(
                self.config, level, self.params, mu_part, symbols_part, d, gains
            )

        batches = state.planes[parity].batches(size)
        for (part, positions), (embeddings, d) in _map_pipelined(update_plane, batches):
            count = part.stop - part.start
            state.update_plane(positions.first(count), embeddings[:count], d[:count])

    def _advance_to(self, level: int) -> None:
        """Computes the state before `level` from that of the level that the coder has reached."""
        while self._state_level != level:
            if self._state_level in self._pending_z:
                self._compute_context(self._state_level, self._pending_z.pop(self._state_level))
            self._upsample()

    def _upsample(self) -> None:
        """Replaces the state by that of the next finer level."""
        level, finer = self._state_level, self._state_level - 1

        def upsample(tile: Tile) -> jax.Array:
            return steps.upsample(self.config, level, self.params, *self._cut_state(tile))

        d = self._transform(level, _COARSE_MARGIN, upsample, self.config.features[finer], 2)
        self._coarser = self._state.drop_features()
        self._state = LevelState(self.config, self.masks[finer], self._needed[finer], d)
        self._state_level = finer

    def _cut_state(self, tile: Tile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Arguments of `steps.upsample` and `synthesize`: d and mask of a tile, and its extent."""
        state, extent = self._state, tile.extent(self._extents[self._state_level])
        return tiles.cut(state.d, tile), tiles.cut(state.mask, tile), extent

    def _positions_per_tile(self, level: int) -> int:
        """How many positions of a level lie in 64×64 blocks of a tile; lists are as long."""
        return math.prod(self._tile_shape) * (BLOCK // STRIDES[level]) ** 2

    def _transform(
        self,
        level: int,
        margin: int,
        step: Callable[[Tile], jax.Array],
        channels: int,
        factor: int = 1,
        dtype: Any = np.float32,
    ) -> np.ndarray:
        """Joins the results of a step for all tiles of a level: [factor h, factor w, channels]."""
        rows, columns = self.masks[level].shape
        joined = np.empty((factor * rows, factor * columns, channels), dtype)
        sides = tiles.tile_sides(self._tile_shape, level)
        for tile, values in _map_pipelined(step, tiles.cover((rows, columns), sides, margin)):
            joined[tile.core_slices(factor)] = tile.crop_core(values, factor)
        return joined


def _map_pipelined(
    step: Callable[[Item], Any], items: Iterable[Item]
) -> Iterator[tuple[Item, Any]]:
    """Each item with the result of a compiled step as NumPy arrays, in order.

    Results are fetched while the next items are computed.
    """
    dispatched: deque[tuple[Item, Any]] = deque()
    for item in items:
        dispatched.append((item, step(item)))
        if len(dispatched) > PIPELINE_DEPTH:
            yield _fetch(*dispatched.popleft())
    while dispatched:
        yield _fetch(*dispatched.popleft())


def _fetch(item: Item, result: Any) -> tuple[Item, Any]:
    return item, jax.tree_util.tree_map(np.asarray, result)


class PortableCodec(FamilyCodec):
    """The codec of the portable models. Their files decode on every device."""

    def level_coder(
        self,
        config: PortableConfig,
        params: Any,
        masks: tuple[np.ndarray, ...],
        size: tuple[int, int],
        quality: int | None,
    ) -> PortableLevelCoder:
        return PortableLevelCoder(config, params, masks, quality, size)

    def working_set_bytes(self, config: PortableConfig, grid: tuple[int, int]) -> int:
        return working_set.tiled_bytes(config, grid)

    def searching_bytes(self, config: PortableConfig, grid: tuple[int, int]) -> int:
        return working_set.search_bytes(config.features, working_set.portable_scalars(config), grid)

    def jitted_steps(self) -> tuple[Any, ...]:
        return steps.jitted_steps()


CODEC = PortableCodec()
