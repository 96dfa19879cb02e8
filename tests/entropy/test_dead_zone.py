"""The encoder's dead zone: zero is sent where a one is not worth its bits."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.codec import codec, preparation
from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.entropy import dead_zone, distributions
from rdonet_jax.metrics import distortion
from rdonet_jax.models import zoo
from rdonet_jax.rdo.cost import make_file_cost


@pytest.mark.parametrize("distribution", distributions.DISTRIBUTIONS)
def test_at_a_bound_zero_and_one_cost_the_same(distribution):
    tables = distributions.scale_tables(distribution)
    bounds = dead_zone.zero_bounds(distribution, price=0.1).astype(float)
    for bound, cdf, first in zip(bounds, tables.cdfs, tables.offsets, strict=True):
        bits = 16 - np.log2(np.diff(cdf))
        zero, one = bits[-first], bits[1 - first]
        assert bound**2 + 0.1 * zero == pytest.approx((1 - bound) ** 2 + 0.1 * one, abs=1e-5)


@pytest.mark.parametrize("distribution", distributions.DISTRIBUTIONS)
def test_the_surer_the_prior_is_of_zero_the_wider_is_the_zone(distribution):
    bounds = dead_zone.zero_bounds(distribution)
    assert (np.diff(bounds) <= 1e-3).all()  # wide tables have small counts, which are rounded
    assert bounds[-1] == pytest.approx(0.5, abs=1e-3) and 0.8 < bounds[0] < 1
    np.testing.assert_array_equal(dead_zone.zero_bounds(distribution, 0.0), 0.5)


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=20),
    st.integers(0, distributions.SCALE_COUNT - 1),
)
def test_only_what_would_be_one_becomes_zero(offsets, index):
    offsets = np.array(offsets, np.float32)
    bound = dead_zone.zero_bounds("laplace")[np.full(len(offsets), index)]
    on_host = np.rint(dead_zone.apply(offsets, bound))
    plain = np.rint(offsets)
    changed = on_host != plain
    assert (np.abs(plain[changed]) == 1).all() and (on_host[changed] == 0).all()
    assert (np.abs(offsets[changed]) < bound[changed]).all()
    traced = jnp.round(dead_zone.apply(jnp.asarray(offsets), jnp.asarray(bound)))
    np.testing.assert_array_equal(on_host, traced)


@pytest.mark.slow
@pytest.mark.parametrize("quality", [20.0, 60.0])
def test_files_cost_less_than_with_rounding_to_the_nearest(monkeypatch, quality):
    model, image = zoo.load("standard"), skimage.data.astronaut()[:256, :384]
    p = codec.choose_partition(model, image, "variance", quality)

    def measured():
        encoded = codec.encode(model, image, p, quality)
        cost = make_file_cost(
            model, preparation.prepare(model.config, image), parse_quality(model.config, quality)
        )
        return (
            cost.of(encoded),
            len(encoded.data),
            float(distortion.psnr(image / 255.0, encoded.image / 255)),
        )

    cost, size, psnr = measured()
    rounding = functools.partial(dead_zone.zero_bounds, price=0.0)
    monkeypatch.setattr(dead_zone, "zero_bounds", rounding)
    plain_cost, plain_size, plain_psnr = measured()
    assert size < 0.97 * plain_size and plain_psnr - 0.75 < psnr < plain_psnr
    assert cost < plain_cost
