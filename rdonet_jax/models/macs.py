"""Multiply-accumulates of a network, layer by layer, as the layers are defined.

They are counted while the walk is traced; nothing is computed. What XLA is given can take a few
more, where a kernel's taps are filled up with zeros. A factorized prior counts nothing: coders have
its tables.
"""

from __future__ import annotations

import collections
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rdonet_jax.core import partition
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.models import registry
from rdonet_jax.models.rdonet.causal_prior import OFFSETS, CausalPrior
from rdonet_jax.nn import integer, lapped, layers

SIDE = 256
"""Of the image that is counted: at every level, its hyper-latents stand for 4×4 latents."""

DECODER = ("g_s", "prior", "hyper_decoder", "from_latent", "restore", "hand_over",
           "context", "entropy_parameters")  # fmt: skip
"""Words in the paths of layers that a decoder computes; an encoder computes all but g_s."""


def per_pixel(config: AnyConfig) -> Mapping[str, float]:
    """Multiply-accumulates per pixel of encoding and decoding together, by the layer's path."""
    counted: dict[str, float] = collections.defaultdict(float)

    def count(call: Callable[..., Any], args: tuple, kwargs: dict, context: Any) -> Any:
        result = call(*args, **kwargs)
        module = context.module
        if type(module) in _COUNTS and context.method_name == "__call__":
            path = "/".join(module.path)
            counted[path] += _COUNTS[type(module)](module, args[0].shape, result) / SIDE**2
        return result

    params = jax.eval_shape(functools.partial(registry.init_params, config), jax.random.key(0))
    blocks = SIDE // partition.BLOCK
    x = jnp.zeros((1, SIDE, SIDE, 3))
    masks = partition.level_masks(partition.uniform(0, (blocks, blocks), (1,)))
    quality = jnp.zeros(1, jnp.int32) if registry.family_of(config).variable_rate else None
    # With noise, as in training: a context is then evaluated at all positions at once.
    keys = jax.random.split(jax.random.key(0), 1)
    with nn.intercept_methods(count):
        jax.eval_shape(lambda p: registry.code(config, p, x, masks, quality, keys), params)
    return dict(counted)


def of_decoder(counted: Mapping[str, float]) -> float:
    """What of `per_pixel` a decoder computes."""
    return sum(n for path, n in counted.items() if any(name in path for name in DECODER))


def of_encoder(counted: Mapping[str, float]) -> float:
    """What of `per_pixel` an encoder computes that does not look at its image."""
    return sum(n for path, n in counted.items() if not path.startswith("g_s"))


def _of_convolution(module: layers.Conv, shape: tuple[int, ...], y: jax.Array) -> int:
    # A transposed convolution takes every input to 5×5 outputs, the others every output from 5×5.
    positions = math.prod(shape[:3] if module.kind == "up" else y.shape[:3])
    return positions * layers.KERNEL**2 * shape[-1] * module.features


def _of_stage(module: lapped.Stage, shape: tuple[int, ...], y: jax.Array) -> int:
    positions = math.prod(shape[:3] if module.kind == "up" else y.shape[:3])
    return positions * lapped.TAPS**2 * shape[-1] * module.features


def _of_residual(module: lapped.Residual, shape: tuple[int, ...], y: jax.Array) -> int:
    # Its 3×3 convolution; the layer behind it is counted for itself.
    return math.prod(shape) * 9 * module.hidden


def _of_rows(module: lapped.Pointwise | integer.Dense, shape: tuple[int, ...], y: jax.Array) -> int:
    # Of an exact layer, the inputs that are there: those left out are no products.
    return math.prod(shape) * module.features


def _of_gdn(module: layers.GDN | lapped.GentleGDN, shape: tuple[int, ...], y: jax.Array) -> int:
    return math.prod(shape) * shape[-1]


def _of_causal_prior(module: CausalPrior, shape: tuple[int, ...], y: Any) -> int:
    taps_in, taps_out = len(OFFSETS), 2 * len(OFFSETS)
    return math.prod(shape) * module.hidden * (taps_in + taps_out)


def _of_wide_convolution(module: layers.WideConv, shape: tuple[int, ...], y: jax.Array) -> int:
    positions = math.prod(shape[:3] if module.kind == "up" else y.shape[:3])
    return positions * layers.WIDE_KERNEL**2 * shape[-1] * module.features


def _of_flax_layer(module: nn.Conv | nn.Dense, shape: tuple[int, ...], y: jax.Array) -> int:
    taps = math.prod(module.kernel_size) if isinstance(module, nn.Conv) else 1
    return math.prod(y.shape) * taps * shape[-1]


_COUNTS: Mapping[type, Callable[[Any, tuple[int, ...], Any], int]] = {
    layers.Conv: _of_convolution,
    layers.GDN: _of_gdn,
    lapped.Stage: _of_stage,
    lapped.Residual: _of_residual,
    lapped.Pointwise: _of_rows,
    lapped.GentleGDN: _of_gdn,
    integer.Dense: _of_rows,
    CausalPrior: _of_causal_prior,
    layers.WideConv: _of_wide_convolution,
    nn.Conv: _of_flax_layer,
    nn.Dense: _of_flax_layer,
}
