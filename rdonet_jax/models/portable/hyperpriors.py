"""Changes to the hyperpriors of a trained portable network, whose transforms stay as they are."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from rdonet_jax.core.config import PortableConfig
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
