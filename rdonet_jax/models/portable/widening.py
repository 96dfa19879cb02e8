"""A trained portable network with more channels at 1/8 and at 1/16 of the image's size.

A network that keeps few directions of a block loses the others at every rate. The new channels of
the trunk, and the new features and latents of the finest level, code what the old network loses:
its residual, x minus what it reconstructs from latents that are not quantized. They are linear at
first. With new latents of 0 the widened network does what the old one does.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from rdonet_jax.core.config import ConfigError, PortableConfig
from rdonet_jax.models.portable import init, param_shapes
from rdonet_jax.models.portable import network as portable


class ResidualTransform(NamedTuple):
    """A linear transform of the residual, in images with values from 0 to 1.

    Pixels of a block are in the order (row, column, color) of `space_to_depth` twice, the positions
    of a block of 2×2 in that of `space_to_depth`.
    """

    trunk: np.ndarray  # [192, T], orthonormal columns: 8×8 pixels to the new channels at 1/8
    features: np.ndarray  # [4 T, F], orthonormal columns: 2×2 of these to the new features
    to_latent: np.ndarray  # [old features + F, F]: e - d to the new latents
    bias: np.ndarray  # [F], of the new latents
    deviations: np.ndarray  # [F], of the new latents


def widen(
    params: Any,
    old: PortableConfig,
    new: PortableConfig,
    transform: ResidualTransform,
    key: jax.Array,
) -> Any:
    """Parameters of `old` as those of `new`, which has more channels of these kinds.

    The channels of y that `old` has are context of what is decoded later, and the new ones are not:
    they are a group of their own, whose network is drawn from `key`. Raises `ConfigError` unless
    `new` is `widened(old, ...)` with the widths of the transform, but for its thresholds.
    """
    trunk, features = (matrix.shape[1] for matrix in transform[:2])
    if dataclasses.replace(new, thresholds=old.thresholds) != widened(old, trunk, features):
        raise ConfigError("the wider configuration does not fit the old one and the transform")
    fresh = flatten_dict(portable.init_params(new, key))
    flat = {path: np.array(leaf) for path, leaf in flatten_dict(params).items()}
    drawn = {path: np.array(leaf) for path, leaf in fresh.items() if path not in flat}
    wide = {path: _embed(leaf, fresh[path].shape) for path, leaf in flat.items()}
    _add_transform(wide, flat, old, transform)
    _add_prior(wide, old, new, transform.deviations)
    return unflatten_dict(drawn | wide)


def widened(config: PortableConfig, trunk: int, features: int) -> PortableConfig:
    """The configuration with so many more channels of the trunk, and of the finest level.

    Raises `ConfigError` for a network that has channels already that are no context.
    """
    if any(config.embedded):
        raise ConfigError("some channels of this network are no context, so it is widened already")
    finest = config.features[0]
    if config.latents[0] != finest:
        raise ConfigError(f"{config.latents[0]} latents for {finest} features at 16×16")
    wider = (finest + features, *config.features[1:])
    groups = ((*config.channel_groups[0], finest), *config.channel_groups[1:])
    return dataclasses.replace(
        config,
        trunk=config.trunk + trunk,
        features=wider,
        latents=(finest + features, *config.latents[1:]),
        channel_groups=groups,
        embedded=(finest, 0, 0),
    )


def narrowed(config: PortableConfig, trunk: int, knots: int) -> PortableConfig:
    """The configuration that was widened, whose trunk had so many channels; see `widened`.

    It may have had fewer knots. Raises `ConfigError` for a network that no widening gives.
    """
    finest = config.embedded[0]
    if not (0 < trunk < config.trunk and 0 < knots <= config.knots):
        raise ConfigError(
            f"a network with a trunk of {config.trunk} channels and {config.knots} knots was not "
            f"widened from one with {trunk} and {knots}"
        )
    if not finest or not config.channel_groups[0] or config.channel_groups[0][-1] != finest:
        raise ConfigError("this network has no channels that widening has added")
    groups = (config.channel_groups[0][:-1], *config.channel_groups[1:])
    return dataclasses.replace(
        config,
        trunk=trunk,
        features=(finest, *config.features[1:]),
        latents=(finest, *config.latents[1:]),
        channel_groups=groups,
        embedded=(0, 0, 0),
        knots=knots,
        thresholds=config.thresholds[:knots],
    )


_BY_KNOT = ("gain", "z_gain", "z_index")
"""The last names of parameters [knots, channels]."""

_READS_KNOTS = ("from_z/kernel", "first/kernel")
"""The ends of paths of the prior's kernels with one row per knot, which is 0 at other qualities."""


def added(params: Any, config: PortableConfig, old: PortableConfig) -> Any:
    """A tree of bool arrays: the entries that make outputs which `old` has not.

    These are the new channels and what is said of new knots. Entries by which a channel of `old`
    would read a new one do not count: while they are 0, that channel does what it did.
    """
    shapes = param_shapes.param_shapes(old)

    def added_entries(path: tuple[str, ...], leaf: Any) -> np.ndarray:
        name = "/".join(path)
        if name not in shapes:
            return np.ones(leaf.shape, bool)
        shape = shapes[name]
        is_added = np.broadcast_to(np.arange(leaf.shape[-1]) >= shape[-1], leaf.shape)
        if path[-1] in _BY_KNOT or ("prior" in path and name.endswith(_READS_KNOTS)):
            is_row = np.arange(leaf.shape[0]) >= shape[0]
            is_added = is_added | is_row.reshape(-1, *[1] * (leaf.ndim - 1))
        return np.array(is_added)

    flat = flatten_dict(params)
    return unflatten_dict({path: added_entries(path, leaf) for path, leaf in flat.items()})


def _embed(leaf: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The array at the beginning of zeros of a larger shape."""
    result = np.zeros(shape, np.float32)
    result[tuple(map(slice, leaf.shape))] = leaf
    return result


def _add_transform(
    wide: dict[tuple[str, ...], np.ndarray],
    flat: dict[tuple[str, ...], np.ndarray],
    old: PortableConfig,
    transform: ResidualTransform,
) -> None:
    """The layers that lead from pixels to the new latents and back, in place."""
    trunk, features = old.trunk, old.features[0]
    pixels = _middle_taps(transform.trunk)
    wide["g_a", "kernel"][..., trunk:] = pixels
    wide["g_s", "kernel"][:, :, trunk:] = pixels.transpose(0, 1, 3, 2)
    blocks = _middle_taps(transform.features)
    wide["units_0", "encoder", "kernel"][:, :, trunk:, features:] = blocks
    wide["units_0", "hand_over", "kernel"][:, :, features:, trunk:] = blocks.transpose(0, 1, 3, 2)
    # The inputs of to_latent are e and d: what is coded is linear in their difference.
    to_latent = np.zeros_like(wide["units_0", "to_latent", "kernel"])
    for place, sign in ((0, 1), (1, -1)):
        start, wider = place * features, place * len(to_latent) // 2
        rows = flat["units_0", "to_latent", "kernel"][start : start + features]
        to_latent[wider : wider + features, :features] = rows
        to_latent[wider : wider + len(transform.to_latent), features:] = sign * transform.to_latent
    wide["units_0", "to_latent", "kernel"] = to_latent
    wide["units_0", "to_latent", "bias"][features:] = transform.bias
    wide["units_0", "from_latent", "kernel"][features:, features:] = np.eye(len(transform.bias))


def _middle_taps(matrix: np.ndarray) -> np.ndarray:
    """A map of 2×2 positions [4 I, O] as the kernel [4, 4, I, O] of a lapped stage."""
    inputs, outputs = len(matrix) // 4, matrix.shape[1]
    kernel = np.zeros((4, 4, inputs, outputs), np.float32)
    kernel[1:3, 1:3] = matrix.reshape(2, 2, inputs, outputs)
    return kernel


def _add_prior(
    wide: dict[tuple[str, ...], np.ndarray],
    old: PortableConfig,
    new: PortableConfig,
    deviations: np.ndarray,
) -> None:
    """Steps, units and scales of the new latents, as in `init.linear_start`, in place."""
    first = old.latents[0]
    gains = init.knot_gains(new)
    wide["units_0", "prior", "gain"][:, first:] = gains[:, None]
    wide["units_0", "prior", "unit"][first:] = init.log_units(deviations, gains)
    wide["units_0", "prior", "to_scale", "bias"][first:] = init.scale_bias(new, deviations)
