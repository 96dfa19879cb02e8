"""The search of the papers (Brand et al., see `models.rdonet.network`), kept as a reference.

No command uses it. Tests and `benchmarks/search.py` compare `search_fast` with it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rdonet_jax.core.partition import Partition
from rdonet_jax.rdo.search.blocks import Blocks, blocks_of, partition_of
from rdonet_jax.rdo.search.costs import Cost, EvaluatedPartition, evaluate


def search_original(cost: Cost, start: Partition, passes: int) -> Iterator[EvaluatedPartition]:
    """First the start, then the best partition after every block.

    In every pass each block in raster order is coded whole, as four 32x32 blocks, and with each of
    those split in turn where that was cheaper: six evaluations, one per call. J never rises.
    """
    best = evaluate(cost, start)
    yield best
    for _ in range(passes):
        for block in np.ndindex(*best.partition.split64.shape):
            best = _decide_block(cost, best, block)
            yield best


def _decide_block(
    cost: Cost, best: EvaluatedPartition, block: tuple[int, int]
) -> EvaluatedPartition:
    current = blocks_of(best.partition)
    whole = evaluate(cost, _with_block(current, block, False, np.zeros((2, 2), bool)))
    quarters = np.zeros((2, 2), bool)
    split = evaluate(cost, _with_block(current, block, True, quarters))
    for quarter in np.ndindex(2, 2):
        tried = quarters.copy()
        tried[quarter] = True
        candidate = evaluate(cost, _with_block(current, block, True, tried))
        if candidate.total < split.total:
            split, quarters = candidate, tried
    return min(best, whole, split, key=lambda candidate: candidate.total)


def _with_block(
    current: Blocks, block: tuple[int, int], split: bool, quarters: np.ndarray
) -> Partition:
    """The partition with one block in another form."""
    all_splits, all_quarters = current.split.copy(), current.quarters.copy()
    all_splits[block], all_quarters[block] = split, quarters
    return partition_of(Blocks(all_splits, all_quarters))
