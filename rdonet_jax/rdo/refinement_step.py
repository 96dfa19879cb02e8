"""The compiled functions of latent refinement, for one tile: its cost, and a step of the descent.

The cost is J of the tile with its margin in bits: by the integer tables for symbols, and by the
likelihood for latents that are rounded softly.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core import partition
from rdonet_jax.core.config import PortableConfig
from rdonet_jax.core.partition import BLOCK
from rdonet_jax.entropy import soft_rounding
from rdonet_jax.metrics.distortion import total_bits
from rdonet_jax.metrics.loss import AREA, Distortion
from rdonet_jax.models.portable import network as portable
from rdonet_jax.models.portable.level_rate import RoundingNoise
from rdonet_jax.models.portable.network import LevelLatents
from rdonet_jax.models.quality_maps import QualityMaps
from rdonet_jax.nn import lapped
from rdonet_jax.runtime import compilation

Latents = tuple[LevelLatents, ...]
"""By level."""

RATE = 0.015
"""Of Adam, in quantizer steps."""

MOMENT_DECAYS = (0.9, 0.99)
_EPSILON = 1e-8


Array = jax.Array | np.ndarray


class TileInputs(NamedTuple):
    """What the cost of a tile depends on besides its latents. Tuples are indexed by level."""

    originals: tuple[Any, ...]  # by distortion, see `Distortion.original`
    size: Any  # int32 [2], rows and columns of the image in the tile
    masks: tuple[Array, ...]  # bool [1, h, w], where the level is coded
    variable: Latents  # bool [1, ·, ·, 1], which latents may change
    quality: Array | QualityMaps  # int32 [1], or that of all positions
    weights: tuple[Array, ...]  # by distortion, of each of its maps, float32 [M]
    relative: Array | None = None  # what areas count, [H/16, W/16]


class Descent(NamedTuple):
    """The state of Adam (Kingma and Ba 2015, https://arxiv.org/abs/1412.6980)."""

    latents: Latents
    means: Latents  # of the gradients
    squares: Latents  # means of the squares of the gradients
    steps: jax.Array  # int32, so far


def begin(latents: Latents) -> Descent:
    """The state before the first step."""
    zeros = jax.tree_util.tree_map(jnp.zeros_like, latents)
    return Descent(latents, zeros, zeros, jnp.zeros((), jnp.int32))


@functools.partial(compilation.jit, static_argnums=(0, 1), quick=True)
def cost(
    config: PortableConfig,
    distortions: tuple[Distortion, ...],
    params: Any,
    inputs: TileInputs,
    latents: Latents,
) -> jax.Array:
    """J of the tile in bits, with real symbols and the 8-bit image."""
    return _cost(config, distortions, params, inputs, latents, (None,) * config.levels)


@functools.partial(compilation.jit, static_argnums=(0, 1), quick=True)
def step(
    config: PortableConfig,
    distortions: tuple[Distortion, ...],
    params: Any,
    inputs: TileInputs,
    descent: Descent,
    key: jax.Array,
) -> Descent:
    """One step. `key` is that of the tile.

    The noise of every second step is that of the one before with the other sign, so that the mean
    of the two gradients varies less (antithetic variates).
    """
    keys = jax.random.split(jax.random.fold_in(key, descent.steps // 2), config.levels)
    sign = 1 - 2 * (descent.steps % 2)
    noise = tuple(
        RoundingNoise(sign * soft_rounding.draw(level_key, latents.y.shape), variable.y)
        for level_key, latents, variable in zip(keys, descent.latents, inputs.variable, strict=True)
    )

    def soft_cost(latents: Latents) -> jax.Array:
        return _cost(config, distortions, params, inputs, latents, noise)

    return _adam_step(descent, jax.grad(soft_cost)(descent.latents), inputs.variable)


def _cost(
    config: PortableConfig,
    distortions: tuple[Distortion, ...],
    params: Any,
    inputs: TileInputs,
    latents: Latents,
    noise: tuple[RoundingNoise | None, ...],
) -> jax.Array:
    """J of the tile in bits. Without `noise` the latents and the image are rounded."""
    coded = portable.network(config).apply(
        {"params": params}, latents, inputs.masks, noise, inputs.quality, inputs.size[None],
        method="code_given",
    )  # fmt: skip
    bits = total_bits((coded.y_bits, coded.z_bits))[0]
    # A decoder's image ends there, and `file_cost` continues it so.
    x_hat = lapped.replicate_beyond(coded.x_hat, inputs.size)
    decoded = 255.0 * jnp.clip(x_hat[0], 0.0, 1.0)
    if noise[0] is None:
        decoded = jnp.round(decoded)
    blocks = -(-inputs.size // BLOCK)
    sides = tuple(side // AREA for side in decoded.shape[:2])
    counted = partition.extent_mask(blocks * (BLOCK // AREA), sides)
    if inputs.relative is not None:
        counted = counted * inputs.relative
    by_distortion = zip(distortions, inputs.originals, inputs.weights, strict=True)
    for distortion, original, weights in by_distortion:
        maps = distortion.maps(original, decoded, inputs.size)
        bits += jnp.sum(weights * jnp.sum(maps * counted, axis=(1, 2)))
    return bits


def _adam_step(descent: Descent, gradients: Latents, variable: Latents) -> Descent:
    """The step of Adam. Latents that are not variable stay."""
    tree_map = jax.tree_util.tree_map
    mean_decay, square_decay = MOMENT_DECAYS
    steps = descent.steps + 1
    gradients = tree_map(lambda g, may_change: jnp.where(may_change, g, 0.0), gradients, variable)

    def mean(old: jax.Array, new: jax.Array) -> jax.Array:
        return mean_decay * old + (1 - mean_decay) * new

    def mean_square(old: jax.Array, new: jax.Array) -> jax.Array:
        return square_decay * old + (1 - square_decay) * jnp.square(new)

    means = tree_map(mean, descent.means, gradients)
    squares = tree_map(mean_square, descent.squares, gradients)

    def moved(value: jax.Array, mean: jax.Array, square: jax.Array) -> jax.Array:
        unbiased = mean / (1 - mean_decay**steps)
        deviation = jnp.sqrt(square / (1 - square_decay**steps))
        return value - RATE * unbiased / (deviation + _EPSILON)

    return Descent(tree_map(moved, descent.latents, means, squares), means, squares, steps)
