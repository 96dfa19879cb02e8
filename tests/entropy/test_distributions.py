import hashlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from rdonet_jax.entropy import distributions, likelihoods

DISTRIBUTIONS = distributions.DISTRIBUTIONS
VALUES = np.concatenate([np.linspace(0, 4, 81), np.geomspace(4, 1e6, 200)]).astype(np.float32)


def log_tail(t, distribution):
    """Log of the mass above t of the standard distribution, float64."""
    if distribution == "gaussian":
        return special.log_ndtr(-t)
    return np.where(t > 0, math.log(0.5) - t, np.log1p(-0.5 * np.exp(-np.abs(t))))


def oracle_bits(v, scale, distribution):
    """Bits of the unit bin as a difference of float64 tails: far from fast, and from float32."""
    v, scale = np.abs(np.asarray(v, np.float64)), np.asarray(scale, np.float64)
    high = log_tail((v - 0.5) / scale, distribution)
    low = log_tail((v + 0.5) / scale, distribution)
    return -(high + np.log(-np.expm1(low - high))) / math.log(2)


def gradients(v, scale, distribution):
    """Derivatives of the bits by v and by scale, elementwise."""
    total = lambda v, scale: likelihoods.bits(v, scale, distribution).sum()  # noqa: E731
    return tuple(map(np.asarray, jax.grad(total, argnums=(0, 1))(v, scale)))


def value_grid(distribution):
    v, scale = np.meshgrid(VALUES, distributions.scale_table(distribution)[::7])
    return v.ravel(), scale.ravel()


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_bits_equal_the_float64_information_content(distribution):
    v, scale = value_grid(distribution)
    bits = np.asarray(likelihoods.bits(v, scale, distribution))
    assert bits.dtype == np.float32
    np.testing.assert_allclose(bits, oracle_bits(v, scale, distribution), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_bits_are_symmetric_and_grow_with_distance(distribution):
    v, scale = value_grid(distribution)
    bits = np.asarray(likelihoods.bits(v, scale, distribution))
    np.testing.assert_array_equal(bits, likelihoods.bits(-v, scale, distribution))
    assert (np.diff(bits.reshape(-1, len(VALUES)), axis=1) > -1e-4).all()


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_gradients_equal_differences_of_the_oracle(distribution):
    v, scale = np.meshgrid(np.linspace(0.03, 40, 97), np.geomspace(0.15, 250, 12))
    v, scale = v.ravel().astype(np.float32), scale.ravel().astype(np.float32)
    by_v, by_scale = gradients(v, scale, distribution)
    v, scale = v.astype(np.float64), scale.astype(np.float64)
    step = 1e-5

    def difference(dv, ds):
        up = oracle_bits(v + dv, scale + ds, distribution)
        return (up - oracle_bits(v - dv, scale - ds, distribution)) / (2 * step)

    # Tolerance relative to the gradient's usual size 1 / scale, for where it passes through zero.
    assert (np.abs(by_v - difference(step, 0)) < 1e-3 * (np.abs(by_v) + 0.3 / scale)).all()
    assert (np.abs(by_scale - difference(0, step)) < 1e-3 * (np.abs(by_scale) + 0.3 / scale)).all()


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_gradients_far_in_the_tails_are_finite_and_pull_back(distribution):
    v, scale = np.meshgrid([40, -300, 1e4, -1e6], distributions.scale_table(distribution)[::3])
    v, scale = v.ravel().astype(np.float32), scale.ravel().astype(np.float32)
    far = np.abs(v) > 4 * scale
    by_v, by_scale = gradients(v, scale, distribution)
    assert np.isfinite(by_v).all() and np.isfinite(by_scale).all()
    assert (np.sign(by_v) == np.sign(v))[far].all()
    assert (by_scale < 0)[far].all()


@pytest.mark.slow
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_gradients_exist_at_zero_and_at_the_seam_of_the_formulas(distribution):
    for scale in distributions.scale_table(distribution)[::9]:
        v = np.array([0, 0.4999, 0.5, 0.5001], np.float32)
        zero, below, at, above = gradients(v, np.full_like(v, scale), distribution)[0]
        assert abs(zero) < 1e-5 / scale
        np.testing.assert_allclose([below, above], [at, at], rtol=5e-3, atol=2e-3 / scale)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_probabilities_of_all_integers_sum_to_one(distribution):
    v = np.arange(-4000, 4001).astype(np.float32)
    for scale in distributions.scale_table(distribution)[::7]:
        total = np.exp2(-np.asarray(likelihoods.bits(v, scale, distribution), np.float64)).sum()
        assert abs(total - 1) < 1e-4


def test_an_unknown_distribution_is_named():
    with pytest.raises(ValueError, match="cauchy"):
        likelihoods.bits(0.0, 1.0, "cauchy")
    with pytest.raises(ValueError, match="cauchy"):
        distributions.scale_tables("cauchy")


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_scales_are_evenly_spaced_logarithms(distribution):
    scales = distributions.scale_table(distribution)
    assert scales.shape == (64,) and scales.dtype == np.float32
    assert not scales.flags.writeable
    steps = np.diff(np.log(scales.astype(np.float64)))
    np.testing.assert_allclose(steps, steps.mean(), rtol=1e-5)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_scale_index_is_the_nearest_table_entry_in_logarithms(distribution):
    scales = distributions.scale_table(distribution).astype(np.float64)
    probe = np.exp(np.random.default_rng(0).uniform(-6, 8, (50, 40))).astype(np.float32)
    distance = np.abs(np.log(probe.astype(np.float64))[..., None] - np.log(scales))
    two = np.sort(distance, axis=-1)[..., :2]
    clear = two[..., 1] - two[..., 0] > 1e-6
    for index in (
        likelihoods.scale_index(probe, distribution),
        jax.jit(lambda s: likelihoods.scale_index(s, distribution))(probe),
    ):
        assert index.shape == probe.shape and index.dtype == jnp.int32
        np.testing.assert_array_equal(np.asarray(index)[clear], distance.argmin(axis=-1)[clear])


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_scale_index_is_exact_at_entries_and_thresholds(distribution):
    scales = distributions.scale_table(distribution)
    thresholds = distributions.scale_thresholds(distribution)
    np.testing.assert_array_equal(likelihoods.scale_index(scales, distribution), np.arange(64))
    np.testing.assert_array_equal(likelihoods.scale_index(thresholds, distribution), np.arange(63))
    above = np.nextafter(thresholds, np.float32(np.inf))
    np.testing.assert_array_equal(likelihoods.scale_index(above, distribution), np.arange(1, 64))
    outside = np.array([0.0, 1e-30, 1e30, np.inf], np.float32)
    np.testing.assert_array_equal(likelihoods.scale_index(outside, distribution), [0, 0, 63, 63])


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_scale_tables_are_symmetric_integer_tables_with_escape(distribution):
    tables = distributions.scale_tables(distribution)
    assert tables.has_escape and len(tables.cdfs) == len(tables.offsets) == 64
    for cdf, offset in zip(tables.cdfs, tables.offsets, strict=True):
        assert cdf.dtype == np.int32 and not cdf.flags.writeable
        assert cdf[0] == 0 and cdf[-1] == 2**16
        counts = np.diff(cdf)
        assert counts.min() >= 1
        symbols = counts[:-1]
        np.testing.assert_array_equal(symbols, symbols[::-1])
        assert len(symbols) == 1 - 2 * offset


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_table_counts_are_within_one_of_the_probabilities(distribution):
    tables = distributions.scale_tables(distribution)
    for scale, cdf, offset in zip(
        distributions.scale_table(distribution), tables.cdfs, tables.offsets, strict=True
    ):
        symbols = np.arange(offset, 1 - offset)
        expected = 2**16 * np.exp2(-oracle_bits(symbols, scale, distribution))
        error = np.diff(cdf)[:-1] - expected
        assert np.abs(np.delete(error, -offset)).max(initial=0) < 1
        assert abs(error[-offset]) < 2
        assert np.diff(cdf)[-1] <= max(1, 2**16 - expected.sum() + 1)


def distance_to_rounding_boundary(x):
    return np.abs(x - np.floor(x) - 0.5)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_no_count_is_so_close_to_a_rounding_boundary_that_a_libm_could_matter(distribution):
    for scale in distributions.scale_table(distribution):
        tails = distributions.tail_counts(float(scale), distribution)
        assert distance_to_rounding_boundary(tails).min() > 1e-8
        # The table's end is where a symbol's count falls below one.
        exact = 2**16 * np.exp(
            log_tail((np.arange(len(tails) + 1) + 0.5) / float(scale), distribution)
        )
        np.testing.assert_allclose(tails, exact[:-1], rtol=1e-11)
        assert np.abs(-np.diff(exact) - 1).min() > 1e-8
    for shift in (0, 0.5):
        x = 8 * (2 * (np.arange(64) + shift) / 63 - 1)
        assert distance_to_rounding_boundary(2**16 * special.expit(x)).min() > 1e-8


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_no_scale_is_so_close_to_a_rounding_boundary_that_a_libm_could_matter(distribution):
    scales = distributions.scale_table(distribution)
    low, high = float(scales[0]), float(scales[-1])
    low = {"laplace": 0.05, "gaussian": 0.11}[distribution]
    exact = np.exp(np.log(low) + np.arange(64) / 63 * (np.log(high) - np.log(low)))
    boundaries = [
        (np.float64(s) + np.float64(np.nextafter(s, np.float32(way)))) / 2
        for s in scales
        for way in (0, np.inf)
    ]
    relative = np.abs(np.reshape(boundaries, (64, 2)) / exact[:, None] - 1)
    assert relative.min() > 1e-12


FROZEN = {
    "laplace": "26c88f457905bedf87a798ea2b014ebdec612594c8dfa49f9ff4fc721fcbfa15",
    "gaussian": "f780c41f78d9a87b9458e67ad4a6221469ead0f8b33de70039e209fed9017516",
    "binary": "fbdcc01383a950ecfea47cde83697bb2001d8e1abe53eace12cf60b1e1bc3c92",
}


@pytest.mark.parametrize("name", FROZEN)
def test_the_tables_are_the_frozen_ones(name):
    if name == "binary":
        tables = distributions.binary_tables()
        inputs = [distributions.binary_counts(0.5)]
    else:
        tables = distributions.scale_tables(name)
        inputs = [distributions.scale_table(name), distributions.scale_thresholds(name)]
    digest = hashlib.sha256()
    for array in [*inputs, np.array(tables.offsets, np.int32), *tables.cdfs]:
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    assert digest.hexdigest() == FROZEN[name]


def test_binary_tables_lie_on_a_logistic_grid():
    tables = distributions.binary_tables()
    assert not tables.has_escape and tables.offsets == (0,) * 64
    assert all(len(c) == 3 and c[0] == 0 and c[2] == 2**16 for c in tables.cdfs)
    p = np.array([2**16 - c[1] for c in tables.cdfs]) / 2**16
    np.testing.assert_allclose(special.logit(p), np.linspace(-8, 8, 64), atol=0.03)


@given(st.integers(0, 2**40 - 1), st.data())
@settings(deadline=None)
def test_binary_index_is_nearest_to_the_estimated_probability(total, data):
    ones = data.draw(st.integers(0, total))
    estimate = special.logit((ones + 0.5) / (total + 1))
    index = int(distributions.binary_index(ones, total))
    distance = np.abs(np.linspace(-8, 8, 64) - estimate)
    # The grid's middles are rounded to 16 bits as well, which shifts them a little at its ends.
    assert distance[index] <= distance.min() + 0.02


def test_binary_index_works_on_arrays_and_mirrors_when_zeros_and_ones_swap():
    total = np.arange(1, 200)[:, None] * np.ones((1, 3), int)
    ones = total // np.array([[2, 3, 50]])
    index = distributions.binary_index(ones, total)
    assert index.shape == total.shape and index.dtype == np.int32
    mirrored = distributions.binary_index(total - ones, total)
    clear = 2 * ones != total
    np.testing.assert_array_equal((63 - index)[clear], mirrored[clear])


@pytest.mark.parametrize("p", [0.001, 0.02, 0.3, 0.5, 0.9])
def test_adaptive_flags_cost_hardly_more_than_their_entropy(p):
    flags = np.random.default_rng(0).random(20000) < p
    ones = np.cumsum(flags) - flags
    index = distributions.binary_index(ones, np.arange(len(flags)))
    counts = np.array([np.diff(c) for c in distributions.binary_tables().cdfs])
    cost = -np.log2(counts[index, flags.astype(int)] / 2**16).sum()
    seen = flags.mean()
    ideal = -len(flags) * (seen * np.log2(seen) + (1 - seen) * np.log2(1 - seen))
    assert cost < 1.005 * ideal + 12
