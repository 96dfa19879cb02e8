"""The walk of a baseline with a range coder in hand; its files are bound to a platform.

There is one level to walk past. As in `fixed_codec`, the encoder takes the decoder's own compiled
steps (`conditions`, `predict`, `predict_front`, `place`, `synthesize`). A context model goes
wavefront by wavefront in both directions: `predict_front` has one shape for all of them, so a
image of any size takes two compiled functions, and the encoder predicts each position from the
very numbers that the decoder will have.

Tables of the factorized prior come with the weights and are chosen by channel, so nothing of them
is computed here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.codec import level_coder, working_set
from rdonet_jax.codec.family_codec import FamilyCodec
from rdonet_jax.codec.rdonet import this_platform
from rdonet_jax.core import compilation, partition
from rdonet_jax.core.config import BaselineConfig
from rdonet_jax.entropy import distributions
from rdonet_jax.entropy.range_coder import Run
from rdonet_jax.metrics import distortion
from rdonet_jax.models import registry
from rdonet_jax.models.baselines import context
from rdonet_jax.models.baselines.context import Wavefront

Symbols = Callable[[np.ndarray, Callable[[], Any]], np.ndarray]
"""(table indices of a run, what the encoder would send) -> the run's symbols, both 1-D."""


def _apply(config: BaselineConfig, params: Any, method: str, *arguments: Any) -> Any:
    network = registry.family_of(config).network(config)
    return network.apply({"params": params}, *arguments, method=method)


@functools.partial(compilation.jit, static_argnums=0)
def analyze(config: BaselineConfig, params: Any, pixels: jax.Array) -> jax.Array:
    """Padded pixels uint8 or uint16 [1, H, W, 3] -> y [1, h, w, M]; encoder only."""
    return _apply(config, params, "analyze", distortion.from_integers(pixels))[0]


@functools.partial(compilation.jit, static_argnums=0)
def encode_latents(config: BaselineConfig, params: Any, y: jax.Array) -> jax.Array:
    """Rounded z [1, h/4, w/4, N]; encoder only."""
    return jnp.round(_apply(config, params, "hyper_analyze", y))


@functools.partial(compilation.jit, static_argnums=0)
def conditions(config: BaselineConfig, params: Any, z_hat: jax.Array) -> jax.Array:
    """What z_hat, int32, tells of y, [1, h, w, 2 M]."""
    return _apply(config, params, "hyper_synthesize", z_hat.astype(jnp.float32))


@functools.partial(compilation.jit, static_argnums=0)
def predict(config: BaselineConfig, params: Any, known: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Without a context: mu of y and the index of its scale's table, [1, h, w, M]."""
    prior = _apply(config, params, "predict_y", known)
    return prior.mu, distributions.scale_index(prior.scale, config.distribution)


@functools.partial(compilation.jit, static_argnums=0)
def predict_front(
    config: BaselineConfig, params: Any, known: jax.Array, frame: jax.Array, number: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """With a context: mu and table index of the positions of a wavefront, [1, P, M]."""
    at = context.wavefront(number, known.shape[1:3])
    neighbours = context.gather_taps_at(frame, at)
    prior = _apply(config, params, "predict_y", context.gather_at(known, at), neighbours)
    return prior.mu, distributions.scale_index(prior.scale, config.distribution)


@compilation.jit
def quantize(y: jax.Array, mu: jax.Array) -> jax.Array:
    """The symbols round(y - mu), as float32 integers; encoder only."""
    return jnp.round(y - mu)


@functools.partial(compilation.jit, static_argnums=2)
def quantise_front(
    y: jax.Array, mu: jax.Array, grid: tuple[int, int], number: jax.Array
) -> jax.Array:
    """The same for the positions of a wavefront; encoder only."""
    return jnp.round(context.gather_at(y, context.wavefront(number, grid)) - mu)


@functools.partial(compilation.jit, static_argnums=3)
def place(
    frame: jax.Array, mu: jax.Array, symbols: jax.Array, grid: tuple[int, int], number: jax.Array
) -> jax.Array:
    """The frame with a wavefront's y_hat; symbols int32 are 0 where nothing is coded."""
    at = context.wavefront(number, grid)
    return context.scatter_at(frame, at, mu + symbols.astype(jnp.float32))


@functools.partial(compilation.jit, static_argnums=(0, 1))
def synthesize(config: BaselineConfig, is_16bit: bool, params: Any, y_hat: jax.Array) -> jax.Array:
    """y_hat [1, h, w, M] -> padded pixels uint8 [1, H, W, 3], or uint16 if `is_16bit`."""
    x_hat = _apply(config, params, "synthesize", y_hat)
    return distortion.to_16_bit(x_hat) if is_16bit else distortion.to_8_bit(x_hat)


def jitted_steps() -> tuple[Any, ...]:
    """All compiled functions of this walk, for counting their compilations."""
    encoder = (analyze, encode_latents, quantize, quantise_front)
    return *encoder, conditions, predict, predict_front, place, synthesize


class BaselineLevelCoder(level_coder.LevelCoder):
    """The walk for one image whose positions inside it are `mask`, bool [h, w]."""

    def __init__(self, config: BaselineConfig, params: Any, mask: np.ndarray) -> None:
        super().__init__()
        self.config, self.params, self.mask = config, params, mask
        self.hyper_mask = np.asarray(partition.hyper_mask(mask))
        self.y_hat: Any = None
        self._y: Any = None  # the encoder's

    def analyze(self, image: np.ndarray) -> None:
        self._y = analyze(self.config, self.params, partition.pad_picture(image))

    def encode_level(self, level: int, continues: bool) -> list[Run]:
        """The runs of level 0: z, then y in one run or by wavefront. None at the other levels."""
        runs: list[Run] = []

        def symbols(indices: np.ndarray, wanted: Callable[[], Any]) -> np.ndarray:
            run = level_coder.integers(np.asarray(wanted())).ravel()
            runs.append((run, indices))
            return run

        self._pass(level, symbols, self._y)
        return runs

    def decode_level(self, level: int, take: level_coder.ReadSymbols) -> None:
        self._pass(level, lambda indices, _: take(indices), None)

    def picture(self, is_16bit: bool = False) -> np.ndarray:
        return np.asarray(synthesize(self.config, is_16bit, self.params, self.y_hat))[0]

    def _pass(self, level: int, symbols: Symbols, y: Any) -> None:
        """Past a level, with symbols from either side. y is the encoder's alone."""
        runs: list[np.ndarray] = []

        def recorded(indices: np.ndarray, wanted: Callable[[], Any]) -> np.ndarray:
            runs.append(symbols(indices, wanted))
            return runs[-1]

        if level == 0 and self.config.kind == "factorised":
            of_channel = np.arange(self.config.latents)
            y_hat = _by_channel(
                self.mask, of_channel, recorded, lambda: np.rint(np.asarray(y)[0, self.mask])
            )
            self.y_hat = y_hat.astype(np.float32)
        elif level == 0:
            known = self._conditions(recorded, y)
            if self.config.kind == "context":
                self._by_fronts(recorded, known, y)
            else:
                self._at_once(recorded, known, y)
        self.record(level, runs)

    def _conditions(self, symbols: Symbols, y: Any) -> jax.Array:
        """z in the stream, and what it tells of y."""
        of_channel = distributions.SCALE_COUNT + np.arange(self.config.hyper)

        def wanted() -> np.ndarray:
            return np.asarray(encode_latents(self.config, self.params, y))[0, self.hyper_mask]

        z_hat = _by_channel(self.hyper_mask, of_channel, symbols, wanted)
        return conditions(self.config, self.params, z_hat)

    def _at_once(self, symbols: Symbols, known: jax.Array, y: Any) -> None:
        mu, index = predict(self.config, self.params, known)
        grid = np.zeros(mu.shape, np.int32)
        coded = np.asarray(index)[0, self.mask]
        run = symbols(coded.ravel(), lambda: np.asarray(quantize(y, mu))[0, self.mask])
        grid[0, self.mask] = run.reshape(coded.shape)
        self.y_hat = mu + grid.astype(np.float32)

    def _by_fronts(self, symbols: Symbols, known: jax.Array, y: Any) -> None:
        grid = self.mask.shape
        frame = context.empty_frame(1, grid, self.config.latents)
        for number, at in fronts(grid):
            mu, index = predict_front(self.config, self.params, known, frame, number)
            coded = at.real & self.mask[at.rows, at.columns]
            indices = np.asarray(index)[0, coded]
            placed = np.zeros(mu.shape, np.int32)
            run = symbols(indices.ravel(), functools.partial(_front_of, y, mu, grid, number, coded))
            placed[0, coded] = run.reshape(indices.shape)
            frame = place(frame, mu, placed, grid, number)
        self.y_hat = context.crop_frame(frame)


def fronts(grid: tuple[int, int]) -> Iterator[tuple[np.ndarray, Wavefront]]:
    """The wavefronts' numbers and positions on the host; those that are not real lie at (0, 0)."""
    numbers = np.arange(context.wavefront_count(grid), dtype=np.int32)
    rows, columns, real = context.wavefront(numbers, grid, np)
    places = Wavefront(np.where(real, rows, 0), np.where(real, columns, 0), real)
    for number in numbers:
        yield number, Wavefront(*(part[number] for part in places))


def _front_of(
    y: jax.Array, mu: jax.Array, grid: tuple[int, int], number: np.ndarray, coded: np.ndarray
) -> np.ndarray:
    return np.asarray(quantise_front(y, mu, grid, number))[0, coded]


def _by_channel(
    mask: np.ndarray, of_channel: np.ndarray, symbols: Symbols, wanted: Callable[[], Any]
) -> np.ndarray:
    """int32 [1, h, w, C] of a run coded by the tables of the channels; 0 where not coded."""
    count = int(mask.sum())
    grid = np.zeros((1, *mask.shape, len(of_channel)), np.int32)
    run = symbols(np.tile(of_channel, count), wanted)
    grid[0, mask] = run.reshape(count, -1)
    return grid


class BaselineCodec(FamilyCodec):
    """The codec of the baselines. Its files are bound to a platform."""

    def level_coder(
        self,
        config: BaselineConfig,
        params: Any,
        masks: tuple[np.ndarray, ...],
        size: tuple[int, int],
        quality: int | None,
    ) -> BaselineLevelCoder:
        return BaselineLevelCoder(config, params, masks[0])

    def working_set_bytes(self, config: BaselineConfig, grid: tuple[int, int]) -> int:
        return working_set.in_one_piece(working_set.baseline_scalars(config), grid)

    def platform(self) -> str:
        return this_platform()

    def jitted_steps(self) -> tuple[Any, ...]:
        return jitted_steps()


CODEC = BaselineCodec()
