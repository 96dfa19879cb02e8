"""The cost of a file is the loss of its image, whatever the size of the image."""

from __future__ import annotations

import numpy as np
import pytest

from rdonet_jax.core import partition
from rdonet_jax.metrics import distortion, loss
from rdonet_jax.metrics.loss import Loss
from rdonet_jax.rdo.file_cost import FileCost
from tests.metrics.test_loss import images

LMBDA, SHARE, BYTES = 0.01, 0.5, 3000

SIZES = [(192, 256), (257, 257), (480, 640), (200, 333), (1090, 700)]


def terms() -> tuple:
    return Loss(LMBDA, "both", SHARE).terms()


def cost(x: np.ndarray, x_hat: np.ndarray) -> float:
    return FileCost(terms(), x)(BYTES, x_hat)


def expected(x: np.ndarray, x_hat: np.ndarray, ms_ssim: float) -> float:
    squared_error = np.square(x.astype(np.float64) - x_hat).mean()
    similarity = SHARE * loss.SIMILARITY_WEIGHT * (1.0 - ms_ssim)
    bpp = 8 * BYTES / (x.shape[0] * x.shape[1])
    return bpp + LMBDA * ((1 - SHARE) * squared_error + similarity)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_cost_of_a_file_is_the_loss_of_its_image(size):
    x, x_hat = images(*size)
    arrays = (partition.pad_image(v)[0] / np.float32(255) for v in (x, x_hat))
    ms_ssim = float(distortion.ms_ssim(*arrays, sizes=np.array(size)))
    assert cost(x, x_hat) == pytest.approx(expected(x, x_hat, ms_ssim), rel=1e-5)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_cost_of_a_file_has_nearly_the_ms_ssim_that_is_measured(size):
    x, x_hat = images(*size)
    measured = float(distortion.ms_ssim(x / np.float32(255), x_hat / np.float32(255)))
    assert cost(x, x_hat) == pytest.approx(expected(x, x_hat, measured), rel=0.01)


@pytest.mark.parametrize("size", [(150, 170), (100, 640), (40, 40)], ids=str)
def test_small_images_have_the_scales_that_fit_into_them(size):
    x, x_hat = images(*size)
    arrays = (partition.pad_image(v)[0] / np.float32(255) for v in (x, x_hat))
    levels = sum(min(size) >> scale > 10 for scale in range(5))
    arrays = [np.pad(v, ((0, 192), (0, 192), (0, 0)), mode="edge") for v in arrays]
    ms_ssim = float(distortion.ms_ssim(*arrays, levels=levels, sizes=np.array(size)))
    assert cost(x, x_hat) == pytest.approx(expected(x, x_hat, ms_ssim), rel=1e-4)


def test_what_is_smaller_than_a_window_has_a_cost_that_grows_with_the_damage():
    x, x_hat = (v[:8, -5:] for v in images(8, 200))
    assert cost(x, x) == pytest.approx(8 * BYTES / 40)
    assert cost(x, x_hat) > cost(x, x)
