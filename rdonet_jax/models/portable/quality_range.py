"""A portable network's parameters for another range of lambdas, to continue training from.

Every parameter that depends on the quality is linear between knots, which are equally spaced in
log lambda. So the parameters for another range are the old ones interpolated at the new knots,
which may be more or fewer. Beyond the old range, gains follow the square root of lambda, and all
else is constant.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from rdonet_jax.core.config import PortableConfig

KNOTTED = ("gain", "z_gain", "z_index")
"""Parameters with one row per knot."""


def is_same_network(weights: PortableConfig, model: PortableConfig) -> bool:
    """Whether two configurations differ at most in lambdas, their knots, and thresholds."""
    same = dataclasses.replace(
        weights, lmbdas=model.lmbdas, knots=model.knots, thresholds=model.thresholds
    )
    return same == model


def resample_knots(params: Any, old: PortableConfig, new: PortableConfig) -> Any:
    """Parameters over the range of `old` as parameters over that of `new`.

    The two must satisfy `is_same_network`.
    """
    positions = _knot_positions(old, new)
    inside = np.clip(positions, 0, old.knots - 1)
    left = np.minimum(inside.astype(int), old.knots - 2)
    fraction = inside - left
    weights = np.zeros((new.knots, old.knots))
    weights[np.arange(new.knots), left] = 1 - fraction
    weights[np.arange(new.knots), left + 1] += fraction
    # A gain is log2 of steps per unit of y, and the step size is proportional to 1 / sqrt(lambda).
    segment = np.log2(old.lmbdas[1] / old.lmbdas[0]) / (old.knots - 1)
    extrapolated = (positions - inside) * segment / 2
    flat = {}
    for path, leaf in flatten_dict(params).items():
        leaf = np.array(leaf)
        if path[-1] in KNOTTED:
            leaf = weights @ leaf + (extrapolated[:, None] if path[-1] == "gain" else 0.0)
        elif path[-1] == "kernel" and (rows := _quality_rows(path, len(leaf), old)):
            leaf = np.concatenate([leaf[: rows.start], weights @ leaf[rows], leaf[rows.stop :]])
        flat[path] = jnp.asarray(leaf, jnp.float32)
    return unflatten_dict(flat)


def _knot_positions(old: PortableConfig, new: PortableConfig) -> np.ndarray:
    """The knots of `new` in units of the knots of `old`: 0 is its first one. May lie outside."""
    first, last = np.log(new.lmbdas)
    knots = np.linspace(first, last, new.knots)
    low, high = np.log(old.lmbdas)
    return (knots - low) / (high - low) * (old.knots - 1)


def _quality_rows(path: tuple[str, ...], rows: int, config: PortableConfig) -> slice | None:
    """The rows of an integer layer's kernel whose inputs are the quality basis, if it has any."""
    if path[-2] == "from_z":
        return slice(rows - config.knots, rows)
    if path[-2] == "first" and path[-3] == "prior":
        first = 9 * config.embedding + 2 * config.conditioning
        return slice(first, first + config.knots)
    return None
