"""The shapes of a portable model's parameters, without its Flax modules.

So a weights file can be checked without JAX. A test compares them with those of the modules.
"""

from __future__ import annotations

from collections.abc import Mapping

from rdonet_jax.core.config import PATCH, TAPS, ConfigError, PortableConfig
from rdonet_jax.core.partition import HYPER_STRIDE
from rdonet_jax.models.portable.integer_format import (
    PLANES,
    channel_groups,
    context_channels,
    group_inputs,
)
from rdonet_jax.nn.integer_format import MAX_INPUTS

Shape = tuple[int, ...]


def param_shapes(config: PortableConfig) -> Mapping[str, Shape]:
    """The shape of each parameter by its path, such as "units_0/encoder/kernel"."""
    pixels = 3 * PATCH**2
    shapes: dict[str, Shape] = {
        **_stage("g_a", pixels, config.trunk),
        **_nonlinearity(config, "g_a_refine", config.trunk, config.residual[0]),
        **_nonlinearity(config, "g_s_restore", config.trunk, config.residual[0]),
        **_stage("g_s", config.trunk, pixels),
    }
    if config.finish:
        shapes |= _residual("g_s_finish", pixels, config.finish)
    for level in range(config.levels):
        shapes |= _unit(config, level)
    return shapes


def _unit(config: PortableConfig, level: int) -> dict[str, Shape]:
    """The parameters of one LS-Unit."""
    name, features, latents = f"units_{level}", config.features[level], config.latents[level]
    finer = config.features[level - 1] if level else config.trunk
    hidden, hyper = config.residual[1 + level], f"{name}/hyper_encoder"
    z = config.hyper_latents[level]
    return {
        **_stage(f"{name}/encoder", finer, features),
        **_nonlinearity(config, f"{name}/refine", features, hidden),
        **_pointwise(f"{name}/to_latent", 2 * features, latents),
        **_pointwise(f"{name}/from_latent", latents, features),
        **_nonlinearity(config, f"{name}/restore", features, hidden),
        **_pointwise(f"{hyper}/first", latents, config.hyper),
        **_stage(f"{hyper}/second", config.hyper, config.hyper),
        **_stage(f"{hyper}/third", config.hyper, z),
        f"{name}/z_gain": (config.knots, z),
        **_prior(config, level),
        **_stage(f"{name}/hand_over", features, finer),
    }


def _prior(config: PortableConfig, level: int) -> dict[str, Shape]:
    """The parameters of the integer prior of a level.

    Raises `ConfigError` for a layer whose sums could leave the range in which they are exact.
    """
    name, latents, knots = f"units_{level}/prior", config.latents[level], config.knots
    context, embedding, hidden = config.conditioning, config.embedding, config.hidden
    z = config.hyper_latents[level]
    shapes = _pointwise(f"{name}/from_z", 9 * z + knots, HYPER_STRIDE**2 * context)
    if level < config.levels - 1:
        shapes |= _pointwise(f"{name}/from_coarser", 9 * embedding + context, 4 * context)
    inputs = 9 * embedding + 2 * context + knots + len(PLANES)
    shapes |= {
        **_pointwise(f"{name}/embed", 2 * context_channels(config, level), embedding),
        **_pointwise(f"{name}/first", inputs, hidden),
        **_pointwise(f"{name}/second", hidden, hidden),
        **_pointwise(f"{name}/to_mu", 2 * hidden, latents),
        **_pointwise(f"{name}/to_scale", 2 * hidden, latents),
    }
    for number, channels in enumerate(channel_groups(config, level)[1:]):
        shapes |= _group(config, level, f"{name}/group", number, channels)
    for path, shape in shapes.items():
        if path.endswith("/kernel") and shape[0] > MAX_INPUTS:
            raise ConfigError(f"{path} sums {shape[0]} products, at most {MAX_INPUTS} are exact")
    return {
        **shapes,
        f"{name}/gain": (knots, latents),
        f"{name}/unit": (latents,),
        f"{name}/z_index": (knots, z),
    }


def _group(
    config: PortableConfig, level: int, name: str, number: int, channels: slice
) -> dict[str, Shape]:
    """The parameters that a group of channels after the first adds to the prior of a level."""
    hidden, count = config.group_hidden, channels.stop - channels.start
    return {
        **_pointwise(f"{name}_first_{number}", group_inputs(config, level, channels), hidden),
        f"{name}_to_mu_{number}/kernel": (hidden, count),
        f"{name}_to_scale_{number}/kernel": (hidden, count),
    }


def _nonlinearity(
    config: PortableConfig, name: str, channels: int, hidden: int
) -> dict[str, Shape]:
    if config.nonlinearity == "residual":
        return _residual(name, channels, hidden)
    if config.nonlinearity == "gdn":
        return {f"{name}/gamma": (channels, channels)}
    return {}


def _residual(name: str, channels: int, hidden: int) -> dict[str, Shape]:
    return {
        f"{name}/kernel": (3, 3, channels, hidden),
        f"{name}/bias": (hidden,),
        **_pointwise(f"{name}/out", hidden, channels),
    }


def _stage(name: str, inputs: int, outputs: int) -> dict[str, Shape]:
    return {f"{name}/kernel": (TAPS, TAPS, inputs, outputs), f"{name}/bias": (outputs,)}


def _pointwise(name: str, inputs: int, outputs: int) -> dict[str, Shape]:
    return {f"{name}/kernel": (inputs, outputs), f"{name}/bias": (outputs,)}
