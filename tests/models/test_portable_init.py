"""The start of a portable network: what it keeps, the steps and the scales it begins with."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.core import config, partition, presets
from rdonet_jax.entropy import distributions
from rdonet_jax.models import registry
from rdonet_jax.models.portable import init as portable_init
from rdonet_jax.models.portable import network as portable
from rdonet_jax.models.portable.integer_prior import LevelPrior
from rdonet_jax.models.rdonet import init as rdonet_init
from rdonet_jax.nn import ops
from tests import portable_params

pytestmark = pytest.mark.once

MODEL = presets.mini()

WIDE = presets.mini(trunk=192)
"""The trunk keeps all of its 2×2 patches of 4×4×3 samples."""

QUALITIES = np.array([0, 160, 320, 480, 640], np.int32)


def run(model: config.PortableConfig, steps: Callable[..., Any], *arguments: Any) -> Any:
    """Steps of the network at its start, compiled."""
    apply = functools.partial(registry.family_of(model).network(model).apply, method=steps)
    params = {"params": portable_params.start(model)}
    return jax.jit(apply, compiler_options=portable_params.QUICKLY)(params, *arguments)


def through_level_0(network: portable.PortableRDONet, x: jax.Array) -> jax.Array:
    """Analysis and synthesis, nothing quantized."""
    e = network.analyze(x)[0]
    nothing = jnp.zeros((*e.shape[:3], network.config.latents[0]))
    return network.synthesize(network.next_state(0, nothing, e, None, None))


def through_trunk(network: portable.PortableRDONet, x: jax.Array) -> jax.Array:
    patches = ops.space_to_depth(ops.space_to_depth(x - 0.5))
    return network.synthesize(portable.State(network.g_a_refine(network.g_a(patches)), None))


@pytest.fixture(scope="module")
def image(photograph) -> np.ndarray:
    return photograph[None].astype(np.float32) / 255


@pytest.fixture(scope="module")
def kept(image) -> np.ndarray:
    """The image and what is kept of it, through level 0 once more."""
    once = np.asarray(run(MODEL, through_level_0, image))
    twice = np.asarray(run(MODEL, through_level_0, once))
    return np.concatenate([once, twice])


def test_analysis_and_synthesis_are_an_orthogonal_projection(image, kept):
    once, twice = kept
    np.testing.assert_allclose(twice, once, atol=1e-4)
    lost, centered = (image[0] - once).astype(np.float64), once - 0.5
    assert np.abs(lost).max() > 0.05
    assert abs(np.vdot(lost, centered)) < 1e-5 * np.linalg.norm(lost) * np.linalg.norm(centered)


@pytest.mark.slow
def test_a_trunk_as_wide_as_its_patches_loses_nothing(image):
    np.testing.assert_allclose(run(WIDE, through_trunk, image), image, atol=1e-4)


@pytest.mark.slow
def test_level_0_loses_what_its_quantizer_does_and_no_more(image, kept):
    count = len(QUALITIES)
    masks = partition.level_masks(partition.uniform(0, (3, 4), (count,)))
    masks = tuple(np.asarray(mask) for mask in masks)
    images = np.repeat(image, count, axis=0)
    decoded = portable_params.code(
        MODEL, portable_params.start(MODEL), images, masks, QUALITIES
    ).x_hat
    # An orthonormal transform with 16 coefficients per 16×16 pixels of three colors each, rounded
    # to multiples of its step.
    step = 1 / rdonet_init.step_gain(MODEL.lmbdas[1])
    noise = np.sqrt(np.mean(np.square(np.asarray(decoded[-1]) - kept[0])))
    assert 0.3 < noise / (step * np.sqrt(16 / 768 / 12)) < 1.05


@pytest.mark.slow
@pytest.mark.parametrize(("knots", "distribution"), [(6, "laplace"), (2, "gaussian")])
def test_gains_at_the_knots_are_those_of_their_lambda(knots, distribution):
    thresholds = config.PortableConfig().thresholds[:knots]
    model = presets.mini(knots=knots, thresholds=thresholds, distribution=distribution)
    low, high = model.lmbdas
    prior = {"params": portable_params.start(model)["units_1"]["prior"]}
    qualities = config.QUALITY_SEGMENT * jnp.arange(knots)
    gains = np.asarray(LevelPrior(model, 1).apply(prior, qualities, method="gains"))
    assert gains.shape == (knots, model.latents[1])
    for gain, share in zip(gains, np.linspace(0, 1, knots), strict=True):
        # The best step at high rate, -log2(step) + lambda 255² step² / 36 being least.
        step = np.sqrt(18 / (np.log(2) * low ** (1 - share) * high**share)) / 255
        np.testing.assert_allclose(2 ** (-gain / 256), step, rtol=2**-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "distribution"), [(0, "laplace"), (1, "laplace"), (2, "laplace"), (1, "gaussian")]
)
def test_scales_begin_at_the_deviation_of_their_channel(level, distribution):
    model = presets.mini(distribution=distribution)
    prior = portable_params.start(model)[f"units_{level}"]["prior"]
    latents = model.latents[level]
    hidden, symbols = jnp.zeros((1, 1, 1, 2 * model.hidden)), jnp.zeros((1, 1, 1, 0))
    gains = jnp.zeros((1, latents))  # a gain of 1
    apply = functools.partial(LevelPrior(model, level).apply, method="predict")
    predict = jax.jit(apply, static_argnums=1, compiler_options=portable_params.QUICKLY)
    predicted = predict({"params": prior}, 0, hidden, symbols, gains)
    deviations = np.sqrt(_variances(model, level)[:latents])
    scale = deviations / (np.sqrt(2) if distribution == "laplace" else 1)
    table = distributions.scale_table(distribution).astype(np.float64)
    parity = np.log(scale / table[0]) / np.log(table[1] / table[0])
    assert parity.min() > 1 and parity.max() < 62
    # To the nearest entry, give and take the sixteenths that it is computed in.
    np.testing.assert_allclose(np.asarray(predicted.index)[0, 0, 0], parity, atol=0.5 + 2 / 16)
    np.testing.assert_array_equal(predicted.mu, 0 * predicted.mu)


def _variances(model: config.PortableConfig, level: int) -> np.ndarray:
    """Of a level's features, from the covariance of all pixels of a patch and the kernels alone."""
    params = portable_params.start(model)
    side = 16 * 2**level
    parity = np.arange(side)
    markov = rdonet_init.CORRELATION ** np.abs(parity[:, None] - parity)
    root = np.linalg.cholesky(markov)
    color = np.linalg.cholesky(rdonet_init.COLOR_COVARIANCE)
    kernels = [np.asarray(params["g_a"]["kernel"], np.float64)]
    kernels += [np.asarray(params[f"units_{i}"]["encoder"]["kernel"], np.float64)
                for i in range(level + 1)]  # fmt: skip
    # Down from one feature at a time to the pixels it is a sum of: the inner 2×2 taps alone act.
    vectors = np.eye(kernels[-1].shape[3]).reshape(-1, 1, 1, kernels[-1].shape[3])
    for kernel in reversed(kernels):
        assert not np.any(kernel[[0, 3]]) and not np.any(kernel[:, [0, 3]])
        up = np.einsum("nyxo,uvio->nyuxvi", vectors, kernel[1:3, 1:3])
        shape = (len(up), 2 * vectors.shape[1], 2 * vectors.shape[2], kernel.shape[2])
        vectors = up.reshape(shape)
    for _ in range(2):
        vectors = np.concatenate([np.asarray(ops.depth_to_space(v[None])) for v in vectors])
    vectors = vectors.astype(np.float64)
    assert vectors.shape[1:] == (side, side, 3)
    white = np.einsum("nyxc,yu,xv,cd->nuvd", vectors, root, root, color, optimize=True)
    return np.sum(np.square(white), axis=(1, 2, 3))


def test_parameters_of_another_configuration_are_refused():
    with pytest.raises(ValueError, match="a kernel .* for a layer"):
        portable_init.linear_start(portable_params.start(MODEL), WIDE)


@pytest.mark.slow
def test_units_stay_finer_than_the_finest_step_of_any_range():
    for top in (0.1, 1.0, 10.0):
        model = presets.mini(lmbdas=(0.001, top))
        prior = portable_params.start(model)["units_0"]["prior"]
        finest_step = 2.0 ** -np.max(np.asarray(prior["gain"]))
        smallest = 2.0 ** np.min(np.asarray(prior["unit"]))
        floor = min(portable_init.MIN_UNIT, finest_step / portable_init.UNITS_PER_STEP)
        assert smallest >= floor * 0.999 and floor <= finest_step / 8 * 1.001
