"""A search of few evaluations, which tries changes of many blocks at once.

The three uniform partitions give estimates of what every change of a block costs. First all changes
are made that pay by their estimates. Then passes try changes. Most of them cannot pay, and are left
out. The others are tried, the most promising ones first, each evaluation with as many as possible.
Those that lower the cost around their block are made together. Where changes cost more after all,
because neighbors depend on each other, they are taken back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rdonet_jax.core.defaults import SEARCH_TRIALS
from rdonet_jax.core.partition import Partition
from rdonet_jax.rdo.search import batches, costs, uniform
from rdonet_jax.rdo.search.blocks import (
    Blocks,
    Changes,
    blocks_of,
    by_quarter,
    changed,
    neighborhood,
    partition_of,
)
from rdonet_jax.rdo.search.costs import Cost, EvaluatedPartition, evaluate
from rdonet_jax.rdo.search.uniform import UniformCosts

TOGGLE_LIMIT, FLIP_LIMIT = 0.1, 0.03
"""A change is tried if its estimated cost is below this share of the cost of its block."""

SMALLEST_TRIAL = 1 / 32
"""The smallest share of the blocks for whose changes an evaluation is made."""

SMALLEST_RISE = 1e-4
"""The smallest share of the cost of all blocks for which changes are taken back."""


class SplitCosts(NamedTuple):
    """The cost of splitting a block minus that of not splitting it; negative where it pays."""

    split64: np.ndarray  # [rows, columns]: the best split form that was tried
    split32: np.ndarray  # [2 rows, 2 columns]: where its 64x64 block is split; 0 elsewhere


def most_evaluations(passes: int, trials: int = SEARCH_TRIALS) -> int:
    """The most evaluations that `search_fast` makes."""
    return 1 + (3 + 2 + passes * (trials + 2 if trials else 0) if passes else 0)


def search_fast(
    cost: Cost,
    start: Partition,
    passes: int,
    decided: np.ndarray | None = None,
    trials: int = SEARCH_TRIALS,
) -> Iterator[EvaluatedPartition]:
    """First the start, then the best partition by the estimates, then after every pass.

    J never rises. Only the blocks `decided`, bool [rows, columns], change; None for all. A pass
    tries what no earlier one has tried since the block or a neighbor of it changed, in at most
    `trials` evaluations. The search ends when nothing is left to try. Without a pass nothing
    changes, and without trials the estimates alone decide.
    """
    best = evaluate(cost, start)
    yield best
    grid = best.partition.split64.shape
    blocks = np.ones(grid, bool) if decided is None else decided
    untried = Changes(blocks, np.broadcast_to(blocks[..., None, None], (*grid, 2, 2)))
    if not passes:
        return
    found = uniform.evaluate_uniform(cost, grid)
    current = blocks_of(best.partition)
    paying = _paying_by_estimate(current, found).within(blocks)
    best = _make(cost, best, paying, _with_best_quarters(current, found))
    yield best
    for _ in range(passes if trials else 0):
        before = blocks_of(best.partition)
        tried = _batches(before, found, untried, blocks, trials)
        if not tried:
            return
        forms = _with_best_quarters(before, found)
        measured = batches.measure(cost, best, tried, forms)
        best = _make(cost, best, _cheapest(measured), forms)
        yield best
        after = blocks_of(best.partition)
        different = (before.quarters != after.quarters).any((-2, -1))
        near = neighborhood(different | (before.split != after.split)) & blocks
        untried = _still_untried(untried, tried, near)


def _relative_costs(current: Blocks, found: UniformCosts) -> Changes:
    """The estimated costs of changes as shares of the cost of their block."""
    estimates = found.estimates(current)
    return Changes(
        estimates.toggled / estimates.current,
        estimates.flipped / estimates.current[..., None, None],
    )


def _paying_by_estimate(current: Blocks, found: UniformCosts) -> Changes:
    """The change of each block whose estimated cost is lowest, where it is negative."""
    estimates = found.estimates(current)
    flipped = np.where(current.split[..., None, None], estimates.flipped, 0.0)
    return _cheapest(batches.Measured(estimates.toggled, flipped))


def _batches(
    current: Blocks, found: UniformCosts, untried: Changes, blocks: np.ndarray, most: int
) -> list[Changes]:
    """The changes of these blocks that a pass tries, by evaluation."""
    order = _relative_costs(current, found)
    promising = Changes(
        untried.toggled & (order.toggled < TOGGLE_LIMIT),
        untried.flipped & (order.flipped < FLIP_LIMIT) & current.split[..., None, None],
    )
    divided = batches.divide(promising, order, most)
    fewest = SMALLEST_TRIAL * blocks.sum()
    return [batch for batch in divided if batch.blocks.sum() >= fewest]


def _still_untried(untried: Changes, tried: list[Changes], near: np.ndarray) -> Changes:
    """What is untried after a pass. `near` are the blocks that it changed, and neighbors."""
    toggled, flipped = untried
    for batch in tried:
        toggled, flipped = toggled & ~batch.toggled, flipped & ~batch.flipped
    return Changes(toggled | near, flipped | near[..., None, None])


def _make(
    cost: Cost, best: EvaluatedPartition, changes: Changes, forms: Blocks
) -> EvaluatedPartition:
    """The best partition after changes of `forms`. Those around which the cost rises are undone."""
    if not changes.blocks.any():
        return best
    joined = evaluate(cost, partition_of(changed(forms, changes, forms.quarters)))
    candidates = [best, joined]
    rises = costs.of_surroundings(joined.areas - best.areas).sum((-2, -1)) * changes.blocks
    kept = changes.within(rises < 0)
    is_worth_it = rises.clip(0).sum() > SMALLEST_RISE * abs(best.total)
    if is_worth_it and kept.blocks.any():
        kept_forms = changed(forms, kept, forms.quarters)
        candidates.append(evaluate(cost, partition_of(kept_forms)))
    return min(candidates, key=lambda candidate: candidate.total)


def _with_best_quarters(current: Blocks, found: UniformCosts) -> Blocks:
    """The blocks with the quarters that whole ones get when they are split."""
    is_split = current.split[..., None, None]
    return Blocks(current.split, np.where(is_split, current.quarters, found.best_quarters))


def _cheapest(measured: batches.Measured) -> Changes:
    """The changes that lower the cost of their block most."""
    flips = np.minimum(measured.flipped, 0).sum((-2, -1))
    toggled = measured.toggled < flips
    return Changes(toggled, (measured.flipped < 0) & ~toggled[..., None, None])


def split_costs(cost: Cost, evaluated: EvaluatedPartition) -> SplitCosts:
    """The cost of every single split of a partition, with the rest of the image unchanged.

    About 15 evaluations in two calls.
    """
    current = blocks_of(evaluated.partition)
    grid = current.split.shape
    found = uniform.evaluate_uniform(cost, grid)
    everything = Changes(
        np.ones(grid, bool), np.broadcast_to(current.split[..., None, None], (*grid, 2, 2))
    )
    order = Changes(*(np.zeros(of_size.shape) for of_size in everything))
    tried = batches.divide(everything, order)
    forms = _with_best_quarters(current, found)
    measured = batches.measure(cost, evaluated, tried, forms)
    flips = np.minimum(measured.flipped, 0).sum((-2, -1))
    finer = np.where(current.quarters, -measured.flipped, measured.flipped)
    split32 = np.where(current.split[..., None, None], finer, 0.0)
    return SplitCosts(
        np.where(current.split, flips - measured.toggled, measured.toggled), by_quarter(split32)
    )
