"""Hyperpriors of a portable network begun anew, under transforms that stay as they are."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from rdonet_jax.config import PortableConfig
from rdonet_jax.models import portable

PARTS = frozenset({"hyper_encoder", "z_gain", "z_index"})
"""Names in the paths of parameters that are drawn anew as a whole."""


def begun_anew(params: Any, config: PortableConfig, key: jax.Array) -> Any:
    """The parameters with new hyper-encoders and new readers of z, drawn from `key`.

    What the priors know of the quality and of the other levels stays. Hyper-latents that say
    nothing cannot learn to; those that begin with something to say are worth their bits or learn
    to keep silent.
    """
    fresh = flatten_dict(portable.initialise(config, key))
    flat = flatten_dict(params)
    for path in flat:
        if PARTS & set(path):
            flat[path] = fresh[path]
        elif path[-2:] == ("from_z", "kernel"):
            # The rows below those of z are for the quality.
            of_z = jnp.arange(len(flat[path])) < len(flat[path]) - config.knots
            flat[path] = jnp.where(of_z[:, None], fresh[path], flat[path])
    return unflatten_dict(flat)
