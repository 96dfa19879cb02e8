"""One pass over the levels, coarse to fine, that training, estimates, encoder and decoder share.

A network of the RDONet or the portable family has the methods `analyze`, `initial_state`,
`code_level` and `synthesize`. `code` composes them in one graph, for training and estimates. The
level coders in `rdonet_jax.codec` make the same pass with a range coder.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rdonet_jax.core import partition
from rdonet_jax.core.config import LEVELS
from rdonet_jax.models.quality_maps import QualityMaps

PassQuality = jax.Array | QualityMaps
"""One for each image, int32 [B], or one for each position."""

Keys = tuple[jax.Array | None, jax.Array | None]
"""Keys [B] for the noise on y and on z of a level; None to round instead."""


class Coded(NamedTuple):
    """The reconstruction of images, and their rate. Tuples are indexed by level."""

    x_hat: jax.Array  # [B, H, W, 3], not clipped
    y_bits: tuple[jax.Array, ...]  # [B, h, w] bits per position, 0 where not coded
    z_bits: tuple[jax.Array, ...]  # [B, ceil(h/4), ceil(w/4)]


def code(
    network: Any,
    x: jax.Array,
    masks: tuple[jax.Array, ...],
    keys: jax.Array | None,
    quality: PassQuality | None = None,
    sizes: jax.Array | None = None,
) -> Coded:
    """Passes images through the network, with noise or with rounding, and counts their bits.

    With noise, the rate is that of noisy latents, while the decoder gets rounded ones with
    straight-through gradients (Minnen and Singh 2020, https://arxiv.org/abs/2007.08739). So it is
    trained on what it gets when decoding. With rounding, the rate is what the symbols cost in the
    bitstream, escapes included. Its gradient is that of the likelihood at these symbols, and passes
    straight through rounding and dead zone to the latents.

    Args:
      network: a bound Flax module.
      x: images [B, H, W, 3] in [0, 1], H and W multiples of 64.
      masks: by level, bool [B, h, w], True where the level is coded. A hyper-latent is coded when
        any of its 4×4 latents is.
      keys: one key per image for the noise, [B]; None to round.
      quality: int32 [B] or maps, for variable-rate networks only.
      sizes: int32 [B, 2], rows and columns of the images themselves in x, for variable-rate
        networks only; None where every image fills its array.
    """
    features = _segment(network, type(network).analyze)(network, x, *_given(sizes))
    return code_features(network, features, masks, keys, quality, sizes)


def code_features(
    network: Any,
    features: tuple[jax.Array, ...],
    masks: tuple[jax.Array, ...],
    keys: jax.Array | None,
    quality: PassQuality | None = None,
    sizes: jax.Array | None = None,
) -> Coded:
    """The part of `code` after `analyze`, whose features do not depend on the masks."""
    by_level = tuple(level_keys(keys, level) for level in range(LEVELS))
    code_level = type(network).code_level
    return code_levels(network, code_level, features, masks, by_level, quality, sizes)


def code_levels(
    network: Any,
    code_level: Callable[..., Any],
    sources: tuple[Any, ...],
    masks: tuple[jax.Array, ...],
    noise: tuple[Any, ...],
    quality: PassQuality | None = None,
    sizes: jax.Array | None = None,
) -> Coded:
    """The pass over the levels and the synthesis.

    `code_level` is a method of the network like `code_level`. By level, `sources` are what it takes
    its latents from, and `noise` what quantizes them. A network with the finest level alone has one
    source, and all masks but the first are False.
    """
    methods = type(network)
    coarsest = len(sources) - 1
    batch, *grid = masks[coarsest].shape
    state = network.initial_state(batch, tuple(grid))
    y_bits: list[Any] = [jnp.zeros(mask.shape) for mask in masks]
    z_bits: list[Any] = [jnp.zeros(partition.hyper_mask(mask).shape) for mask in masks]
    for level in reversed(range(len(sources))):
        code = _segment(network, functools.partial(code_level, level=level))
        state, y_bits[level], z_bits[level] = code(
            network, sources[level], state, masks[level], noise[level], *_given(quality, sizes)
        )
    x_hat = _segment(network, methods.synthesize)(network, state, *_given(sizes))
    return Coded(x_hat, tuple(y_bits), tuple(z_bits))


def _given(*arguments: Any) -> tuple[Any, ...]:
    """Those that are not None: steps of fixed-rate networks have neither quality nor sizes."""
    return tuple(argument for argument in arguments if argument is not None)


def _segment(network: Any, method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of the network. With `remat`, the backward pass stores only its inputs."""
    return nn.remat(method) if network.remat else method


def level_keys(keys: jax.Array | None, level: int) -> Keys:
    """Independent keys [B] for the noise on y and on z of a level; None for None."""
    if keys is None:
        return None, None
    y_keys, z_keys = (
        jax.vmap(jax.random.fold_in, (0, None))(keys, 2 * level + part) for part in range(2)
    )
    return y_keys, z_keys
