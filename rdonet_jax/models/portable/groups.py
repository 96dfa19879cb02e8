"""Changes to a trained portable network for decoding the channels of its latents in groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from rdonet_jax.core.config import LEVELS, PortableConfig
from rdonet_jax.models.portable import network as portable

NO_GROUPS: tuple[tuple[int, ...], ...] = ((),) * LEVELS


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


def sort_latents(params: Any, config: PortableConfig, order: Sequence[Sequence[int]]) -> Any:
    """The parameters with the channels of y of each level in another order.

    `order`, by level, lists the old channels. Symbols are the same, in that order. Raises
    `ValueError` for a network that knows its channels by number: one with groups of channels, or
    with a part of them as context.
    """
    if config.channel_groups != NO_GROUPS:
        raise ValueError("the channels of a network with groups have their places")
    if any(config.embedded):
        raise ValueError("some channels are no context of others, so all have their places")
    flat = {path: np.array(leaf) for path, leaf in flatten_dict(params).items()}
    for level, channels in enumerate(order):
        columns = np.asarray(channels)
        if not np.array_equal(np.sort(columns), np.arange(config.latents[level])):
            raise ValueError(f"level {level} needs each of its channels once")
        _sort_level(flat, f"units_{level}", columns)
    return unflatten_dict(flat)


def _sort_level(flat: dict[tuple[str, ...], np.ndarray], unit: str, columns: np.ndarray) -> None:
    """Sorts the channels of a level, in place."""
    outputs = [("to_latent",), ("prior", "to_mu"), ("prior", "to_scale")]
    for path in outputs:
        for leaf in ("kernel", "bias"):
            flat[(unit, *path, leaf)] = flat[(unit, *path, leaf)][..., columns]
    for name in ("gain", "unit"):
        flat[(unit, "prior", name)] = flat[(unit, "prior", name)][..., columns]
    for path in [("from_latent",), ("hyper_encoder", "first")]:
        flat[(unit, *path, "kernel")] = flat[(unit, *path, "kernel")][columns]
    # The inputs of the embedding are the latents and their magnitudes.
    both = np.concatenate([columns, columns + len(columns)])
    flat[(unit, "prior", "embed", "kernel")] = flat[(unit, "prior", "embed", "kernel")][both]
