"""Rate-distortion-optimized partitions: the search, from a cost function that is passed in.

A search starts from a partition and makes passes over its 64x64 blocks. What partitions cost it is
told by a function of several candidates at once, each for the whole image; it knows nothing of
networks.

`original` is the search of the papers, the yardstick: block by block, six evaluations each. `fast`
takes the blocks in four color classes, by the parity of row and column, and tries an alternative
for all blocks of a color in one evaluation: they lie 64 pixels apart, and each is judged by what
the area around it costs, half a block on every side. So a pass takes a constant number of
evaluations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition

COLORS = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Parities of row and column of the blocks that are decided at the same time, in this order."""

_PER_BLOCK = 4  # areas of 16x16 pixels on the side of a block
_MARGIN = _PER_BLOCK // 2


class Costs(NamedTuple):
    """What K partitions cost, in any unit that adds up; float64."""

    areas: np.ndarray  # [K, H/16, W/16], where the costs lie
    totals: np.ndarray  # [K], of the whole image


Cost = Callable[[Sequence[Partition]], Costs]


class Blocks(NamedTuple):
    """A partition by blocks; `quarters` may be True in a block that is not split: it counts then
    as soon as the block is."""

    split: np.ndarray  # bool [rows, columns]: into four 32x32 blocks
    quarters: np.ndarray  # bool [rows, columns, 2, 2]: which of those into four 16x16 ones


class EvaluatedPartition(NamedTuple):
    """A partition and what it costs."""

    partition: Partition
    areas: np.ndarray  # [H/16, W/16]
    total: float


class SplitCosts(NamedTuple):
    """What splitting costs more than not splitting; negative where it pays."""

    split64: np.ndarray  # [rows, columns]: the best split form found instead of the whole block
    split32: np.ndarray  # [2 rows, 2 columns]: where its 64x64 block is split


@dataclasses.dataclass
class SearchStats:
    """What a search has taken so far."""

    evaluations: int = 0  # evaluations of a whole image
    calls: int = 0  # of the cost function


def count_evaluations(cost: Cost, stats: SearchStats) -> Cost:
    """The cost function, with its use written down in `stats`."""

    def counting(candidates: Sequence[Partition]) -> Costs:
        stats.evaluations += len(candidates)
        stats.calls += 1
        return cost(candidates)

    return counting


def evaluate(cost: Cost, p: Partition) -> EvaluatedPartition:
    """A partition with its cost."""
    p = Partition(np.asarray(p.split64, bool), np.asarray(p.split32, bool))
    areas, totals = cost([p])
    return EvaluatedPartition(p, areas[0], float(totals[0]))


def from_uniform(cost: Cost, grid: tuple[int, int]) -> Partition:
    """Every quadtree solved from the bottom up by what its parts cost in uniform partitions.

    Three evaluations in one call. What a block costs at a level is taken from the image coded at
    that level alone, so the levels' influence on each other is left out.
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


def _decide_block(cost: Cost, best: EvaluatedPartition, block: tuple[int, int]) -> EvaluatedPartition:
    around = blocks_of(best.partition)
    whole = evaluate(cost, _with_block(around, block, False, np.zeros((2, 2), bool)))
    quarters = np.zeros((2, 2), bool)
    split = evaluate(cost, _with_block(around, block, True, quarters))
    for quarter in np.ndindex(2, 2):
        tried = quarters.copy()
        tried[quarter] = True
        candidate = evaluate(cost, _with_block(around, block, True, tried))
        if candidate.total < split.total:
            split, quarters = candidate, tried
    return min(best, whole, split, key=lambda found: found.total)


def fast(cost: Cost, start: Partition, passes: int) -> Iterator[EvaluatedPartition]:
    """A search of few evaluations: first the start, then the best partition after every color.

    A pass takes at most 24 evaluations in eight calls: four alternatives for the blocks of each of
    the four colors, and two ways to decide by them. The better one stands if the whole image costs
    less with it than before: J never rises.
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


def _decide_color(cost: Cost, best: EvaluatedPartition, color: tuple[int, int]) -> EvaluatedPartition:
    now = blocks_of(best.partition)
    if not now.split[_color_slices(color)].size:
        return best
    judged = _evaluate_forms(cost, best, color)
    options = [partition_of(_with_color(now, color, forms)) for forms in judged.decisions()]
    new = [p for p in options if not _same(p, best.partition)]
    if len(new) == 2 and _same(*new):
        new = new[:1]
    if not new:
        return best
    costs = cost(new)
    number = int(np.argmin(costs.totals))
    if costs.totals[number] >= best.total:
        return best
    return EvaluatedPartition(new[number], costs.areas[number], float(costs.totals[number]))


def split_costs(cost: Cost, found: EvaluatedPartition) -> SplitCosts:
    """What every split of a partition costs or saves, the rest of the image as it is.

    Up to 16 evaluations in four calls.
    """
    now = blocks_of(found.partition)
    split, quarters = np.zeros(now.split.shape), np.zeros(now.quarters.shape)
    for color in COLORS:
        mine = _color_slices(color)
        if not now.split[mine].size:
            continue
        judged = _evaluate_forms(cost, found, color)
        split[mine] = judged.combined()[1] - judged.whole
        quarters[mine] = np.where(judged.base, -judged.flipped, judged.flipped)
    rows, cols = now.split.shape
    return SplitCosts(split, quarters.swapaxes(1, 2).reshape(2 * rows, 2 * cols))


def _same(one: Partition, other: Partition) -> bool:
    return all(map(np.array_equal, one, other))


_DIAGONAL = np.eye(2, dtype=bool)
"""The upper left and the lower right quarter of a block."""


class _FormCosts(NamedTuple):
    """What the blocks of a color would cost in other forms, relative to now; [rows', columns'].

    Two of the alternatives flip the quarters on a diagonal of `base`. The other two are, for a
    block that is split, the whole block and all quarters alike; for a whole one, four 32x32 blocks
    and sixteen 16x16 ones.
    """

    was_split: np.ndarray  # bool
    base: np.ndarray  # bool [..., 2, 2]: its quarters now or, of a whole block, none
    alternatives: tuple[Blocks, ...]
    costs: np.ndarray  # [4, rows', columns'], of the alternatives
    split: np.ndarray  # with `base`
    flipped: np.ndarray  # [..., 2, 2]: more than `split` when this quarter of `base` is flipped

    @property
    def whole(self) -> np.ndarray:
        """The costs of the whole block."""
        return np.where(self.was_split, self.costs[0], 0.0)

    def combined(self) -> tuple[Blocks, np.ndarray]:
        """The split form with those quarters flipped that cost less by themselves, and its costs.

        It was not coded, and costs so much as far as quarters do not depend on each other.
        """
        forms = Blocks(np.ones_like(self.was_split), self.base ^ (self.flipped < 0))
        return forms, self.split + np.minimum(self.flipped, 0).sum((-2, -1))

    def decisions(self) -> tuple[Blocks, Blocks]:
        """The cheapest form of every block, the one that it has where none is cheaper: among all
        forms, and among those that were coded."""
        unchanged = Blocks(self.was_split, self.base)
        zero = np.zeros_like(self.split)
        forms, costs = [unchanged, *self.alternatives], [zero, *self.costs]
        combined, sum_of_flips = self.combined()
        return (
            _cheapest([*forms, combined], [*costs, sum_of_flips]),
            _cheapest(forms, costs),
        )


def _cheapest(forms: Sequence[Blocks], costs: Sequence[np.ndarray]) -> Blocks:
    """For every block the form that costs least, the first one of equals."""
    choice = np.argmin(costs, axis=0)
    split = np.choose(choice, [form.split for form in forms])
    return Blocks(split, np.choose(choice[..., None, None], [form.quarters for form in forms]))


def _evaluate_forms(cost: Cost, best: EvaluatedPartition, color: tuple[int, int]) -> _FormCosts:
    """Tries four alternatives for the blocks of a color, in one call."""
    now = blocks_of(best.partition)
    mine = _color_slices(color)
    was_split = now.split[mine]
    base = now.quarters[mine] & was_split[..., None, None]
    alternatives = _alternatives(was_split, base)
    tried = [partition_of(_with_color(now, color, form)) for form in alternatives]
    before = _surrounding_costs(best.areas, color)
    costs = [_surrounding_costs(areas, color) - before for areas in cost(tried).areas]
    # Of a whole block, the split with `base` is the first alternative.
    as_base = np.where(was_split[..., None, None], 0.0, costs[0])
    flipped = [
        _by_quarter(flip - as_base, quarters)
        for flip, quarters in zip(costs[2:], (_DIAGONAL, ~_DIAGONAL), strict=True)
    ]
    return _FormCosts(
        was_split,
        base,
        alternatives,
        np.stack([part.sum((-2, -1)) for part in costs]),
        as_base.sum((-2, -1)),
        np.where(_DIAGONAL, *flipped),
    )


def _alternatives(was_split: np.ndarray, base: np.ndarray) -> tuple[Blocks, ...]:
    """The four of `_FormCosts`."""
    split = np.ones_like(was_split)
    nothing = np.zeros_like(base)
    # All quarters of a split block alike: the farther way, since flips tell of the nearer.
    alike = np.broadcast_to((base.sum((-2, -1)) < 2)[..., None, None], base.shape)
    return (
        Blocks(~was_split, nothing),
        Blocks(split, np.where(was_split[..., None, None], alike, True)),
        Blocks(split, base ^ _DIAGONAL),
        Blocks(split, base ^ ~_DIAGONAL),
    )


def _by_quarter(difference: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """What either quarter of a diagonal that was flipped has made of the costs, [..., 2, 2].

    The two quarters between them, which were not, count half for each.
    """
    between = np.where(diagonal, 0.0, difference).sum((-2, -1), keepdims=True)
    return difference + between / 2


def _surrounding_costs(areas: np.ndarray, color: tuple[int, int]) -> np.ndarray:
    """Costs around every block of a color: [rows', columns', 2, 2], the quarters of a square of
    twice its side. The squares of a color do not overlap."""
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
    """Where the blocks of a color are."""
    return np.s_[color[0] :: 2, color[1] :: 2]


def _with_color(now: Blocks, color: tuple[int, int], forms: Blocks) -> Blocks:
    """`now` with the blocks of a color in other forms."""
    split, quarters = now.split.copy(), now.quarters.copy()
    split[_color_slices(color)], quarters[_color_slices(color)] = forms
    return Blocks(split, quarters)


def _with_block(
    around: Blocks, block: tuple[int, int], split: bool, quarters: np.ndarray
) -> Partition:
    """The partition with one block of this form."""
    splits, all_quarters = around.split.copy(), around.quarters.copy()
    splits[block], all_quarters[block] = split, quarters
    return partition_of(Blocks(splits, all_quarters))
