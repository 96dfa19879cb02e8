"""Hyperpriors of a portable network begun anew, or weighed anew, under transforms that stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from rdonet_jax.core.config import PortableConfig
from rdonet_jax.entropy import distributions
from rdonet_jax.models.portable import integer_prior
from rdonet_jax.models.portable import network as portable

REINITIALIZED = frozenset({"hyper_encoder", "z_gain", "z_index"})
"""Names in the paths of parameters that are drawn anew as a whole."""


def reinit_priors(params: Any, config: PortableConfig, key: jax.Array) -> Any:
    """The parameters with new hyper-encoders and new readers of z, drawn from `key`.

    What the priors know of the quality and of the other levels stays. Hyper-latents that say
    nothing cannot learn to; those that begin with something to say are worth their bits or learn
    to keep silent.
    """
    fresh = flatten_dict(portable.init_params(config, key))
    flat = flatten_dict(params)
    for path in flat:
        if REINITIALIZED & set(path):
            flat[path] = fresh[path]
        elif path[-2:] == ("from_z", "kernel"):
            # The rows below those of z are for the quality.
            of_z = jnp.arange(len(flat[path])) < len(flat[path]) - config.knots
            flat[path] = jnp.where(of_z[:, None], fresh[path], flat[path])
    return unflatten_dict(flat)


def coarsen_z(params: Any, config: PortableConfig, octaves: Sequence[float]) -> Any:
    """The parameters with z in steps that are wider by so many octaves at each knot of the quality.

    Its scales follow; what the priors make of z does not, which they take as a z of less weight.
    """
    low, high = distributions.scale_table(config.distribution)[[0, -1]].astype(float)
    entries_per_octave = (distributions.SCALE_COUNT - 1) / math.log2(high / low)
    moved = np.asarray(octaves, np.float32)[:, None]
    flat = flatten_dict(params)
    for path in flat:
        if path[-1] == "z_gain":
            flat[path] = flat[path] - moved
        elif path[-1] == "z_index":
            per_octave = entries_per_octave / integer_prior.Z_INDEX_UNIT
            flat[path] = flat[path] - moved * per_octave
    return unflatten_dict(flat)
