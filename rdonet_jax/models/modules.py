"""Building a network's Flax module and its first parameters, alike for every family."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from rdonet_jax.core import partition
from rdonet_jax.runtime import compilation

Module = TypeVar("Module", bound=nn.Module)


def build(
    network_class: type[Module], config: Any, dtype: Any = "float32", remat: bool = False
) -> Module:
    """The Flax module of a configuration, whose transforms are computed in `dtype`.

    With `remat`, the backward pass computes activations again instead of storing them. Equal
    arguments give the same object, so that jit finds what it has compiled.
    """
    return _build(network_class, config, jnp.dtype(dtype), remat)  # type: ignore[arg-type] # a class


@functools.cache
def _build(network_class: type[Module], config: Any, dtype: Any, remat: bool) -> Module:
    return network_class(config, dtype, remat)


@functools.partial(compilation.jit, static_argnums=(0, 1, 2), quick=True)
def init_params(
    network_class: type[nn.Module], variable_rate: bool, config: Any, key: jax.Array
) -> Any:
    """Random parameters of a network, a tree of float32 arrays.

    Traces the method `code`, which uses every parameter, on a small batch with noise.
    """
    blocks = 2
    x = jnp.zeros((1, blocks * partition.BLOCK, blocks * partition.BLOCK, 3))
    masks = partition.level_masks(partition.uniform(0, (blocks, blocks), (1,)))
    params_key, noise_key = jax.random.split(key, 2)
    quality = (jnp.zeros(1, jnp.int32),) if variable_rate else ()
    network = build(network_class, config)
    return network.init(params_key, x, masks, noise_key[None], *quality, method="code")["params"]
