"""A start for training baselines: a linear transform coder that already works.

The counterpart of `models.linear` for them: the same hierarchical Karhunen-Loève transform of the
same Markov model of images, with as many directions as the layers have channels, the same step of
the quantizer for a lambda, the same share of the random start left in every kernel, scales at the
deviations of the model. A GDN needs no mirrored channels, since it is odd. Every stage doubles what
equal inputs come to, so the norms' weights begin four times smaller from stage to stage: all of
them bend what they are given equally little.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core.config import BaselineConfig, ConfigError
from rdonet_jax.entropy import distributions
from rdonet_jax.models.rdonet import init as rdonet_init


def linear_start(params: Any, config: BaselineConfig, lmbda: float) -> Any:
    """Fresh parameters (of `reference.init_params`) turned into the linear transform coder.

    `lmbda` is as in `linear.init_params`. Raises `ConfigError` for the three-stage transforms.
    """
    if len(config.trunk) != 3:
        raise ConfigError("the three-stage transforms have no linear start; use the random start")
    transform = rdonet_init.klt_stages((*config.trunk, config.latents))
    gain = rdonet_init.step_gain(lmbda)
    params = dict(jax.tree_util.tree_map(np.array, params))
    params["g_a"], params["g_s"] = _transforms(params["g_a"], params["g_s"], transform, gain)
    if config.kind != "factorised":
        deviations = gain * np.sqrt(transform[-1].variances)
        scales = deviations / distributions.named(config.distribution).deviation
        room, layer = _last_of_prior(config)
        params[room] = {**params[room], layer: rdonet_init.set_scales(params[room][layer], scales)}
    if config.kind == "context":
        # Neighbours are many steps large: unlearned, they would upset what the scales begin with.
        layer = params["context"]["convolution"]
        faint = {**layer, "kernel": rdonet_init.RANDOM_SHARE * layer["kernel"]}
        params["context"] = {"convolution": faint}
    return jax.tree_util.tree_map(jnp.asarray, params)


def _transforms(
    analysis: Any, synthesis: Any, transform: list[rdonet_init.Stage], gain: float
) -> tuple[Any, Any]:
    """g_a and g_s as the transform and its transpose, y in steps of the quantizer."""
    analysis, synthesis = dict(analysis), dict(synthesis)
    last = len(transform) - 1
    for number, stage in enumerate(transform):
        kernel = rdonet_init.center_2x2(stage.weights.transpose(1, 2, 3, 0))
        scale = gain if number == last else 1.0
        down, up = f"stage_{number}", f"stage_{last - number}"
        analysis[down] = _blend(analysis[down], kernel, scale)
        synthesis[up] = _blend(synthesis[up], kernel.swapaxes(2, 3), 1 / scale)
        if number < last:
            for side, norm in ((analysis, f"gdn_{number}"), (synthesis, f"gdn_{last - number}")):
                # GDN keeps the square roots of its weights.
                side[norm] = {**side[norm], "gamma": side[norm]["gamma"] * 0.5 ** (number + 1)}
    return analysis, synthesis


def _last_of_prior(config: BaselineConfig) -> tuple[str, str]:
    """Where mean and raw scale come from."""
    if config.kind == "context":
        return "entropy_parameters", "layer_2"
    return "hyper_decoder", "third"


def _blend(layer: Any, kernel: np.ndarray, scale: float) -> Any:
    """A layer with a little of its random start, and the transform in its first channels."""
    blended = rdonet_init.RANDOM_SHARE * layer["kernel"]
    blended[:, :, : kernel.shape[2], : kernel.shape[3]] += kernel
    return {**layer, "kernel": (scale * blended).astype(np.float32)}
