"""The dead zone of the encoder's quantizer: small offsets are quantized to zero.

Rounding to the nearest integer minimizes the distortion alone. A symbol of 1 costs more bits than a
0, the more so the smaller the scale. With a price per bit, 0 is the better choice for all offsets r
below the one where (r - 0)^2 = (r - 1)^2 + price * bits (Sullivan, "Efficient scalar quantization
of exponential and Laplacian random variables", IEEE Transactions on Information Theory, 1996). The
decoder does not depend on it.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from rdonet_jax.entropy import table_costs

PRICE = 0.046
"""Squared quantizer steps per bit. For uniform quantizers at high rates it is ln(2) / 6 = 0.116.
This value is best for PSNR and MS-SSIM together, by `benchmarks/dead_zone.py`."""


@functools.cache
def zero_bounds(distribution: str, price: float = PRICE) -> np.ndarray:
    """The smallest |y - mu| in steps that is not set to 0, by scale index; float32 [64]."""
    bits = table_costs.bits_of_small(distribution)
    bounds = (0.5 + price / 2 * (bits[:, 1] - bits[:, 0])).astype(np.float32)
    bounds.setflags(write=False)
    return bounds


def apply(offset: Any, bounds: Any) -> Any:
    """The offset from mu in steps, not yet rounded, set to 0 where it is below its bound."""
    return offset * (abs(offset) >= bounds)


def without_zone(offset: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Offsets that plain rounding quantizes as the dead zone does: piecewise linear, continuous.

    A magnitude at its bound becomes 1/2. Those of 0 and from 1 on stay. `bounds` are below 1.
    """
    size = np.abs(offset)
    below = size * (np.float32(0.5) / bounds)
    above = np.float32(0.5) * (1 + (size - bounds) / (1 - bounds))
    # The bound itself is coded as 1, and a tie would be rounded to 0.
    above = np.maximum(above, np.nextafter(np.float32(0.5), np.float32(1)))
    moved = np.where(size < bounds, np.minimum(below, np.float32(0.5)), above)
    return np.where(size < 1, np.copysign(moved, offset), offset).astype(np.float32)
