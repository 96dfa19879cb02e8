"""Changes of blocks that are tried in one evaluation.

What a change does is judged by the square of twice its side around a block. So an evaluation can
try a change in many blocks at once, no two of which are neighbors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rdonet_jax.rdo.search import costs
from rdonet_jax.rdo.search.blocks import Blocks, Changes, changed, partition_of
from rdonet_jax.rdo.search.costs import Cost, EvaluatedPartition

DIAGONAL = np.eye(2, dtype=bool)
"""The upper left and the lower right quarter of a block."""


class Measured(NamedTuple):
    """What changes cost, with the rest of the image unchanged; inf where none was tried."""

    toggled: np.ndarray  # [rows, columns]
    flipped: np.ndarray  # [rows, columns, 2, 2]


def divide(changes: Changes, order: Changes, most: int | None = None) -> list[Changes]:
    """Divides changes into batches, each for one evaluation; at most so many.

    Those of the lowest number in `order`, which has numbers in place of decisions, come first. The
    quarters of a block on one diagonal are tried together, those on the other one in another batch.
    """
    batches: list[Changes] = []
    taken: list[np.ndarray] = []  # blocks and their neighbors, by batch
    for _, (row, col), diagonal in sorted(_list(changes, order), key=lambda entry: entry[0]):
        index = next((i for i, of in enumerate(taken) if not of[row, col]), len(batches))
        if index == len(batches):
            if index == most:
                continue
            batches.append(Changes(*map(np.zeros_like, changes)))
            taken.append(np.zeros_like(changes.toggled))
        if diagonal is None:
            batches[index].toggled[row, col] = True
        else:
            batches[index].flipped[row, col] = changes.flipped[row, col] & diagonal
        taken[index][max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2] = True
    return batches


Entry = tuple[float, tuple[int, int], np.ndarray | None]
"""The number that orders it, a block, and a diagonal of its quarters; None to toggle it."""


def _list(changes: Changes, order: Changes) -> Iterator[Entry]:
    for row, col in np.argwhere(changes.toggled):
        yield float(order.toggled[row, col]), (row, col), None
    for diagonal in (DIAGONAL, ~DIAGONAL):
        tried = changes.flipped & diagonal
        least = np.where(tried, order.flipped, np.inf).min((-2, -1))
        for row, col in np.argwhere(tried.any((-2, -1))):
            yield float(least[row, col]), (row, col), diagonal


def measure(
    cost: Cost, current: EvaluatedPartition, batches: Sequence[Changes], forms: Blocks
) -> Measured:
    """What the changes of all batches cost. As many evaluations as batches, in one call.

    `forms` is the current partition by blocks, with the quarters that whole blocks would get.
    """
    before = costs.of_surroundings(current.areas)
    candidates = [partition_of(changed(forms, batch, forms.quarters)) for batch in batches]
    toggled = np.full(forms.split.shape, np.inf)
    flipped = np.full(forms.quarters.shape, np.inf)
    for batch, areas in zip(batches, cost(candidates).areas, strict=True):
        difference = costs.of_surroundings(areas) - before
        toggled = np.where(batch.toggled, difference.sum((-2, -1)), toggled)
        # The costs of the other quarters change too: the flipped ones share that.
        count = batch.flipped.sum((-2, -1), keepdims=True).clip(1)
        shared = np.where(batch.flipped, 0.0, difference).sum((-2, -1), keepdims=True) / count
        flipped = np.where(batch.flipped, difference + shared, flipped)
    return Measured(toggled, flipped)
