"""The dead zone of the encoder's quantizer: small offsets are quantized to zero.

Rounding to the nearest integer minimizes the distortion alone. A symbol of 1 costs more bits than a
0, the more so the smaller the scale. With a price per bit, 0 is the better choice for all offsets r
below the one where (r - 0)^2 = (r - 1)^2 + price * bits (Sullivan, "Efficient scalar quantization
of exponential and Laplacian random variables", IEEE Transactions on Information Theory, 1996). The
decoder does not depend on it.
"""

from __future__ import annotations

import functools
from typing import TypeVar

import numpy as np

from rdonet_jax.entropy import table_costs

PRICE = 0.046
"""Squared quantizer steps per bit. For uniform quantizers at high rates it is ln(2) / 6 = 0.116.
This value is best for PSNR and MS-SSIM together, by `benchmarks/dead_zone.py`."""

Array = TypeVar("Array")


@functools.cache
def zero_bounds(distribution: str, price: float = PRICE) -> np.ndarray:
    """The smallest |y - mu| in steps that is not set to 0, by scale index; float32 [64]."""
    bits = table_costs.bits_of_small(distribution)
    bounds = (0.5 + price / 2 * (bits[:, 1] - bits[:, 0])).astype(np.float32)
    bounds.setflags(write=False)
    return bounds


def apply(offset: Array, bounds: Array) -> Array:
    """The offset from mu in steps, not yet rounded, set to 0 where it is below its bound."""
    return offset * (abs(offset) >= bounds)
