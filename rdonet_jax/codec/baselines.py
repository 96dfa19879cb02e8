"""The level coder of the baselines, whose files are bound to a platform, and their codec.

All latents are at level 0. As in `codec.rdonet`, the encoder uses the decoder's own compiled
functions (`hyper_synthesize`, `predict`, `predict_wavefront`, `place_wavefront`, `synthesize`), so
that both predict the same numbers. A context model codes wavefront by wavefront in both directions.
`predict_wavefront` has one shape for all wavefronts, so an image of any size takes two compiled
functions.

The tables of the factorized prior are stored with the weights and chosen by channel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.codec import level_coder, working_set
from rdonet_jax.codec.family_codec import FamilyCodec
from rdonet_jax.codec.fixed_rate import quantize, this_platform
from rdonet_jax.codec.image_quality import ImageQuality
from rdonet_jax.codec.level_coder import CodeRun
from rdonet_jax.core import partition
from rdonet_jax.core.config import BaselineConfig
from rdonet_jax.entropy import distributions, likelihoods
from rdonet_jax.entropy.runs import Run
from rdonet_jax.metrics import distortion
from rdonet_jax.models import registry
from rdonet_jax.models.baselines import context
from rdonet_jax.models.baselines.context import Wavefront
from rdonet_jax.models.zoo import Model
from rdonet_jax.runtime import compilation


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
def hyper_synthesize(config: BaselineConfig, params: Any, z_hat: jax.Array) -> jax.Array:
    """z_hat int32 -> the parameters that the hyperprior gives for y, [1, h, w, 2 M]."""
    return _apply(config, params, "hyper_synthesize", z_hat.astype(jnp.float32))


@functools.partial(compilation.jit, static_argnums=0)
def predict(
    config: BaselineConfig, params: Any, parameters: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Without a context: mu and scale index of y, [1, h, w, M]."""
    prior = _apply(config, params, "predict_y", parameters)
    return prior.mu, likelihoods.scale_index(prior.scale, config.distribution)


@functools.partial(compilation.jit, static_argnums=0)
def predict_wavefront(
    config: BaselineConfig, params: Any, parameters: jax.Array, frame: jax.Array, number: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """With a context: mu and scale index of the positions of a wavefront, [1, P, M]."""
    at = context.wavefront(number, parameters.shape[1:3])
    neighbors = context.gather_taps_at(frame, at)
    prior = _apply(config, params, "predict_y", context.gather_at(parameters, at), neighbors)
    return prior.mu, likelihoods.scale_index(prior.scale, config.distribution)


@functools.partial(compilation.jit, static_argnums=2)
def quantize_wavefront(
    y: jax.Array, mu: jax.Array, grid: tuple[int, int], number: jax.Array
) -> jax.Array:
    """The symbols of the positions of a wavefront; encoder only."""
    return jnp.round(context.gather_at(y, context.wavefront(number, grid)) - mu)


@functools.partial(compilation.jit, static_argnums=3)
def place_wavefront(
    frame: jax.Array, mu: jax.Array, symbols: jax.Array, grid: tuple[int, int], number: jax.Array
) -> jax.Array:
    """The frame with the y_hat of a wavefront added; symbols int32 are 0 where not coded."""
    at = context.wavefront(number, grid)
    return context.scatter_at(frame, at, mu + symbols.astype(jnp.float32))


@functools.partial(compilation.jit, static_argnums=(0, 1))
def synthesize(config: BaselineConfig, is_16bit: bool, params: Any, y_hat: jax.Array) -> jax.Array:
    """y_hat [1, h, w, M] -> padded pixels uint8 [1, H, W, 3], or uint16 if `is_16bit`."""
    x_hat = _apply(config, params, "synthesize", y_hat)
    return distortion.to_16_bit(x_hat) if is_16bit else distortion.to_8_bit(x_hat)


class BaselineLevelCoder(level_coder.LevelCoder):
    """Codes one image, whose latents are all at level 0.

    Args:
      config, params: of the model.
      mask: the positions inside the image, bool [h, w].
    """

    def __init__(self, config: BaselineConfig, params: Any, mask: np.ndarray) -> None:
        super().__init__()
        self.config, self.params, self.mask = config, params, mask
        self.hyper_mask = np.asarray(partition.hyper_mask(mask))
        self.y_hat: Any = None
        self._y: Any = None  # of the encoder

    def analyze(self, image: np.ndarray) -> None:
        self._y = analyze(self.config, self.params, partition.pad_image(image))

    def encode_level(self, level: int, continues: bool) -> list[Run]:
        """The runs of level 0: z, then y in one run or by wavefront. None at the other levels."""
        runs: list[Run] = []
        self._code_level(level, level_coder.encoder_run(runs), self._y)
        return runs

    def decode_level(self, level: int, read_symbols: level_coder.ReadSymbols) -> None:
        self._code_level(level, level_coder.decoder_run(read_symbols), None)

    def reconstruct(self, is_16bit: bool = False) -> np.ndarray:
        return np.asarray(synthesize(self.config, is_16bit, self.params, self.y_hat))[0]

    def _code_level(self, level: int, code_run: CodeRun, y: Any) -> None:
        """Codes the runs of a level. y is None in a decoder."""
        symbols: list[np.ndarray] = []
        code_run = level_coder.recorded_run(code_run, symbols)
        if level == 0 and self.config.kind == "factorised":
            self._code_factorized(code_run, y)
        elif level == 0:
            parameters = self._code_hyper_latents(code_run, y)
            code = self._code_wavefronts if self.config.kind == "context" else self._code_at_once
            code(code_run, parameters, y)
        self.record(level, symbols)

    def _code_factorized(self, code_run: CodeRun, y: Any) -> None:
        """y with a table for each channel."""
        tables = np.arange(self.config.latents)
        y_hat = _code_by_channel(
            self.mask, tables, code_run, lambda: np.rint(np.asarray(y)[0, self.mask])
        )
        self.y_hat = y_hat.astype(np.float32)

    def _code_hyper_latents(self, code_run: CodeRun, y: Any) -> jax.Array:
        """Codes z; gives the output of the hyper-synthesis."""
        tables = distributions.SCALE_COUNT + np.arange(self.config.hyper)

        def compute_symbols() -> np.ndarray:
            return np.asarray(encode_latents(self.config, self.params, y))[0, self.hyper_mask]

        z_hat = _code_by_channel(self.hyper_mask, tables, code_run, compute_symbols)
        return hyper_synthesize(self.config, self.params, z_hat)

    def _code_at_once(self, code_run: CodeRun, parameters: jax.Array, y: Any) -> None:
        """y in one run, from the hyperprior alone."""
        mu, index = predict(self.config, self.params, parameters)
        grid = np.zeros(mu.shape, np.int32)
        coded = np.asarray(index)[0, self.mask]
        symbols = code_run(coded.ravel(), lambda: np.asarray(quantize(y, mu))[0, self.mask])
        grid[0, self.mask] = symbols.reshape(coded.shape)
        self.y_hat = mu + grid.astype(np.float32)

    def _code_wavefronts(self, code_run: CodeRun, parameters: jax.Array, y: Any) -> None:
        """y by wavefronts, from the hyperprior and the context of decoded positions."""
        grid = self.mask.shape
        frame = context.empty_frame(1, grid, self.config.latents)
        for number, positions in wavefronts(grid):
            mu, index = predict_wavefront(self.config, self.params, parameters, frame, number)
            coded = positions.real & self.mask[positions.rows, positions.columns]
            indices = np.asarray(index)[0, coded]
            placed = np.zeros(mu.shape, np.int32)
            compute_symbols = functools.partial(_wavefront_symbols, y, mu, grid, number, coded)
            placed[0, coded] = code_run(indices.ravel(), compute_symbols).reshape(indices.shape)
            frame = place_wavefront(frame, mu, placed, grid, number)
        self.y_hat = context.crop_frame(frame)


def wavefronts(grid: tuple[int, int]) -> Iterator[tuple[np.int32, Wavefront]]:
    """The number and the positions of every wavefront, on the host.

    Entries that are no positions are at (0, 0).
    """
    numbers = np.arange(context.wavefront_count(grid), dtype=np.int32)
    rows, columns, real = context.wavefront(numbers, grid, np)
    positions = Wavefront(np.where(real, rows, 0), np.where(real, columns, 0), real)
    for number in numbers:
        yield number, Wavefront(*(part[number] for part in positions))


def _wavefront_symbols(
    y: jax.Array, mu: jax.Array, grid: tuple[int, int], number: np.int32, coded: np.ndarray
) -> np.ndarray:
    return np.asarray(quantize_wavefront(y, mu, grid, number))[0, coded]


def _code_by_channel(
    mask: np.ndarray,
    tables: np.ndarray,
    code_run: CodeRun,
    compute_symbols: Callable[[], np.ndarray],
) -> np.ndarray:
    """int32 [1, h, w, C] of a run coded by the tables of the channels; 0 where not coded."""
    count = int(mask.sum())
    grid = np.zeros((1, *mask.shape, len(tables)), np.int32)
    symbols = code_run(np.tile(tables, count), compute_symbols)
    grid[0, mask] = symbols.reshape(count, -1)
    return grid


class BaselineCodec(FamilyCodec):
    """The codec of the baselines. Its files are bound to a platform."""

    def level_coder(
        self,
        model: Model,
        masks: tuple[np.ndarray, ...],
        size: tuple[int, int],
        quality: ImageQuality,
        engine: str,
    ) -> BaselineLevelCoder:
        config = cast(BaselineConfig, model.config)
        return BaselineLevelCoder(config, model.device_params, masks[0])

    def working_set_bytes(self, config: BaselineConfig, grid: tuple[int, int]) -> int:
        return working_set.untiled_bytes(working_set.baseline_scalars(config), grid)

    def platform(self) -> str:
        return this_platform()


CODEC = BaselineCodec()
