"""The two families of networks behind one door: by configuration to module and fresh parameters.

`ModelConfig` is the network of the papers, trained for one lambda; `PortableConfig` serves every
quality, so its walk `code` also takes the quality of each picture.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from rdonet_jax import objective, partition
from rdonet_jax.config import AnyConfig, PortableConfig
from rdonet_jax.models import hierarchy, portable, rdonet
from rdonet_jax.models.hierarchy import Coded
from rdonet_jax.partition import Partition


def network(config: AnyConfig, dtype: Any = jnp.float32, remat: bool = False) -> Any:
    """The module for a configuration; one object per configuration, so that jit caches hold."""
    family = portable if isinstance(config, PortableConfig) else rdonet
    return family.network(config, dtype, remat)


def initialise(config: AnyConfig, key: jax.Array) -> Any:
    """Fresh parameters, drawn from `key`."""
    family = portable if isinstance(config, PortableConfig) else rdonet
    return family.initialise(config, key)


def code(
    config: AnyConfig,
    params: Any,
    x: jax.Array,
    masks: tuple[jax.Array, ...],
    quality: jax.Array | None,
    keys: jax.Array | None = None,
    dtype: Any = jnp.float32,
    remat: bool = False,
) -> Coded:
    """The whole walk; `quality` int32 [B] for a portable network, None for one of a fixed lambda.

    With noise (keys [B], one per picture) or with rounding (keys None).
    """
    arguments = (x, masks, keys) if quality is None else (x, masks, keys, quality)
    net = network(config, dtype, remat)
    return net.apply({"params": params}, *arguments, method="code")


def analyse(config: AnyConfig, params: Any, x: jax.Array) -> tuple[jax.Array, ...]:
    """The encoder's features by level, which hang on no mask."""
    return network(config).apply({"params": params}, x, method="analyse")


def code_features(
    config: AnyConfig,
    params: Any,
    features: tuple[jax.Array, ...],
    masks: tuple[jax.Array, ...],
    quality: jax.Array | None,
) -> Coded:
    """What `code` gives with rounding, from what `analyse` gave."""
    given = () if quality is None else (quality,)
    return network(config).apply(
        {"params": params}, features, masks, None, *given, method=hierarchy.code_features
    )


def variance_partition(
    config: AnyConfig, x: jax.Array, quality: jax.Array | None = None
) -> Partition:
    """The variance mask of pictures [B, H, W, 3] with the model's thresholds at their quality."""
    if quality is None:
        return partition.variance(x, config.thresholds)
    first, second = objective.thresholds_at(config, quality)
    return partition.variance(x, (first[:, None, None], second[:, None, None]))


def parameter_count(params: Any) -> int:
    """Number of scalars in a tree of parameters."""
    return sum(leaf.size for leaf in jax.tree_util.tree_leaves(params))
