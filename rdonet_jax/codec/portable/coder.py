"""The walk of a portable model with a range coder in hand.

Encoder and decoder run the same function, level by level and plane by plane; they differ in where a
run's symbols come from, an `CodeRun`. The tables of a run follow from integers that were exchanged
before, by exact arithmetic: the file decodes to the same symbols on every device. Only what makes
images of symbols, or symbols of images, is floats, and a pixel may differ by a gray level.

An image of any size takes the same compiled steps: transforms go over windows, priors over lists
of positions. What a level knows lies on the host.
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
from rdonet_jax.codec.portable import steps, tiles
from rdonet_jax.codec.portable.state import Level, Positions, around, filled_up, needed
from rdonet_jax.codec.portable.tiles import Tile
from rdonet_jax.core import partition
from rdonet_jax.core.config import LEVELS, PortableConfig
from rdonet_jax.core.partition import BLOCK, HYPER_STRIDE, STRIDES
from rdonet_jax.entropy import dead_zone
from rdonet_jax.entropy.range_coder import Run
from rdonet_jax.models.hierarchy import COARSEST
from rdonet_jax.models.portable import integer_prior
from rdonet_jax.models.portable.integer_prior import GRID, PLANES, Parity

CodeRun = Callable[[np.ndarray, Callable[[], np.ndarray]], np.ndarray]
"""(table indices of a run [N], what an encoder would send) -> the run's symbols, integers [N].

An encoder calls the second argument and sends what it gives; a decoder reads the symbols.
"""

AHEAD = 2
"""Calls that are under way while the result of one before them is taken."""

Item = TypeVar("Item")


class EncoderLatents:
    """What the encoder wants of a level, in steps: z [·, ·, ·], and y of the coded positions."""

    def __init__(
        self, level: Level, latents: int, z_shape: tuple[int, ...], bounds: np.ndarray
    ) -> None:
        """`bounds` are those of the dead zone, by table."""
        self.z, self._bounds = np.empty(z_shape, np.float32), bounds
        self._mask, self._y, self._rows = level.mask, {}, np.zeros(level.mask.shape, np.int64)
        for parity, at in level.planes.items():
            self._y[parity] = np.empty((len(at.rows), latents), np.float32)
            self._rows[at.rows, at.columns] = np.arange(len(at.rows))

    def take(self, tile: Tile, y: np.ndarray, z: np.ndarray) -> None:
        """Takes the core of a window of areas."""
        self.z[tile.place()] = tile.core(z)
        where = tile.place(HYPER_STRIDE)
        mask, rows = self._mask[where], self._rows[where]
        y = tile.core(y, HYPER_STRIDE)[: mask.shape[0], : mask.shape[1]]
        for (dy, dx), kept in self._y.items():
            coded = mask[dy::2, dx::2]
            kept[rows[dy::2, dx::2][coded]] = y[dy::2, dx::2][coded]

    def symbols(self, parity: Parity, mu: np.ndarray, index: np.ndarray) -> np.ndarray:
        """y - mu of a plane, quantized, [N] float32; y is given up for it."""
        y = self._y.pop(parity)
        for first in range(0, len(y), 4096):
            part = slice(first, first + 4096)
            offset = y[part] - mu[part] / np.float32(GRID)
            np.rint(dead_zone.apply(offset, self._bounds[index[part]]), out=y[part])
        return y.ravel()


class PortableLevelCoder(level_coder.LevelCoder):
    """The walk for one image of `size` = (height, width): where each level is coded, bool [h, w].

    `quality` is on the scale of the configuration, 0 to `steps_of_quality`.
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
        self.grid = grid = partition.grid_of(*size)
        self._reach = [tuple(partition.reach(n, level) for n in size) for level in range(LEVELS)]
        self.quality = np.array([quality], np.int32)
        self._at = steps.at_quality(config, params, self.quality)
        self._shape = tiles.tile_shape_for(grid)
        self._needed = needed(masks)
        self._features: dict[int, np.ndarray] = {}
        self._coarser: Level | None = None
        start = np.zeros((*grid, config.features[COARSEST]), np.float32)
        self._level = Level(config, masks[COARSEST], self._needed[COARSEST], start)
        self._stands_at = COARSEST
        self._unlearnt: dict[int, np.ndarray] = {}

    def analyze(self, image: np.ndarray) -> None:
        config, params, stride = self.config, self.params, STRIDES[0]

        def finest(tile: Tile, reach: tuple[int, int]) -> jax.Array:
            pixels = tiles.cut(image, tile, stride)
            return steps.analyze(config, params, pixels, tile.extent(reach) * stride)

        grid, reach = self.masks[0].shape, self._reach[0]
        padded = functools.partial(finest, reach=grid)
        ended = functools.partial(finest, reach=reach)
        e = self._transformed(0, tiles.MARGIN, padded, config.features[0])
        self._features[0] = e
        for level in range(1, LEVELS):
            finer = self._features[level - 1]

            def coarser(tile: Tile, level: int = level, e: np.ndarray = finer) -> jax.Array:
                extent = tile.extent(e.shape[:2], 2)
                return steps.coarsen(config, level, params, tiles.cut(e, tile, 2), extent)

            self._features[level] = self._transformed(level, 2, coarser, config.features[level])
        # What the finest level codes is an image that ends with its last positions.
        all_windows = tiles.over(grid, tiles.sides_at(self._shape, 0), tiles.MARGIN)
        last = (w for w in all_windows if np.any(w.extent(reach) < w.extent(grid)))
        for tile, found in _in_turn(last, ended):
            e[tile.place()] = tile.core(found)

    def encode_level(self, level: int, continues: bool) -> list[Run]:
        self._arrive(level)
        runs: list[Run] = []

        def code_run(indices: np.ndarray, proposed: Callable[[], np.ndarray]) -> np.ndarray:
            runs.append((proposed(), indices))
            return runs[-1][0]

        self.code_level(level, code_run, self.encoder_latents(level), continues)
        return runs

    def decode_level(self, level: int, take: level_coder.ReadSymbols) -> None:
        self.code_level(level, lambda indices, _: take(indices), None)

    def picture(self, is_16bit: bool = False) -> np.ndarray:
        def synthesised(tile: Tile) -> jax.Array:
            return steps.synthesize(self.config, is_16bit, self.params, *self._settled(0, tile))

        self._arrive(0)
        dtype = np.uint16 if is_16bit else np.uint8
        return self._transformed(0, tiles.MARGIN, synthesised, 3, STRIDES[0], dtype)

    def encoder_latents(self, level: int) -> EncoderLatents:
        """Encoder only: what a level is to say, by its feature, which is given up for it."""
        e, d = self._features.pop(level), self._level.d
        areas = tuple(-(-side // HYPER_STRIDE) for side in self.masks[level].shape)
        z_shape = (*areas, self.config.hyper_latents[level])
        bounds = dead_zone.zero_bounds(self.config.distribution)
        found = EncoderLatents(self._level, self.config.latents[level], z_shape, bounds)

        def proposed(tile: Tile) -> tuple[jax.Array, jax.Array]:
            given = (tiles.cut(v, tile, HYPER_STRIDE) for v in (e, d))
            extent = tile.extent(e.shape[:2], HYPER_STRIDE)
            return steps.encode_latents(
                self.config, level, self.params, *given, self.quality, extent
            )

        rows, columns = tiles.sides_at(self._shape, level)
        sides = rows // HYPER_STRIDE, columns // HYPER_STRIDE
        for tile, (y, z) in _in_turn(tiles.over(areas, sides, 1), proposed):
            found.take(tile, y, z)
        return found

    def code_level(
        self,
        level: int,
        code_run: CodeRun,
        encoder_latents: EncoderLatents | None,
        continues: bool = True,
    ) -> None:
        """Past a level, exchanging its runs: the hyper-latents, then the latents plane by plane.

        `encoder_latents` is None in a decoder. The planes that are decoded last are taken into the
        state only if the coder `continues` with the next level. Raises `SymbolError` where an
        encoder would send numbers that cannot be coded.
        """
        runs: list[np.ndarray] = []

        def run(indices: np.ndarray, proposed: Callable[[], np.ndarray]) -> np.ndarray:
            symbols = code_run(indices, lambda: level_coder.integers(proposed()))
            runs.append(level_coder.narrowed(symbols))
            return runs[-1]

        groups = integer_prior.DECODE_ORDER[self.config.context]
        # A decoder reads these first, and goes past levels that hold nothing only when a finer one
        # has begun: a short file that claims a large image is refused before the work.
        z_hat = self._hyper_latents(level, run, encoder_latents)
        if encoder_latents is None and not self.masks[level].any():
            self._unlearnt[level] = z_hat
            for _ in itertools.chain(*groups):
                run(np.zeros(0, np.uint8), lambda: None)
            self.record(level, runs)
            return
        self._arrive(level)
        self._learn(level, z_hat)
        for group in groups:
            decoded: dict[Parity, tuple[np.ndarray, np.ndarray]] = {}
            for parity in group:
                mu, index = self._predicted(level, parity)

                def proposed(
                    parity: Parity = parity, mu: np.ndarray = mu, index: np.ndarray = index
                ) -> np.ndarray:
                    return encoder_latents.symbols(parity, mu, index)

                symbols = run(index.ravel(), proposed)
                decoded[parity] = mu, symbols.reshape(mu.shape)
            if continues or group != groups[-1]:
                for parity, state in decoded.items():
                    self._update_plane(level, parity, *state)
        self.record(level, runs)

    def _hyper_latents(
        self, level: int, run: CodeRun, encoder_latents: EncoderLatents | None
    ) -> np.ndarray:
        """z_hat int32 [·, ·, ·], 0 where not coded."""
        coded = partition.hyper_mask(self.masks[level])
        index = np.asarray(self._at[level].z_index)
        symbols = run(
            np.tile(index, np.count_nonzero(coded)),
            lambda: np.rint(encoder_latents.z[coded]).ravel(),
        )
        z_hat = np.zeros((*coded.shape, len(index)), np.int32)
        z_hat[coded] = symbols.reshape(-1, len(index))
        return z_hat

    def _learn(self, level: int, z_hat: np.ndarray) -> None:
        """What is known before the first plane."""
        state, quality_basis = self._level, self._at[level].quality_basis

        def learnt(item: tuple[slice, Positions]) -> jax.Array:
            coarser = self._coarser.coarse_context(item[1]) if self._coarser else None
            given = around(z_hat, item[1]), coarser, quality_basis
            return steps.compute_context(self.config, level, self.params, *given)

        lists = state.areas.lists(self._positions(level) // HYPER_STRIDE**2)
        for (part, areas), found in _in_turn(lists, learnt):
            count = part.stop - part.start
            state.set_context(areas.first(count), found[:count])
        self._coarser = None

    def _predicted(self, level: int, parity: Parity) -> tuple[np.ndarray, np.ndarray]:
        """mu int16 and table indices uint8 of the coded positions of a plane, [n, L]."""
        state, at = self._level, self._at[level]
        which = np.array([[parity == other for other in PLANES]], np.float32)

        def predicted(item: tuple[slice, Positions]) -> tuple[jax.Array, jax.Array]:
            given = state.neighbours(item[1]), state.context_features(item[1])
            return steps.predict(self.config, level, self.params, which, *given, at)

        positions = state.planes[parity]
        shape = (len(positions.rows), self.config.latents[level])
        mu, index = np.empty(shape, np.int16), np.empty(shape, np.uint8)
        lists = positions.lists(self._positions(level) // len(PLANES))
        for (part, _), found in _in_turn(lists, predicted):
            mu[part], index[part] = (v[: part.stop - part.start] for v in found)
        return mu, index

    def _update_plane(
        self, level: int, parity: Parity, mu: np.ndarray, symbols: np.ndarray
    ) -> None:
        """Goes past a plane with its symbols."""
        state, gains = self._level, self._at[level].gains
        size = self._positions(level) // len(PLANES)

        def updated(item: tuple[slice, Positions]) -> tuple[jax.Array, jax.Array]:
            part, at = item
            values = (mu[part], symbols[part].astype(np.int32))
            given = (*(filled_up(v, size) for v in values), state.d[at.rows, at.columns], gains)
            return steps.update_plane(self.config, level, self.params, *given)

        for (part, at), found in _in_turn(state.planes[parity].lists(size), updated):
            count = part.stop - part.start
            state.update_plane(at.first(count), *(v[:count] for v in found))

    def _arrive(self, level: int) -> None:
        """At a level, from wherever the walk still stands."""
        while self._stands_at != level:
            if self._stands_at in self._unlearnt:
                self._learn(self._stands_at, self._unlearnt.pop(self._stands_at))
            self._hand_on(self._stands_at)
            self._stands_at -= 1

    def _hand_on(self, level: int) -> None:
        """To the next finer level."""

        def handed_on(tile: Tile) -> jax.Array:
            given = self._settled(level, tile)
            return steps.upsample(self.config, level, self.params, *given)

        finer = level - 1
        channels = self.config.features[finer]
        d = self._transformed(level, 2, handed_on, channels, 2)
        self._coarser = self._level.without_features()
        self._level = Level(self.config, self.masks[finer], self._needed[finer], d)

    def _settled(self, level: int, tile: Tile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What a window sees of d, where that is settled, and how far the image reaches.

        Beyond that nothing is known: it lies outside the image and is not coded.
        """
        state = self._level
        seen = tiles.cut(state.d, tile), tiles.cut(state.mask, tile)
        return *seen, tile.extent(self._reach[level])

    def _positions(self, level: int) -> int:
        """How many positions of a level compiled steps take at a time, in all planes."""
        return math.prod(self._shape) * (BLOCK // STRIDES[level]) ** 2

    def _transformed(
        self,
        level: int,
        margin: int,
        step: Callable[[Tile], jax.Array],
        channels: int,
        factor: int = 1,
        dtype: Any = np.float32,
    ) -> np.ndarray:
        """What a step gives in all windows over a level: [factor · h, factor · w, channels]."""
        grid = self.masks[level].shape
        whole = np.empty((factor * grid[0], factor * grid[1], channels), dtype)
        sides = tiles.sides_at(self._shape, level)
        for tile, found in _in_turn(tiles.over(grid, sides, margin), step):
            whole[tile.place(factor)] = tile.core(found, factor)
        return whole


def _in_turn(items: Iterable[Item], step: Callable[[Item], Any]) -> Iterator[tuple[Item, Any]]:
    """What a compiled step gives for each item, on the host, while the next ones are computed."""
    under_way: deque[tuple[Item, Any]] = deque()
    for item in items:
        under_way.append((item, step(item)))
        if len(under_way) > AHEAD:
            yield _on_host(*under_way.popleft())
    while under_way:
        yield _on_host(*under_way.popleft())


def _on_host(item: Item, found: Any) -> tuple[Item, Any]:
    return item, jax.tree_util.tree_map(np.asarray, found)


class PortableCodec(FamilyCodec):
    """The codec of the portable networks. Its files decode everywhere."""

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
        return working_set.in_tiles(config, grid)

    def searching_bytes(self, config: PortableConfig, grid: tuple[int, int]) -> int:
        return working_set.of_search(config.features, working_set.tile_scalars(config), grid)

    def jitted_steps(self) -> tuple[Any, ...]:
        return steps.jitted_steps()


CODEC = PortableCodec()
