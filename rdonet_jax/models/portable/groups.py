"""Changes to a trained portable network for decoding the channels of its latents in groups."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from rdonet_jax.core.config import PortableConfig
from rdonet_jax.models.portable import network as portable

NO_GROUPS: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] = ((), (), ())


def add_groups(params: Any, config: PortableConfig, key: jax.Array) -> Any:
    """Parameters of a network without groups as those of `config`, which may have groups.

    The networks of the groups are drawn from `key`. Their outputs are zero at first, so that the
    predictions stay as they are until they are trained.
    """
    fresh = flatten_dict(portable.init_params(config, key))
    return unflatten_dict({**fresh, **flatten_dict(params)})


def without_groups(config: PortableConfig) -> PortableConfig:
    """The configuration of the network that `add_groups` takes."""
    group_hidden = PortableConfig.group_hidden
    return dataclasses.replace(config, channel_groups=NO_GROUPS, group_hidden=group_hidden)
