"""The registered families of networks, and functions that work with any family."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rdonet_jax.core import partition
from rdonet_jax.core.config import AnyConfig, ConfigError, UnregisteredError, from_dict
from rdonet_jax.core.json_values import short_repr
from rdonet_jax.core.partition import Partition
from rdonet_jax.models import param_tree
from rdonet_jax.models.baselines.family import BaselineFamily
from rdonet_jax.models.family import Family
from rdonet_jax.models.portable.family import PortableFamily
from rdonet_jax.models.rdonet.family import RDONetFamily

if TYPE_CHECKING:
    import jax
    import numpy as np

    from rdonet_jax.models.hierarchy import Coded

FAMILIES: dict[str, Family] = {}
"""By name. `register` adds to it."""

FAMILY_KEY = "family"
"""The key of the family's name in a stored configuration."""


def register(family: Family) -> None:
    """Registers a family. Raises ValueError if its name or configuration class is taken."""
    for other in FAMILIES.values():
        if family.name == other.name or family.config is other.config:
            raise ValueError(f"the family {family.name} would take the place of {other.name}")
    FAMILIES[family.name] = family


for _family in (RDONetFamily(), PortableFamily(), BaselineFamily()):
    register(_family)


def family_of(config: AnyConfig) -> Family:
    """The family of a configuration.

    Raises `ConfigError` if no registered family has it, and as `Family.check` does.
    """
    for family in FAMILIES.values():
        if type(config) is family.config:
            family.check(config)
            return family
    raise ConfigError(f"{type(config).__name__} is the configuration of no registered family")


def to_dict(config: AnyConfig) -> dict[str, Any]:
    """A configuration as JSON values, with the name of its family."""
    return {FAMILY_KEY: family_of(config).name, **dataclasses.asdict(config)}


def from_stored(values: Mapping[str, Any]) -> AnyConfig:
    """The configuration from JSON values of `to_dict`, or of an earlier version of it.

    Raises `ConfigError`.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"a configuration is an object with named values, not {short_repr(values)}"
        )
    name = values.get(FAMILY_KEY) or _unnamed_family(values)
    if not isinstance(name, str):
        raise ConfigError(f"the name of a family is a string, not {short_repr(name)}")
    if name not in FAMILIES:
        raise UnregisteredError(
            f"its family {short_repr(name)} is not registered in this program: import the module "
            "that does so first (--import)"
        )
    fields = {key: value for key, value in values.items() if key != FAMILY_KEY}
    config = from_dict(FAMILIES[name].config, fields)
    FAMILIES[name].check(config)
    return config


def _unnamed_family(values: Mapping[str, Any]) -> str:
    """The family of a configuration that was stored before families had names."""
    if "kind" in values:
        return BaselineFamily.name
    return PortableFamily.name if "knots" in values else RDONetFamily.name


def init_params(config: AnyConfig, key: jax.Array) -> Any:
    """Random parameters of the network."""
    return family_of(config).init_params(config, key)


def code(
    config: AnyConfig,
    params: Any,
    x: jax.Array,
    masks: tuple[jax.Array, ...],
    quality: jax.Array | None,
    keys: jax.Array | None = None,
    dtype: Any = "float32",
    remat: bool = False,
    sizes: jax.Array | None = None,
) -> Coded:
    """Passes padded images through a network of any family, see `hierarchy.code`.

    Args:
      quality: int32 [B] for a variable-rate network, None for a fixed-rate one.
      keys: one key per image for noise, [B]; None to round.
      sizes: rows and columns of the images themselves, int32 [B, 2]; None where every image fills
        its array. Fixed-rate networks use only the masks.
    """
    arguments = (x, masks, keys) if quality is None else (x, masks, keys, quality, sizes)
    network: Any = family_of(config).network(config, dtype, remat)
    return network.apply({"params": params}, *arguments, method="code")


def analyze(
    config: AnyConfig, params: Any, x: jax.Array, sizes: jax.Array | None = None
) -> tuple[jax.Array, ...]:
    """The encoder's features by level, which depend on no mask. `sizes` as in `code`."""
    family = family_of(config)
    arguments = (x, sizes) if family.variable_rate else (x,)
    network: Any = family.network(config)
    return network.apply({"params": params}, *arguments, method="analyze")


def code_features(
    config: AnyConfig,
    params: Any,
    features: tuple[jax.Array, ...],
    masks: tuple[jax.Array, ...],
    quality: Any,
    sizes: jax.Array | None = None,
) -> Coded:
    """`code` with rounding, from the features of `analyze`. For families with levels.

    The quality may be any that the network of the family takes.
    """
    from rdonet_jax.models import hierarchy

    network: Any = family_of(config).network(config)
    given = (None, None) if quality is None else (quality, sizes)
    method = hierarchy.code_features
    return network.apply({"params": params}, features, masks, None, *given, method=method)


def variance_partition(
    config: AnyConfig, x: jax.Array | np.ndarray, quality: jax.Array | np.ndarray | None = None
) -> Partition:
    """The variance mask of images [B, H, W, 3], with the thresholds for their quality.

    For a network without levels, the finest level everywhere.
    """
    family = family_of(config)
    if not family.has_levels(config):
        return partition.uniform(0, partition.block_grid(*x.shape[1:3]), (x.shape[0],))
    return partition.variance(x, family.thresholds(config, quality))


def with_thresholds(config: AnyConfig, numbers: Sequence[float]) -> AnyConfig:
    """The configuration with other thresholds of its variance mask.

    `numbers` are T64 T32, for a variable-rate family one such pair for every knot. Raises
    `ConfigError` for another number of them, and for a family without levels.
    """
    return family_of(config).with_thresholds(config, numbers)


def parameter_count(params: Any) -> int:
    """Number of scalars in a tree of parameters."""
    return sum(leaf.size for leaf in param_tree.flatten(params).values())
