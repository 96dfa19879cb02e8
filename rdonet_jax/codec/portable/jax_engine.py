"""The engine of portable models in JAX: compiled functions of tiles and of lists of positions.

Their shapes depend on the tile alone, never on the image. Transforms take tiles of an image and how
far it extends in them, see `lapped`. Priors take lists of positions of one length. Inputs and
outputs have the smallest type that holds them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.codec.portable.engine import Array, Engine
from rdonet_jax.core.config import PortableConfig
from rdonet_jax.metrics import distortion
from rdonet_jax.models import quality_maps
from rdonet_jax.models.portable import integer_prior
from rdonet_jax.models.portable import network as portable
from rdonet_jax.models.portable.integer_format import PLANES
from rdonet_jax.models.quality_maps import LevelQuality
from rdonet_jax.models.step_batches import StepBatches
from rdonet_jax.nn import integer
from rdonet_jax.runtime import compilation


class AtQuality(NamedTuple):
    """What a level takes from each of Q qualities."""

    gains: Array  # [Q, L], log2 of steps per unit of y, in 1/256
    quality_basis: Array  # [Q, knots], the quality as inputs
    z_index: Array  # int32 [Q, ·], scale indices of the channels of z


@functools.partial(compilation.jit, static_argnums=0)
def at_quality(config: PortableConfig, params: Any, quality: jax.Array) -> tuple[AtQuality, ...]:
    """By level, for qualities int32 [Q]."""

    def every_level(network: portable.PortableRDONet) -> tuple[AtQuality, ...]:
        return tuple(
            AtQuality(
                network.gains(level, quality),
                network.units[level].prior.quality_basis(quality),
                network.z_scale_index(level, quality).astype(jnp.int32),
            )
            for level in range(config.levels)
        )

    return _apply(config, params, method=every_level)


@functools.partial(compilation.jit, static_argnums=0)
def analyze(config: PortableConfig, params: Any, pixels: jax.Array, extent: jax.Array) -> jax.Array:
    """Pixels uint8 or uint16 [1, 16 n, 16 n, 3] -> e[0] [1, n, n, C]."""
    x = distortion.from_integers(pixels)
    return _apply(config, params, x, extent, method="finest_feature")


@functools.partial(compilation.jit, static_argnums=(0, 1))
def coarsen(
    config: PortableConfig, level: int, params: Any, e: jax.Array, extent: jax.Array
) -> jax.Array:
    """e[level - 1] [1, 2 n, 2 n, C] -> e[level] [1, n, n, C]."""
    return _apply(config, params, level, e, extent, method="feature")


@functools.partial(compilation.jit, static_argnums=(0, 1))
def encode_latents(
    config: PortableConfig,
    level: int,
    params: Any,
    e: jax.Array,
    d: jax.Array,
    quality: integer_prior.Quality,
    extent: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """y [1, n, n, L] and z [1, n/4, n/4, ·] in steps, not yet rounded; encoder only."""
    y, z = _apply(config, params, level, e, d, quality, extent, method="latent")
    positions = quality_maps.of_level(quality).positions
    gains = _apply(config, params, level, positions, method="gains")
    return y * integer.powers(integer_prior.at_positions(gains)), z


@functools.partial(compilation.jit, static_argnums=(0, 1))
def compute_context(
    config: PortableConfig,
    level: int,
    params: Any,
    z_neighborhoods: jax.Array,
    coarser: tuple[jax.Array, jax.Array] | None,
    quality_basis: jax.Array,
) -> jax.Array:
    """The context features int8 [N, 4, 4, ·] of areas, see `Engine.compute_context`."""
    joined = None
    if coarser is not None:
        embeddings, features = (part.astype(jnp.float32) for part in coarser)
        joined = jnp.concatenate([embeddings.reshape(*features.shape[:3], -1), features], axis=-1)
    z = z_neighborhoods.astype(jnp.float32)[:, None, None]
    return _apply(
        config, params, level, z, joined, quality_basis, method="context_features"
    ).astype(jnp.int8)


@functools.partial(compilation.jit, static_argnums=(0, 1))
def hidden_features(
    config: PortableConfig,
    level: int,
    params: Any,
    parity: jax.Array,
    neighbors: jax.Array,
    context_features: jax.Array,
    quality_basis: jax.Array,
) -> jax.Array:
    """The hidden features int8 [N, ·] at N positions of a plane.

    `parity` [1, 4] is 1 for the plane, in the order of `PLANES`; neighbors int8 [N, 8, E];
    context_features int8 [N, ·].
    """
    rows = (v.astype(jnp.float32).reshape(1, 1, len(v), -1) for v in (neighbors, context_features))
    inputs = (parity, *rows, quality_basis)
    hidden = _apply(config, params, level, *inputs, method="hidden_features_at")
    return hidden[0, 0].astype(jnp.int8)


@functools.partial(compilation.jit, static_argnums=(0, 1, 2))
def predict(
    config: PortableConfig,
    level: int,
    group: int,
    params: Any,
    hidden: jax.Array,
    symbols: jax.Array,
    gains: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """mu and scale index of a group of channels at N positions, see `Engine.predict`."""
    hidden, symbols = (v.astype(jnp.float32)[None, None] for v in (hidden, symbols))
    mu, index = _apply(config, params, level, group, hidden, symbols, gains, method="predict")
    return mu[0, 0].astype(jnp.int16), index[0, 0].astype(jnp.uint8)


@functools.partial(compilation.jit, static_argnums=(0, 1))
def update_plane(
    config: PortableConfig,
    level: int,
    params: Any,
    mu: jax.Array,
    symbols: jax.Array,
    d: jax.Array,
    gains: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """N decoded positions, see `Engine.update_plane`."""
    mu, symbols = (v.astype(jnp.float32)[None, None] for v in (mu, symbols))
    coded = jnp.ones(mu.shape[:3])
    v = integer_prior.latent_integers(mu, symbols)
    embedded = _apply(config, params, level, v, coded, gains, method="embed_latents")
    steps = integer_prior.dequantize(mu, symbols, coded[..., None])
    y_hat = steps / integer.powers(integer_prior.at_positions(gains))
    updated = _apply(config, params, level, y_hat, d, method="add_residual")
    return embedded[0, 0].astype(jnp.int8), updated[0, 0]


@functools.partial(compilation.jit, static_argnums=(0, 1))
def upsample(
    config: PortableConfig,
    level: int,
    params: Any,
    d: jax.Array,
    updated: jax.Array,
    extent: jax.Array,
) -> jax.Array:
    """d of the next finer level [1, 2 n, 2 n, C], see `Engine.upsample`."""
    d = _with_zero_latents(config, level, params, d, updated)
    return _apply(config, params, level, d, extent, method="upsample")


@functools.partial(compilation.jit, static_argnums=(0, 1))
def synthesize(
    config: PortableConfig,
    is_16bit: bool,
    params: Any,
    d: jax.Array,
    updated: jax.Array,
    extent: jax.Array,
) -> jax.Array:
    """Pixels uint8, or uint16 if `is_16bit`, [1, 16 n, 16 n, 3], from d of level 0.

    d and `updated` are as in `upsample`.
    """
    d = _with_zero_latents(config, 0, params, d, updated)
    trunk = _apply(config, params, 0, d, extent, method="upsample")
    x_hat = _apply(config, params, trunk, 2 * extent, method="reconstruct")
    return distortion.to_16_bit(x_hat) if is_16bit else distortion.to_8_bit(x_hat)


_FEWEST_QUALITIES = 64
"""For which an engine of several qualities is compiled."""


class JaxEngine(Engine):
    """The steps of one model, see `Engine`. Results are computed asynchronously.

    With `batches`, steps are computed together with those of other images.
    """

    fixed_shapes = True

    def __init__(
        self,
        config: PortableConfig,
        params: Any,
        qualities: np.ndarray,
        batches: StepBatches | None = None,
    ) -> None:
        self._config, self._params, self._batches = config, params, batches
        self._qualities = _padded(qualities.astype(np.int32))
        self._at: tuple[AtQuality, ...] = jax.device_get(
            at_quality(config, params, self._qualities)
        )

    def _numbers(self, at: np.ndarray) -> np.ndarray:
        """Which of the engine's qualities these are."""
        return np.searchsorted(self._qualities, at)

    def _of_list(self, values: np.ndarray, at: np.ndarray | None) -> np.ndarray:
        """What a list of positions takes from values [Q, C] by quality: [1, C] or [1, 1, N, C]."""
        return values if at is None else values[self._numbers(at)][None, None]

    def _step(
        self,
        function: Callable[..., Any],
        static: tuple[Hashable, ...],
        *arguments: Any,
        results: int = 1,
    ) -> Any:
        """A step for the model; `static` comes before the parameters."""
        static = (self._config, *static)
        if self._batches is None:
            return function(*static, self._params, *arguments)
        return self._batches.compute(function, static, self._params, arguments, results)

    def z_index(self, level: int, at: np.ndarray | None = None) -> np.ndarray:
        return self._at[level].z_index[0 if at is None else self._numbers(at)]

    def analyze(self, pixels: np.ndarray, extent: np.ndarray) -> Array:
        return self._step(analyze, (), pixels, extent)

    def coarsen(self, level: int, e: np.ndarray, extent: np.ndarray) -> Array:
        return self._step(coarsen, (level,), e, extent)

    def encode_latents(
        self,
        level: int,
        e: np.ndarray,
        d: np.ndarray,
        extent: np.ndarray,
        at: LevelQuality | None = None,
    ) -> tuple[Array, Array]:
        quality = self._qualities if at is None else at
        return self._step(encode_latents, (level,), e, d, quality, extent, results=2)

    def compute_context(
        self,
        level: int,
        z_neighborhoods: np.ndarray,
        coarser: tuple[np.ndarray, np.ndarray] | None,
        at: np.ndarray | None = None,
    ) -> Array:
        quality_basis = self._at[level].quality_basis
        if at is not None:
            quality_basis = quality_basis[self._numbers(at)]
        return self._step(compute_context, (level,), z_neighborhoods, coarser, quality_basis)

    def hidden_features(
        self,
        level: int,
        plane: int,
        neighbors: np.ndarray,
        context_features: np.ndarray,
        at: np.ndarray | None = None,
    ) -> Array:
        parity = np.eye(len(PLANES), dtype=np.float32)[None, plane]
        quality_basis = self._of_list(self._at[level].quality_basis, at)
        inputs = (parity, neighbors, context_features, quality_basis)
        return self._step(hidden_features, (level,), *inputs)

    def predict(
        self,
        level: int,
        group: int,
        hidden: np.ndarray,
        symbols: np.ndarray,
        at: np.ndarray | None = None,
    ) -> tuple[Array, Array]:
        gains = self._of_list(self._at[level].gains, at)
        return self._step(predict, (level, group), hidden, symbols, gains, results=2)

    def update_plane(
        self,
        level: int,
        mu: np.ndarray,
        symbols: np.ndarray,
        d: np.ndarray,
        at: np.ndarray | None = None,
    ) -> tuple[Array, Array]:
        gains = self._of_list(self._at[level].gains, at)
        return self._step(update_plane, (level,), mu, symbols, d, gains, results=2)

    def upsample(self, level: int, d: np.ndarray, updated: np.ndarray, extent: np.ndarray) -> Array:
        return self._step(upsample, (level,), d, updated, extent)

    def synthesize(
        self, is_16bit: bool, d: np.ndarray, updated: np.ndarray, extent: np.ndarray
    ) -> Array:
        return self._step(synthesize, (is_16bit,), d, updated, extent)


def _padded(qualities: np.ndarray) -> np.ndarray:
    """With the last one repeated where there are several, so that few lengths are compiled."""
    count = len(qualities)
    if count == 1:
        return qualities
    length = max(_FEWEST_QUALITIES, 1 << (count - 1).bit_length())
    return np.append(qualities, qualities[-1:].repeat(length - count))


def _with_zero_latents(
    config: PortableConfig, level: int, params: Any, d: jax.Array, updated: jax.Array
) -> jax.Array:
    """d with latents of 0 added where no latents have been added."""
    zeros = jnp.zeros((1, 1, 1, config.latents[level]))
    added = _apply(config, params, level, zeros, d, method="add_residual")
    return jnp.where(updated[..., None], d, added)


def _apply(config: PortableConfig, params: Any, *arguments: Any, method: Any) -> Any:
    return portable.network(config).apply({"params": params}, *arguments, method=method)
