"""Changes to the hyperpriors of a trained portable network, whose transforms stay as they are."""

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
"""Names in the paths of parameters that `reinit_priors` replaces as a whole."""


def reinit_priors(params: Any, config: PortableConfig, key: jax.Array) -> Any:
    """The parameters with random hyper-encoders and random input weights of z, drawn from `key`.

    The priors keep their weights for the quality and for the other levels. Hyper-latents that carry
    no information get no useful gradient. Those that start with some become worth their bits in
    training, or are trained away.
    """
    fresh = flatten_dict(portable.init_params(config, key))
    flat = flatten_dict(params)
    for path in flat:
        if REINITIALIZED & set(path):
            flat[path] = fresh[path]
        elif path[-2:] == ("from_z", "kernel"):
            # The last rows are for the quality.
            is_z = jnp.arange(len(flat[path])) < len(flat[path]) - config.knots
            flat[path] = jnp.where(is_z[:, None], fresh[path], flat[path])
    return unflatten_dict(flat)


def coarsen_z(params: Any, config: PortableConfig, octaves: Sequence[float]) -> Any:
    """The parameters with steps of z that are wider by `octaves` at each knot of the quality.

    The scales of z follow. The prior of y does not: the integers that it gets of z are smaller.
    """
    low, high = distributions.scale_table(config.distribution)[[0, -1]].astype(float)
    entries_per_octave = (distributions.SCALE_COUNT - 1) / math.log2(high / low)
    wider = np.asarray(octaves, np.float32)[:, None]
    flat = flatten_dict(params)
    for path in flat:
        if path[-1] == "z_gain":
            flat[path] = flat[path] - wider
        elif path[-1] == "z_index":
            per_octave = entries_per_octave / integer_prior.Z_INDEX_UNIT
            flat[path] = flat[path] - wider * per_octave
    return unflatten_dict(flat)
