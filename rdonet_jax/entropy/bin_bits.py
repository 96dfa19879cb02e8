"""Bits of the unit bins of the distributions that come with the package, in float32."""

from __future__ import annotations

import functools
import math

import jax.numpy as jnp
from jax.scipy.special import erf

# Polynomial in w = (t - 3) / (t + 3) for (1 + t) * Q(t) / phi(t), t >= 0: a Chebyshev fit, relative
# error below 2e-7 in float32. Q is the upper tail of the normal distribution, phi its density.
_MILLS = (
    1.21836121, -0.241956655, -0.0411904498, 0.113207963, -0.0569617523, 0.00291785002,
    0.00748653986, -0.000915902377, -0.00118815864, 8.96748895e-05, 0.00014969347,
)  # fmt: skip


def laplace_bits(v, scale):
    """Bits of the unit bin [v - 1/2, v + 1/2] of a centered Laplace distribution of scale b.

    Elementwise, any shapes that broadcast, float32. Value and gradients are finite for |v| up to
    1e6 and every scale of the table's range, and grow linearly in the tails.
    """
    a = jnp.abs(v)
    # The bin's mass is that of a bin at m = min(a, 1/2), times exp(-(a - m) / scale). Both terms of
    # the former are positive: no cancellation, and no branch whose gradient could be NaN.
    m = jnp.minimum(a, 0.5)
    near = -jnp.expm1((m - 0.5) / scale) - jnp.expm1((-m - 0.5) / scale)
    return ((a - m) / scale - jnp.log(0.5 * near)) * (1 / math.log(2))


def gaussian_bits(v, scale):
    """Bits of the unit bin [v - 1/2, v + 1/2] of a centered normal distribution of deviation sigma.

    Elementwise, any shapes that broadcast, float32. Value and gradients are finite for |v| up to
    1e6 and every scale of the table's range, and grow quadratically in the tails.
    """
    a = jnp.abs(v)
    inner = a < 0.5
    m = jnp.where(inner, a, 0.5)
    near = erf((0.5 + m) / scale * math.sqrt(0.5)) + erf((0.5 - m) / scale * math.sqrt(0.5))
    u = jnp.where(inner, 0.0, a - 0.5)
    t = u / scale
    decay = jnp.exp(-(u + 0.5) / scale / scale)  # phi(t + 1 / scale) / phi(t)
    far = _mills(t) - decay * _mills(t + 1 / scale)
    far_nats = 0.5 * t * t + 0.5 * math.log(2 * math.pi) - jnp.log(far)
    return jnp.where(inner, -jnp.log(0.5 * near), far_nats) * (1 / math.log(2))


def _mills(t):
    """Q(t) / phi(t) of the normal distribution for t >= 0."""
    w = (t - 3) / (t + 3)
    return functools.reduce(lambda r, c: r * w + c, reversed(_MILLS)) / (1 + t)
