"""The factorized prior: a density of its own per channel, its bits, and its integer tables."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import scipy.integrate

from rdonet_jax.entropy import distributions, range_coder
from rdonet_jax.models.baselines import factorized_prior
from tests import hasty_xla
from tests.conftest import quick_key

CHANNELS = 6


@pytest.fixture(scope="module")
def params() -> dict[str, np.ndarray]:
    """Densities of many shapes: one narrow, one wide, one with two humps, the others by chance."""
    module = factorized_prior.FactorizedPrior()
    fresh = module.init(quick_key(0), np.zeros((1, CHANNELS), np.float32))["params"]
    rng = np.random.default_rng(1)
    params = {
        name: np.asarray(value) + 0.5 * rng.normal(size=value.shape).astype(np.float32)
        for name, value in fresh.items()
    }
    params["matrix_0"][0] += 4.0
    params["matrix_0"][1] -= 4.0
    params["matrix_0"][2] += 1.5
    params["factor_0"][2] = -3.0  # flattens f around 0, so that its slope has two maxima
    return params


def density(params, channel, v):
    """The derivative of the cumulative distribution, by central differences in float64."""
    step = 1e-4
    ends = np.array([v - step, v + step])[:, None] * np.ones(CHANNELS)
    low, high = factorized_prior.cumulative(params, ends)[:, channel]
    return (high - low) / (2 * step)


@pytest.mark.slow
@pytest.mark.parametrize("channel", range(CHANNELS))
def test_every_density_is_positive_and_integrates_to_one(params, channel):
    grid = np.linspace(-60, 60, 2001)
    values = np.array([density(params, channel, v) for v in grid])
    assert np.all(values >= 0)
    ends = factorized_prior.cumulative(params, np.array([[-1e4], [1e4]]) * np.ones(CHANNELS))
    np.testing.assert_allclose(ends[:, channel], [0, 1], atol=1e-9)


@pytest.mark.slow
def test_the_median_of_every_density_is_zero(params):
    np.testing.assert_allclose(
        factorized_prior.cumulative(params, np.zeros(CHANNELS)), 0.5, atol=1e-12
    )


@pytest.mark.parametrize("v", [0.0, 0.3, -1.0, 4.0])
def test_bits_are_those_of_the_density_integrated_over_the_bin(params, v):
    given = np.full((1, CHANNELS), v, np.float32)
    bits = factorized_prior.FactorizedPrior().apply({"params": params}, given)[0]
    for channel in range(CHANNELS):
        # Float32 holds the slope of the narrowest density to four digits.
        mass, _ = scipy.integrate.quad(
            lambda t, c=channel: density(params, c, t), v - 0.5, v + 0.5, limit=200
        )
        if mass > 1e-9:
            np.testing.assert_allclose(bits[channel], -np.log2(mass), rtol=2e-3, atol=2e-4)


def test_bits_and_gradients_are_finite_far_out(params):
    def total(v):
        return factorized_prior.FactorizedPrior().apply({"params": params}, v).sum()

    far = np.array([-1e6, -1e3, -30, 30, 1e3, 1e6], np.float32)[:, None] * np.ones(CHANNELS)
    value, slope = hasty_xla.jit(jax.value_and_grad(total))(far.astype(np.float32))
    assert np.isfinite(value) and np.all(np.isfinite(slope))


def test_tables_hold_the_densities_to_a_count_or_two(params):
    tables = factorized_prior.tables(params)
    assert len(tables.cdfs) == CHANNELS and tables.has_escape
    for channel, (cdf, offset) in enumerate(zip(tables.cdfs, tables.offsets, strict=True)):
        assert cdf[0] == 0 and cdf[-1] == distributions.TOTAL and np.all(np.diff(cdf) > 0)
        symbols = offset + np.arange(len(cdf) - 2)
        assert symbols[0] <= 0 <= symbols[-1]
        edges = np.append(symbols, symbols[-1] + 1)[:, None] - 0.5
        mass = np.diff(factorized_prior.cumulative(params, edges * np.ones(CHANNELS))[:, channel])
        counts = np.diff(cdf)[:-1]
        # Every entry has one count of its own, for which the others give up as many in all.
        np.testing.assert_allclose(
            counts, distributions.TOTAL * mass, rtol=len(cdf) / 65536, atol=2
        )


def test_symbols_in_and_beyond_the_tables_come_back(params):
    tables = factorized_prior.tables(params)
    rng = np.random.default_rng(2)
    indices = rng.integers(0, CHANNELS, 500)
    symbols = np.rint(rng.standard_cauchy(500) * 10).astype(np.int32)
    take = range_coder.decoder(range_coder.encode([(symbols, indices)], tables), tables)
    np.testing.assert_array_equal(take(indices), symbols)


def test_the_widest_density_has_a_table_of_bounded_length(params):
    wide = {**params, "matrix_0": params["matrix_0"] - 20}
    tables = factorized_prior.tables(wide)
    assert all(len(cdf) <= 2 * factorized_prior.LARGEST_SYMBOL + 3 for cdf in tables.cdfs)
    assert all(np.all(np.diff(cdf) > 0) for cdf in tables.cdfs)
