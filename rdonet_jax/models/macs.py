"""Counts the multiply-accumulates (MACs) of a network, layer by layer.

They follow from the definition of the layers, while `registry.code` is traced; nothing is computed.
XLA may compute a few more, where kernels are padded with zeros. A factorized prior counts nothing,
because codecs use its tables. `register` adds layers of other networks.
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
"""Side of the image in pixels. At every level, all hyper-latents then have all 4×4 latents."""

DECODER = ("g_s", "prior", "hyper_decoder", "from_latent", "restore", "hand_over",
           "context", "entropy_parameters")  # fmt: skip
"""Parts of the paths of layers that a decoder computes. An encoder computes all but g_s."""


Count = Callable[[Any, tuple[int, ...], Any], int]
"""(layer, shape of its input, its output) -> MACs. What the output is made of has shapes alone."""


def register(layer: type[nn.Module], count: Count) -> None:
    """Says what a layer takes. Raises ValueError for one that is registered."""
    if layer in _COUNTS:
        raise ValueError(f"there is a count of {layer.__name__!r} already")
    _COUNTS[layer] = count


def per_pixel(config: AnyConfig) -> Mapping[str, float]:
    """MACs per pixel of encoding and decoding together, by the layer's path.

    Raises ValueError for a layer with a kernel of its own that is not registered.
    """
    counted: dict[str, float] = collections.defaultdict(float)

    def count(call: Callable[..., Any], args: tuple, kwargs: dict, context: Any) -> Any:
        result = call(*args, **kwargs)
        module = context.module
        if context.method_name != "__call__":
            return result
        path = "/".join(module.path)
        if type(module) in _COUNTS:
            counted[path] += _COUNTS[type(module)](module, args[0].shape, result) / SIDE**2
        elif module.has_variable("params", "kernel"):
            raise ValueError(
                f"{path}: it is not known how many multiply-accumulates "
                f"{type(module).__name__} takes; models.macs.register says so"
            )
        return result

    params = jax.eval_shape(functools.partial(registry.init_params, config), jax.random.key(0))
    blocks = SIDE // partition.BLOCK
    x = jnp.zeros((1, SIDE, SIDE, 3))
    masks: Any = partition.level_masks(partition.uniform(0, (blocks, blocks), (1,)))
    quality = jnp.zeros(1, jnp.int32) if registry.family_of(config).variable_rate else None
    # With noise, as in training, a context model is evaluated at all positions at once.
    keys = jax.random.split(jax.random.key(0), 1)
    with nn.intercept_methods(count):
        jax.eval_shape(lambda p: registry.code(config, p, x, masks, quality, keys), params)
    return dict(counted)


def of_decoder(counted: Mapping[str, float]) -> float:
    """MACs per pixel of a decoder, from those of `per_pixel`."""
    return sum(n for path, n in counted.items() if any(name in path for name in DECODER))


def of_encoder(counted: Mapping[str, float]) -> float:
    """MACs per pixel of an encoder that does not reconstruct its image."""
    return sum(n for path, n in counted.items() if not path.startswith("g_s"))


def _of_convolution(module: layers.Conv, shape: tuple[int, ...], y: jax.Array) -> int:
    # A transposed convolution has 5×5 taps per input, the others have them per output.
    positions = math.prod(shape[:3] if module.kind == "up" else y.shape[:3])
    return positions * layers.KERNEL**2 * shape[-1] * module.features


def _of_stage(module: lapped.Stage, shape: tuple[int, ...], y: jax.Array) -> int:
    positions = math.prod(shape[:3] if module.kind == "up" else y.shape[:3])
    return positions * lapped.TAPS**2 * shape[-1] * module.features


def _of_residual(module: lapped.Residual, shape: tuple[int, ...], y: jax.Array) -> int:
    # The 3×3 convolution alone; the `Pointwise` inside it is counted separately.
    return math.prod(shape) * 9 * module.hidden


def _of_matrix(
    module: lapped.Pointwise | integer.Dense, shape: tuple[int, ...], y: jax.Array
) -> int:
    # x and y have only those inputs and outputs of an integer layer that are used.
    return math.prod(shape) * y.shape[-1]


def _of_gdn(
    module: layers.GDN | lapped.NearIdentityGDN, shape: tuple[int, ...], y: jax.Array
) -> int:
    return math.prod(shape) * shape[-1]


def _of_causal_prior(module: CausalPrior, shape: tuple[int, ...], y: Any) -> int:
    taps_in, taps_out = len(OFFSETS), 2 * len(OFFSETS)
    return math.prod(shape) * module.hidden * (taps_in + taps_out)


def _of_wide_convolution(module: layers.WideConv, shape: tuple[int, ...], y: jax.Array) -> int:
    positions = math.prod(shape[:3] if module.kind == "up" else y.shape[:3])
    return positions * layers.WIDE_KERNEL**2 * shape[-1] * module.features


def _of_flax_dense(module: nn.Dense, shape: tuple[int, ...], y: jax.Array) -> int:
    return math.prod(y.shape) * shape[-1]


def _of_flax_convolution(module: nn.Conv, shape: tuple[int, ...], y: jax.Array) -> int:
    inputs = shape[-1] // module.feature_group_count
    return math.prod(y.shape) * _taps(module) * inputs


def _of_flax_transposed(module: nn.ConvTranspose, shape: tuple[int, ...], y: jax.Array) -> int:
    # All taps per input, as in a transposed convolution of this package.
    return math.prod(shape) * _taps(module) * module.features


def _taps(module: nn.Conv | nn.ConvTranspose) -> int:
    size = module.kernel_size
    return size if isinstance(size, int) else math.prod(size)


_COUNTS: dict[type, Count] = {
    layers.Conv: _of_convolution,
    layers.GDN: _of_gdn,
    lapped.Stage: _of_stage,
    lapped.Residual: _of_residual,
    lapped.Pointwise: _of_matrix,
    lapped.NearIdentityGDN: _of_gdn,
    integer.Dense: _of_matrix,
    CausalPrior: _of_causal_prior,
    layers.WideConv: _of_wide_convolution,
    nn.Conv: _of_flax_convolution,
    nn.ConvTranspose: _of_flax_transposed,
    nn.Dense: _of_flax_dense,
}
