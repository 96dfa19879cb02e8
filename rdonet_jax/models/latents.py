"""Conditional distributions of latents, as RDONet and the baselines share them."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rdonet_jax.entropy import distributions
from rdonet_jax.nn import ops


class Prior(NamedTuple):
    """A conditional distribution per element, of the shape of the predicted latents."""

    mu: jax.Array
    scale: jax.Array  # Laplace b or Gaussian sigma, at least `min_scale`


def min_scale(distribution: str) -> float:
    """The lower bound of predicted scales: the first entry of the scale table."""
    return float(distributions.scale_table(distribution)[0])


def bounded_scale(raw: jax.Array, distribution: str) -> jax.Array:
    """The scale from a network's output: softplus, bounded below by `min_scale`."""
    return ops.lower_bound(nn.softplus(raw), min_scale(distribution))


def noisy_or_rounded(v: jax.Array, keys: jax.Array | None) -> jax.Array:
    """v [B, ...] with the uniform noise of training, or rounded when `keys` [B] is None.

    The noise stands in for rounding (Ballé et al. 2017, https://arxiv.org/abs/1611.01704). The
    gradient of rounding is straight-through.
    """
    if keys is None:
        return ops.straight_through_round(v)
    return v + ops.uniform_noise(keys, v.shape[1:])


def masked_sum(bits: jax.Array, mask: jax.Array) -> jax.Array:
    """Bits per position [B, h, w] from bits per element [B, h, w, C], 0 outside the mask."""
    return jnp.sum(jnp.where(mask[..., None], bits, 0.0), axis=-1)
