"""The linear start of baselines: parameters of a linear transform coder to start training from.

As `models.rdonet.init`: the same hierarchical Karhunen-Loève transform of the same Markov model of
images, quantizer step for a lambda, share of the random initialization, and scales from the
deviations of the model. The layers keep as many directions as they have channels: GDN is odd, so
directions need no mirrored channels. Equal inputs double from stage to stage, so gamma of the GDNs
is divided by four each time. All GDNs then depart from the identity equally little.
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
    """Random parameters (of `network.init_params`) turned into the linear transform coder.

    `lmbda` is the weight of 255² · MSE. Raises `ConfigError` for the three-stage transforms.
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
        module, layer = _last_prior_layer(config)
        last = rdonet_init.set_scales(params[module][layer], scales)
        params[module] = {**params[module], layer: last}
    if config.kind == "context":
        # y spans many steps. With random weights, the context would change the initial scales.
        layer = params["context"]["convolution"]
        small = {**layer, "kernel": rdonet_init.RANDOM_SHARE * layer["kernel"]}
        params["context"] = {"convolution": small}
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
        analysis[down] = rdonet_init.blend(analysis[down], kernel, scale=scale)
        mirrored = kernel.swapaxes(2, 3)
        synthesis[up] = rdonet_init.blend(synthesis[up], mirrored, scale=1 / scale)
        if number < last:
            for side, norm in ((analysis, f"gdn_{number}"), (synthesis, f"gdn_{last - number}")):
                # GDN keeps the square roots of its weights.
                side[norm] = {**side[norm], "gamma": side[norm]["gamma"] * 0.5 ** (number + 1)}
    return analysis, synthesis


def _last_prior_layer(config: BaselineConfig) -> tuple[str, str]:
    """The names of the module and of its layer that gives mean and raw scale."""
    if config.kind == "context":
        return "entropy_parameters", "layer_2"
    return "hyper_decoder", "third"
