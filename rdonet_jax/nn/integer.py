"""Integer layers that give the same numbers on every device and in every order of summation.

Portable models compute their priors with them, so that encoder and decoder agree on every machine
("Integer networks for data compression with latent-variable models", Ballé, Johnston, Minnen 2019,
https://openreview.net/forum?id=S1zz2i0cY7).

All numbers are integers held in float32. Activations and weights have 8 bits. A sum has at most
`MAX_INPUTS` products and stays below 2**24, so float32, int32, bfloat16 products with float32 sums
and TF32 all give the exact value. A sum is then scaled by a power of two, rounded half to even and
clipped, which is exact too. Numbers that need more than 8 bits have at most 13 and are multiplied
by one of 11 bits.

Training runs the same arithmetic in the forward pass. Gradients pass straight through the
roundings.

A network calls these functions hundreds of times. Those that are jitted are traced and
differentiated once per shape. XLA inlines them, so the compiled program is the same.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core.config import ConfigError
from rdonet_jax.nn import ops
from rdonet_jax.nn.integer_format import (
    BIAS_BITS,
    LARGEST,
    LARGEST_BIAS,
    LARGEST_WIDE,
    MANTISSA_BITS,
    MANTISSAS,
    MAX_INPUTS,
    OCTAVE,
    OCTAVES,
)
from rdonet_jax.runtime import compilation


@functools.partial(compilation.jit, static_argnums=1)
def shift_right(x: jax.Array, bits: int) -> jax.Array:
    """x / 2**bits, rounded half to even."""
    return ops.straight_through_round(x * 2.0**-bits)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def clamp(x: jax.Array, lowest: float, largest: float) -> jax.Array:
    """x clipped to [lowest, largest].

    The gradient passes inside, by half at a bound, and is 0 outside, as that of `jnp.clip`. It has
    a quarter of the operations, and is NaN at NaN.
    """
    return jax.lax.clamp(np.asarray(lowest, x.dtype), x, np.asarray(largest, x.dtype))


@clamp.defjvp
def _clamp_jvp(lowest, largest, primals, tangents):
    (x,), (tangent,) = primals, tangents
    passed = (jnp.sign(x - lowest) + jnp.sign(largest - x)) * 0.5
    return clamp(x, lowest, largest), tangent * passed


def clip(x: jax.Array, largest: int = LARGEST) -> jax.Array:
    """x clipped to [-largest, largest]."""
    return clamp(x, -largest, largest)


@jax.custom_jvp
def powers(exponents: jax.Array) -> jax.Array:
    """2 ** (exponents / 256) for integers held in float32, to 11 bits: m · 2**k, exact.

    The derivative is that of the smooth function.
    """
    exponents = clip(exponents, OCTAVES * OCTAVE)
    octave = jnp.floor(exponents / OCTAVE)
    fraction = (exponents - OCTAVE * octave).astype(jnp.int32)
    # Assembles the float 2**octave from its bits, since exp2 is not exact everywhere.
    bits = (octave.astype(jnp.int32) + (127 - MANTISSA_BITS)) << 23
    return jnp.asarray(MANTISSAS)[fraction] * jax.lax.bitcast_convert_type(bits, jnp.float32)


@powers.defjvp
def _powers_jvp(primals, tangents):
    value = powers(primals[0])
    return value, tangents[0] * value * (float(np.log(2.0)) / OCTAVE)


@functools.partial(compilation.jit, static_argnums=2)
def scale(x: jax.Array, exponents: jax.Array, bits: int = 0) -> jax.Array:
    """x · 2 ** (exponents / 256) / 2**bits, x clipped to 13 bits, rounded half to even."""
    return ops.straight_through_round(clip(x, LARGEST_WIDE) * powers(exponents) * 2.0**-bits)


def _hat_functions(quality: jax.Array, knots: int, segment: int) -> jax.Array:
    """Hat functions around knots `segment` apart, at integers `quality` [...]: [..., knots].

    `segment` at a knot, 0 at its neighbors, linear between.
    """
    positions = segment * jnp.arange(knots, dtype=jnp.float32)
    distance = jnp.abs(quality.astype(jnp.float32)[..., None] - positions)
    return jnp.maximum(segment - distance, 0.0)


def quality_basis(quality: jax.Array, knots: int, segment: int) -> jax.Array:
    """The quality [...] as 8-bit inputs of a layer, one for every knot: [..., knots]."""
    return clip(_hat_functions(quality, knots, segment))


def interpolate_unrounded(knots: jax.Array, quality: jax.Array, segment: int) -> jax.Array:
    """Interpolates knots [K, C], `segment` apart, linearly at integers `quality`: [..., C]."""
    # At most two weights are nonzero. Elementwise products are exact with more than 8 bits too,
    # while a matrix product may run on tensor cores, which are not.
    weights = _hat_functions(quality, len(knots), segment)
    return jnp.sum(weights[..., None] * knots, axis=-2) / segment


def interpolate(knots: jax.Array, quality: jax.Array, segment: int) -> jax.Array:
    """As `interpolate_unrounded`, rounded half to even: integers from integer knots.

    Exact for knots below 2**16 and a `segment` that is a power of two up to 2**7.
    """
    return ops.straight_through_round(interpolate_unrounded(knots, quality, segment))


@functools.partial(compilation.jit, static_argnums=(1, 2))
def to_integers(values: jax.Array, bits: int, largest: int) -> jax.Array:
    """Quantizes parameters: values · 2**bits, rounded half to even, clipped to ± largest."""
    return clip(ops.straight_through_round(values * 2.0**bits), largest)


class Dense(nn.Module):
    """Sums of 8-bit activations [..., n] by 8-bit weights, plus a bias: integers [..., features].

    A weight parameter of 1.0 is the integer 2**`bits`. `inputs` is the number of rows of the
    kernel. Raises `ConfigError` for more than `MAX_INPUTS`. The sums of several layers can be
    added up, as long as these have that many inputs together and one of them has a bias.
    """

    inputs: int
    features: int
    bits: int
    spread: float = 1.0  # deviation of the random initialization, relative to 1 / sqrt(inputs)
    has_bias: bool = True

    def setup(self) -> None:
        if self.inputs > MAX_INPUTS:
            raise ConfigError(
                f"an exact layer sums at most {MAX_INPUTS} products, not {self.inputs}"
            )
        deviation = self.spread / np.sqrt(self.inputs)
        kernel = self.param(
            "kernel", nn.initializers.normal(deviation), (self.inputs, self.features)
        )
        # Quantized once. A layer is called for every plane.
        self.integer_kernel = to_integers(kernel, self.bits, LARGEST)
        if self.has_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            self.integer_bias = to_integers(bias, self.bits + BIAS_BITS, LARGEST_BIAS)

    def __call__(
        self,
        x: jax.Array,
        rows: Sequence[int] | None = None,
        columns: slice = slice(None),
    ) -> jax.Array:
        """The sums of the features `columns`.

        With `rows`, x holds only those inputs, and all others are zero.
        """
        kernel = self.integer_kernel if rows is None else _select_rows(self.integer_kernel, rows)
        sums = x @ kernel[:, columns]
        return ops.add_bias(sums, self.integer_bias[columns]) if self.has_bias else sums


def _select_rows(kernel: jax.Array, rows: Sequence[int]) -> jax.Array:
    """kernel[rows], joined from slices: the gradient of indexing is a scatter, slow on CPUs."""
    numbers = np.asarray(rows)
    ends = np.flatnonzero(np.diff(numbers) != 1) + 1
    runs = np.split(numbers, ends)
    return jnp.concatenate([kernel[run[0] : run[-1] + 1] for run in runs])


@functools.partial(compilation.jit, static_argnums=1)
def activation(sums: jax.Array, bits: int) -> jax.Array:
    """Sums / 2**bits as 8-bit activations: linear in the first half of the channels, else ReLU."""
    x = clip(shift_right(sums, bits))
    channels = x.shape[-1]
    lowest = np.where(np.arange(channels) < channels // 2, -LARGEST, 0).astype(np.float32)
    return jnp.maximum(x, lowest)


@functools.partial(compilation.jit, static_argnums=(1, 2))
def shift(plane: jax.Array, rows: int, columns: int) -> jax.Array:
    """plane[:, i + rows, j + columns] at (i, j), zeros outside; [B, h, w, C]."""
    padding = [(0, 0, 0), (-rows, rows, 0), (-columns, columns, 0), (0, 0, 0)]
    return jax.lax.pad(plane, np.zeros((), plane.dtype), padding)


def gather_3x3(x: jax.Array) -> jax.Array:
    """The 3×3 neighborhood of every position as channels: [B, h, w, C] -> [B, h, w, 9 C]."""
    offsets = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return jnp.concatenate([shift(x, *offset) for offset in offsets], axis=-1)
