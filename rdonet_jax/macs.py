"""Multiply-accumulates of a network, layer by layer, as the layers are defined.

They are counted while the walk is traced; nothing is computed. What XLA is given can take a few
more, where a kernel's taps are filled up with zeros.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rdonet_jax import layers, partition
from rdonet_jax.config import ModelConfig
from rdonet_jax.models import rdonet
from rdonet_jax.models.causal import OFFSETS, CausalPrior

SIDE = 256
"""Of the picture that is counted: at every level, its hyper-latents stand for 4×4 latents."""

DECODER = ("g_s", "hyper_prior", "hyper_decoder", "hand_over")
"""Layers that a decoder computes; an encoder computes all but g_s."""


def per_pixel(config: ModelConfig) -> Mapping[str, float]:
    """Multiply-accumulates per pixel of encoding and decoding together, by the layer's path."""
    counted: dict[str, float] = {}

    def count(call: Callable[..., Any], args: tuple, kwargs: dict, context: Any) -> Any:
        result = call(*args, **kwargs)
        module = context.module
        if type(module) in _COUNTS and context.method_name == "__call__":
            path = "/".join(module.path)
            counted[path] = _COUNTS[type(module)](module, args[0].shape, result) / SIDE**2
        return result

    params = jax.eval_shape(functools.partial(rdonet.initialise, config), jax.random.key(0))
    blocks = SIDE // partition.BLOCK
    x = jnp.zeros((1, SIDE, SIDE, 3))
    masks = partition.level_masks(partition.uniform(0, (blocks, blocks), (1,)))
    with nn.intercept_methods(count):
        jax.eval_shape(
            lambda p: rdonet.network(config).apply({"params": p}, x, masks, method="code"), params
        )
    return counted


def of_decoder(counted: Mapping[str, float]) -> float:
    """What of `per_pixel` a decoder computes."""
    return sum(n for path, n in counted.items() if any(name in path for name in DECODER))


def _of_convolution(module: layers.Conv, shape: tuple[int, ...], y: jax.Array) -> int:
    # A transposed convolution takes every input to 5×5 outputs, the others every output from 5×5.
    positions = math.prod(shape[:3] if module.kind == "up" else y.shape[:3])
    return positions * layers.KERNEL**2 * shape[-1] * module.features


def _of_gdn(module: layers.GDN, shape: tuple[int, ...], y: jax.Array) -> int:
    return math.prod(shape) * shape[-1]


def _of_causal_prior(module: CausalPrior, shape: tuple[int, ...], y: Any) -> int:
    taps_in, taps_out = len(OFFSETS), 2 * len(OFFSETS)
    return math.prod(shape) * module.hidden * (taps_in + taps_out)


_COUNTS: Mapping[type, Callable[[Any, tuple[int, ...], Any], int]] = {
    layers.Conv: _of_convolution,
    layers.GDN: _of_gdn,
    CausalPrior: _of_causal_prior,
}
