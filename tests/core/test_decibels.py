"""Decibels on the host agree with those of JAX arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rdonet_jax.core import decibels
from rdonet_jax.metrics import distortion

pytestmark = pytest.mark.once


@pytest.mark.parametrize("mse", [1e-6, 0.003, 0.5])
def test_psnr_agrees_with_that_of_jax_arrays(mse):
    x = np.zeros((4, 4, 3), np.float32)
    expected = float(distortion.psnr(x, x + np.float32(mse**0.5)))
    assert decibels.psnr(mse) == pytest.approx(expected, abs=1e-3)
    assert decibels.psnr(mse * 255**2, 255) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.9, 0.999])
def test_ms_ssim_in_decibels_agrees_with_that_of_jax_arrays(value):
    expected = float(distortion.ms_ssim_db(np.float32(value)))
    assert decibels.ms_ssim(value) == pytest.approx(expected, abs=1e-3)


def test_equal_images_have_infinitely_many_decibels():
    assert decibels.psnr(0.0) == decibels.ms_ssim(1.0) == math.inf
