"""Thresholds by least regret, against trying all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.core import partition
from rdonet_jax.rdo import fit_thresholds, image_regions, initial_masks
from rdonet_jax.rdo.cost import RDCost
from rdonet_jax.rdo.fit_thresholds import Decisions
from rdonet_jax.rdo.search import blocks, regions

pytestmark = pytest.mark.once

VARIANCES = st.lists(st.sampled_from([0.0, 0.5, 3.0, 20.0, 21.0, 900.0]), min_size=1, max_size=12)


@given(VARIANCES, st.integers(0, 999))
def test_no_threshold_costs_less_than_the_one_of_least_regret(variances, seed):
    variance = np.array(variances)
    gain = np.random.default_rng(seed).normal(size=len(variance))
    found = fit_thresholds.least_regret(Decisions(variance, gain))

    def cost(threshold: float) -> float:
        return gain[variance > threshold].sum()

    tried = [0.005, *(value * 1.01 + 0.02 for value in variance), fit_thresholds.LARGEST]
    ours = cost(found.threshold)
    assert ours <= min(cost(threshold) for threshold in tried if threshold >= 0.01) + 1e-9
    assert found.regret == pytest.approx(ours - np.minimum(gain, 0).sum(), abs=1e-9)


def test_blocks_that_are_better_split_above_a_variance_are_separated_exactly():
    variance = np.array([1.0, 2.0, 8.0, 32.0])
    found = fit_thresholds.least_regret(Decisions(variance, np.array([5.0, 1.0, -1.0, -9.0])))
    assert found == (4.0, 0.0)


@pytest.mark.slow
def test_samples_are_the_whole_blocks_inside_the_image(mini_model, photograph):
    image = photograph[:130, :200]
    found = fit_thresholds.collect_samples(mini_model, image, 50.0, passes=1)
    assert len(found.split64.variance) == len(found.split64.split_cost) == 2 * 3
    assert len(found.split32.variance) <= 4 * 6
    luma = image.astype(float) @ partition.LUMA
    expected = [luma[r : r + 64, c : c + 64].var() for r in (0, 64) for c in (0, 64, 128)]
    np.testing.assert_allclose(found.split64.variance, expected, rtol=1e-3)


@pytest.mark.slow
def test_the_gain_of_a_block_is_near_what_coding_it_otherwise_costs(mini_model, photograph):
    image, grid = photograph, (3, 4)
    found = fit_thresholds.collect_samples(mini_model, image, 50.0, passes=2)
    rd_cost = RDCost(mini_model, image, 50.0)
    start = initial_masks.initial_partition(mini_model, image, initial_masks.SOLVED, 50.0)
    quality = parse_quality(mini_model.config, 50.0)
    all_regions = image_regions.of_image(mini_model, image, quality, start)
    *_, best = regions.search(all_regions, start, 2)
    total = rd_cost([best]).totals[0]
    current = blocks.blocks_of(best)
    for number, block in enumerate(np.ndindex(grid)):
        if not current.split[block]:
            continue
        split = current.split.copy()
        split[block] = False
        other = blocks.partition_of(blocks.Blocks(split, current.quarters))
        more = (rd_cost([other]).totals[0] - total) / (192 * 256)
        gain = found.split64.split_cost[number]
        assert gain <= 0.1 * more  # splitting it pays, and not splitting it costs as much
