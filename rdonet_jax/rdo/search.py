"""The search for a rate-distortion-optimized partition, for any cost function of partitions.

A search starts from a partition and makes passes over its 64x64 blocks. The cost function takes
several candidate partitions of the whole image at once. The search does not depend on networks.

`original` is the search of the papers (Brand et al., see `models.rdonet.network`), kept as a
reference: block by block, six evaluations each. `fast` splits the blocks into four colors, by the
parity of row and column, and tries an alternative for all blocks of a color in one evaluation.
Blocks of a color are 64 pixels apart. Each is compared by the costs of its area and of half a block
around it. So a pass takes a constant number of evaluations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition

COLORS = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Parities of row and column of the blocks that are decided together, in the order of a pass."""

_PER_BLOCK = 4  # areas of 16x16 pixels on the side of a block
_MARGIN = _PER_BLOCK // 2


class Costs(NamedTuple):
    """The costs of K partitions, in any additive unit; float64."""

    areas: np.ndarray  # [K, H/16, W/16], by areas of 16x16 pixels
    totals: np.ndarray  # [K], of the whole image


Cost = Callable[[Sequence[Partition]], Costs]


class Blocks(NamedTuple):
    """A partition by blocks. `quarters` has an effect only in blocks that are split."""

    split: np.ndarray  # bool [rows, columns]: into four 32x32 blocks
    quarters: np.ndarray  # bool [rows, columns, 2, 2]: which of those into four 16x16 ones


class EvaluatedPartition(NamedTuple):
    """A partition and its cost."""

    partition: Partition
    areas: np.ndarray  # [H/16, W/16]
    total: float


class SplitCosts(NamedTuple):
    """The cost of splitting a block minus that of not splitting it; negative where it pays."""

    split64: np.ndarray  # [rows, columns]: the best split form that was tried
    split32: np.ndarray  # [2 rows, 2 columns]: where its 64x64 block is split


@dataclasses.dataclass
class SearchStats:
    """The number of evaluations of a search so far."""

    evaluations: int = 0  # evaluations of a whole image
    calls: int = 0  # of the cost function


def count_evaluations(cost: Cost, stats: SearchStats) -> Cost:
    """A cost function that counts its calls in `stats`."""

    def counting_cost(candidates: Sequence[Partition]) -> Costs:
        stats.evaluations += len(candidates)
        stats.calls += 1
        return cost(candidates)

    return counting_cost


def evaluate(cost: Cost, p: Partition) -> EvaluatedPartition:
    """A partition with its cost."""
    p = Partition(np.asarray(p.split64, bool), np.asarray(p.split32, bool))
    areas, totals = cost([p])
    return EvaluatedPartition(p, areas[0], float(totals[0]))


def from_uniform(cost: Cost, grid: tuple[int, int]) -> Partition:
    """Solves every quadtree from the bottom up, by the costs of the three uniform partitions.

    Three evaluations in one call. The cost of a block at a level is that in the image coded at that
    level alone. So the dependence of levels on each other is neglected.
    """
    levels = [partition.uniform(level, grid) for level in range(3)]
    areas = cost(levels).areas
    whole, halves, fine = areas[2], areas[1], areas[0]
    as_fine, as_half = partition.tile_sums(fine, 2), partition.tile_sums(halves, 2)
    quarters = as_fine < as_half
    best = np.minimum(as_fine, as_half)
    split = partition.tile_sums(best, 2) < partition.tile_sums(whole, 4)
    return Partition(split, quarters & np.kron(split, np.ones((2, 2), bool)))


def original(cost: Cost, start: Partition, passes: int) -> Iterator[EvaluatedPartition]:
    """The search of the papers: first the start, then the best partition after every block.

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


def fast(cost: Cost, start: Partition, passes: int) -> Iterator[EvaluatedPartition]:
    """A search of few evaluations: first the start, then the best partition after every color.

    A pass takes at most 24 evaluations in eight calls. Each of the four colors takes four for
    alternatives of its blocks, and two for partitions made of the best ones. The better of these is
    used if it lowers the cost of the whole image, so J never rises.
    """
    best = evaluate(cost, start)
    yield best
    for _ in range(passes):
        before = best
        for color in COLORS:
            best = _decide_color(cost, best, color)
            yield best
        if best is before:
            return


def _decide_color(
    cost: Cost, best: EvaluatedPartition, color: tuple[int, int]
) -> EvaluatedPartition:
    current = blocks_of(best.partition)
    if not current.split[_color_slices(color)].size:
        return best
    form_costs = _evaluate_forms(cost, best, color)
    choices = [partition_of(_with_color(current, color, forms)) for forms in form_costs.decisions()]
    candidates = [p for p in choices if not _same(p, best.partition)]
    if len(candidates) == 2 and _same(*candidates):
        candidates = candidates[:1]
    if not candidates:
        return best
    costs = cost(candidates)
    index = int(np.argmin(costs.totals))
    if costs.totals[index] >= best.total:
        return best
    return EvaluatedPartition(candidates[index], costs.areas[index], float(costs.totals[index]))


def split_costs(cost: Cost, evaluated: EvaluatedPartition) -> SplitCosts:
    """The cost of every single split of a partition, with the rest of the image unchanged.

    Up to 16 evaluations in four calls.
    """
    current = blocks_of(evaluated.partition)
    split, quarters = np.zeros(current.split.shape), np.zeros(current.quarters.shape)
    for color in COLORS:
        of_color = _color_slices(color)
        if not current.split[of_color].size:
            continue
        form_costs = _evaluate_forms(cost, evaluated, color)
        split[of_color] = form_costs.combined()[1] - form_costs.whole
        flipped = form_costs.flipped
        quarters[of_color] = np.where(form_costs.base, -flipped, flipped)
    rows, cols = current.split.shape
    return SplitCosts(split, quarters.swapaxes(1, 2).reshape(2 * rows, 2 * cols))


def _same(one: Partition, other: Partition) -> bool:
    return all(map(np.array_equal, one, other))


_DIAGONAL = np.eye(2, dtype=bool)
"""The upper left and the lower right quarter of a block."""


class _FormCosts(NamedTuple):
    """Costs of other forms of the blocks of a color, relative to the current ones.

    Arrays are [..., rows', columns'] over the blocks of the color. For a split block, the four
    alternatives are: not split, all quarters alike, and the quarters on either diagonal of `base`
    flipped. For a block that is not split: four 32x32 blocks, sixteen 16x16 blocks, and the same
    two flips.
    """

    was_split: np.ndarray  # bool
    base: np.ndarray  # bool [..., 2, 2]: the current quarters; all False if not split
    alternatives: tuple[Blocks, ...]
    costs: np.ndarray  # [4, rows', columns'], of the alternatives
    split: np.ndarray  # cost of the split form with the quarters `base`
    flipped: np.ndarray  # [..., 2, 2]: added to `split` when this quarter of `base` is flipped

    @property
    def whole(self) -> np.ndarray:
        """The costs of not splitting."""
        return np.where(self.was_split, self.costs[0], 0.0)

    def combined(self) -> tuple[Blocks, np.ndarray]:
        """The split form with every quarter flipped that lowers the cost by itself, and its costs.

        This form was not evaluated. The costs are exact if quarters do not depend on each other.
        """
        forms = Blocks(np.ones_like(self.was_split), self.base ^ (self.flipped < 0))
        return forms, self.split + np.minimum(self.flipped, 0).sum((-2, -1))

    def decisions(self) -> tuple[Blocks, Blocks]:
        """The cheapest form of every block: among all forms, and among those evaluated.

        The current form is kept where none is cheaper.
        """
        unchanged = Blocks(self.was_split, self.base)
        zero = np.zeros_like(self.split)
        forms, costs = [unchanged, *self.alternatives], [zero, *self.costs]
        combined, combined_costs = self.combined()
        return (
            _cheapest([*forms, combined], [*costs, combined_costs]),
            _cheapest(forms, costs),
        )


def _cheapest(forms: Sequence[Blocks], costs: Sequence[np.ndarray]) -> Blocks:
    """The cheapest form of every block, the first one of equals."""
    choice = np.argmin(costs, axis=0)
    split = np.choose(choice, [form.split for form in forms])
    return Blocks(split, np.choose(choice[..., None, None], [form.quarters for form in forms]))


def _evaluate_forms(cost: Cost, best: EvaluatedPartition, color: tuple[int, int]) -> _FormCosts:
    """Evaluates four alternatives for the blocks of a color, in one call."""
    current = blocks_of(best.partition)
    of_color = _color_slices(color)
    was_split = current.split[of_color]
    base = current.quarters[of_color] & was_split[..., None, None]
    alternatives = _alternatives(was_split, base)
    candidates = [partition_of(_with_color(current, color, form)) for form in alternatives]
    before = _surrounding_costs(best.areas, color)
    costs = [_surrounding_costs(areas, color) - before for areas in cost(candidates).areas]
    # For a block that is not split, the split form with `base` is the first alternative.
    base_costs = np.where(was_split[..., None, None], 0.0, costs[0])
    flipped = [
        _by_quarter(flip_costs - base_costs, quarters)
        for flip_costs, quarters in zip(costs[2:], (_DIAGONAL, ~_DIAGONAL), strict=True)
    ]
    return _FormCosts(
        was_split,
        base,
        alternatives,
        np.stack([part.sum((-2, -1)) for part in costs]),
        base_costs.sum((-2, -1)),
        np.where(_DIAGONAL, *flipped),
    )


def _alternatives(was_split: np.ndarray, base: np.ndarray) -> tuple[Blocks, ...]:
    """The four alternatives of `_FormCosts`."""
    split = np.ones_like(was_split)
    nothing = np.zeros_like(base)
    # Of a split block, all quarters alike as the minority is: the flips try the smaller changes.
    alike = np.broadcast_to((base.sum((-2, -1)) < 2)[..., None, None], base.shape)
    return (
        Blocks(~was_split, nothing),
        Blocks(split, np.where(was_split[..., None, None], alike, True)),
        Blocks(split, base ^ _DIAGONAL),
        Blocks(split, base ^ ~_DIAGONAL),
    )


def _by_quarter(difference: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """The change of costs by either flipped quarter of a diagonal, [..., 2, 2].

    The costs of the two other quarters, which were not flipped, change too. Half of that change is
    attributed to each flipped one.
    """
    between = np.where(diagonal, 0.0, difference).sum((-2, -1), keepdims=True)
    return difference + between / 2


def _surrounding_costs(areas: np.ndarray, color: tuple[int, int]) -> np.ndarray:
    """Costs of the square around every block of a color, by quarter: [rows', columns', 2, 2].

    The square has twice the side of the block. The squares of a color do not overlap.
    """
    rows, cols = (
        (side // _PER_BLOCK - parity + 1) // 2
        for side, parity in zip(areas.shape, color, strict=True)
    )
    first_row, first_col = (_PER_BLOCK * parity for parity in color)
    padded = np.pad(areas, _MARGIN)[first_row:, first_col:]
    squares = padded[: 2 * rows * _PER_BLOCK, : 2 * cols * _PER_BLOCK]
    return partition.tile_sums(squares, _PER_BLOCK).reshape(rows, 2, cols, 2).swapaxes(1, 2)


def blocks_of(p: Partition) -> Blocks:
    """A partition by blocks."""
    rows, cols = p.split64.shape
    quarters = np.asarray(p.split32, bool).reshape(rows, 2, cols, 2).swapaxes(1, 2)
    return Blocks(np.asarray(p.split64, bool), quarters)


def partition_of(blocks: Blocks) -> Partition:
    """The inverse of `blocks_of`."""
    rows, cols = blocks.split.shape
    quarters = (blocks.quarters & blocks.split[..., None, None]).swapaxes(1, 2)
    return Partition(blocks.split, quarters.reshape(2 * rows, 2 * cols))


def _color_slices(color: tuple[int, int]) -> tuple[slice, slice]:
    """The index of the blocks of a color."""
    return np.s_[color[0] :: 2, color[1] :: 2]


def _with_color(current: Blocks, color: tuple[int, int], forms: Blocks) -> Blocks:
    """`current` with the blocks of a color in other forms."""
    split, quarters = current.split.copy(), current.quarters.copy()
    split[_color_slices(color)], quarters[_color_slices(color)] = forms
    return Blocks(split, quarters)


def _with_block(
    current: Blocks, block: tuple[int, int], split: bool, quarters: np.ndarray
) -> Partition:
    """The partition with one block in another form."""
    all_splits, all_quarters = current.split.copy(), current.quarters.copy()
    all_splits[block], all_quarters[block] = split, quarters
    return partition_of(Blocks(all_splits, all_quarters))
