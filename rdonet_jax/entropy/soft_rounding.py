"""Soft rounding of latents, for a gradient descent on latents whose symbols are integers.

A value becomes a mixture of the integers below and above it, drawn by a Gumbel softmax (stochastic
Gumbel annealing, Yang, Bamler and Mandt 2020, https://arxiv.org/abs/2006.04240). The nearer an
integer is, the more likely the mixture is close to it. The temperature is constant, which was
better than annealing it, and so is the noise, of which half is far better than all.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

TEMPERATURE = 0.4

NOISE = 0.5
"""Share of the noise of a Gumbel softmax."""

_CLOSEST = 1e-5  # distance from an integer at which the logits end


def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Noise for `soft_round`: differences of two Gumbel variables, which are logistic, scaled."""
    return NOISE * jax.random.logistic(key, shape)


def soft_round(x: jax.Array, noise: jax.Array) -> jax.Array:
    """x as a mixture of floor(x) and floor(x) + 1, of the shape of x, differentiable."""
    below = jnp.floor(x)
    share = jnp.clip(x - below, _CLOSEST, 1.0 - _CLOSEST)
    logit = (jnp.arctanh(share) - jnp.arctanh(1.0 - share)) / TEMPERATURE
    return below + jax.nn.sigmoid((logit + noise) / TEMPERATURE)
