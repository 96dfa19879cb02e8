"""Encoding for a size or a PSNR: met from the right side, closely, in few trials."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax import codec, content, rdo, targets
from rdonet_jax.rdo import Plan
from rdonet_jax.targets import Target, TargetError

MOST = 640


def curve(seed: int) -> np.ndarray:
    """A rising function of 0 ... MOST whose slope changes by a factor of four or so."""
    rng = np.random.default_rng(seed)
    knots = np.exp(rng.normal(0, 0.7, 8))
    slopes = np.interp(np.linspace(0, 7, MOST + 1), np.arange(8), knots) * 0.006
    return rng.normal() + np.cumsum(slopes)


@pytest.fixture(scope="module")
def large(photograph):
    return np.ascontiguousarray(photograph[:150, :201])


@pytest.mark.parametrize("level", [0, 77, 128, 255])
@pytest.mark.parametrize("wanted", [40.0, 50.0])
def test_pictures_that_decode_exactly_meet_every_psnr(mini_model, level, wanted):
    image = np.full((8, 8), level, np.uint8)
    try:
        found = targets.encode(mini_model, image, Plan(), Target(psnr=wanted))
    except TargetError:
        return  # the network of the tests may not reach it
    assert content.psnr(image, found.encoded.picture) >= wanted


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 999), st.floats(-0.2, 1.2), st.integers(0, MOST))
def test_the_number_found_is_the_last_within_the_limit_or_as_near_as_is_tolerated(
    seed, place, first
):
    values = curve(seed)
    limit = values[0] + place * (values[-1] - values[0])
    solved = targets.last_within(
        lambda n: values[n], limit, MOST, slope=0.006, tolerance=0.01, first=first
    )
    within = np.flatnonzero(values <= limit)
    if not within.size:
        assert solved is None
        return
    assert solved.value == values[solved.number] <= limit
    assert solved.number == within[-1] or solved.value >= limit - 0.01
    assert solved.trials <= 25  # after five, every other one halves what is left


def test_on_curves_like_those_of_pictures_five_trials_are_usual():
    trials = []
    for seed in range(50):
        values = curve(seed)
        limit = np.quantile(values, np.random.default_rng(seed).random())
        solved = targets.last_within(lambda n, v=values: v[n], limit, MOST, 0.006, 0.01, 320)
        trials.append(solved.trials)
    assert np.median(trials) <= 5
    assert max(trials) <= 10


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_size_is_kept_and_used(mini_model, large, share):
    sizes = [len(rdo.encode(mini_model, large, Plan(), q).encoded.data) for q in (20.0, 80.0)]
    wanted = round(np.interp(share, [0, 1], sizes))
    found = targets.encode(mini_model, large, Plan(), Target(size=wanted))
    size = len(found.encoded.data)
    quality = codec.decode(mini_model, found.encoded.data).quality
    following = rdo.encode(mini_model, large, Plan(), quality + 100 / MOST).encoded.data
    assert size <= wanted
    assert size >= 0.99 * wanted or len(following) > wanted


def test_a_psnr_is_reached_and_no_more_than_needed(mini_model, large):
    def at(quality):
        found = rdo.encode(mini_model, large, Plan(), quality, reconstruct=True)
        return content.psnr(large, found.encoded.picture)

    wanted = (at(20.0) + at(80.0)) / 2
    found = targets.encode(mini_model, large, Plan(), Target(psnr=wanted))
    decoded = codec.decode(mini_model, found.encoded.data)
    reached = content.psnr(large, decoded.picture)
    assert reached >= wanted
    assert reached <= wanted + targets.PSNR_TOLERANCE or at(decoded.quality - 100 / MOST) < wanted


def test_a_search_and_a_target_go_together(mini_model, large):
    wanted = 1 + len(rdo.encode(mini_model, large, Plan(), 50.0).encoded.data)
    found = targets.encode(mini_model, large, Plan("static", 1), Target(size=wanted))
    assert len(found.encoded.data) <= wanted
    assert found.searched.effort.codings > 1


@pytest.mark.parametrize(
    "target, cause",
    [
        (Target(size=30), r"the smallest file, of quality 0, has \d+ bytes, not 30"),
        (Target(psnr=99.5), r"the best picture, of quality 100, has [\d.]+ dB, not 99.5"),
    ],
)
def test_a_target_out_of_reach_is_refused_with_what_can_be_had(mini_model, large, target, cause):
    with pytest.raises(TargetError, match=cause):
        targets.encode(mini_model, large, Plan(), target)


def test_a_size_that_no_quality_fills_is_coded_at_the_best(mini_model, large):
    found = targets.encode(mini_model, large, Plan(), Target(size=10**6))
    assert codec.decode(mini_model, found.encoded.data).quality == 100


def test_a_model_of_one_quality_aims_at_nothing(tiny_model, large):
    with pytest.raises(TargetError, match="one quality"):
        targets.encode(tiny_model, large, Plan(), Target(size=1000))


@pytest.mark.parametrize("wrong", [{}, {"size": 1, "psnr": 1.0}, {"size": 0}, {"psnr": math.nan}])
def test_a_target_is_one_positive_number(wrong):
    with pytest.raises(ValueError):
        Target(**wrong)


def test_an_infinite_psnr_is_that_of_equal_pictures(photograph):
    assert content.psnr(photograph, photograph) == math.inf
    deep = content.deepened(photograph)
    other = np.clip(photograph.astype(int) + 1, 0, 255).astype(np.uint8)
    assert content.psnr(deep, content.deepened(other)) == pytest.approx(
        content.psnr(photograph, other), abs=1e-4
    )
