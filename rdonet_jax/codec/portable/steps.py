"""The compiled functions of a portable model's level coder.

Their shapes depend on the shape of the tiles, never on the image. Transforms take a tile and its
`extent`, int32 [2], the rows and columns of it that lie in the image, see `nn.lapped`. Priors take
a list of N positions. Arguments and results have the smallest types that hold them, because they
are copied between host and device.

L counts the channels of y, C those of the features, E those of the embeddings.
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


class QualityParameters(NamedTuple):
    """What depends on the quality at one level."""

    gains: jax.Array  # [1, L], log2 of quantizer steps per unit of y, in 1/256
    quality_basis: jax.Array  # [1, knots], the quality as inputs of the priors
    z_index: jax.Array  # int32 [·], scale indices of the channels of z


@functools.partial(compilation.jit, static_argnums=0)
def quality_parameters(
    config: PortableConfig, params: Any, quality: jax.Array
) -> tuple[QualityParameters, ...]:
    """The parameters of each level at the quality int32 [1]."""

    def of_levels(network: portable.PortableRDONet) -> tuple[QualityParameters, ...]:
        return tuple(
            QualityParameters(
                network.gains(level, quality),
                network.units[level].prior.quality_basis(quality),
                network.z_scale_index(level, quality)[0].astype(jnp.int32),
            )
            for level in range(LEVELS)
        )

    return _apply(config, params, method=of_levels)


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
    """Encoder only: y [1, n, n, L] and z [1, n/4, n/4, ·] in quantizer steps, not yet rounded.

    From the features e of the encoder and their prediction d, each [1, n, n, C].
    """
    y, z = _apply(config, params, level, e, d, quality, extent, method="latent")
    gains = _apply(config, params, level, quality, method="gains")
    return y * integer.powers(gains)[:, None, None], z


@functools.partial(compilation.jit, static_argnums=(0, 1))
def compute_context(
    config: PortableConfig,
    level: int,
    params: Any,
    z_neighborhood: jax.Array,
    coarser: tuple[jax.Array, jax.Array] | None,
    quality_basis: jax.Array,
) -> jax.Array:
    """The context features int8 [N, 4, 4, ·] of the areas of N hyper-latents.

    `z_neighborhood` int32 [N, 9 ·] are their 3×3 neighborhoods in z_hat. `coarser` is the context
    from the coarser level, see `LevelState.coarse_context`; None at the coarsest level.
    """
    if coarser is not None:
        embeddings, context_features = (part.astype(jnp.float32) for part in coarser)
        coarser = jnp.concatenate(
            [embeddings.reshape(*context_features.shape[:3], -1), context_features], axis=-1
        )
    z = z_neighborhood.astype(jnp.float32)[:, None, None]
    features = _apply(config, params, level, z, coarser, quality_basis, method="context_features")
    return features.astype(jnp.int8)


@functools.partial(compilation.jit, static_argnums=(0, 1))
def predict(
    config: PortableConfig,
    level: int,
    params: Any,
    parity: jax.Array,
    neighbors: jax.Array,
    context_features: jax.Array,
    by_quality: QualityParameters,
) -> tuple[jax.Array, jax.Array]:
    """mu in 1/16 step, int16, and the scale index, uint8, at N positions of a plane: [N, L].

    `parity` [1, 4] is 1 for the plane and 0 for the others. `neighbors` int8 [N, 8, E] are the
    embeddings around each position, and `context_features` int8 [N, ·] those of `compute_context`.
    """
    rows = (v.astype(jnp.float32).reshape(1, 1, len(v), -1) for v in (neighbors, context_features))
    inputs = (parity, *rows, by_quality.gains, by_quality.quality_basis)
    mu, index = _apply(config, params, level, *inputs, method="predict_at")
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
    """Embeddings int8 [N, E] and updated d [N, C] of N decoded positions of a plane.

    From mu int16 in 1/16 step and symbols int32, [N, L], and the d so far.
    """
    mu, symbols = (v.astype(jnp.float32)[None, None] for v in (mu, symbols))
    coded = jnp.ones(mu.shape[:3])
    v = integer_prior.latent_integers(mu, symbols)
    embeddings = _apply(config, params, level, v, coded, gains, method="embed_latents")
    steps = integer_prior.dequantize(mu, symbols, coded[..., None])
    y_hat = steps / integer.powers(gains)[:, None, None]
    updated = _apply(config, params, level, y_hat, d, method="add_residual")
    return embeddings[0, 0].astype(jnp.int8), updated[0, 0]


@functools.partial(compilation.jit, static_argnums=(0, 1))
def upsample(
    config: PortableConfig,
    level: int,
    params: Any,
    d: jax.Array,
    coded: jax.Array,
    extent: jax.Array,
) -> jax.Array:
    """The prediction d for the next finer level [1, 2 n, 2 n, C], from d of this one.

    At the positions `coded`, bool [1, n, n], d is as `update_plane` returns it. Elsewhere this
    function adds the residual of y_hat = 0.
    """
    d = _update_uncoded(config, level, params, d, coded)
    return _apply(config, params, level, d, extent, method="upsample")


@functools.partial(compilation.jit, static_argnums=(0, 1))
def synthesize(
    config: PortableConfig,
    is_16bit: bool,
    params: Any,
    d: jax.Array,
    coded: jax.Array,
    extent: jax.Array,
) -> jax.Array:
    """Pixels uint8, or uint16 if `is_16bit`, [1, 16 n, 16 n, 3], from d of level 0.

    d and `coded` are as in `upsample`.
    """
    d = _update_uncoded(config, 0, params, d, coded)
    trunk = _apply(config, params, 0, d, extent, method="upsample")
    x_hat = _apply(config, params, trunk, 2 * extent, method="picture")
    return distortion.to_16_bit(x_hat) if is_16bit else distortion.to_8_bit(x_hat)


def jitted_steps() -> tuple[Any, ...]:
    """All compiled functions of this module, for counting their compilations."""
    transforms = (analyze, coarsen, encode_latents, upsample, synthesize)
    return *transforms, quality_parameters, compute_context, predict, update_plane


def _update_uncoded(
    config: PortableConfig, level: int, params: Any, d: jax.Array, coded: jax.Array
) -> jax.Array:
    """d with the residual of y_hat = 0 added where the level is not coded."""
    y_hat = jnp.zeros((1, 1, 1, config.latents[level]))
    updated = _apply(config, params, level, y_hat, d, method="add_residual")
    return jnp.where(coded[..., None], d, updated)


def _apply(config: PortableConfig, params: Any, *arguments: Any, method: Any) -> Any:
    return portable.network(config).apply({"params": params}, *arguments, method=method)
