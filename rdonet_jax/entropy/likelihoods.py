"""The differentiable rate of latents: the information content of their unit bins, in float32."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from rdonet_jax.entropy import distributions


def bits(v, scale, distribution: str):
    """Bits of the unit bin around v. Raises ValueError for an unknown distribution."""
    return distributions.named(distribution).bits(v, scale)


def scale_at(index, distribution: str):
    """The scale at indices of the table, which may be fractions: interpolated geometrically."""
    scales = distributions.scale_table(distribution).astype(np.float64)
    step = float(np.log(scales[1] / scales[0]))
    return float(scales[0]) * jnp.exp(index * step)


def scale_index(scale, distribution: str):
    """Index of the table entry nearest to each scale in the log domain; int32, the shape of scale.

    By comparisons alone, so equal scales give equal indices on every machine. Scales outside the
    table's range get its first or last entry.
    """
    thresholds = jnp.asarray(distributions.scale_thresholds(distribution))
    return jnp.searchsorted(thresholds, scale, method="scan_unrolled").astype(jnp.int32)
