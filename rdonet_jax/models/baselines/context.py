"""The causal context of Minnen et al. 2018: a 5×5 masked convolution, decoded by wavefronts.

https://arxiv.org/abs/1809.02736. Each position sees the twelve that come before it in raster order
within 5×5: two rows above it and two positions to its left. Positions with equal column + 3 · row
do not depend on each other. They are a wavefront, which a decoder computes at once, by one compiled
function for all wavefronts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rdonet_jax.nn import layers

REACH = 2
OFFSETS = tuple(
    (down, right)
    for down in range(-REACH, 1)
    for right in range(-REACH, REACH + 1)
    if (down, right) < (0, 0)
)
"""Row and column offsets of the twelve taps, in raster order."""


class Wavefront(NamedTuple):
    """The positions of a wavefront, padded to the size P of the largest one of the grid."""

    rows: Any  # int32 [P], of JAX or NumPy like the others
    columns: Any  # int32 [P]
    real: Any  # bool [P]; False for padding, outside the grid


def wavefront_count(grid: tuple[int, ...]) -> int:
    """How many wavefronts a grid of (rows, columns) has."""
    return grid[1] + (REACH + 1) * (grid[0] - 1)


def wavefront(number: Any, grid: tuple[int, ...], library: Any = jnp) -> Wavefront:
    """Wavefront `number`: the positions with column + 3 · row = number, in order of rows.

    Numbers [...] give wavefronts [..., P]. `library` is jax.numpy, or NumPy on the host.
    """
    rows, columns = grid
    step = REACH + 1
    longest = min(rows, -(-columns // step))
    first = library.maximum(number - columns + step, 0) // step
    row = first[..., None] + library.arange(longest)
    column = number[..., None] - step * row
    return Wavefront(row, column, (row < rows) & (column >= 0))


def pad_frame(y_hat: jax.Array) -> jax.Array:
    """Pads [B, h, w, M] with the zeros outside that taps reach: [B, h + 2, w + 4, M]."""
    return jnp.pad(y_hat, ((0, 0), (REACH, 0), (REACH, REACH), (0, 0)))


def empty_frame(batch: int, grid: tuple[int, ...], channels: int) -> jax.Array:
    """`pad_frame` of zeros, the frame before the first wavefront."""
    return jnp.zeros((batch, grid[0] + REACH, grid[1] + 2 * REACH, channels))


def crop_frame(frame: jax.Array) -> jax.Array:
    """The inverse of `pad_frame`."""
    return frame[:, REACH:, REACH:-REACH]


def gather_taps(frame: jax.Array) -> jax.Array:
    """The taps of all positions, [B, h, w, 12 M], of `pad_frame` y_hat."""
    rows, columns = frame.shape[1] - REACH, frame.shape[2] - 2 * REACH
    taps = [
        frame[:, REACH + down :, REACH + right :][:, :rows, :columns] for down, right in OFFSETS
    ]
    return jnp.concatenate(taps, axis=-1)


def gather_taps_at(frame: jax.Array, at: Wavefront) -> jax.Array:
    """The taps of the positions of a wavefront, [B, P, 12 M]."""
    rows = jnp.minimum(at.rows, frame.shape[1] - REACH - 1) + REACH
    columns = jnp.maximum(at.columns, 0) + REACH
    return jnp.concatenate([frame[:, rows + d, columns + r] for d, r in OFFSETS], axis=-1)


def gather_at(grid: jax.Array, at: Wavefront) -> jax.Array:
    """The values [B, P, ·] of a grid [B, h, w, ·] at a wavefront; arbitrary where not real."""
    here = jnp.minimum(at.rows, grid.shape[1] - 1), jnp.maximum(at.columns, 0)
    return jnp.asarray(grid)[:, *here]


def scatter_at(frame: jax.Array, at: Wavefront, values: jax.Array) -> jax.Array:
    """The frame with the values [B, P, M] written at a wavefront."""
    # Positions that are not real get an index outside the frame, where they are dropped.
    rows = jnp.where(at.real, at.rows + REACH, frame.shape[1])
    return frame.at[:, rows, at.columns + REACH].set(values, mode="drop")


class Context(nn.Module):
    """The masked convolution, of taps [..., 12 M] as `gather_taps` gives them, to [..., 2 M]."""

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, taps: jax.Array) -> jax.Array:
        kernel_init = layers.scaled_normal(1.0, 1)
        return nn.Dense(
            self.features, dtype=self.dtype, kernel_init=kernel_init, name="convolution"
        )(taps)
