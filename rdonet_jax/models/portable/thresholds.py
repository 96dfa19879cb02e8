"""The thresholds of the variance mask of a portable model, which depend on the quality."""

from __future__ import annotations

from typing import Any

import numpy as np

from rdonet_jax.core.config import PortableConfig


def thresholds_at(config: PortableConfig, quality: Any) -> tuple[Any, Any]:
    """Two thresholds at qualities of any shape, interpolated geometrically between the knots.

    NumPy arrays for NumPy arrays, and JAX arrays otherwise.
    """
    xp = np if isinstance(quality, np.ndarray) else _jax_numpy()
    positions = xp.linspace(0.0, config.steps_of_quality, config.knots)
    knots = xp.log(xp.asarray(config.thresholds))
    first, second = (xp.exp(xp.interp(quality, positions, knots[:, i])) for i in range(2))
    return first, second


def _jax_numpy() -> Any:
    import jax.numpy

    return jax.numpy
