"""The steps of a portable model's walk as compiled functions: of windows and of lists of positions.

Their shapes depend on the window alone, never on the image. Steps of transforms take windows of a
image and how far it reaches in them, see `lapped`; steps of priors take so many positions, with
what each of them needs to know. What goes in and out has the smallest type that holds it.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rdonet_jax.core import compilation
from rdonet_jax.core.config import LEVELS, PortableConfig
from rdonet_jax.metrics import distortion
from rdonet_jax.models.portable import integer_prior
from rdonet_jax.models.portable import network as portable
from rdonet_jax.nn import integer


class AtQuality(NamedTuple):
    """What a level has to know about the quality."""

    gains: jax.Array  # [1, L], log2 of steps per unit of y, in 1/256
    quality_basis: jax.Array  # [1, knots], the quality as inputs
    z_index: jax.Array  # int32 [·], scale indices of the channels of z


@functools.partial(compilation.jit, static_argnums=0)
def at_quality(config: PortableConfig, params: Any, quality: jax.Array) -> tuple[AtQuality, ...]:
    """By level, for the quality int32 [1]."""

    def every_level(network: portable.PortableRDONet) -> tuple[AtQuality, ...]:
        return tuple(
            AtQuality(
                network.gains(level, quality),
                network.units[level].prior.quality_basis(quality),
                network.z_scale_index(level, quality)[0].astype(jnp.int32),
            )
            for level in range(LEVELS)
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
    quality: jax.Array,
    extent: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """y [1, n, n, L] and z [1, n/4, n/4, ·] in steps, not yet rounded; encoder only."""
    y, z = _apply(config, params, level, e, d, quality, extent, method="latent")
    gains = _apply(config, params, level, quality, method="gains")
    return y * integer.powers(gains)[:, None, None], z


@functools.partial(compilation.jit, static_argnums=(0, 1))
def compute_context(
    config: PortableConfig,
    level: int,
    params: Any,
    around: jax.Array,
    coarser: tuple[jax.Array, jax.Array] | None,
    quality_basis: jax.Array,
) -> jax.Array:
    """What is known before the first plane, int8 [N, 4, 4, ·], in the areas of N hyper-latents.

    `around` [N, 9 ·] are their 3×3 neighbors; `coarser` are the embeddings int8 [N, 2, 2, 9, E]
    around the coarser positions in these areas and what was known at them from z.
    """
    if coarser is not None:
        embedded, context_features = (part.astype(jnp.float32) for part in coarser)
        coarser = jnp.concatenate(
            [embedded.reshape(*context_features.shape[:3], -1), context_features], axis=-1
        )
    z = around.astype(jnp.float32)[:, None, None]
    return _apply(
        config, params, level, z, coarser, quality_basis, method="context_features"
    ).astype(jnp.int8)


@functools.partial(compilation.jit, static_argnums=(0, 1))
def predict(
    config: PortableConfig,
    level: int,
    params: Any,
    parity: jax.Array,
    neighbours: jax.Array,
    context_features: jax.Array,
    at: AtQuality,
) -> tuple[jax.Array, jax.Array]:
    """mu in 1/16 step, int16, and the table index, uint8, at N positions of a plane: [N, L].

    `parity` [1, 4] says which plane; neighbors int8 [N, 8, E]; known int8 [N, ·].
    """
    rows = (v.astype(jnp.float32).reshape(1, 1, len(v), -1) for v in (neighbours, context_features))
    given = (parity, *rows, at.gains, at.quality_basis)
    mu, index = _apply(config, params, level, *given, method="predict_at")
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
    """N decoded positions: as the prior sees them, int8 [N, E], and d corrected, [N, C].

    From mu int16 and symbols int32 [N, L].
    """
    mu, symbols = (v.astype(jnp.float32)[None, None] for v in (mu, symbols))
    coded = jnp.ones(mu.shape[:3])
    v = integer_prior.latent_integers(mu, symbols)
    embedded = _apply(config, params, level, v, coded, gains, method="embed_latents")
    steps = integer_prior.dequantize(mu, symbols, coded[..., None])
    y_hat = steps / integer.powers(gains)[:, None, None]
    corrected = _apply(config, params, level, y_hat, d, method="add_residual")
    return embedded[0, 0].astype(jnp.int8), corrected[0, 0]


@functools.partial(compilation.jit, static_argnums=(0, 1))
def upsample(
    config: PortableConfig,
    level: int,
    params: Any,
    d: jax.Array,
    updated: jax.Array,
    extent: jax.Array,
) -> jax.Array:
    """d of the next finer level [1, 2 n, 2 n, C], from d of which `updated` [1, n, n] is correct.

    Where a level is not coded, it says y_hat = 0.
    """
    d = _corrected(config, level, params, d, updated)
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
    d = _corrected(config, 0, params, d, updated)
    trunk = _apply(config, params, 0, d, extent, method="upsample")
    x_hat = _apply(config, params, trunk, 2 * extent, method="picture")
    return distortion.to_16_bit(x_hat) if is_16bit else distortion.to_8_bit(x_hat)


def jitted_steps() -> tuple[Any, ...]:
    """All of them, for counting their compilations."""
    transforms = (analyze, coarsen, encode_latents, upsample, synthesize)
    return *transforms, at_quality, compute_context, predict, update_plane


def _corrected(
    config: PortableConfig, level: int, params: Any, d: jax.Array, updated: jax.Array
) -> jax.Array:
    nothing = jnp.zeros((1, 1, 1, config.latents[level]))
    corrected = _apply(config, params, level, nothing, d, method="add_residual")
    return jnp.where(updated[..., None], d, corrected)


def _apply(config: PortableConfig, params: Any, *arguments: Any, method: Any) -> Any:
    return portable.network(config).apply({"params": params}, *arguments, method=method)
