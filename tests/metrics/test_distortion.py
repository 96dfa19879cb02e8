import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
import scipy.signal
import skimage.data
import skimage.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.core import presets
from rdonet_jax.metrics import distortion as metrics_distortion
from rdonet_jax.metrics import loss as metrics_loss
from rdonet_jax.models.portable import thresholds as portable_thresholds
from tests import hasty_xla

pytestmark = pytest.mark.once

# MS-SSIM by pytorch_msssim 1.0.0 on torch 2.13.0: ms_ssim(p, q, data_range=1.0, win=...) with p =
# the image / 255 and q = its distortion below / 255, both float64, and a float64 window. (Its own
# default window is rounded to float32, which alone moves these values by up to 2e-6.)
PYTORCH_MSSSIM = {
    ("astronaut", "blocky"): 0.983054887,
    ("astronaut", "noisy"): 0.919110662,
    ("coffee", "blocky"): 0.969410009,
    ("coffee", "noisy"): 0.894985243,
    ("chelsea", "blocky"): 0.975322715,
    ("chelsea", "noisy"): 0.909454200,
}


def blocky(image, step=37.3):
    """JPEG-like: 8x8 DCT blocks quantized with one step; what is left over stays as it is."""
    h, w = (n // 8 * 8 for n in image.shape[:2])
    blocks = image[:h, :w].astype(np.float64).reshape(h // 8, 8, w // 8, 8, 3)
    coarse = np.round(scipy.fft.dctn(blocks, axes=(1, 3), norm="ortho") / step) * step
    restored = np.round(scipy.fft.idctn(coarse, axes=(1, 3), norm="ortho"))
    out = image.copy()
    out[:h, :w] = np.clip(restored, 0, 255).reshape(h, w, 3).astype(np.uint8)
    return out


def noisy(image, spread=24):
    noise = np.random.default_rng(2003).integers(-spread, spread, image.shape, endpoint=True)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


DISTORTIONS = {"blocky": blocky, "noisy": noisy}


ROUNDINGS = 100 * 2**-24
"""Twenty float32 roundings of numbers up to one at each of the five scales of MS-SSIM."""


def unit(image):
    return (image / 255).astype(np.float32)


def random_pair(seed, height=161, width=176, amount=0.1):
    """By default as small as five scales allow, odd at every scale in height and even in width."""
    rng = np.random.default_rng(seed)
    x = rng.random((height, width, 3)).cumsum(axis=1) % 1.0
    return (
        x.astype(np.float32),
        np.clip(x + amount * rng.normal(size=x.shape), 0, 1).astype(np.float32),
    )


ms_ssim = jax.jit(metrics_distortion.ms_ssim, static_argnames="levels")
gradient_of_ms_ssim = jax.jit(jax.grad(metrics_distortion.ms_ssim, argnums=1))


def plain_ms_ssim(x, x_hat, levels=5):
    """The definition in float64, with a two-dimensional window and the usual quotients."""
    distance = np.arange(11) - 5
    taps = np.exp(-(distance**2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / np.outer(taps, taps).sum()
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:levels]
    if levels < 5:
        weights = weights / weights.sum()

    def blur(plane):
        return scipy.signal.correlate2d(plane, window, mode="valid")

    def halve(plane):
        plane = np.pad(plane, [(plane.shape[0] % 2, 0), (plane.shape[1] % 2, 0)])
        h, w = plane.shape
        return plane.reshape(h // 2, 2, w // 2, 2).mean(axis=(1, 3))

    values = []
    for c in range(3):
        a, b = x[..., c].astype(np.float64), x_hat[..., c].astype(np.float64)
        value = 1.0
        for scale, weight in enumerate(weights):
            mean_a, mean_b = blur(a), blur(b)
            var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
            cov = blur(a * b) - mean_a * mean_b
            term = (2 * cov + 0.03**2) / (var_a + var_b + 0.03**2)
            if scale == levels - 1:
                term *= (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
            value *= max(term.mean(), 0.0) ** weight
            a, b = halve(a), halve(b)
        values.append(value)
    return np.mean(values)


def test_bpp_adds_every_map_of_an_image_and_divides_by_its_pixels():
    rng = np.random.default_rng(0)
    maps = {"y": (rng.random((2, 4, 6)), rng.random((2, 2, 3, 5))), "z": rng.random((2, 1, 1))}
    expected = [
        (maps["y"][0][i].sum() + maps["y"][1][i].sum() + maps["z"][i].sum()) / 96 for i in (0, 1)
    ]
    result = metrics_distortion.bpp(jax.tree_util.tree_map(jnp.asarray, maps), 96)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_bpp_takes_a_pixel_count_for_each_image():
    result = metrics_distortion.bpp((jnp.ones((2, 3, 3)),), jnp.array([9, 18]))
    np.testing.assert_allclose(result, [1.0, 0.5])


def test_rounding_to_8_bit_gives_the_nearest_gray_level_and_clips():
    x = jnp.array([-0.3, 0.0, 0.49 / 255, 0.51 / 255, 100.2 / 255, 1.0, 1.7])
    np.testing.assert_array_equal(metrics_distortion.to_8_bit(x), [0, 0, 0, 1, 100, 255, 255])
    np.testing.assert_allclose(
        metrics_distortion.round_to_8_bit(x) * 255, [0, 0, 0, 1, 100, 255, 255]
    )


def test_every_8_bit_image_survives_rounding_unchanged():
    gray = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(metrics_distortion.to_8_bit(unit(gray)), gray)
    np.testing.assert_allclose(metrics_distortion.round_to_8_bit(unit(gray)), unit(gray), atol=1e-7)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_psnr_equals_that_of_scikit_image(name):
    image = getattr(skimage.data, name)()
    for distort in DISTORTIONS.values():
        expected = skimage.metrics.peak_signal_noise_ratio(image, distort(image))
        actual = metrics_distortion.psnr(unit(image), unit(distort(image)))
        assert actual == pytest.approx(expected, abs=1e-4)


def loss_of(x, x_hat):
    return metrics_loss.rd_loss(jnp.zeros(()), x, x_hat, 0.01, "mse")


MEASURES = {
    "mse": metrics_distortion.mse,
    "psnr": metrics_distortion.psnr,
    "ms_ssim": metrics_distortion.ms_ssim,
    "rd_loss": loss_of,
}


@pytest.mark.parametrize("name", MEASURES)
def test_measures_of_integers_are_refused_and_the_conversion_is_named(name):
    measure = MEASURES[name]
    images = np.zeros((2, 176, 176, 3), np.uint8)
    floats = metrics_distortion.from_integers(images)
    for pair in (images, images), (images, floats), (floats, images.astype(int)):
        with pytest.raises(ValueError, match="not u?int.*metrics.from_integers"):
            measure(*pair)
    with pytest.raises(ValueError, match="metrics.from_integers"):
        jax.jit(measure)(images, images)
    assert measure(floats, floats).shape == (2,)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize(
    "shapes",
    [((200, 200, 3), (1, 200, 3)), ((200, 200), (200, 200)), ((200, 200, 4), (200, 200, 4))],
    ids=["broadcast", "gray", "with alpha"],
)
def test_measures_of_other_shapes_are_refused(name, shapes):
    images = (np.zeros(shape, np.float32) for shape in shapes)
    with pytest.raises(ValueError, match=r"of one shape \[..., height, width, 3\], not"):
        MEASURES[name](*images)


def test_integers_are_not_rounded_to_8_bits_again():
    pixels = np.full((4, 4, 3), 100, np.uint8)
    with pytest.raises(ValueError, match="not uint8"):
        metrics_distortion.round_to_8_bit(pixels)
    with pytest.raises(ValueError, match="not uint8"):
        metrics_distortion.to_16_bit(pixels)


def test_psnr_of_equal_images_is_infinite():
    x, _ = random_pair(0, 8, 8)
    assert metrics_distortion.psnr(x, x) == jnp.inf


@pytest.mark.slow
@pytest.mark.parametrize(("name", "distortion"), PYTORCH_MSSSIM)
def test_ms_ssim_equals_that_of_pytorch_msssim(name, distortion):
    image = getattr(skimage.data, name)()
    actual = ms_ssim(unit(image), unit(DISTORTIONS[distortion](image)))
    assert actual == pytest.approx(PYTORCH_MSSSIM[name, distortion], abs=ROUNDINGS)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), amount=st.sampled_from([0.001, 0.05, 0.5]))
def test_ms_ssim_equals_the_plain_definition(seed, amount):
    x, x_hat = random_pair(seed, amount=amount)
    assert ms_ssim(x, x_hat) == pytest.approx(plain_ms_ssim(x, x_hat), abs=ROUNDINGS)


@pytest.mark.slow
@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_ms_ssim_of_fewer_levels_equals_the_plain_definition(levels):
    smallest = 10 * 2 ** (levels - 1) + 1
    x, x_hat = random_pair(levels, smallest, smallest + 2)
    expected = plain_ms_ssim(x, x_hat, levels)
    assert ms_ssim(x, x_hat, levels=levels) == pytest.approx(expected, abs=ROUNDINGS)


@pytest.mark.slow
def test_ms_ssim_tells_images_apart_that_are_nearly_equal():
    x, _ = random_pair(0)
    x = 0.8 + 0.1 * x
    x_hat = x + np.random.default_rng(1).normal(size=x.shape).astype(np.float32) / 1000
    expected = 1 - plain_ms_ssim(x, x_hat)
    assert expected < 1e-4
    assert 1 - ms_ssim(x, x_hat) == pytest.approx(expected, rel=0.01)


@pytest.mark.slow
def test_ms_ssim_of_a_batch_is_that_of_each_image():
    pairs = [random_pair(seed) for seed in (1, 2)]
    batch = ms_ssim(*(jnp.stack(side) for side in zip(*pairs, strict=True)))
    np.testing.assert_allclose(batch, [ms_ssim(*pair) for pair in pairs], atol=1e-6)


def test_ms_ssim_never_exceeds_one_and_is_one_for_equal_images():
    x, _ = random_pair(3)
    for image in (x, np.zeros_like(x), np.ones_like(x)):
        assert ms_ssim(image, image) == 1.0


@pytest.mark.parametrize("size", [(160, 400), (400, 160), (1, 1)])
def test_ms_ssim_refuses_images_too_small_for_its_scales_and_names_their_size(size):
    x = jnp.zeros((*size, 3))
    with pytest.raises(ValueError, match=rf"161 pixels.*{size[0]} x {size[1]}"):
        ms_ssim(x, x)


@pytest.mark.parametrize("levels", [0, 6])
def test_ms_ssim_refuses_a_number_of_levels_it_has_no_weights_for(levels):
    x = jnp.zeros((400, 400, 3))
    with pytest.raises(ValueError, match="1 to 5 levels"):
        ms_ssim(x, x, levels=levels)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["equal", "both black", "against black", "negative", "different"])
def test_the_gradient_of_ms_ssim_is_finite(case):
    x, x_hat = random_pair(4)
    black = np.zeros_like(x)
    x, x_hat = {
        "equal": (x, x),
        "both black": (black, black),
        "against black": (x, black),
        "negative": (x, 1 - x),
        "different": (x, x_hat),
    }[case]
    assert np.all(np.isfinite(gradient_of_ms_ssim(x, x_hat)))


@pytest.mark.slow
def test_the_gradient_of_ms_ssim_is_its_slope():
    x, x_hat = random_pair(5)
    direction = np.random.default_rng(6).normal(size=x.shape)
    gradient = gradient_of_ms_ssim(x, x_hat)
    step = 1e-4
    slope = (
        plain_ms_ssim(x, x_hat + step * direction) - plain_ms_ssim(x, x_hat - step * direction)
    ) / (2 * step)
    assert np.sum(gradient * direction) == pytest.approx(slope, rel=1e-3)


def test_ms_ssim_in_db_counts_nines():
    np.testing.assert_allclose(
        metrics_distortion.ms_ssim_db(jnp.array([0.9, 0.99])), [10, 20], rtol=1e-4
    )
    assert metrics_distortion.ms_ssim_db(jnp.array(1.0)) == jnp.inf


def test_the_loss_weighs_squared_gray_levels_or_one_minus_ms_ssim_by_lambda():
    x, x_hat = (v[None] for v in random_pair(7))
    rate = jnp.array([0.25])
    gray_levels = np.mean((255.0 * (x.astype(np.float64) - x_hat)) ** 2)
    by_mse = metrics_loss.rd_loss(rate, x, x_hat, 0.01, "mse")
    by_ms_ssim = metrics_loss.rd_loss(rate, x, x_hat, 8.0, "ms-ssim")
    np.testing.assert_allclose(by_mse, [0.25 + 0.01 * gray_levels], rtol=1e-5)
    np.testing.assert_allclose(
        by_ms_ssim, [0.25 + 8 * (1 - plain_ms_ssim(x[0], x_hat[0]))], rtol=1e-5
    )
    weight = 0.01 * 8.73 / 0.0067
    by_weighted_ms_ssim = metrics_loss.rd_loss(rate, x, x_hat, weight, "ms-ssim")
    by_both = metrics_loss.rd_loss(rate, x, x_hat, 0.01, "both", 0.3)
    np.testing.assert_allclose(by_both, 0.7 * by_mse + 0.3 * by_weighted_ms_ssim, rtol=1e-5)


def test_an_unknown_metric_is_refused():
    x = jnp.zeros((1, 16, 16, 3))
    with pytest.raises(ValueError, match=r"mse, ms-ssim.*'vmaf'"):
        metrics_loss.rd_loss(jnp.zeros(1), x, x, 0.01, "vmaf")


@pytest.mark.slow
@pytest.mark.parametrize("metric", metrics_loss.DISTORTIONS)
def test_the_loss_of_a_batch_of_training_crops_compiles_and_has_a_finite_gradient(metric):
    x, x_hat = (jnp.stack([v, v]) for v in random_pair(8, 256, 256))

    def gradient(v):
        return jax.grad(lambda u: metrics_loss.rd_loss(0.0, x, u, 1.0, metric).sum())(v)

    assert np.all(np.isfinite(hasty_xla.jit(gradient)(x_hat)))


def test_lambda_is_geometric_over_the_qualities():
    model = presets.mini(lmbdas=(0.001, 0.1))
    lmbdas = metrics_loss.lmbda_of(model, np.array([0, 160, 320, 480, 640]))
    np.testing.assert_allclose(lmbdas, [0.001, 10**-2.5, 0.01, 10**-1.5, 0.1], rtol=1e-6)


def test_more_quality_is_more_lambda_and_smaller_thresholds():
    model = presets.standard()
    qualities = np.arange(model.steps_of_quality + 1)
    assert np.all(np.diff(metrics_loss.lmbda_of(model, qualities)) > 0)
    for thresholds in portable_thresholds.thresholds_at(model, jnp.asarray(qualities)):
        assert np.all(np.diff(thresholds) < 0) and np.all(thresholds > 0)


def test_thresholds_are_met_at_the_knots_and_geometric_between_them():
    model = presets.standard()
    knots = 128 * np.arange(6)
    found = np.transpose(portable_thresholds.thresholds_at(model, jnp.asarray(knots)))
    np.testing.assert_allclose(found, model.thresholds, rtol=1e-5)
    halfway = np.transpose(portable_thresholds.thresholds_at(model, jnp.asarray(knots[:-1] + 64)))
    expected = np.sqrt(np.multiply(model.thresholds[:-1], model.thresholds[1:]))
    np.testing.assert_allclose(halfway, expected, rtol=1e-5)


def test_one_percent_more_of_any_loss_counts_the_same():
    losses = jnp.array([0.02, 1.0, 300.0])
    gains = metrics_loss.relative_loss(1.01 * losses) - metrics_loss.relative_loss(losses)
    np.testing.assert_allclose(gains, np.full(3, np.log(1.01)), rtol=1e-3)
    slopes = jax.grad(lambda v: jnp.sum(metrics_loss.relative_loss(v)))(losses)
    np.testing.assert_allclose(slopes * losses, np.ones(3), rtol=1e-6)


def test_every_image_of_a_batch_may_have_its_own_lambda():
    x, x_hat = (np.stack(pair) for pair in zip(random_pair(0), random_pair(1), strict=True))
    bits = jnp.array([0.5, 0.7])
    lmbdas = np.array([0.001, 0.2])
    found = metrics_loss.rd_loss(bits, x, x_hat, lmbdas, "mse")
    for i, lmbda in enumerate(lmbdas):
        error = np.mean(np.square(255.0 * (x[i].astype(np.float64) - x_hat[i])))
        assert float(found[i]) == pytest.approx(float(bits[i]) + lmbda * error, rel=1e-5)


@pytest.mark.slow
def test_images_that_end_within_their_arrays_have_the_distortions_of_what_they_are():
    rng = np.random.default_rng(0)
    x, x_hat = rng.random((2, 2, 256, 208, 3), np.float32)
    sizes = np.array([(240, 176), (224, 208)])
    arguments = x, 0.9 * x + 0.1 * x_hat
    errors = metrics_distortion.mse(*arguments, sizes)
    similarities = metrics_distortion.ms_ssim(*arguments, sizes=sizes)
    for number, (rows, columns) in enumerate(sizes):
        alone = [v[number, :rows, :columns] for v in arguments]
        assert errors[number] == pytest.approx(float(metrics_distortion.mse(*alone)), rel=1e-5)
        assert similarities[number] == pytest.approx(
            float(metrics_distortion.ms_ssim(*alone)), rel=1e-5
        )


def test_the_ms_ssim_of_a_large_image_is_the_mean_of_its_maps_in_float64():
    rng = np.random.default_rng(0)
    x = rng.random((1, 1400, 2000, 3), np.float32)
    x_hat = x + np.float32(0.01) * rng.standard_normal(x.shape, np.float32)
    maps = hasty_xla.jit(metrics_distortion.similarity_maps)(x, x_hat)
    means = [np.asarray(one, np.float64).mean(axis=(1, 2)) for one in maps]
    weights = np.asarray(metrics_distortion.scale_weights(5), np.float64)
    expected = np.prod([mean**weight for mean, weight in zip(means, weights, strict=True)], axis=0)
    found = np.asarray(metrics_distortion.ms_ssim(x, x_hat), np.float64)
    np.testing.assert_allclose(found, expected.mean(axis=-1), rtol=0, atol=3e-7)
