"""The linear start of the portable network: an orthonormal transform coder to start training from.

The lapped stages are initialized as one hierarchical Karhunen-Loève transform of the Markov model
of images in `models.rdonet.init`. A stage joins 2×2 neighbors and keeps the strongest directions;
the synthesis is its transpose. A finer level codes the difference to the prediction from the
coarser ones. Gains are the best quantizer steps for each quality's lambda, scales the deviations of
the model, residual networks the identity. Nothing is fitted to data.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core.config import PortableConfig
from rdonet_jax.entropy import distributions
from rdonet_jax.metrics import loss
from rdonet_jax.models.portable import integer_format
from rdonet_jax.models.rdonet import init as rdonet_init
from rdonet_jax.nn import integer

MIN_UNIT = 2.0**-9
"""The smallest unit of the integer networks, in units of y, unless steps are very fine."""

UNITS_PER_STEP = 8
"""The smallest unit is at most this part of a step at the highest quality."""


def linear_start(params: Any, config: PortableConfig) -> Any:
    """Random parameters (of `network.init_params`) turned into the linear transform coder."""
    pixels, _ = rdonet_init.join_neighbors(rdonet_init.join_neighbors(rdonet_init.RGB_BASIS)[0])
    transform = rdonet_init.klt_stages((config.trunk, *config.features[: config.levels]), pixels)
    params = dict(jax.tree_util.tree_map(np.array, params))
    trunk = _kernel(transform[0])
    params["g_a"] = _set(params["g_a"], trunk)
    params["g_s"] = _set(params["g_s"], trunk.transpose(0, 1, 3, 2))
    log_gains = knot_gains(config)
    for level in range(config.levels):
        name = f"units_{level}"
        params[name] = _unit(params[name], transform[1 + level], config, level, log_gains)
    return jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)


def knot_qualities(config: PortableConfig) -> np.ndarray:
    """The qualities of the knots, 0 to `config.steps_of_quality`."""
    return np.linspace(0, config.steps_of_quality, config.knots)


def knot_gains(config: PortableConfig) -> np.ndarray:
    """log2 of the best steps per unit of an orthonormal transform at the knots, [knots]."""
    lmbdas = [loss.lmbda_of(config, q) for q in knot_qualities(config)]
    return np.log2([rdonet_init.step_gain(lmbda) for lmbda in lmbdas])


def log_units(deviations: np.ndarray, log_gains: np.ndarray) -> np.ndarray:
    """log2 of the units of the integer networks for channels of y with these deviations."""
    sizes = integer_format.UNIT_RANGE * deviations / integer.LARGEST
    finest_step = 2.0 ** -np.max(log_gains)
    return np.log2(np.maximum(sizes, min(MIN_UNIT, finest_step / UNITS_PER_STEP)))


def _unit(
    unit: Any, stage: rdonet_init.Stage, config: PortableConfig, level: int, log_gains: np.ndarray
) -> Any:
    features, latents = config.features[level], config.latents[level]
    select = np.eye(features, latents)
    down = _kernel(stage)
    deviations = np.sqrt(np.maximum(stage.variances[:latents], 1e-8))
    unit = dict(unit)
    unit["encoder"] = _set(unit["encoder"], down)
    unit["hand_over"] = _set(unit["hand_over"], down.transpose(0, 1, 3, 2))
    unit["to_latent"] = _set(unit["to_latent"], np.concatenate([select, -select]))
    unit["from_latent"] = _set(unit["from_latent"], select.T)
    prior = dict(unit["prior"])
    prior["gain"] = np.repeat(log_gains[:, None], latents, axis=1)
    prior["unit"] = log_units(deviations, log_gains)
    prior["to_scale"] = dict(prior["to_scale"], bias=scale_bias(config, deviations))
    unit["prior"] = prior
    return unit


def scale_bias(config: PortableConfig, deviations: np.ndarray) -> np.ndarray:
    """Biases that choose the table entry of each channel's deviation, at a gain of 1."""
    low, high = distributions.scale_table(config.distribution)[[0, -1]].astype(np.float64)
    spread = deviations / distributions.named(config.distribution).deviation
    entries = np.log(spread / low) / np.log(high / low) * (distributions.SCALE_COUNT - 1)
    shift = integer_format.SCALE_BITS + integer.BIAS_BITS - integer_format.SCALE_SHIFT
    return entries * integer_format.INDEX_FRACTION / 2**shift


def _kernel(stage: rdonet_init.Stage) -> np.ndarray:
    """The 4×4 kernel of a stage's convolution: its 2×2 block in the middle."""
    weights = stage.weights.transpose(1, 2, 3, 0)
    kernel = np.zeros((4, 4, *weights.shape[2:]))
    kernel[1:3, 1:3] = weights
    return kernel


def _set(layer: Any, kernel: np.ndarray) -> Any:
    if layer["kernel"].shape != kernel.shape:
        raise ValueError(f"a kernel {kernel.shape} for a layer {layer['kernel'].shape}")
    return {**layer, "kernel": kernel}
