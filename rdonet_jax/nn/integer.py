"""Integer arithmetic that gives the same numbers on every device, whatever computes it.

All numbers are integers held in float32. Activations and weights have 8 bits, a sum has at most
`MOST_INPUTS` products and stays below 2**24: float32, int32, bfloat16 products with float32 sums
and TF32 all give the exact value, in any order of summation. What leaves a sum is scaled by a power
of two, rounded half to even and clipped, which is exact too. Numbers that need more than 8 bits
have at most 13 and are multiplied by one of 11 bits.

In training the forward pass is this very arithmetic; gradients pass roundings as if they were not
there (straight-through).
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core.config import ConfigError
from rdonet_jax.nn import ops

LARGEST = 127
"""Of activations and of weights, in magnitude."""

MOST_INPUTS = 960
LARGEST_BIAS = 2**20
"""960 · 127² + 2**20 < 2**24: no sum of a layer can leave what float32 holds exactly."""

LARGEST_WIDE = 2**13 - 1
"""Of numbers that meet a mantissa: 8191 · 2047 < 2**24."""

BIAS_BITS = 5
"""A bias of 1.0 counts as much as a weight of 1.0 at an activation of 2**5."""

OCTAVE = 256
"""Exponents are in 1/256 octave: 2 ** (n / 256)."""

MANTISSA_BITS = 10

MANTISSAS = np.rint(2.0**MANTISSA_BITS * 2.0 ** (np.arange(OCTAVE) / OCTAVE)).astype(np.float32)
"""2 ** (n / 256) for n = 0 ... 255 in 1/1024. No value is near a tie, see the tests."""

OCTAVES = 15
"""Of the largest and the smallest power, up and down."""


def shifted_right(x: jax.Array, bits: int) -> jax.Array:
    """x / 2**bits, rounded half to even."""
    return ops.straight_through_round(x * 2.0**-bits)


def clipped(x: jax.Array, largest: int = LARGEST) -> jax.Array:
    """x within ± largest."""
    return jnp.clip(x, -largest, largest)


@jax.custom_jvp
def powers(exponents: jax.Array) -> jax.Array:
    """2 ** (exponents / 256) for integers held in float32, to 11 bits: m · 2**k, exact.

    The derivative is that of the smooth function.
    """
    exponents = clipped(exponents, OCTAVES * OCTAVE)
    octave = jnp.floor(exponents / OCTAVE)
    place = (exponents - OCTAVE * octave).astype(jnp.int32)
    # The float with this exponent, put together from its bits: exp2 is not exact everywhere.
    bits = (octave.astype(jnp.int32) + (127 - MANTISSA_BITS)) << 23
    return jnp.asarray(MANTISSAS)[place] * jax.lax.bitcast_convert_type(bits, jnp.float32)


@powers.defjvp
def _powers_jvp(primals, tangents):
    value = powers(primals[0])
    return value, tangents[0] * value * (float(np.log(2.0)) / OCTAVE)


def scaled(x: jax.Array, exponents: jax.Array, bits: int = 0) -> jax.Array:
    """x · 2 ** (exponents / 256) / 2**bits, x clipped to 13 bits, rounded half to even."""
    return ops.straight_through_round(clipped(x, LARGEST_WIDE) * powers(exponents) * 2.0**-bits)


def _nearness(quality: jax.Array, knots: int, segment: int) -> jax.Array:
    """Hat functions around knots `segment` apart, read at integers `quality` [B]: [B, knots].

    `segment` at a knot, 0 at its neighbors, linear between.
    """
    places = segment * jnp.arange(knots, dtype=jnp.float32)
    distance = jnp.abs(quality.astype(jnp.float32)[:, None] - places)
    return jnp.maximum(segment - distance, 0.0)


def quality_basis(quality: jax.Array, knots: int, segment: int) -> jax.Array:
    """The quality [B] as 8-bit inputs of a layer, one for every knot: [B, knots]."""
    return clipped(_nearness(quality, knots, segment))


def interpolated_smoothly(knots: jax.Array, quality: jax.Array, segment: int) -> jax.Array:
    """Knots [K, C], `segment` apart, read at integers `quality` [B], linear between: [B, C]."""
    # Two of the weights are not zero. Products of single elements, not of matrices: those are exact
    # with numbers of more than 8 bits, too, whatever tensor cores do.
    weights = _nearness(quality, len(knots), segment)
    return jnp.sum(weights[:, :, None] * knots, axis=1) / segment


def interpolated(knots: jax.Array, quality: jax.Array, segment: int) -> jax.Array:
    """As `interpolated_smoothly`, rounded half to even: integers from integer knots.

    Exact for knots below 2**16 and a `segment` that is a power of two up to 2**7.
    """
    return ops.straight_through_round(interpolated_smoothly(knots, quality, segment))


def integers(values: jax.Array, bits: int, largest: int) -> jax.Array:
    """Parameters as integers: values · 2**bits, rounded half to even, within ± largest."""
    return clipped(ops.straight_through_round(values * 2.0**bits), largest)


class Dense(nn.Module):
    """Sums of 8-bit activations [..., n] by 8-bit weights, plus a bias: integers [..., features].

    Weights are kept as numbers of which 1.0 is the integer 2**`bits`. `inputs` is the number of
    rows of the kernel. Raises `ConfigError` for more than sums have room for.
    """

    inputs: int
    features: int
    bits: int
    spread: float = 1.0  # of the random start, relative to 1 / sqrt(inputs)

    def setup(self) -> None:
        if self.inputs > MOST_INPUTS:
            raise ConfigError(
                f"an exact layer sums at most {MOST_INPUTS} products, not {self.inputs}"
            )
        deviation = self.spread / np.sqrt(self.inputs)
        self.kernel = self.param(
            "kernel", nn.initializers.normal(deviation), (self.inputs, self.features)
        )
        self.bias = self.param("bias", nn.initializers.zeros, (self.features,))

    def __call__(self, x: jax.Array, rows: Sequence[int] | None = None) -> jax.Array:
        """The sums; with `rows`, x holds only those inputs and all others are zero."""
        kernel = self.kernel if rows is None else _selected(self.kernel, rows)
        weights = integers(kernel, self.bits, LARGEST)
        bias = integers(self.bias, self.bits + BIAS_BITS, LARGEST_BIAS)
        return ops.add_bias(x @ weights, bias)


def _selected(kernel: jax.Array, rows: Sequence[int]) -> jax.Array:
    """kernel[rows] as slices: the gradient of an indexing is a scatter, which CPUs are slow at."""
    numbers = np.asarray(rows)
    ends = np.flatnonzero(np.diff(numbers) != 1) + 1
    runs = np.split(numbers, ends)
    return jnp.concatenate([kernel[run[0] : run[-1] + 1] for run in runs])


def activation(sums: jax.Array, bits: int) -> jax.Array:
    """Sums / 2**bits as 8-bit activations; of the second half of the channels, negatives are 0."""
    x = clipped(shifted_right(sums, bits))
    channels = x.shape[-1]
    lowest = np.where(np.arange(channels) < channels // 2, -LARGEST, 0).astype(np.float32)
    return jnp.maximum(x, lowest)


def moved(plane: jax.Array, rows: int, columns: int) -> jax.Array:
    """plane[:, i + rows, j + columns] at (i, j), zeros outside; [B, h, w, C]."""
    _, height, width, _ = plane.shape
    reach = ((max(-rows, 0), max(rows, 0)), (max(-columns, 0), max(columns, 0)))
    padded = jnp.pad(plane, ((0, 0), *reach, (0, 0)))
    top, left = max(rows, 0), max(columns, 0)
    return padded[:, top : top + height, left : left + width]


def neighbourhood(x: jax.Array) -> jax.Array:
    """The 3×3 neighbors of every position, gathered: [B, h, w, C] -> [B, h, w, 9 C]."""
    places = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return jnp.concatenate([moved(x, *place) for place in places], axis=-1)
