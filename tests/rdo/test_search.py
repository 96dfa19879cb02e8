"""The search: exact where blocks do not depend on each other, never harmful where they do."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition
from rdonet_jax.rdo.search import batches, blocks, costs, uniform
from rdonet_jax.rdo.search.blocks import Changes
from rdonet_jax.rdo.search.costs import Costs, SearchStats
from rdonet_jax.rdo.search.fast import most_evaluations, search_fast, split_costs
from rdonet_jax.rdo.search.original import search_original

pytestmark = pytest.mark.once

GRIDS = st.tuples(st.integers(1, 5), st.integers(1, 5))


class Pretended:
    """A cost function: every area costs by its level, and more beside areas of other levels."""

    def __init__(self, grid: tuple[int, int], seed: int, influence: float = 0.0) -> None:
        rng = np.random.default_rng(seed)
        self.price = rng.exponential(size=(3, 4 * grid[0], 4 * grid[1]))
        self.influence = influence

    def __call__(self, candidates) -> Costs:
        areas = np.stack([self.areas(p) for p in candidates])
        return Costs(areas, areas.sum((1, 2)))

    def areas(self, p: Partition) -> np.ndarray:
        levels = np.asarray(partition.level_map(p)).astype(int)
        cost = np.take_along_axis(self.price, levels[None], axis=0)[0]
        framed = np.pad(levels, 1, mode="edge")
        around = framed[:-2, 1:-1], framed[2:, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:]
        return cost + self.influence * sum(np.abs(levels - other) for other in around)


def random_partition(grid: tuple[int, int], seed: int) -> Partition:
    rng = np.random.default_rng(seed)
    split = rng.random(grid) < 0.6
    quarters = rng.random((2 * grid[0], 2 * grid[1])) < 0.5
    return Partition(split, quarters & np.kron(split, np.ones((2, 2), bool)))


def best_block(price: np.ndarray) -> float:
    """The least cost of a 64x64 block over its 17 forms, given [3, 4, 4]."""
    quarters = price.reshape(3, 2, 2, 2, 2).sum((2, 4))
    forms = [price[2].sum()]
    for choice in itertools.product((0, 1), repeat=4):
        forms.append(sum(quarters[c].ravel()[i] for i, c in enumerate(choice)))
    return min(forms)


def optimum(cost: Pretended) -> float:
    rows, cols = cost.price.shape[1] // 4, cost.price.shape[2] // 4
    return sum(
        best_block(cost.price[:, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4])
        for r, c in np.ndindex(rows, cols)
    )


@pytest.mark.slow
@settings(deadline=None)
@given(GRIDS, st.integers(0, 99))
def test_blocks_that_do_not_hang_on_each_other_get_their_best_form(grid, seed):
    cost = Pretended(grid, seed)
    start = random_partition(grid, seed)
    for found in (
        list(search_original(cost, start, 1))[-1].total,
        list(search_fast(cost, start, 12))[-1].total,  # of a few trials each
        costs.evaluate(cost, uniform.from_uniform(cost, grid)).total,
    ):
        assert found == pytest.approx(optimum(cost))


@pytest.mark.slow
@settings(deadline=None)
@given(GRIDS, st.integers(0, 99), st.floats(0, 3), st.integers(0, 3))
def test_the_cost_never_rises_and_every_step_is_a_quadtree_with_the_cost_it_claims(
    grid, seed, influence, passes
):
    cost = Pretended(grid, seed, influence)
    for way in (search_fast, search_original):
        steps = list(way(cost, random_partition(grid, seed), passes))
        totals = [step.total for step in steps]
        assert all(after <= before for before, after in itertools.pairwise(totals))
        for step in steps:
            again = partition.from_level_map(np.asarray(partition.level_map(step.partition)))
            assert all(map(np.array_equal, again, step.partition))
            assert cost([step.partition]).totals[0] == step.total


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (2, 2), (8, 12), (13, 5)])
def test_a_search_takes_few_evaluations_whatever_the_size(grid):
    for passes in (0, 1, 2):
        stats = SearchStats()
        cost = costs.count_evaluations(Pretended(grid, 0, 0.5), stats)
        list(search_fast(cost, random_partition(grid, 1), passes))
        assert stats.evaluations <= most_evaluations(passes) <= 18
        assert stats.calls <= 4 + 3 * passes


def test_without_trials_the_estimates_decide_in_six_evaluations():
    stats = SearchStats()
    cost = Pretended((4, 5), 0)
    steps = list(
        search_fast(costs.count_evaluations(cost, stats), random_partition((4, 5), 1), 1, None, 0)
    )
    assert len(steps) == 2 and stats.evaluations <= most_evaluations(1, 0) == 6
    # Where blocks do not depend on each other, one change of each is not yet the best of all.
    assert optimum(cost) <= steps[-1].total < steps[0].total


def test_the_original_search_codes_every_block_six_times_per_pass():
    stats = SearchStats()
    cost = costs.count_evaluations(Pretended((3, 4), 0, 0.5), stats)
    list(search_original(cost, random_partition((3, 4), 1), 2))
    assert stats.evaluations == 1 + 2 * 6 * 12


def test_a_search_ends_when_nothing_is_left_to_try():
    cost = Pretended((4, 4), 3)
    steps = list(search_fast(cost, random_partition((4, 4), 0), 50))
    assert len(steps) < 20
    stats = SearchStats()
    *_, again = search_fast(costs.count_evaluations(cost, stats), steps[-1].partition, 50)
    assert all(map(np.array_equal, again.partition, steps[-1].partition))
    assert stats.evaluations < 20


def test_only_the_blocks_that_are_to_be_decided_change():
    decided = np.zeros((5, 6), bool)
    decided[1:4, 2:5] = True
    start = random_partition((5, 6), 4)
    *_, found = search_fast(Pretended((5, 6), 4, 0.2), start, 4, decided)
    before, after = blocks.blocks_of(start), blocks.blocks_of(found.partition)
    differs = (before.split != after.split) | (before.quarters != after.quarters).any((-2, -1))
    assert differs[decided].any() and not differs[~decided].any()


@settings(deadline=None)
@given(GRIDS, st.integers(0, 99), st.floats(0, 1))
def test_batches_hold_every_change_once_and_no_neighbors(grid, seed, share):
    rng = np.random.default_rng(seed)
    split = rng.random(grid) < 0.5
    flipped = (rng.random((*grid, 2, 2)) < share) & split[..., None, None]
    changes = Changes(rng.random(grid) < share, flipped)
    order = Changes(rng.random(grid), rng.random((*grid, 2, 2)))
    divided = batches.divide(changes, order)
    for batch in divided:
        blocks = np.argwhere(batch.blocks)
        distances = np.abs(blocks[:, None] - blocks[None]).max(-1)
        assert (distances[~np.eye(len(blocks), dtype=bool)] > 1).all()
    nothing = Changes(*map(np.zeros_like, changes))
    for change, *parts in zip(changes, nothing, *divided, strict=True):
        np.testing.assert_array_equal(np.sum(parts, axis=0), change)
    assert len(batches.divide(changes, order, 2)) == min(2, len(divided))


def test_the_surroundings_of_a_block_reach_half_a_block_beyond_it():
    areas = np.random.default_rng(0).random((12, 20))
    squares = costs.of_surroundings(areas)
    assert squares.shape == (3, 5, 2, 2)
    assert squares[1, 2].sum() == pytest.approx(areas[2:10, 6:14].sum())
    assert squares[1, 2, 0, 1] == pytest.approx(areas[2:6, 10:14].sum())
    assert squares[0, 0, 0, 0] == pytest.approx(areas[:2, :2].sum())


@settings(deadline=None)
@given(GRIDS, st.integers(0, 99))
def test_gains_are_what_every_split_costs_more(grid, seed):
    cost = Pretended(grid, seed)
    found = costs.evaluate(cost, random_partition(grid, seed))
    gains = split_costs(cost, found)
    fine, halves = (
        price.reshape(2 * grid[0], 2, 2 * grid[1], 2).sum((1, 3)) for price in cost.price[:2]
    )
    is_split = np.kron(found.partition.split64, np.ones((2, 2), bool))
    np.testing.assert_allclose(gains.split32, np.where(is_split, fine - halves, 0), atol=1e-9)
    best = np.minimum(fine, halves).reshape(grid[0], 2, grid[1], 2).sum((1, 3))
    whole = cost.price[2].reshape(grid[0], 4, grid[1], 4).sum((1, 3))
    np.testing.assert_allclose(gains.split64, best - whole, atol=1e-9)


@settings(deadline=None)
@given(GRIDS, st.integers(0, 99))
def test_blocks_and_partitions_say_the_same(grid, seed):
    p = random_partition(grid, seed)
    assert all(map(np.array_equal, blocks.partition_of(blocks.blocks_of(p)), p))


@pytest.mark.slow
def test_the_fast_search_is_near_the_original_where_neighbors_matter():
    """A tenth of the costs by neighbors; means over twenty images of 6x6 blocks."""
    ratios = []
    for seed in range(20):
        cost = Pretended((6, 6), seed, influence=0.1)
        start = random_partition((6, 6), seed)
        *_, ours = search_fast(cost, start, 2)
        *_, theirs = search_original(cost, start, 2)
        ratios.append(ours.total / theirs.total)
    assert np.mean(ratios) < 1.005
    assert max(ratios) < 1.02
