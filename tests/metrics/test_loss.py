"""The maps of distortions by area, which searches and refinements compare."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.metrics import distortion, loss
from rdonet_jax.metrics.loss import AREA
from rdonet_jax.runtime import compilation


def images(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image uint8 [H, W, 3], and one that is damaged more to the right."""
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:height, :width]
    smooth = 120 + 60 * np.sin(rows / 9)[..., None] + 50 * np.cos(cols / 14)[..., None]
    x = smooth + rng.normal(0, 12, (height, width, 3))
    x_hat = x + rng.normal(0, 1, x.shape) * (20 * cols / width)[..., None]
    return tuple(v.clip(0, 255).round().astype(np.uint8) for v in (x, x_hat))


def maps_of(measure: loss.Distortion, x: np.ndarray, x_hat: np.ndarray) -> np.ndarray:
    original = compilation.jit(measure.original)(x)
    return np.asarray(compilation.jit(measure.maps)(original, x_hat, np.array(x.shape[:2])))


@pytest.mark.parametrize("size", [(64, 128), (192, 320)], ids=str)
def test_maps_of_ms_ssim_are_sums_over_the_windows_with_their_middle_in_an_area(size):
    x, x_hat = images(*size)
    (dissimilarity,) = (term.distortion for term in loss.named("ms-ssim").terms(0.0))
    scales = distortion.scales_within(min(size))
    similarity_maps = compilation.jit(distortion.similarity_maps, static_argnums=2)
    of_windows = similarity_maps(x / np.float32(255), x_hat / np.float32(255), scales)
    found = maps_of(dissimilarity, x, x_hat)
    assert found.shape == (2 * scales, size[0] // AREA, size[1] // AREA)
    for scale, similarity in enumerate(of_windows):
        values = 1.0 - np.asarray(similarity, np.float64).mean(-1)
        sums, counts = np.zeros((2, *found.shape[1:]))
        areas = np.ix_(*((np.arange(n) + 5) // (AREA >> scale) for n in values.shape))
        np.add.at(sums, areas, values)
        np.add.at(counts, areas, 1)
        np.testing.assert_allclose(found[scale], sums, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(found[scales + scale], counts)


def test_maps_of_the_squared_error_add_up_to_that_of_the_image():
    x, x_hat = images(512, 768)
    (squared_error,) = (term.distortion for term in loss.named("mse").terms(0.0))
    exact = np.square(x.astype(np.float64) - x_hat).mean(-1).sum()
    np.testing.assert_allclose(maps_of(squared_error, x, x_hat).sum(), exact, rtol=1e-5)


class AbsoluteError(loss.PixelDistortion):
    """A distortion as `docs/extending.md` shows one."""

    name = "absolute-error"
    words = "255 * absolute error"
    unit = 255.0

    def of_pixels(self, x, x_hat):
        return jnp.mean(jnp.sqrt(jnp.square(x - x_hat) + 1e-6), axis=-1)


def test_maps_of_a_distortion_of_pixels_take_gray_levels_of_either_type():
    x, x_hat = images(64, 128)
    measure = AbsoluteError()
    of_floats = maps_of(measure, x, x_hat.astype(np.float32))
    np.testing.assert_array_equal(of_floats, maps_of(measure, x, x_hat))


class OfChannels(AbsoluteError):
    """A distortion that forgets the mean over red, green and blue."""

    name = "of-channels"

    def of_pixels(self, x, x_hat):
        return jnp.abs(x - x_hat)


def test_a_distortion_of_pixels_with_more_than_one_value_for_each_is_named():
    x, x_hat = images(64, 128)
    for work in (
        lambda: maps_of(OfChannels(), x, x_hat),
        lambda: OfChannels().of_batch(*(v[None].astype(np.float32) / 255 for v in (x, x_hat))),
    ):
        with pytest.raises(ValueError, match="'of-channels' has a value for each pixel"):
            work()


def test_maps_of_a_distortion_of_pixels_have_gradients_by_gray_levels():
    x, x_hat = images(64, 128)
    size = jnp.array([50, 100])
    total = compilation.jit(jax.grad(lambda decoded: AbsoluteError().maps(x, decoded, size).sum()))
    for decoded in (x.astype(np.float32), x_hat + np.float32(0.3)):
        gradient = np.asarray(total(decoded))
        assert np.isfinite(gradient).all()
    assert gradient[:50, :100].any() and not gradient[50:].any() and not gradient[:, 100:].any()
