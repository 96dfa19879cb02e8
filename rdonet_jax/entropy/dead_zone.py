"""The dead zone of the encoder's quantizer: what is hardly worth its bits is sent as zero.

Rounding to the nearest integer is best for the distance alone. A symbol of 1 costs more bits than a
0, the more the surer the prior is of the 0; with a price on a bit, 0 is the better choice for all
offsets r below the one where (r - 0)^2 = (r - 1)^2 + price * bits (Sullivan, "Efficient scalar
quantization of exponential and Laplacian random variables", 1996). The decoder knows nothing of it.
"""

from __future__ import annotations

import functools
from typing import TypeVar

import jax
import numpy as np

from rdonet_jax.entropy import bit_cost

PRICE = 0.046
"""Squared quantizer steps that are given for a bit. At high rates uniform quantizers trade by
ln(2) / 6 = 0.116; this is what `benchmarks/dead_zone.py` finds best for PSNR and MS-SSIM
together."""

Array = TypeVar("Array", np.ndarray, jax.Array)


@functools.cache
def zero_bounds(distribution: str, price: float = PRICE) -> np.ndarray:
    """By entry of the scale table, below which |y - mu| in steps 0 is sent; float32 [64]."""
    bits = bit_cost.bits_of_small(distribution)
    bounds = (0.5 + price / 2 * (bits[:, 1] - bits[:, 0])).astype(np.float32)
    bounds.setflags(write=False)
    return bounds


def apply(offset: Array, bounds: Array) -> Array:
    """The offset from mu in steps, not yet rounded; 0 where it is less than its bound."""
    return offset * (abs(offset) >= bounds)
