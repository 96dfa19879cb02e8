"""Portable networks for tests: configurations, parameters, compiled functions."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core import presets
from rdonet_jax.core.config import PortableConfig
from rdonet_jax.models import registry
from rdonet_jax.models.hierarchy import Coded
from rdonet_jax.models.portable import init as portable_init
from rdonet_jax.models.portable import network as portable

QUICKLY = {"xla_backend_optimization_level": "0"}
"""For functions that run a few times: compiling them takes far longer than running them."""

DISTURBANCE = {"kernel": 0.3, "bias": 0.3, "gain": 0.05, "z_index": 0.3}
"""Deviations of what `acting` adds to the parameters of the prior, by name."""

RESIDUAL_DISTURBANCE = 0.02
"""Of the last layers of the residual blocks."""


ENDS = (-(2**31), -(2**31) + 1, -1000, 1000, 2**31 - 1)
"""Symbols that a hostile file may hold."""

GROUPS = ((3, 9), (4, 5), (1,))
"""Where groups of channels after the first begin in `grouped`, by level."""


@functools.cache
def preset(context: int) -> PortableConfig:
    """`mini`, whose planes are decoded in so many steps."""
    return presets.mini(context=context)


@functools.cache
def grouped(context: int) -> PortableConfig:
    """The same network with channels that are decoded in groups."""
    return presets.mini(context=context, channel_groups=GROUPS, group_hidden=10)


@functools.cache
def partly_embedded(context: int) -> PortableConfig:
    """As `grouped`, with the first channels alone as context of what is decoded later."""
    return dataclasses.replace(grouped(context), embedded=(5, 3, 1))


@functools.cache
def shapes(config: PortableConfig) -> Any:
    """The tree of parameters, as shapes."""
    return jax.eval_shape(lambda: portable.init_params(config, jax.random.key(0)))


@functools.cache
def start(config: PortableConfig) -> Any:
    """The orthonormal start."""
    rng = np.random.default_rng(0)

    def drawn(path: Any, leaf: Any) -> np.ndarray:
        if path[-1].key != "kernel":
            return np.full(leaf.shape, 1.5 if path[-1].key == "z_index" else 0.0, np.float32)
        # The last layers begin at zero: mu, scale, what residual blocks add.
        still = path[-2].key == "out" or re.search(r"to_(mu|scale)", path[-2].key)
        inputs = np.prod(leaf.shape[:-1])
        return (0.0 if still else 1.0) * rng.normal(size=leaf.shape) / np.sqrt(inputs)

    params = jax.tree_util.tree_map_with_path(drawn, shapes(config))
    return portable_init.linear_start(params, config)


@functools.cache
def acting(config: PortableConfig, seed: int = 0) -> Any:
    """The start disturbed at random, so that context, z, mu and residual blocks have effects."""
    rng = np.random.default_rng(seed)

    def disturbed(path: Any, leaf: jax.Array) -> jax.Array:
        names = [key.key for key in path]
        size = DISTURBANCE.get(names[-1], 0.0) if "prior" in names else 0.0
        size += RESIDUAL_DISTURBANCE if names[-2:] == ["out", "kernel"] else 0.0
        return leaf + jnp.asarray(size * rng.normal(size=leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(disturbed, start(config))


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICKLY)
def code(config: PortableConfig, params: Any, x: Any, masks: Any, quality: Any) -> Coded:
    """All levels, with rounding."""
    return registry.code(config, params, x, masks, quality)


def mini_parameters(config: PortableConfig, seed: int = 0) -> Any:
    """Parameters by which every symbol depends on earlier ones, hyper-latents and all."""
    params = jax.tree_util.tree_map(np.array, acting(config, seed))
    for level in range(config.levels):
        params[f"units_{level}"]["z_gain"] += 3.0
    return params
