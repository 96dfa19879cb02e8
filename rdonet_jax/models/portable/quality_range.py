"""A portable network resample_knots to another range of lambdas, to go on training from there.

All that depends on the quality is linear between knots that are equally spaced in log lambda. So
the same network over another range has the old values, read at the new knots; beyond the old range
its gains follow the square root of lambda and all else stays as it is at the end.
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
    """Whether the two are the same network, over ranges of lambda that may differ."""
    free = {"lmbdas": model.lmbdas, "thresholds": model.thresholds}
    return dataclasses.replace(weights, **free) == model


def resample_knots(params: Any, old: PortableConfig, new: PortableConfig) -> Any:
    """Parameters over the range of `old` as those over the range of `new`; `is_same_network` both."""
    places = _knot_positions(old, new)
    inside = np.clip(places, 0, old.knots - 1)
    left = np.minimum(inside.astype(int), old.knots - 2)
    share = inside - left
    weights = np.zeros((new.knots, old.knots))
    weights[np.arange(new.knots), left] = 1 - share
    weights[np.arange(new.knots), left + 1] += share
    # A gain is log2 of steps per unit of y, and steps are as 1 / sqrt(lambda).
    segment = np.log2(old.lmbdas[1] / old.lmbdas[0]) / (old.knots - 1)
    beyond = (places - inside) * segment / 2
    flat = {}
    for path, leaf in flatten_dict(params).items():
        leaf = np.array(leaf)
        if path[-1] in KNOTTED:
            leaf = weights @ leaf + (beyond[:, None] if path[-1] == "gain" else 0.0)
        elif path[-1] == "kernel" and (rows := _rows_of_quality(path, len(leaf), old)):
            leaf[rows] = weights @ leaf[rows]
        flat[path] = jnp.asarray(leaf, jnp.float32)
    return unflatten_dict(flat)


def _knot_positions(old: PortableConfig, new: PortableConfig) -> np.ndarray:
    """The knots of `new` on the scale of the knots of `old`, 0 for the first; maybe beyond."""
    knots = np.linspace(*np.log(new.lmbdas), new.knots)
    low, high = np.log(old.lmbdas)
    return (knots - low) / (high - low) * (old.knots - 1)


def _rows_of_quality(path: tuple[str, ...], rows: int, config: PortableConfig) -> slice | None:
    """Where the kernel of an exact layer has the inputs that say the quality, if it has."""
    if path[-2] == "from_z":
        return slice(rows - config.knots, rows)
    if path[-2] == "first" and path[-3] == "prior":
        behind = 9 * config.embedding + 2 * config.conditioning
        return slice(behind, behind + config.knots)
    return None
