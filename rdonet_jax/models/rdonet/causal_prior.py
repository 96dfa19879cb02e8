"""The prior on z: a causal network of two 3×3 masked convolutions of type A, for each channel.

Each channel of z is predicted from itself alone, at positions that come earlier in raster order:
left, above left, above, above right. Two masked layers reach two rows up.

The functions use only +, -, * and abs, element by element and in a fixed order. They run on JAX
arrays in the training graph and on NumPy arrays in the codec. IEEE arithmetic on the host gives the
same bits for one position as for a whole grid. So an encoder evaluates all positions at once, and a
decoder one wavefront after the other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

OFFSETS = ((-1, -1), (-1, 0), (-1, 1), (0, -1))
"""Row and column offsets of the taps of a 3×3 type A mask."""

NEGATIVE_SLOPE = 0.01


class CausalWeights(NamedTuple):
    """Weights for C channels with M hidden ones each."""

    hidden: Any  # [4 taps, M, C]
    hidden_bias: Any  # [M, C]
    output: Any  # [4 taps, M, 2, C]: mean and raw scale
    output_bias: Any  # [2, C]


def leaky_relu(x: Any) -> Any:
    """x for x >= 0, else 0.01 x."""
    return 0.5 * (1 + NEGATIVE_SLOPE) * x + 0.5 * (1 - NEGATIVE_SLOPE) * abs(x)


def hidden_units(neighbors: Any, weights: CausalWeights) -> Any:
    """First layer: four neighbors, each [..., C] of z_hat, to [..., M, C]."""
    total = weights.hidden_bias
    for tap, neighbor in enumerate(neighbors):
        total = total + neighbor[..., None, :] * weights.hidden[tap]
    return leaky_relu(total)


def outputs(neighbors: Any, weights: CausalWeights) -> Any:
    """Second layer: four neighbors, each [..., M, C] of hidden units, to [..., 2, C].

    The two entries are the mean and the scale before its softplus.
    """
    total = weights.output_bias
    for tap, neighbor in enumerate(neighbors):
        for unit in range(weights.output.shape[1]):
            total = total + neighbor[..., unit, None, :] * weights.output[tap, unit]
    return total


def shift_causal(grid: Any) -> list[Any]:
    """The four causal neighbors of every position of a grid [B, h, w, ...], zeros outside."""
    _, rows, columns = grid.shape[:3]
    padding = ((0, 0), (1, 0), (1, 1)) + ((0, 0),) * (grid.ndim - 3)
    padded = jnp.pad(grid, padding)
    return [padded[:, 1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns] for dy, dx in OFFSETS]


class CausalPrior(nn.Module):
    """Mean and raw scale of z, each [B, h, w, C], from z_hat of the same shape.

    The result at a position depends only on positions before it in raster order.
    """

    hidden: int
    initial_scale: float = 2.0  # raw, before softplus

    @nn.compact
    def __call__(self, z_hat):
        weights = self.weights(z_hat.shape[-1])
        units = hidden_units(shift_causal(z_hat), weights)
        result = outputs(shift_causal(units), weights)
        return result[..., 0, :], result[..., 1, :]

    def weights(self, channels: int) -> CausalWeights:
        """The parameters, created on first use."""
        # Output weights are zero at first, so the prior is one per channel. It stays so where crops
        # are too small for z to have neighbors: a hyper-latent covers up to 256 pixels a side.
        normal, zeros = nn.initializers.normal(0.3), nn.initializers.zeros

        def initial_bias(_, shape):
            return jnp.zeros(shape).at[1].set(self.initial_scale)

        return CausalWeights(
            self.param("hidden", normal, (len(OFFSETS), self.hidden, channels)),
            self.param("hidden_bias", zeros, (self.hidden, channels)),
            self.param("output", zeros, (len(OFFSETS), self.hidden, 2, channels)),
            self.param("output_bias", initial_bias, (2, channels)),
        )
