"""Quality in decibels, from numbers on the host in double precision.

`metrics.distortion` has the same quantities for JAX arrays, in single precision.
"""

from __future__ import annotations

import math


def psnr(mse: float, peak: float = 1.0) -> float:
    """PSNR in dB of a mean squared error, 10 log10(peak² / mse); infinite for an error of 0.

    `peak` is the largest value that a sample can have.
    """
    return 20 * math.log10(peak) - 10 * math.log10(mse) if mse else math.inf


def ms_ssim(value: float) -> float:
    """MS-SSIM in dB, -10 log10(1 - value); infinite for 1 and above."""
    return -10 * math.log10(1 - value) if value < 1 else math.inf
