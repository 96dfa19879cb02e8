"""Convolutions and GDN: linen shells around pure functions.

All strided convolutions are 5×5 with stride 2. Output i sees inputs 2i-2 ... 2i+2, so it is
centred on the first of the two input rows that it stands for. The transposed convolution is its
exact adjoint: input i reaches outputs 2i-2 ... 2i+2.

On CPUs XLA runs a 3×3 convolution over space-to-depth blocks much faster than a strided one with
few input channels, and a 3×3 convolution followed by depth-to-space much faster than an input-
dilated one (`benchmarks/layers.py` prints both). The parameters stay 5×5; a sixth row and column
of zeros makes the two forms equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rdonet_jax import ops

Initializer = Callable[..., jax.Array]

KERNEL = 5
FEW_CHANNELS = 8
"""Strided convolutions with at most this many input channels run over space-to-depth blocks."""

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def _pad(x: jax.Array, low: int, high: int, padding: str) -> jax.Array:
    mode = "edge" if padding == "edge" else "constant"
    return jnp.pad(x, ((0, 0), (low, high), (low, high), (0, 0)), mode=mode)


def _phases(kernel: jax.Array) -> jax.Array:
    """[5, 5, I, O] -> [3, 2, 3, 2, I, O]: taps as (block, phase) per direction, sixth tap zero."""
    kernel = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    return kernel.reshape(3, 2, 3, 2, *kernel.shape[2:])


def _convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: Any) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=_LAYOUT
    )


def convolve(x: jax.Array, kernel: jax.Array, padding: str = "zero") -> jax.Array:
    """5×5 convolution, stride 1: [B, H, W, I] -> [B, H, W, O]."""
    if padding == "zero":
        return _convolve(x, kernel, 1, ((2, 2), (2, 2)))
    return _convolve(_pad(x, 2, 2, padding), kernel, 1, "VALID")


def convolve_down(x: jax.Array, kernel: jax.Array, padding: str = "zero") -> jax.Array:
    """5×5 convolution, stride 2: [B, H, W, I] -> [B, H/2, W/2, O], for even H and W."""
    if x.shape[-1] <= FEW_CHANNELS:
        _, _, channels, out = kernel.shape
        blocks = _phases(kernel).transpose(0, 2, 1, 3, 4, 5).reshape(3, 3, 4 * channels, out)
        return _convolve(ops.space_to_depth(_pad(x, 2, 2, padding)), blocks, 1, "VALID")
    if padding == "zero":
        return _convolve(x, kernel, 2, ((2, 1), (2, 1)))
    return _convolve(_pad(x, 2, 1, padding), kernel, 2, "VALID")


def convolve_up(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """5×5 transposed convolution, stride 2: [B, H, W, I] -> [B, 2 H, 2 W, O].

    As one 3×3 convolution to four phases and depth-to-space; kernel [5, 5, I, O].
    """
    _, _, channels, out = kernel.shape
    phases = _phases(kernel)[::-1, :, ::-1]
    phases = phases.transpose(0, 2, 4, 1, 3, 5).reshape(3, 3, channels, 4 * out)
    return ops.depth_to_space(_convolve(x, phases, 1, ((1, 1), (1, 1))))


def scaled_normal(gain: float, inputs_per_output: float) -> Initializer:
    """Normal with variance gain / fan-in, fan-in = inputs_per_output · input channels."""

    def initialise(key, shape, dtype=jnp.float32):
        deviation = math.sqrt(gain / (inputs_per_output * shape[-2]))
        return deviation * jax.random.normal(key, shape, dtype)

    return initialise


class Conv(nn.Module):
    """5×5 convolution with bias. `kind` is "same", "down" (stride 2) or "up" (transposed).

    It is computed in `dtype`, which its result has; parameters are float32.
    """

    features: int
    kind: str = "same"
    padding: str = "zero"
    gain: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        taps = KERNEL**2 / 4 if self.kind == "up" else KERNEL**2
        shape = (KERNEL, KERNEL, x.shape[-1], self.features)
        kernel = self.param("kernel", scaled_normal(self.gain, taps), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = (v.astype(self.dtype) for v in (x, kernel, bias))
        if self.kind == "up":
            return convolve_up(x, kernel) + bias
        if self.kind == "down":
            return convolve_down(x, kernel, self.padding) + bias
        return convolve(x, kernel, self.padding) + bias


def gdn(x: jax.Array, beta: jax.Array, gamma: jax.Array, inverse: bool = False) -> jax.Array:
    """Generalised divisive normalisation, x_i / sqrt(beta_i + sum_j gamma_ji x_j²).

    Ballé et al. 2016; `inverse` multiplies instead. beta [C] > 0, gamma [C, C] >= 0.
    """
    norm = jnp.einsum("...i,ij->...j", jnp.square(x), gamma) + beta
    return x * (jnp.sqrt(norm) if inverse else jax.lax.rsqrt(norm))


class GDN(nn.Module):
    """GDN with non-negative parameters kept as square roots above a small bound, in float32.

    The square root and its bound follow Ballé et al. 2016: gradients shrink near zero and
    never vanish.
    """

    inverse: bool = False
    beta_minimum: float = 1e-6
    offset: float = 2.0**-18

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.astype(jnp.float32)
        channels = x.shape[-1]
        pedestal = self.offset**2
        roots = {
            "beta": jnp.ones((channels,)),
            "gamma": 0.1 * jnp.eye(channels),
        }
        bounds = {"beta": math.sqrt(self.beta_minimum + pedestal), "gamma": self.offset}
        values = {}
        for name, start in roots.items():
            root = self.param(name, lambda _, v=start: jnp.sqrt(v + pedestal))
            values[name] = jnp.square(ops.lower_bound(root, bounds[name])) - pedestal
        return gdn(x, values["beta"], values["gamma"], self.inverse)
