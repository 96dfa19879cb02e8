"""The search for a quality, on tables: nothing reachable is refused, and few trials are made."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.rdo import quality_search
from rdonet_jax.rdo.quality_search import Goal, Trial, best, evenly, next_number

pytestmark = pytest.mark.once

MOST = 640
SCAN = evenly(MOST, 21)
SLOPE = 0.006


def solved(goal: Goal, measure, first: int = 320) -> tuple[Trial | None, tuple[Trial, ...]]:
    """The result, and all trials."""
    trials: tuple[Trial, ...] = ()
    while (number := next_number(goal, first, trials)) is not None:
        assert 0 <= number <= goal.most
        assert number not in [trial.number for trial in trials]
        trials = (*trials, Trial(number, *measure(number)))
    return best(goal, trials), trials


def goal_of(limit: float, most: int = MOST, count: int = 21) -> Goal:
    return Goal(limit, 0.01, SLOPE, most, evenly(most, count))


def curve(seed: int) -> np.ndarray:
    """A rising function of 0 ... MOST whose slope changes by a factor of four or so."""
    rng = np.random.default_rng(seed)
    knots = np.exp(rng.normal(0, 0.7, 8))
    slopes = np.interp(np.linspace(0, 7, MOST + 1), np.arange(8), knots) * SLOPE
    return rng.normal() + np.cumsum(slopes)


SIZES = st.integers(20, 60) | st.integers(1, 10**7)
DECIBELS = st.floats(3, 99) | st.just(math.inf) | st.sampled_from([50.0, 50.01, 60.0])
TABLES = st.integers(0, 40).flatmap(
    lambda most: st.lists(st.tuples(SIZES, DECIBELS), min_size=most + 1, max_size=most + 1)
)


@settings(deadline=None, max_examples=100)
@given(TABLES, st.data(), st.integers(2, 21))
def test_what_a_scanned_quality_reaches_is_never_refused_and_what_misses_never_returned(
    table, data, count
):
    most = len(table) - 1
    first = data.draw(st.integers(0, most))
    scan = [table[n] for n in evenly(most, count)]
    size = data.draw(st.sampled_from([s for s, _ in table]) | st.integers(1, 10**7))
    found, trials = solved(
        goal_of(math.log(size), most, count), lambda n: (math.log(table[n][0]), -n), first
    )
    if any(s <= size for s, _ in scan):
        assert found is not None
    assert found is None or table[found.number][0] <= size
    within = [t.number for t in trials if table[t.number][0] <= size]
    assert (found and found.number) == max(within, default=None)

    psnr = data.draw(st.sampled_from([p for _, p in table if p < math.inf] or [40.0]))
    found, trials = solved(
        goal_of(-psnr, most, count), lambda n: (-table[most - n][1], table[most - n][0]), first
    )
    # A scan of few numbers need not be the same from either end.
    if any(table[most - n][1] >= psnr for n in evenly(most, count)):
        assert found is not None
    assert found is None or table[most - found.number][1] >= psnr
    reached = [table[most - t.number][0] for t in trials if table[most - t.number][1] >= psnr]
    assert (found and found.cost) == min(reached, default=None)


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 999), st.floats(-0.2, 1.2), st.integers(0, MOST))
def test_on_rising_values_the_last_within_the_limit_is_found_or_one_as_near_as_is_tolerated(
    seed, place, first
):
    values = curve(seed)
    limit = values[0] + place * (values[-1] - values[0])
    found, trials = solved(goal_of(limit), lambda n: (values[n], -n), first)
    within = np.flatnonzero(values <= limit)
    if not within.size:
        assert found is None
        return
    assert found.value == values[found.number] <= limit
    assert found.number == within[-1] or found.value >= limit - 0.01
    if np.diff(values).min() > SLOPE / 5:  # steep enough to be taken for no plateau
        assert len(trials) <= 25  # after five, every other one halves what is left


def test_on_curves_like_those_of_images_five_trials_are_usual():
    counts = []
    for seed in range(50):
        values = curve(seed)
        limit = np.quantile(values, np.random.default_rng(seed).random())
        counts.append(len(solved(goal_of(limit), lambda n, v=values: (v[n], -n))[1]))
    assert np.median(counts) <= 5
    assert max(counts) <= 10


def test_a_refusal_comes_after_the_whole_scan_and_costs_little_more():
    found, trials = solved(goal_of(-1.0), lambda n: (SLOPE * n, -n))
    assert found is None
    assert {t.number for t in trials} >= set(SCAN)
    assert len(trials) <= len(SCAN) + 4


def test_on_a_plateau_the_best_of_the_scan_is_taken_though_the_first_trial_meets_the_limit():
    found, _ = solved(goal_of(0.0), lambda n: (0.0, -n))
    assert found.number == MOST


def test_values_that_are_infinite_are_halved_between():
    found, trials = solved(goal_of(-60.0), lambda n: (-math.inf if n < 123 else -50.0, -n))
    assert found.number == 122
    assert len(trials) <= len(SCAN) + 12


def test_a_dip_between_scanned_numbers_is_found_before_a_refusal():
    def dips(n):
        return 1.0 - 0.5 * math.exp(-(((n - 207) / 20) ** 2))

    least = min(dips(n) for n in SCAN)
    found, trials = solved(goal_of(least - 0.1), lambda n: (dips(n), -n))
    assert dips(found.number) <= least - 0.1
    assert len(trials) <= len(SCAN) + quality_search.CLOSER_TRIALS


def test_a_limit_far_below_all_dips_is_refused_after_the_scan():
    found, trials = solved(goal_of(-1.0), lambda n: (SLOPE * n + 0.1 * math.sin(n), -n))
    assert found is None
    assert len(trials) <= len(SCAN) + 4


def test_a_hit_on_a_curve_that_falls_is_no_end_of_the_search_wherever_it_begins():
    for first in (0, 320, MOST):
        limit = -SLOPE * first + 0.005
        found, trials = solved(goal_of(limit), lambda n: (-SLOPE * n, -n), first)
        assert found.number == MOST
        assert len(trials) > 1


def test_hits_next_to_each_other_do_not_show_that_values_rise():
    def zigzag(n):
        return SLOPE * n if n < 330 else 0.0

    found, _ = solved(goal_of(zigzag(310) + 0.001), lambda n: (zigzag(n), -n))
    assert found.number == MOST


@pytest.mark.parametrize("scan", [(), (0, 5), (5, 10)])
def test_a_scan_reaches_from_end_to_end(scan):
    with pytest.raises(ValueError, match="from one end"):
        Goal(0.0, 0.1, 0.1, 10, scan)
