"""One image of an evaluation and its quality, whichever codec it went through."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from rdonet_jax.evaluation.results import Row
from rdonet_jax.metrics import distortion


class EvaluationError(ValueError):
    """An evaluation that cannot be made, or whose result cannot be trusted."""


class Picture(NamedTuple):
    """An image to evaluate."""

    name: str  # its path below the folder that all images share
    pixels: np.ndarray  # uint8 [H, W, 3]


class Evaluated(NamedTuple):
    """An image's result and what came out of the decoder."""

    row: Row
    decoded: np.ndarray  # uint8 [H, W, 3]


class Quality(NamedTuple):
    """Quality of a decoded 8-bit image; None as in `Row`."""

    psnr: float | None
    ms_ssim: float | None


def measure(original: np.ndarray, decoded: np.ndarray) -> Quality:
    """Quality of uint8 [H, W, 3] against the original; compiled once per exact size."""
    x, x_hat = map(distortion.from_integers, (original, decoded))
    psnr = float(distortion.psnr(x, x_hat))
    large_enough = min(original.shape[:2]) >= distortion.smallest_side()
    ms_ssim = float(distortion.ms_ssim(x, x_hat)) if large_enough else None
    return Quality(psnr if math.isfinite(psnr) else None, ms_ssim)


def bits_per_pixel(file_bytes: int, picture: np.ndarray) -> float:
    """The rate of a whole file of an image [H, W, 3]."""
    return 8 * file_bytes / math.prod(picture.shape[:2])
