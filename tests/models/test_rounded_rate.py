"""The gradient of the rate of rounded latents: that of the likelihood, straight through."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from rdonet_jax.core import config, partition, presets
from rdonet_jax.entropy import bit_cost, dead_zone, distributions
from rdonet_jax.metrics import distortion
from rdonet_jax.models import registry
from rdonet_jax.nn import ops
from tests import hasty_xla, portable_params

pytestmark = pytest.mark.once

LAWS = {"laplace": scipy.stats.laplace, "gaussian": scipy.stats.norm}
STEP = 1e-5
"""Of the finite differences, in float64."""


def likelihood(v, scale, distribution):
    """Bits of a unit bin by SciPy's distribution functions; of the tail where it lies."""
    law, away = LAWS[distribution](scale=scale), abs(v)
    return -np.log2(law.sf(away - 0.5) - law.sf(away + 0.5))


@pytest.mark.parametrize("distribution", distributions.DISTRIBUTIONS)
def test_by_scale_and_mean_the_slopes_are_those_of_the_likelihood(distribution):
    symbol, scale = np.meshgrid(np.arange(-6.0, 7.0), np.geomspace(0.3, 50.0, 12))

    @hasty_xla.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def slopes(mu, scale):
        symbols = ops.straight_through_round(symbol.astype(np.float32) - mu)
        return bit_cost.symbol_bits(symbols, scale, distribution).sum()

    still = np.zeros(scale.shape, np.float32)
    by_mean, by_scale = slopes(still, scale.astype(np.float32))
    low, high = (likelihood(symbol, scale + step, distribution) for step in (-STEP, STEP))
    np.testing.assert_allclose(by_scale, (high - low) / (2 * STEP), rtol=2e-3, atol=1e-4)
    low, high = (likelihood(symbol + step, scale, distribution) for step in (STEP, -STEP))
    np.testing.assert_allclose(by_mean, (high - low) / (2 * STEP), rtol=2e-3, atol=1e-4)
    # A mean that comes nearer makes a symbol cheaper.
    assert (np.sign(by_mean) == -np.sign(symbol))[symbol != 0].all()


@pytest.mark.parametrize("distribution", distributions.DISTRIBUTIONS)
def test_by_entry_of_the_scale_table_the_slope_is_that_of_its_scale(distribution):
    scales = distributions.scale_table(distribution).astype(float)
    ratio = np.log(scales[1] / scales[0])
    entries = np.arange(20.0, 60.0, 3.0, dtype=np.float32)
    symbols = np.rint(2 * scales[entries.astype(int)]).astype(np.float32)
    bits = lambda i: bit_cost.entry_bits(symbols, i, distribution).sum()  # noqa: E731
    slopes = hasty_xla.jit(jax.grad(bits))(entries)
    for slope, entry, symbol in zip(slopes, entries, symbols, strict=True):
        scale = scales[int(entry)]
        ends = [likelihood(symbol, scale * np.exp(s * ratio * STEP), distribution) for s in (-1, 1)]
        assert slope == pytest.approx((ends[1] - ends[0]) / (2 * STEP), rel=2e-3)


@pytest.mark.parametrize("distribution", distributions.DISTRIBUTIONS)
def test_means_learn_from_offsets_that_are_quantized_to_zero(distribution):
    scales = distributions.scale_table(distribution).astype(float)
    entries = np.full(7, 30, np.float32)
    offsets = np.array([-2.2, -0.7, -0.3, 0.0, 0.2, 0.4, 1.3])
    symbols = np.rint(0.8 * offsets)

    @hasty_xla.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1, 2))
    def bits(offset, symbol, index):
        return bit_cost.quantized_bits(offset, symbol, index, distribution).sum()

    floats = (v.astype(np.float32) for v in (offsets, symbols, entries))
    value, (by_offset, by_symbol, by_index) = bits(*floats)
    expected = bit_cost.entry_bits(symbols.astype(np.float32), entries, distribution).sum()
    assert value == pytest.approx(float(expected), rel=1e-6)
    scale, ratio = scales[30], np.log(scales[1] / scales[0])
    ends = [likelihood(offsets + step, scale, distribution) for step in (-STEP, STEP)]
    np.testing.assert_allclose(by_offset, (ends[1] - ends[0]) / (2 * STEP), rtol=2e-3, atol=1e-4)
    ends = [likelihood(symbols, scale * np.exp(s * ratio * STEP), distribution) for s in (-1, 1)]
    np.testing.assert_allclose(by_index, (ends[1] - ends[0]) / (2 * STEP), rtol=2e-3, atol=1e-4)
    np.testing.assert_array_equal(by_symbol, 0)
    assert by_offset[2] < 0 < by_offset[4]


@pytest.mark.parametrize("distribution", distributions.DISTRIBUTIONS)
def test_slopes_are_finite_however_unlikely_a_symbol_is(distribution):
    symbols = np.array([0, 1, -1, 40, -1e3, 1e6], np.float32)[:, None]
    scales = distributions.scale_table(distribution)[::9]
    total = lambda v, b: bit_cost.symbol_bits(v, b, distribution).sum()  # noqa: E731
    slopes = hasty_xla.jit(jax.grad(total, (0, 1)))
    by_symbol, by_scale = slopes(np.repeat(symbols, len(scales), axis=1), scales)
    assert np.isfinite(by_symbol).all() and np.isfinite(by_scale).all()
    assert (np.sign(by_symbol) == np.sign(symbols))[np.abs(symbols[:, 0]) != 0].all()


def test_what_a_gradient_is_taken_of_has_the_same_value_as_without():
    rng = np.random.default_rng(0)
    symbols = np.rint(rng.laplace(0, 20, 1000)).astype(np.float32)
    scales = rng.uniform(0.05, 300, 1000).astype(np.float32)
    bits = lambda b: bit_cost.symbol_bits(symbols, b, "laplace")  # noqa: E731
    value, _ = jax.jit(lambda b: jax.jvp(bits, (b,), (b,)))(scales)
    np.testing.assert_array_equal(value, jax.jit(bits)(scales))


def test_an_estimate_without_gradient_computes_no_likelihood():
    symbols, scales = jnp.ones(5), jnp.ones(5)
    program = jax.jit(bit_cost.symbol_bits, static_argnums=2).lower(symbols, scales, "laplace")
    assert "exponential_minus_one" not in program.as_text()


def test_the_dead_zone_changes_symbols_and_no_slope():
    bound = float(dead_zone.zero_bounds("laplace")[0])
    offsets = jnp.array([0.2, 0.6, -0.7, bound + 0.1, 3.4])

    def symbols(offset):
        kept = ops.straight_through(dead_zone.apply(offset, bound), offset)
        return ops.straight_through_round(kept)

    np.testing.assert_array_equal(symbols(offsets), [0, 0, 0, 1, 3])
    slopes = jax.grad(lambda offset: symbols(offset).sum())(offsets)
    np.testing.assert_array_equal(slopes, np.ones(5))


def rate_and_slopes(model, params, x, quality=None):
    """A function of parameters: bits per pixel of rounded latents, and the gradient."""
    masks = partition.level_masks(
        partition.uniform(0, partition.block_grid(*x.shape[1:3]), (len(x),))
    )

    def rate(params):
        coded = registry.code(model, params, x, masks, quality)
        return distortion.bpp((coded.y_bits, coded.z_bits), x.shape[1] * x.shape[2]).sum()

    return jax.jit(jax.value_and_grad(rate), compiler_options=dict(hasty_xla.options()))


def norms(slopes) -> dict[str, float]:
    leaves = jax.tree_util.tree_leaves_with_path(slopes)
    return {"/".join(key.key for key in path): float(np.linalg.norm(leaf)) for path, leaf in leaves}


def stepped(params, slopes, size, chosen=""):
    """Parameters a step down the gradient: all, or those with a word in their path."""
    length = sum(norm**2 for name, norm in norms(slopes).items() if chosen in name) ** 0.5

    def moved(path, leaf, slope):
        belongs = chosen in "/".join(key.key for key in path)
        return np.asarray(leaf) - size / length * np.asarray(slope) * belongs

    return jax.tree_util.tree_map_with_path(moved, params, slopes)


def crop_of(photograph):
    return photograph[None, :64, :64].astype(np.float32) / 255


@pytest.mark.slow
def test_a_portable_network_learns_from_the_rate_of_its_symbols(photograph):
    model = dataclasses.replace(presets.mini(), context=2)
    params = portable_params.mini_parameters(model)
    rate = rate_and_slopes(model, params, crop_of(photograph), np.array([400], np.int32))
    bits, slopes = rate(params)
    found = norms(slopes)
    assert np.isfinite(list(found.values())).all()
    for part in ("prior/to_scale/bias", "prior/to_mu/bias", "prior/first/kernel", "prior/gain",
                 "prior/z_index", "z_gain", "encoder/kernel", "to_latent/kernel"):  # fmt: skip
        assert found[f"units_0/{part}"] > 0, part
    assert found["g_a/kernel"] > 0
    for part in ("to_scale", "gain"):
        assert rate(stepped(params, slopes, 1.0, part))[0] < bits, part


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["levels", "context"])
def test_networks_of_one_lambda_learn_from_the_rate_of_their_symbols(kind, photograph):
    model = presets.tiny() if kind == "levels" else dataclasses.replace(
        config.BaselineConfig(), kind=kind, trunk=(4, 4, 4), latents=6, hyper=4
    )  # fmt: skip
    shapes = jax.eval_shape(lambda: registry.init_params(model, jax.random.key(0)))
    rng = np.random.default_rng(0)
    params = jax.tree_util.tree_map(
        lambda leaf: rng.normal(0.0, 0.1, leaf.shape).astype(np.float32), shapes
    )
    rate = rate_and_slopes(model, params, 4 * crop_of(photograph))
    bits, slopes = rate(params)
    found = norms(slopes)
    assert np.isfinite(list(found.values())).all()
    encoder, prior = {"levels": ("g_a_0/", "units_0/hyper_decoder"),
                      "context": ("g_a/", "entropy_parameters")}[kind]  # fmt: skip
    for part in (encoder, prior):
        assert any(norm > 0 for name, norm in found.items() if name.startswith(part)), part
    assert rate(stepped(params, slopes, 0.02, prior))[0] < bits
