"""Lapped stages: 4×4 convolutions of stride 2 and their transposes.

An output of the stage down sees its own 2×2 inputs and one more on each side. An input of the stage
up reaches 4×4 outputs. Both are computed as stride-1 2×2 convolutions between the corners of the
grid and 2×2 blocks. Every backend computes these well, gradients included, and no product is with
a zero. Borders are padded by replication.

An image may lie at the top left of a larger array. Then its `extent`, int32 [2], says how many rows
and columns of the array are the image. The image is padded by replication from there on, whatever
the array holds beyond, and so is the result. An extent int32 [B, 2] is one for each image of a
batch. Without an extent the array is the image.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rdonet_jax.core.config import TAPS
from rdonet_jax.nn import layers, ops


def down(x: jax.Array, kernel: jax.Array, extent: jax.Array | None = None) -> jax.Array:
    """[B, H, W, I] -> [B, H/2, W/2, O] for even H, W; kernel [4, 4, I, O].

    y[i, j] = sum over a, b of x[2 i - 1 + a, 2 j - 1 + b] kernel[a, b].
    """
    blocks = ops.space_to_depth(_pad_borders(x, extent))
    inputs, outputs = kernel.shape[2:]
    k = kernel.reshape(2, 2, 2, 2, inputs, outputs).transpose(0, 2, 1, 3, 4, 5)
    return _convolve(blocks, k.reshape(2, 2, 4 * inputs, outputs))


def up(x: jax.Array, kernel: jax.Array, extent: jax.Array | None = None) -> jax.Array:
    """[B, H, W, I] -> [B, 2 H, 2 W, O]; kernel [4, 4, I, O].

    Away from the borders it is the transpose of `down`:

    x[i, j] kernel[a, b] is added to y[2 i - 1 + a, 2 j - 1 + b].
    """
    inputs, outputs = kernel.shape[2:]
    k = kernel.reshape(2, 2, 2, 2, inputs, outputs)[::-1, :, ::-1]
    k = k.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, inputs, 4 * outputs)
    corners = _convolve(_pad_borders(x, extent), k)
    return ops.depth_to_space(corners)[:, 1:-1, 1:-1]


def replicate_beyond(x: jax.Array, extent: jax.Array) -> jax.Array:
    """x [B, H, W, C], all beyond the extent replaced by its last row and column."""
    for axis, length in zip((1, 2), jnp.broadcast_to(extent, (len(x), 2)).T, strict=True):
        position = jax.lax.broadcasted_iota(jnp.int32, x.shape, axis)
        x = jnp.where(position >= length[:, None, None, None], _last_line(x, length, axis), x)
    return x


def _last_line(x: jax.Array, length: jax.Array, axis: int) -> jax.Array:
    """The last row (axis 1) or column (axis 2) of each image in x; the axis is kept."""

    def last_of_image(image: jax.Array, end: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(image, end - 1, 1, axis - 1)

    return jax.vmap(last_of_image)(x, length)


def _pad_borders(x: jax.Array, extent: jax.Array | None) -> jax.Array:
    """x with one more row and column on each side, replicated from the end of its extent."""
    if extent is not None:
        x = replicate_beyond(x, extent)
    # `jnp.pad` has three times as many operations, which all have to be traced and compiled.
    for axis in (1, 2):
        first, last = (jax.lax.slice_in_dim(x, i, i + 1, axis=axis) for i in (0, x.shape[axis] - 1))
        x = jnp.concatenate([first, x, last], axis=axis)
    return x


def scale_extent(
    extent: jax.Array | None, numerator: int, denominator: int = 1
) -> jax.Array | None:
    """The extent of the same image on a finer or a coarser grid."""
    return None if extent is None else extent * numerator // denominator


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


class Stage(nn.Module):
    """A lapped stage with bias, `kind` "down" or "up", computed in `dtype`."""

    features: int
    kind: str
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, extent: jax.Array | None = None) -> jax.Array:
        per_output = TAPS**2 if self.kind == "down" else TAPS
        shape = (TAPS, TAPS, x.shape[-1], self.features)
        kernel = self.param("kernel", layers.scaled_normal(1.0, per_output), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = (v.astype(self.dtype) for v in (x, kernel, bias))
        return ops.add_bias((down if self.kind == "down" else up)(x, kernel, extent), bias)


class Pointwise(nn.Module):
    """A linear map of the channels of every position, with bias, computed in `dtype`."""

    features: int
    gain: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param(
            "kernel", layers.scaled_normal(self.gain, 1), (x.shape[-1], self.features)
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = (v.astype(self.dtype) for v in (x, kernel, bias))
        return ops.add_bias(x @ kernel, bias)


class Residual(nn.Module):
    """x + W ReLU(3×3 convolution of x). W is initialized with zeros, so the block is the identity.

    [B, h, w, C] -> the same shape, with `hidden` channels inside.
    """

    hidden: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, extent: jax.Array | None = None) -> jax.Array:
        channels = x.shape[-1]
        kernel = self.param("kernel", layers.scaled_normal(2.0, 9), (3, 3, channels, self.hidden))
        bias = self.param("bias", nn.initializers.zeros, (self.hidden,))
        x, kernel, bias = (v.astype(self.dtype) for v in (x, kernel, bias))
        h = nn.relu(ops.add_bias(_convolve(_pad_borders(x, extent), kernel), bias))
        return x + Pointwise(channels, 0.0, self.dtype, name="out")(h)


class NearIdentityGDN(nn.Module):
    """GDN in float32, initialized near the identity: x_i / sqrt(1 + sum_j gamma_ji x_j²).

    The parameter is the square root of gamma. `inverse` multiplies instead of dividing.
    """

    inverse: bool = False
    start: float = 0.03

    @nn.compact
    def __call__(self, x: jax.Array, extent: jax.Array | None = None) -> jax.Array:
        channels = x.shape[-1]
        root = self.param(
            "gamma",
            lambda key: (
                self.start * jnp.abs(jax.random.normal(key, (channels, channels))) / channels**0.5
            ),
        )
        x = x.astype(jnp.float32)
        return layers.gdn(x, jnp.ones(channels), jnp.square(root), self.inverse)


class Identity(nn.Module):
    """x itself, where a configuration has no nonlinearity."""

    def __call__(self, x: jax.Array, extent: jax.Array | None = None) -> jax.Array:
        return x
