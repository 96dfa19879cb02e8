"""A start for training reference coders: a linear transform coder that already works.

The counterpart of `models.linear` for them: the same hierarchical Karhunen-Loève transform of the
same Markov model of pictures, with as many directions as the layers have channels, the same step of
the quantiser for a lambda, the same share of the random start left in every kernel, scales at the
deviations of the model. A GDN needs no mirrored channels, since it is odd: every stage halves what
it joins, so that activations stay within ±1, where GDN is next to linear, and the last one takes
them to steps.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.config import ConfigError, ReferenceConfig
from rdonet_jax.models import linear

HALF = 0.5
"""What a 2×2 mean of equal inputs loses in an orthonormal stage and gains again by this."""


def initialise(params: Any, config: ReferenceConfig, lmbda: float) -> Any:
    """Fresh parameters (of `reference.initialise`) turned into the linear transform coder.

    `lmbda` is as in `linear.initialise`. Raises `ConfigError` for the three-stage transforms.
    """
    if len(config.trunk) != 3:
        raise ConfigError("the three-stage transforms have no linear start; use the random start")
    transform = linear.stages((*config.trunk, config.latents))
    gain = linear.step_gain(lmbda)
    before_last = HALF ** len(config.trunk)
    scales = [HALF] * len(config.trunk) + [gain / before_last]
    params = dict(jax.tree_util.tree_map(np.array, params))
    analysis, synthesis = dict(params["g_a"]), dict(params["g_s"])
    last = len(transform) - 1
    for number, (stage, scale) in enumerate(zip(transform, scales, strict=True)):
        kernel = linear.placed(stage.weights.transpose(1, 2, 3, 0))
        down, up = f"stage_{number}", f"stage_{last - number}"
        analysis[down] = _blend(analysis[down], kernel, scale)
        synthesis[up] = _blend(synthesis[up], kernel.swapaxes(2, 3), 1 / scale)
    params["g_a"], params["g_s"] = analysis, synthesis
    if config.kind != "factorised":
        # As wide as a Laplace distribution of this deviation is at scale b.
        deviations = gain * np.sqrt(transform[-1].variances)
        width = deviations / np.sqrt(2) if config.distribution == "laplace" else deviations
        room, layer = _last_of_prior(config)
        params[room] = {
            **params[room], layer: linear.with_scales(params[room][layer], width)
        }  # fmt: skip
    if config.kind == "context":
        # Neighbours are many steps large: unlearned, they would upset what the scales begin with.
        layer = params["context"]["convolution"]
        faint = {**layer, "kernel": linear.RANDOM_SHARE * layer["kernel"]}
        params["context"] = {"convolution": faint}
    return jax.tree_util.tree_map(jnp.asarray, params)


def _last_of_prior(config: ReferenceConfig) -> tuple[str, str]:
    """Where mean and raw scale come from."""
    if config.kind == "context":
        return "entropy_parameters", "layer_2"
    return "hyper_decoder", "third"


def _blend(layer: Any, kernel: np.ndarray, scale: float) -> Any:
    """A layer with a little of its random start, and the transform in its first channels."""
    blended = linear.RANDOM_SHARE * layer["kernel"]
    blended[:, :, : kernel.shape[2], : kernel.shape[3]] += kernel
    return {**layer, "kernel": (scale * blended).astype(np.float32)}
