"""The walk through the levels inside one graph, for either family of networks.

A network has the steps `analyze`, `start`, `code_level` and `synthesize`; `code` composes them,
from the coarsest level to the finest. `rdonet_jax.codec` is the same walk with a range coder in
hand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from rdonet_jax.core.config import LEVELS

COARSEST = LEVELS - 1
COARSE_TO_FINE = tuple(reversed(range(LEVELS)))

Keys = tuple[jax.Array | None, jax.Array | None]
"""For the noise on y and on z of a level, [B] each; None for rounding."""


class Coded(NamedTuple):
    """What a walk through the levels gives. Tuples are indexed by level."""

    x_hat: jax.Array  # [B, H, W, 3], not clipped
    y_bits: tuple[jax.Array, ...]  # [B, h, w] bits per position, 0 where not coded
    z_bits: tuple[jax.Array, ...]  # [B, ceil(h/4), ceil(w/4)]


def code(
    network: Any,
    x: jax.Array,
    masks: tuple[jax.Array, ...],
    keys: jax.Array | None,
    *given: jax.Array,
    sizes: jax.Array | None = None,
) -> Coded:
    """The walk with noise (keys [B]: one key per image) or with rounding (keys None).

    With noise the rate is that of the noisy latents while the decoder sees straight-through rounded
    ones (Minnen and Singh 2020), so that it is trained on what it will be given. With rounding it
    is what the symbols cost in the stream, escapes included. Its gradient is then that of the
    likelihood at these symbols, and passes to the latents straight through rounding and dead zone.
    masks[l] is bool [B, h, w], True where the level is coded; a hyper-latent is coded when any of
    its 4×4 latents is. What else is `given` goes to every level. `sizes` int32 [B, 2] are those of
    the images themselves in x, in pixels, for networks whose steps ask for them; without them,
    every image is all of its array.
    """
    features = _segment(network, type(network).analyze)(network, x, *_unless_none(sizes))
    return code_features(network, features, masks, keys, *given, sizes=sizes)


def code_features(
    network: Any,
    features: tuple[jax.Array, ...],
    masks: tuple[jax.Array, ...],
    keys: jax.Array | None,
    *given: jax.Array,
    sizes: jax.Array | None = None,
) -> Coded:
    """The rest of `code`, from the encoder's features, which depend on no mask."""
    steps = type(network)
    state = network.start(features[COARSEST].shape[0], features[COARSEST].shape[1:3])
    y_bits: list[Any] = [None] * LEVELS
    z_bits: list[Any] = [None] * LEVELS
    for level in COARSE_TO_FINE:
        step = _segment(network, functools.partial(steps.code_level, level=level))
        state, y_bits[level], z_bits[level] = step(
            network, features[level], state, masks[level], _level_keys(keys, level), *given,
            *_unless_none(sizes),
        )  # fmt: skip
    x_hat = _segment(network, steps.synthesize)(network, state, *_unless_none(sizes))
    return Coded(x_hat, tuple(y_bits), tuple(z_bits))


def _unless_none(value: jax.Array | None) -> tuple[jax.Array, ...]:
    """A last argument, where there is one."""
    return () if value is None else (value,)


def _segment(network: Any, step: Callable[..., Any]) -> Callable[..., Any]:
    """A part of the walk; with `remat`, only its inputs are kept for the backward pass."""
    return nn.remat(step) if network.remat else step


def _level_keys(keys: jax.Array | None, level: int) -> Keys:
    """Independent keys [B] for the noise on y and on z of a level."""
    if keys is None:
        return None, None
    y_keys, z_keys = (
        jax.vmap(jax.random.fold_in, (0, None))(keys, 2 * level + part) for part in range(2)
    )
    return y_keys, z_keys
