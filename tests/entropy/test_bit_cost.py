"""The estimate of what symbols cost, against the bytes that the range coder writes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.entropy import bit_cost, distributions, likelihoods, range_coder


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    table=st.integers(0, distributions.SCALE_COUNT - 1),
    reach=st.floats(0.2, 1e6),
    distribution=st.sampled_from(sorted(distributions.DISTRIBUTIONS)),
    seed=st.integers(0, 1000),
)
def test_symbols_however_unlikely_cost_what_the_estimate_says(table, reach, distribution, seed):
    scale = distributions.scale_table(distribution)[table]
    symbols = np.rint(np.random.default_rng(seed).laplace(0, scale * reach, 2000)).clip(-1e6, 1e6)
    indices = np.full(len(symbols), table)
    tables = distributions.scale_tables(distribution)
    written = 8 * len(range_coder.encode([(symbols.astype(np.int32), indices)], tables))
    estimated = float(np.sum(bit_cost.symbol_bits(symbols, scale, distribution)))
    assert written == pytest.approx(estimated, rel=0.002, abs=16)


def test_likely_symbols_cost_their_information_content():
    scales = distributions.scale_table("laplace")
    likely = np.rint(scales)
    np.testing.assert_allclose(
        bit_cost.symbol_bits(likely, scales, "laplace"),
        likelihoods.bits(likely, scales, "laplace"),
        rtol=0.03,
        atol=1e-3,
    )


def test_what_is_no_number_has_no_cost():
    costs = bit_cost.symbol_bits(np.array([np.nan, np.inf, 0.0], np.float32), 1.0, "gaussian")
    assert np.isnan(costs[:2]).all() and np.isfinite(costs[2])


def test_an_impossible_symbol_costs_an_escape_not_its_information_content():
    cost = float(bit_cost.symbol_bits(np.float32(1000), np.float32(0.05), "laplace"))
    assert cost < 60 < float(likelihoods.bits(np.float32(1000), np.float32(0.05), "laplace"))
