"""The networks of the baselines: their sizes, the causal context and its wavefronts."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.core import partition, presets
from rdonet_jax.core.config import BaselineConfig, ConfigError
from rdonet_jax.metrics import distortion
from rdonet_jax.metrics.loss import rd_loss
from rdonet_jax.models import macs, registry
from rdonet_jax.models.baselines import context
from rdonet_jax.models.baselines import init as baselines_init
from rdonet_jax.models.baselines import network as baselines
from rdonet_jax.nn import layers
from rdonet_jax.training.config import TrainingConfig
from rdonet_jax.training.steps import draws
from tests import hasty_xla
from tests.conftest import quick_key

KINDS = ("context", "hyperprior", "factorised")


def conv(inputs, outputs, taps=25):
    return taps * inputs * outputs + outputs


def gdn(width):
    return width * width + width


def density(channels):
    """Matrices 3, 9, 9, 9, 3; biases and factors 3, 3, 3, 3 of a channel's density."""
    return channels * (33 + 12 + 12)


def transforms(n, m):
    return {
        "g_a": conv(3, n) + 2 * conv(n, n) + conv(n, m) + 3 * gdn(n),
        "g_s": conv(m, n) + 2 * conv(n, n) + conv(n, 3) + 3 * gdn(n),
    }


def hyperprior(n, m):
    return {
        "factorised_prior": density(n),
        "hyper_encoder": conv(m, n, 9) + 2 * conv(n, n),
        "hyper_decoder": conv(n, m) + conv(m, 3 * m // 2) + conv(3 * m // 2, 2 * m, 9),
    }


def context_model(m):
    widths = (4 * m, 10 * m // 3, 8 * m // 3, 2 * m)
    return {
        "context": conv(m, 2 * m, 12),
        "entropy_parameters": sum(conv(i, o, 1) for i, o in pairwise(widths)),
    }


def not_ours(densities, m=0):
    """What the published counts hold besides.

    The three quantiles of every density, which an auxiliary loss fits, and the bias behind its last
    layer: both follow from the median, which lies at 0 here. And of the 5×5 kernel of the context
    the 13 taps that its mask keeps at zero.
    """
    return 4 * densities + 13 * m * 2 * m


# As CompressAI 1.2.8 counts its networks of these widths, parameter by parameter.
PUBLISHED = {
    "mbt2018": (presets.mbt2018(), 192, 192, 14_130_467),
    "mbt2018, M = 320": (presets.mbt2018(latents=320), 192, 320, 25_504_596),
    "mbt2018-mean": (presets.mbt2018_mean(), 128, 192, 7_028_003),
    "mbt2018-mean, M = 320": (
        presets.mbt2018_mean(trunk=(192,) * 3, hyper=192, latents=320), 192, 320, 17_561_699,
    ),
    "bmshj2018-factorised": (presets.bmshj2018_factorised(), 128, 192, 2_998_147),
    "bmshj2018-factorised, M = 320": (
        presets.bmshj2018_factorised(trunk=(192,) * 3, latents=320), 192, 320, 7_030_531,
    ),
}  # fmt: skip


def counts(model):
    """Parameters by the first name in their path."""
    shapes = jax.eval_shape(lambda: baselines.init_params(model, jax.random.key(0)))
    found: dict[str, int] = {}
    for path, leaf in flatten_dict(shapes).items():
        found[path[0]] = found.get(path[0], 0) + leaf.size
    return found


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_network_of_the_published_widths_has_the_published_parameters(name):
    model, n, m, published = PUBLISHED[name]
    expected, besides = transforms(n, m), not_ours(n)
    if model.kind == "factorised":
        expected["factorised_prior"], besides = density(m), not_ours(m)
    else:
        expected |= hyperprior(n, m)
    if model.kind == "context":
        expected, besides = expected | context_model(m), not_ours(n, m)
    assert counts(model) == expected
    assert sum(expected.values()) + besides == published


def test_the_transforms_of_2017_have_three_stages_and_a_gdn_at_every_one():
    expected = conv(3, 128, 81) + 2 * conv(128, 128) + 3 * gdn(128)
    found = counts(presets.balle2017())
    assert found["g_a"] == expected
    assert found["g_s"] == expected - 128 + 3


@pytest.mark.slow
def test_the_small_and_the_tiny_coder_are_as_large_as_rdonets_of_these_names():
    for name in ("small", "tiny"):
        shapes = jax.eval_shape(
            lambda n=name: registry.init_params(presets.preset(n), jax.random.key(0))
        )
        ours = sum(counts(presets.preset(f"mbt2018-{name}")).values())
        assert ours == pytest.approx(registry.parameter_count(shapes), rel=0.06)


def test_multiply_accumulates_are_those_of_the_layers_by_hand():
    n = m = 192
    down = 25 * (3 * n / 4 + n * n / 16 + n * n / 64 + n * m / 256)
    norms = n * n * (1 / 4 + 1 / 16 + 1 / 64)
    to_z = (9 * m * n + 25 * n * n / 4 + 25 * n * n / 16) / 256
    from_z = (25 * n * m / 16 + 25 * m * 288 / 4 + 9 * 288 * 2 * m) / 256
    prior = (12 * m * 2 * m + 768 * 640 + 640 * 512 + 512 * 384) / 256
    found = macs.per_pixel(presets.mbt2018())
    assert sum(found.values()) == pytest.approx(2 * (down + norms) + to_z + from_z + prior)
    assert macs.of_decoder(found) == pytest.approx(down + norms + from_z + prior)


@pytest.fixture(scope="module", params=KINDS)
def network(request):
    """A tiny network of each kind, with its compiled functions."""
    model = presets.mbt2018_tiny(kind=request.param)
    params = jax.tree_util.tree_map(np.array, baselines.init_params(model, quick_key(0)))
    if model.kind != "factorised":
        params["hyper_encoder"]["third"]["kernel"] *= 30  # no z_hat of zeros alone
    x = jax.random.uniform(jax.random.key(1), (1, 64, 128, 3))
    return model, params, x


def walked(model, params, x, keys=None):
    blocks = partition.block_grid(*x.shape[1:3])
    masks = partition.level_masks(partition.uniform(0, blocks, (len(x),)))
    return registry.code(model, params, x, masks, None, keys)


@pytest.mark.slow
def test_every_position_is_coded_at_one_level(network):
    model, params, x = network
    coded = hasty_xla.jit(lambda p: walked(model, p, x))(params)
    assert coded.x_hat.shape == x.shape
    assert [bits.shape for bits in coded.y_bits] == [(1, 4, 8), (1, 2, 4), (1, 1, 2)]
    assert np.all(np.asarray(coded.y_bits[0]) > 0)
    assert (np.asarray(coded.z_bits[0]) > 0).all() == (model.kind != "factorised")
    for level in (1, 2):
        assert not np.any(coded.y_bits[level]) and not np.any(coded.z_bits[level])


@pytest.mark.slow
def test_gradients_reach_every_parameter(network):
    model, params, x = network

    def loss(params):
        coded = walked(model, params, x, jax.random.split(jax.random.key(2), 1))
        bpp = distortion.bpp((coded.y_bits, coded.z_bits), 64 * 128)
        return jnp.sum(rd_loss(bpp, x, coded.x_hat, 0.01, "mse"))

    gradients = hasty_xla.jit(jax.grad(loss))(params)
    for path, gradient in flatten_dict(gradients, sep="/").items():
        assert np.all(np.isfinite(gradient)) and np.any(gradient), path


def test_masks_are_the_same_in_both_stages_of_training():
    model, schedule = presets.mbt2018_tiny(), TrainingConfig(stage1_steps=5, stage2_steps=5)
    x, keys = jnp.zeros((2, 64, 64, 3)), jax.random.split(jax.random.key(0), 2)
    for step in (0, 7):
        masks = draws.masks_of_step(model, schedule, step, x, None, keys)
        assert [bool(np.all(mask)) for mask in masks] == [True, False, False]
        assert not np.any(masks[1]) and not np.any(masks[2])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_linear_start_codes_a_photograph(kind, photograph):
    model = presets.mbt2018_tiny(kind=kind)
    params = baselines_init.linear_start(baselines.init_params(model, quick_key(0)), model, 0.0067)
    x = (photograph[None] / 255).astype(np.float32)
    coded = hasty_xla.jit(lambda p: walked(model, p, x))(params)
    assert distortion.psnr(x, coded.x_hat)[0] > 22
    assert distortion.bpp((coded.y_bits, coded.z_bits), 192 * 256)[0] < 1


def test_the_three_stage_transforms_are_refused_a_linear_start():
    with pytest.raises(ConfigError, match="use the random start"):
        baselines_init.linear_start(None, presets.balle2017(), 0.0067)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [({"kind": "hyper"}, "kind must be"), ({"trunk": (4,)}, "two or three"),
     ({"latents": 0}, "positive"), ({"distribution": "cauchy"}, "distribution")],
)  # fmt: skip
def test_a_configuration_that_makes_no_coder_is_refused(changes, cause):
    with pytest.raises(ConfigError, match=cause):
        registry.family_of(BaselineConfig(**changes))


def test_a_coder_without_masks_takes_no_thresholds():
    with pytest.raises(ConfigError, match="no masks"):
        registry.with_thresholds(presets.mbt2018(), [1.0, 2.0])


# The context.


class NumpyContext:
    """The prior of a position in NumPy's float64: a masked 5×5 convolution, then 1×1 layers."""

    def __init__(self, params, latents):
        params = jax.tree_util.tree_map(lambda v: np.asarray(v, np.float64), params)
        flat = flatten_dict(params, sep="/")
        taps = flat["context/convolution/kernel"].reshape(12, latents, 2 * latents)
        self.kernel = np.zeros((5, 5, latents, 2 * latents))
        before = [(row, column) for row in range(5) for column in range(5) if 5 * row + column < 12]
        for (row, column), tap in zip(before, taps, strict=True):
            self.kernel[row, column] = tap
        self.bias = flat["context/convolution/bias"]
        self.layers = [
            [flat[f"entropy_parameters/layer_{n}/{part}"] for part in ("kernel", "bias")]
            for n in range(3)
        ]

    def mean_and_raw(self, conditions, y_hat, row, column):
        padded = np.pad(y_hat, ((2, 2), (2, 2), (0, 0)))
        window = padded[row : row + 5, column : column + 5]
        seen = np.einsum("yxi,yxio->o", window, self.kernel) + self.bias
        h = np.concatenate([conditions[row, column], seen])
        for number, (kernel, bias) in enumerate(self.layers):
            h = np.where(h < 0, 0.01 * h, h) if number else h
            h = h @ kernel + bias
        return np.split(h, 2)


@pytest.fixture(scope="module")
def predictor():
    """A context network whose neighbors matter, what z tells at every position, and a y."""
    model = presets.mbt2018_tiny(latents=6)
    params = jax.tree_util.tree_map(np.array, baselines.init_params(model, quick_key(3)))
    params["entropy_parameters"]["layer_2"]["kernel"] *= 10
    rng = np.random.default_rng(0)
    known = rng.normal(size=(1, 5, 9, 12)).astype(np.float32)
    y = (4 * rng.normal(size=(1, 5, 9, 6))).astype(np.float32)
    return model, params, known, y


def predicted(predictor, known, taps):
    model, params, *_ = predictor
    return baselines.network(model).apply({"params": params}, known, taps, method="predict_y")


@pytest.mark.slow
def test_all_positions_at_once_are_predicted_as_by_a_masked_convolution_in_numpy(predictor):
    model, params, known, y = predictor
    prior = predicted(predictor, known, context.gather_taps(context.pad_frame(y)))
    oracle = NumpyContext(params, model.latents)
    for row, column in np.ndindex(5, 9):
        mu, raw = oracle.mean_and_raw(known[0], y[0], row, column)
        np.testing.assert_allclose(prior.mu[0, row, column], mu, rtol=1e-4, atol=1e-4)
        scale = np.maximum(np.logaddexp(raw, 0), 0.11)
        np.testing.assert_allclose(prior.scale[0, row, column], scale, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_decoding_by_wavefronts_gives_what_decoding_in_raster_order_gives(predictor):
    model, params, known, y = predictor
    oracle = NumpyContext(params, model.latents)
    raster = np.zeros(y.shape[1:])
    for row, column in np.ndindex(5, 9):
        mu, _ = oracle.mean_and_raw(known[0], raster, row, column)
        raster[row, column] = mu + np.rint(y[0, row, column] - mu)
    mask = np.ones((1, 5, 9), bool)
    by_fronts = baselines.network(model).apply(
        {"params": params}, *map(jnp.asarray, (y, known, mask)), method="_decode_y"
    )
    np.testing.assert_allclose(by_fronts[0], raster, atol=1e-3)


@pytest.mark.slow
def test_a_later_position_changes_no_earlier_prediction(predictor):
    _, _, known, y = predictor
    row, column = 2, 4
    changed = y.copy()
    changed[0, row, column] += 100.0
    before, after = (
        np.asarray(predicted(predictor, known, context.gather_taps(context.pad_frame(v))).mu[0])
        for v in (y, changed)
    )
    parity = 9 * row + column
    differs = np.any(before != after, axis=-1).ravel()
    assert not np.any(differs[: parity + 1])
    assert np.all(differs[[parity + 1, parity + 2, *range(parity + 7, parity + 12)]])
    assert np.count_nonzero(differs) == 12


@given(rows=st.integers(1, 12), columns=st.integers(1, 16))
@settings(max_examples=40, deadline=None)
def test_wavefronts_visit_every_position_once_after_all_that_it_sees(rows, columns):
    seen = np.full((rows, columns), -1)
    numbers = np.arange(context.wavefront_count((rows, columns)))
    fronts = context.wavefront(numbers, (rows, columns), np)
    for number, (row, column, real) in enumerate(zip(*fronts, strict=True)):
        assert np.any(real) or columns < 3
        assert np.all(seen[row[real], column[real]] == -1)
        seen[row[real], column[real]] = number
    assert np.all(seen >= 0)
    for row, column in np.ndindex(rows, columns):
        for down, right in context.OFFSETS:
            if row + down >= 0 and 0 <= column + right < columns:
                assert seen[row + down, column + right] < seen[row, column]


def test_what_is_gathered_for_a_wavefront_is_what_the_whole_grid_has(predictor):
    *_, y = predictor
    frame = context.pad_frame(y)
    everywhere = np.asarray(context.gather_taps(frame))
    placed = context.empty_frame(1, (5, 9), 6)
    for number in range(context.wavefront_count((5, 9))):
        at = context.wavefront(jnp.int32(number), (5, 9))
        real = np.asarray(at.real)
        rows, columns = np.asarray(at.rows)[real], np.asarray(at.columns)[real]
        found = np.asarray(context.gather_taps_at(frame, at))[:, real]
        np.testing.assert_array_equal(found, everywhere[:, rows, columns])
        placed = context.scatter_at(placed, at, context.gather_at(y, at))
    np.testing.assert_array_equal(placed, frame)


# The 9×9 layer.


def test_the_wide_convolution_is_the_plain_one_and_its_transpose_the_adjoint():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 16, 24, 3)).astype(np.float32)
    kernel = rng.normal(size=(9, 9, 3, 5)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (4, 8), (4, 8), (0, 0)))
    expected = np.zeros((1, 4, 6, 5))
    for row, column in np.ndindex(4, 6):
        window = padded[:, 4 * row : 4 * row + 9, 4 * column : 4 * column + 9]
        expected[:, row, column] = np.einsum("byxi,yxio->bo", window, kernel)
    down = layers.convolve_wide_down(x, kernel)
    np.testing.assert_allclose(down, expected, atol=1e-4)
    y = rng.normal(size=down.shape).astype(np.float32)
    up = layers.convolve_wide_up(y, kernel.swapaxes(2, 3))
    np.testing.assert_allclose(np.vdot(up, x), np.vdot(y, down), rtol=1e-4)
