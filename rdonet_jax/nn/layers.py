"""Convolutions and GDN: Flax modules around pure functions.

All strided convolutions but `WideConv` are 5×5 with stride 2. Output i sees inputs 2i-2 ... 2i+2,
so it is centered on the first of its two input rows. The transposed convolution is its exact
adjoint: input i reaches outputs 2i-2 ... 2i+2.

The parameters are 5×5 kernels. XLA is given equivalent convolutions that are fast on CPUs
(`benchmarks/layers.py` measures them). Each convolution defines its own gradient, in which the
strided and the transposed one are each other's adjoints. The forward pass of the decoder's
convolutions must keep its form: the float results of the decoder depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rdonet_jax.nn import ops

Initializer = Callable[..., jax.Array]
Residual = tuple[jax.Array, jax.Array]

KERNEL = 5
FEW_CHANNELS = 8
"""With at most so many channels, a strided convolution is computed by space-to-depth: a 3×3
convolution that reads or writes blocks of 2×2 pixels."""

WIDE_KERNEL, WIDE_STRIDE = 9, 4
"""Of the outermost stage of Ballé et al. 2017 (https://arxiv.org/abs/1611.01704)."""

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_SAME = ((2, 2), (2, 2))
_ONE_BLOCK = ((1, 1), (1, 1))


def _convolve(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Any) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_LAYOUT)


def _convolve_any(
    x: jax.Array, kernel: jax.Array, stride: int, padding: tuple[tuple[int, int], ...]
) -> jax.Array:
    """A convolution of a grid of any size.

    XLA exchanges grid and kernel where the kernel is the larger one. On CPUs it computes the result
    by a plain loop, 100 times slower. The padded grid is large enough, and the barrier keeps XLA
    from merging the padding into the convolution.
    """
    if x.shape[1] * x.shape[2] < kernel.shape[0] * kernel.shape[1]:
        x = jax.lax.optimization_barrier(jnp.pad(x, ((0, 0), *padding, (0, 0))))
        padding = ((0, 0), (0, 0))
    return _convolve(x, kernel, (stride, stride), padding)


def _phases(kernel: jax.Array) -> jax.Array:
    """[5, 5, I, O] -> [3, 2, 3, 2, I, O]: taps as (block, phase) per direction, sixth tap zero."""
    kernel = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    return kernel.reshape(3, 2, 3, 2, *kernel.shape[2:])


def _to_phases(kernel: jax.Array) -> jax.Array:
    """The 3×3 kernel [3, 3, I, 4 O] of a transposed convolution to blocks of 2×2 outputs."""
    phases = _phases(kernel)[::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5)
    return phases.reshape(3, 3, kernel.shape[2], 4 * kernel.shape[3])


def _from_phases(kernel: jax.Array) -> jax.Array:
    """The 3×3 kernel [3, 3, 4 I, O] of a strided convolution from blocks of 2×2 inputs."""
    phases = _phases(kernel).transpose(0, 2, 1, 3, 4, 5)
    return phases.reshape(3, 3, 4 * kernel.shape[2], kernel.shape[3])


def _strided(x: jax.Array, kernel: jax.Array) -> jax.Array:
    if x.shape[-1] <= FEW_CHANNELS:
        return _convolve_any(ops.space_to_depth(x), _from_phases(kernel), 1, _ONE_BLOCK)
    return _convolve_any(x, kernel, 2, ((2, 1), (2, 1)))


def _transposed(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.platform_dependent(x, kernel, cpu=_phase_by_phase, default=_input_dilated)


def _phase_by_phase(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes each of the four output phases from the taps that reach it: no tap is zero."""
    if kernel.shape[-1] <= FEW_CHANNELS:
        return ops.depth_to_space(_convolve_any(x, _to_phases(kernel), 1, _ONE_BLOCK))
    phases = [
        _convolve_any(x, kernel[row::2, column::2][::-1, ::-1], 1, ((1 - row, 1), (1 - column, 1)))
        for row in range(2)
        for column in range(2)
    ]
    return ops.depth_to_space(jnp.concatenate(phases, axis=-1))


def _input_dilated(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The form in which accelerators' libraries have the gradient of a strided convolution."""
    return jax.lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        (1, 1),
        ((2, 3), (2, 3)),
        lhs_dilation=(2, 2),
        dimension_numbers=_LAYOUT,
    )


def _adjoint(kernel: jax.Array) -> jax.Array:
    return kernel.swapaxes(2, 3)


def _kernel_gradient(
    form: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    kernel: jax.Array,
    dy: jax.Array,
) -> jax.Array:
    return jax.vjp(lambda k: form(x, k), kernel)[1](dy)[0]


def _plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _convolve(x, kernel, (1, 1), _SAME)


@jax.custom_vjp
def _same(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _plain(x, kernel)


def _same_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Residual]:
    return _convolve_any(x, kernel, 1, _SAME), (x, kernel)


def _same_backward(residual: Residual, dy: jax.Array) -> Residual:
    x, kernel = residual
    dx = _convolve_any(dy, _adjoint(kernel[::-1, ::-1]), 1, _SAME)
    return dx, _kernel_gradient(_plain, x, kernel, dy)


_same.defvjp(_same_forward, _same_backward)


@jax.custom_vjp
def _down(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _strided(x, kernel)


def _down_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Residual]:
    return _strided(x, kernel), (x, kernel)


def _down_backward(residual: Residual, dy: jax.Array) -> Residual:
    x, kernel = residual
    return _transposed(dy, _adjoint(kernel)), _kernel_gradient(_strided, x, kernel, dy)


_down.defvjp(_down_forward, _down_backward)


@jax.custom_vjp
def _up(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return ops.depth_to_space(_convolve(x, _to_phases(kernel), (1, 1), _ONE_BLOCK))


def _up_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Residual]:
    return _transposed(x, kernel), (x, kernel)


def _up_backward(residual: Residual, dy: jax.Array) -> Residual:
    x, kernel = residual
    dx, pull_back = jax.vjp(lambda k: _strided(dy, _adjoint(k)), kernel)
    return dx, pull_back(x)[0]


_up.defvjp(_up_forward, _up_backward)


def convolve(x: jax.Array, kernel: jax.Array, padding: str = "zero") -> jax.Array:
    """5×5 convolution, stride 1: [B, H, W, I] -> [B, H, W, O]."""
    if padding == "zero":
        return _same(x, kernel)
    return _convolve(_pad_edges(x, *_SAME), kernel, (1, 1), "VALID")


def convolve_down(x: jax.Array, kernel: jax.Array, padding: str = "zero") -> jax.Array:
    """5×5 convolution, stride 2: [B, H, W, I] -> [B, H/2, W/2, O], for even H and W."""
    if padding == "zero":
        return _down(x, kernel)
    if x.shape[-1] <= FEW_CHANNELS:
        blocks = ops.space_to_depth(_pad_edges(x, *_SAME))
        return _convolve(blocks, _from_phases(kernel), (1, 1), "VALID")
    return _add_beyond_edges(_down(x, kernel), x, kernel)


def convolve_up(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """5×5 transposed convolution, stride 2: [B, H, W, I] -> [B, 2 H, 2 W, O]; kernel [5, 5, I, O].

    It equals a 3×3 convolution to four phases, followed by depth-to-space.
    """
    return _up(x, kernel)


def convolve_wide_down(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """9×9, stride 4: [B, H, W, I] -> [B, H/4, W/4, O], for H and W that are multiples of 4."""
    blocks = _wide_blocks(kernel).transpose(0, 2, 1, 3, 4, 5)
    form = blocks.reshape(3, 3, WIDE_STRIDE**2 * kernel.shape[2], kernel.shape[3])
    return _convolve_any(ops.space_to_depth(x, WIDE_STRIDE), form, 1, _ONE_BLOCK)


def convolve_wide_up(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed 9×9, stride 4: [B, H, W, I] -> [B, 4 H, 4 W, O]; kernel [9, 9, I, O]."""
    blocks = _wide_blocks(kernel)[::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5)
    form = blocks.reshape(3, 3, kernel.shape[2], WIDE_STRIDE**2 * kernel.shape[3])
    return ops.depth_to_space(_convolve_any(x, form, 1, _ONE_BLOCK), WIDE_STRIDE)


def _wide_blocks(kernel: jax.Array) -> jax.Array:
    """[9, 9, I, O] -> [3, 4, 3, 4, I, O]: taps as (block, phase) per direction."""
    missing = 3 * WIDE_STRIDE - WIDE_KERNEL
    kernel = jnp.pad(kernel, ((0, missing), (0, missing), (0, 0), (0, 0)))
    return kernel.reshape(3, WIDE_STRIDE, 3, WIDE_STRIDE, *kernel.shape[2:])


def _pad_edges(x: jax.Array, rows: tuple[int, int], columns: tuple[int, int]) -> jax.Array:
    return jnp.pad(x, ((0, 0), rows, columns, (0, 0)), mode="edge")


def _add_beyond_edges(y: jax.Array, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Adds to y, the strided convolution of zero-padded x, what replicated borders contribute.

    The first output sees two rows (columns) before the first input, the last output sees one after
    the last input. This is cheaper than a convolution of a padded copy of x.
    """
    rows, columns = y.shape[1:3]
    beside = ((0, 0), (2, 1))
    above = _convolve(
        _pad_edges(x[:, :1], *beside), jnp.sum(kernel[:2], 0, keepdims=True), (1, 2), "VALID"
    )
    below = _convolve(_pad_edges(x[:, -1:], *beside), kernel[4:], (1, 2), "VALID")
    upright = ((2, 1), (0, 0))
    left = _convolve(x[:, :, :1], jnp.sum(kernel[:, :2], 1, keepdims=True), (2, 1), upright)
    right = _convolve(x[:, :, -1:], kernel[:, 4:], (2, 1), upright)
    for part, padding in (
        (above, ((0, rows - 1), (0, 0))),
        (below, ((rows - 1, 0), (0, 0))),
        (left, ((0, 0), (0, columns - 1))),
        (right, ((0, 0), (columns - 1, 0))),
    ):
        y = y + jnp.pad(part, ((0, 0), *padding, (0, 0)))
    return y


def scaled_normal(gain: float, inputs_per_output: float) -> Initializer:
    """Normal with variance gain / fan-in, fan-in = inputs_per_output · input channels."""

    def init_params(key, shape, dtype=jnp.float32):
        deviation = math.sqrt(gain / (inputs_per_output * shape[-2]))
        return deviation * jax.random.normal(key, shape, dtype)

    return init_params


class Conv(nn.Module):
    """5×5 convolution with bias. `kind` is "same", "down" (stride 2) or "up" (transposed).

    It is computed in `dtype`, which is that of the result. Parameters are float32.
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
    """Generalized divisive normalization, x_i / sqrt(beta_i + sum_j gamma_ji x_j²).

    Ballé et al. 2016 (https://arxiv.org/abs/1511.06281). `inverse` multiplies instead of dividing.
    beta [C] > 0, gamma [C, C] >= 0.
    """
    norm = jnp.einsum("...i,ij->...j", jnp.square(x), gamma) + beta
    return x * (jnp.sqrt(norm) if inverse else jax.lax.rsqrt(norm))


class GDN(nn.Module):
    """GDN in float32. Its parameters are square roots with a small lower bound.

    This keeps beta and gamma non-negative. As in Ballé et al. 2016, gradients shrink near zero and
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


class WideConv(nn.Module):
    """9×9 convolution of stride 4 with bias, `kind` "down" or "up" (transposed), zeros outside.

    Output i of the one down is centered on input 4i; the one up is its adjoint. Both are computed
    as 3×3 convolutions from or to blocks of 4×4 pixels, their kernels padded with three rows and
    columns of zeros.
    """

    features: int
    kind: str
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        taps = WIDE_KERNEL**2 / (WIDE_STRIDE**2 if self.kind == "up" else 1)
        shape = (WIDE_KERNEL, WIDE_KERNEL, x.shape[-1], self.features)
        kernel = self.param("kernel", scaled_normal(1.0, taps), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = (v.astype(self.dtype) for v in (x, kernel, bias))
        return (convolve_wide_up if self.kind == "up" else convolve_wide_down)(x, kernel) + bias
