"""The hyper-latents of a model of one quality: by wavefronts, each after all that it depends on."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.codec import hyper_latent_coding, level_coder
from rdonet_jax.entropy import distributions, likelihoods
from rdonet_jax.models.rdonet import causal_prior


def random_weights(channels, hidden, seed):
    rng = np.random.default_rng(seed)
    shapes = [(4, hidden, channels), (hidden, channels), (4, hidden, 2, channels), (2, channels)]
    return causal_prior.CausalWeights(*(rng.normal(size=s).astype(np.float32) for s in shapes))


def replayed(remaining, indices):
    """The symbols of the next recorded run, whose tables are to be those that are asked for."""
    symbols, expected = next(remaining)
    np.testing.assert_array_equal(indices, expected)
    return symbols


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    seed=st.integers(0, 2**31),
    size=st.sampled_from([0.0, 1.0, 30.0, 1e5]),
)
def test_hyper_latents_come_back_wavefront_by_wavefront(rows, columns, seed, size):
    rng = np.random.default_rng(seed)
    coded = rng.random((rows, columns)) < 0.7
    z_hat = np.rint(size * rng.normal(size=(rows, columns, 5))) * coded[..., None]
    weights = random_weights(5, 3, seed)
    runs = []
    encoder = level_coder.encoder_run(runs)
    sent = hyper_latent_coding.code(encoder, weights, coded, "laplace", z_hat)
    remaining = iter(runs)
    decoder = level_coder.decoder_run(functools.partial(replayed, remaining))
    decoded = hyper_latent_coding.code(decoder, weights, coded, "laplace", None)
    np.testing.assert_array_equal(sent, z_hat)
    np.testing.assert_array_equal(decoded, z_hat)
    assert next(remaining, None) is None


def test_wavefronts_visit_every_position_once_after_all_that_it_depends_on():
    for rows, columns in [(1, 1), (1, 7), (7, 1), (4, 6), (6, 4)]:
        seen = np.full((rows, columns), -1)
        for number, (row, column) in enumerate(hyper_latent_coding.wavefronts(rows, columns)):
            assert np.all(seen[row, column] == -1)
            seen[row, column] = number
        assert np.all(seen >= 0)
        for down, right in causal_prior.OFFSETS:
            for row, column in np.ndindex(rows, columns):
                if row + down >= 0 and 0 <= column + right < columns:
                    assert seen[row + down, column + right] < seen[row, column]


def test_hyper_latents_that_float32_cannot_hold_are_refused():
    weights = random_weights(2, 2, 0)
    coded = np.ones((1, 1), bool)
    for value in (2.0**25, np.nan, np.inf):
        with pytest.raises(level_coder.SymbolError):
            hyper_latent_coding.code(
                level_coder.encoder_run([]), weights, coded, "laplace", np.full((1, 1, 2), value)
            )


def test_the_raw_thresholds_are_far_from_any_rounding_tie():
    """So that every libm rounds them to the same float32."""
    for distribution in distributions.DISTRIBUTIONS:
        exact = distributions.scale_thresholds(distribution).astype(np.longdouble)
        exact = exact + np.log(-np.expm1(-exact))
        rounded = hyper_latent_coding.raw_thresholds(distribution)
        assert np.all(np.diff(rounded) > 0)
        step = np.spacing(abs(rounded)).astype(np.longdouble)
        assert np.all(step / 2 - abs(exact - rounded) > 1e-6 * step)


def test_table_indices_follow_the_softplus_of_the_raw_scale():
    raw = np.linspace(-6, 300, 5000).astype(np.float32)
    softplus = np.logaddexp(0, raw.astype(np.float64)).astype(np.float32)
    expected = np.asarray(likelihoods.scale_index(softplus, "laplace"))
    result = np.searchsorted(hyper_latent_coding.raw_thresholds("laplace"), raw)
    assert np.mean(expected != result) < 0.001
    assert np.abs(expected - result).max() <= 1
