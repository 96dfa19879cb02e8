"""The level coder of the baselines, whose files are bound to a platform.

All is coded at level 0. As in `codec.rdonet`, the encoder runs the decoder's own compiled functions
(`predict_features`, `predict`, `predict_front`, `update_frame`, `synthesize`).

A context model (Minnen et al. 2018, https://arxiv.org/abs/1809.02736) is coded wavefront by
wavefront in both directions. `predict_front` has the same shapes for all wavefronts of an image, so
it is compiled once, and the encoder predicts each position from the same numbers as the decoder.

The tables of the factorized prior come with the weights. They are chosen by channel, so nothing is
computed for them here.
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
from rdonet_jax.codec.level_coder import CodeRun
from rdonet_jax.codec.rdonet import this_platform
from rdonet_jax.core import compilation, partition
from rdonet_jax.core.config import BaselineConfig
from rdonet_jax.entropy import distributions
from rdonet_jax.entropy.range_coder import Run
from rdonet_jax.metrics import distortion
from rdonet_jax.models import registry
from rdonet_jax.models.baselines import context
from rdonet_jax.models.baselines.context import Wavefront


def _apply(config: BaselineConfig, params: Any, method: str, *arguments: Any) -> Any:
    network = registry.family_of(config).network(config)
    return network.apply({"params": params}, *arguments, method=method)


@functools.partial(compilation.jit, static_argnums=0)
def analyze(config: BaselineConfig, params: Any, pixels: jax.Array) -> jax.Array:
    """Encoder only: padded pixels uint8 or uint16 [1, H, W, 3] -> y [1, h, w, M]."""
    return _apply(config, params, "analyze", distortion.from_integers(pixels))[0]


@functools.partial(compilation.jit, static_argnums=0)
def encode_latents(config: BaselineConfig, params: Any, y: jax.Array) -> jax.Array:
    """Encoder only: rounded z [1, h/4, w/4, N]."""
    return jnp.round(_apply(config, params, "hyper_analyze", y))


@functools.partial(compilation.jit, static_argnums=0)
def predict_features(config: BaselineConfig, params: Any, z_hat: jax.Array) -> jax.Array:
    """z_hat int32 [1, h/4, w/4, N] -> hyperprior features of y [1, h, w, 2 M]."""
    return _apply(config, params, "hyper_synthesize", z_hat.astype(jnp.float32))


@functools.partial(compilation.jit, static_argnums=0)
def predict(
    config: BaselineConfig, params: Any, hyper_features: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Without a context: mu and scale index of y, [1, h, w, M]."""
    prior = _apply(config, params, "predict_y", hyper_features)
    return prior.mu, distributions.scale_index(prior.scale, config.distribution)


@functools.partial(compilation.jit, static_argnums=0)
def predict_front(
    config: BaselineConfig,
    params: Any,
    hyper_features: jax.Array,
    frame: jax.Array,
    number: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """With a context: mu and scale index of y at the positions of a wavefront, [1, P, M].

    `frame` is y_hat so far with its padding, see `context.pad_frame`.
    """
    at = context.wavefront(number, hyper_features.shape[1:3])
    taps = context.gather_taps_at(frame, at)
    prior = _apply(config, params, "predict_y", context.gather_at(hyper_features, at), taps)
    return prior.mu, distributions.scale_index(prior.scale, config.distribution)


@compilation.jit
def quantize(y: jax.Array, mu: jax.Array) -> jax.Array:
    """Encoder only: the symbols round(y - mu), as float32 integers."""
    return jnp.round(y - mu)


@functools.partial(compilation.jit, static_argnums=2)
def quantize_front(
    y: jax.Array, mu: jax.Array, grid: tuple[int, int], number: jax.Array
) -> jax.Array:
    """Encoder only: the symbols at the positions of a wavefront, [1, P, M]."""
    return jnp.round(context.gather_at(y, context.wavefront(number, grid)) - mu)


@functools.partial(compilation.jit, static_argnums=3)
def update_frame(
    frame: jax.Array, mu: jax.Array, symbols: jax.Array, grid: tuple[int, int], number: jax.Array
) -> jax.Array:
    """The frame with y_hat of a wavefront; symbols int32 [1, P, M] are 0 where not coded."""
    at = context.wavefront(number, grid)
    return context.scatter_at(frame, at, mu + symbols.astype(jnp.float32))


@functools.partial(compilation.jit, static_argnums=(0, 1))
def synthesize(config: BaselineConfig, is_16bit: bool, params: Any, y_hat: jax.Array) -> jax.Array:
    """y_hat [1, h, w, M] -> padded pixels uint8 [1, H, W, 3], or uint16 if `is_16bit`."""
    x_hat = _apply(config, params, "synthesize", y_hat)
    return distortion.to_16_bit(x_hat) if is_16bit else distortion.to_8_bit(x_hat)


def jitted_steps() -> tuple[Any, ...]:
    """All compiled functions of this module, for counting their compilations."""
    encoder = (analyze, encode_latents, quantize, quantize_front)
    return *encoder, predict_features, predict, predict_front, update_frame, synthesize


class BaselineLevelCoder(level_coder.LevelCoder):
    """Codes one image with a baseline. `mask`, bool [h, w]: the positions inside the image."""

    def __init__(self, config: BaselineConfig, params: Any, mask: np.ndarray) -> None:
        super().__init__()
        self.config, self.params, self.mask = config, params, mask
        self.hyper_mask = np.asarray(partition.hyper_mask(mask))
        self.y_hat: Any = None
        self._y: Any = None  # of the encoder

    def analyze(self, image: np.ndarray) -> None:
        self._y = analyze(self.config, self.params, partition.pad_picture(image))

    def encode_level(self, level: int, continues: bool) -> list[Run]:
        """The runs of level 0: z, then y in one run or by wavefront. None at the other levels."""
        runs: list[Run] = []
        self._code_level(level, level_coder.encoder_run(runs), self._y)
        return runs

    def decode_level(self, level: int, read_symbols: level_coder.ReadSymbols) -> None:
        self._code_level(level, level_coder.decoder_run(read_symbols), None)

    def reconstruct(self, is_16bit: bool = False) -> np.ndarray:
        return np.asarray(synthesize(self.config, is_16bit, self.params, self.y_hat))[0]

    def _code_level(self, level: int, code_run: CodeRun, y: jax.Array | None) -> None:
        """Codes the runs of a level and sets y_hat. y is None in a decoder."""
        symbols: list[np.ndarray] = []
        code_run = level_coder.recorded_run(code_run, symbols)
        if level == 0:
            self.y_hat = self._code_y(code_run, y)
        self.record(level, symbols)

    def _code_y(self, code_run: CodeRun, y: jax.Array | None) -> jax.Array | np.ndarray:
        """Codes all that the model codes. Returns y_hat [1, h, w, M]."""
        if self.config.kind == "factorised":
            tables = np.arange(self.config.latents)
            y_hat = _code_by_channel(
                self.mask, tables, code_run, lambda: np.rint(np.asarray(y)[0, self.mask])
            )
            return y_hat.astype(np.float32)
        hyper_features = self._code_z(code_run, y)
        if self.config.kind == "context":
            return self._code_fronts(code_run, hyper_features, y)
        return self._code_at_once(code_run, hyper_features, y)

    def _code_z(self, code_run: CodeRun, y: jax.Array | None) -> jax.Array:
        """Codes z. Returns the hyperprior features of y."""
        tables = distributions.SCALE_COUNT + np.arange(self.config.hyper)

        def compute_symbols() -> np.ndarray:
            return np.asarray(encode_latents(self.config, self.params, y))[0, self.hyper_mask]

        z_hat = _code_by_channel(self.hyper_mask, tables, code_run, compute_symbols)
        return predict_features(self.config, self.params, z_hat)

    def _code_at_once(
        self, code_run: CodeRun, hyper_features: jax.Array, y: jax.Array | None
    ) -> jax.Array:
        """Without a context: codes y in one run. Returns y_hat [1, h, w, M]."""
        mu, index = predict(self.config, self.params, hyper_features)
        index = np.asarray(index)[0, self.mask]
        run = code_run(index.ravel(), lambda: np.asarray(quantize(y, mu))[0, self.mask])
        symbols = np.zeros(mu.shape, np.int32)
        symbols[0, self.mask] = run.reshape(index.shape)
        return mu + symbols.astype(np.float32)

    def _code_fronts(
        self, code_run: CodeRun, hyper_features: jax.Array, y: jax.Array | None
    ) -> jax.Array:
        """With a context: codes y in one run for each wavefront. Returns y_hat [1, h, w, M]."""
        grid = self.mask.shape
        frame = context.empty_frame(1, grid, self.config.latents)
        for number, front in _wavefronts(grid):
            mu, index = predict_front(self.config, self.params, hyper_features, frame, number)
            coded = front.real & self.mask[front.rows, front.columns]
            index = np.asarray(index)[0, coded]
            quantize_coded = functools.partial(_quantize_coded, y, mu, grid, number, coded)
            run = code_run(index.ravel(), quantize_coded)
            symbols = np.zeros(mu.shape, np.int32)
            symbols[0, coded] = run.reshape(index.shape)
            frame = update_frame(frame, mu, symbols, grid, number)
        return context.crop_frame(frame)


def _wavefronts(grid: tuple[int, int]) -> Iterator[tuple[np.ndarray, Wavefront]]:
    """Number and positions, on the host, of each wavefront. Padding positions are (0, 0)."""
    numbers = np.arange(context.wavefront_count(grid), dtype=np.int32)
    rows, columns, real = context.wavefront(numbers, grid, np)
    positions = Wavefront(np.where(real, rows, 0), np.where(real, columns, 0), real)
    for number in numbers:
        yield number, Wavefront(*(part[number] for part in positions))


def _quantize_coded(
    y: jax.Array, mu: jax.Array, grid: tuple[int, int], number: np.ndarray, coded: np.ndarray
) -> np.ndarray:
    """`quantize_front` at the `coded` positions, [n, M]."""
    return np.asarray(quantize_front(y, mu, grid, number))[0, coded]


def _code_by_channel(
    mask: np.ndarray, tables: np.ndarray, code_run: CodeRun, compute_symbols: Callable[[], Any]
) -> np.ndarray:
    """Codes a run with one table per channel, `tables` [C]. Returns its symbols int32 [1, h, w, C].

    They are 0 where not coded.
    """
    count = int(mask.sum())
    symbols = np.zeros((1, *mask.shape, len(tables)), np.int32)
    run = code_run(np.tile(tables, count), compute_symbols)
    symbols[0, mask] = run.reshape(count, -1)
    return symbols


class BaselineCodec(FamilyCodec):
    """The codec of the baselines. Their files are bound to a platform."""

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
        return working_set.untiled_bytes(working_set.baseline_scalars(config), grid)

    def platform(self) -> str:
        return this_platform()

    def jitted_steps(self) -> tuple[Any, ...]:
        return jitted_steps()


CODEC = BaselineCodec()
