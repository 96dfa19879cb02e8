"""The families of networks behind one door: by configuration to module and fresh parameters.

`ModelConfig` is the network of the papers, trained for one lambda; `PortableConfig` serves every
quality, so its walk `code` also takes the quality of each picture. `ReferenceConfig` is a coder of
the literature, with one level and without masks.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core import partition
from rdonet_jax.core.config import AnyConfig, PortableConfig, ReferenceConfig
from rdonet_jax.core.partition import Partition
from rdonet_jax.entropy import distributions
from rdonet_jax.entropy.distributions import CdfTables
from rdonet_jax.metrics import distortion
from rdonet_jax.models import hierarchy, packing
from rdonet_jax.models.baselines import factorized_prior
from rdonet_jax.models.baselines import network as baselines
from rdonet_jax.models.hierarchy import Coded
from rdonet_jax.models.portable import network as portable
from rdonet_jax.models.rdonet import network as rdonet


def _family(config: AnyConfig) -> ModuleType:
    if isinstance(config, ReferenceConfig):
        return baselines
    return portable if isinstance(config, PortableConfig) else rdonet


def network(config: AnyConfig, dtype: Any = jnp.float32, remat: bool = False) -> Any:
    """The module for a configuration; one object per configuration, so that jit caches hold."""
    return _family(config).network(config, dtype, remat)


def initialise(config: AnyConfig, key: jax.Array) -> Any:
    """Fresh parameters, drawn from `key`."""
    return _family(config).initialise(config, key)


def has_levels(config: AnyConfig) -> bool:
    """Whether a mask chooses among levels; a reference coder has the finest one alone."""
    return not isinstance(config, ReferenceConfig)


def stores_tables(config: AnyConfig) -> bool:
    """Whether a range coder's tables lie beside the weights; else they are `coder_tables` anew."""
    return isinstance(config, PortableConfig | ReferenceConfig)


def coder_tables(config: AnyConfig, params: Any) -> CdfTables:
    """The range coder's tables: those of the scales, and behind them those of a factorised prior.

    `params` are those that a weights file holds, rounded as it holds them. A factorised prior's own
    tables are all that there is where y has one.
    """
    if not isinstance(config, ReferenceConfig):
        return distributions.scale_tables(config.distribution)
    own = factorized_prior.tables(params["factorised_prior"])
    if config.kind == "factorised":
        return own
    scales = distributions.scale_tables(config.distribution)
    return CdfTables(scales.cdfs + own.cdfs, scales.offsets + own.offsets, has_escape=True)


def kernel_steps(config: AnyConfig, path: str, kernel: np.ndarray) -> np.ndarray:
    """The steps, for all or for each output channel, in which a packed file holds a kernel."""
    if isinstance(config, PortableConfig):
        return portable.kernel_steps(path, kernel)
    return packing.steps(kernel)


def table_count(config: AnyConfig) -> int:
    """How many tables `coder_tables` gives."""
    if not isinstance(config, ReferenceConfig):
        return distributions.SCALE_COUNT
    if config.kind == "factorised":
        return config.latents
    return distributions.SCALE_COUNT + config.hyper


def code(
    config: AnyConfig,
    params: Any,
    x: jax.Array,
    masks: tuple[jax.Array, ...],
    quality: jax.Array | None,
    keys: jax.Array | None = None,
    dtype: Any = jnp.float32,
    remat: bool = False,
    sizes: jax.Array | None = None,
) -> Coded:
    """The whole walk; `quality` int32 [B] for a portable network, None for one of a fixed lambda.

    With noise (keys [B], one per picture) or with rounding (keys None). `sizes` int32 [B, 2] are
    the sides of the images themselves in pixels; None: every image is all of its array. Networks of
    one lambda have no use for them beyond the masks.
    """
    arguments = (x, masks, keys) if quality is None else (x, masks, keys, quality, sizes)
    net = network(config, dtype, remat)
    return net.apply({"params": params}, *arguments, method="code")


def analyse(
    config: AnyConfig, params: Any, x: jax.Array, sizes: jax.Array | None = None
) -> tuple[jax.Array, ...]:
    """The encoder's features by level, which depend on no mask; `sizes` as in `code`."""
    given = (x, sizes) if isinstance(config, PortableConfig) else (x,)
    return network(config).apply({"params": params}, *given, method="analyse")


def code_features(
    config: AnyConfig,
    params: Any,
    features: tuple[jax.Array, ...],
    masks: tuple[jax.Array, ...],
    quality: jax.Array | None,
    sizes: jax.Array | None = None,
) -> Coded:
    """What `code` gives with rounding, from what `analyse` gave; for models with levels."""
    given = () if quality is None else (quality,)
    own = None if quality is None else sizes
    return network(config).apply(
        {"params": params}, features, masks, None, *given, sizes=own, method=hierarchy.code_features
    )


def variance_partition(
    config: AnyConfig, x: jax.Array, quality: jax.Array | None = None
) -> Partition:
    """The variance mask of pictures [B, H, W, 3] with the model's thresholds at their quality.

    Without levels to choose from, it is the finest one everywhere.
    """
    if not has_levels(config):
        return partition.uniform(0, partition.grid_of(*x.shape[1:3]), (x.shape[0],))
    if quality is None:
        return partition.variance(x, config.thresholds)
    first, second = distortion.thresholds_at(config, quality)
    return partition.variance(x, (first[:, None, None], second[:, None, None]))


def parameter_count(params: Any) -> int:
    """Number of scalars in a tree of parameters."""
    return sum(leaf.size for leaf in jax.tree_util.tree_leaves(params))
