"""The search for the partition of an image, one region after the other.

The blocks in the core of a region's tile are decided. Those in its margin are as they were decided
so far, and take part in the costs. `rdonet_jax.rdo.image_regions` divides images into regions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from rdonet_jax.codec.tiles import Tile
from rdonet_jax.core import partition
from rdonet_jax.core.defaults import SEARCH_TRIALS
from rdonet_jax.core.partition import Partition
from rdonet_jax.rdo.search import uniform
from rdonet_jax.rdo.search.costs import Cost, Costs, SearchStats, count_evaluations, evaluate
from rdonet_jax.rdo.search.fast import SplitCosts, most_evaluations, search_fast, split_costs

OfBlocks = Partition | SplitCosts
"""Something for every block of 64x64 and of 32x32 pixels, as `split64` and `split32`."""


@dataclasses.dataclass(frozen=True)
class Region:
    """An area of an image that is searched at a time.

    Attributes:
      tile: where it is, in blocks.
      make_cost: gives the cost function of partitions of the blocks in the tile. What that keeps is
        needed as long as the region is searched.
    """

    tile: Tile
    make_cost: Callable[[], Cost]

    def cut(self, p: Partition) -> Partition:
        """The partition of the region, of that of the image; a copy."""
        return Partition(*(splits[self._slices(n)].copy() for n, splits in enumerate(p, 1)))

    def decided(self, grid: tuple[int, int]) -> np.ndarray:
        """Which of its blocks are decided in an image of `grid` blocks, bool [rows, columns]."""
        core = np.zeros(grid, bool)
        core[self.tile.core_slices()] = True
        return core[self._slices()]

    def store(self, p: OfBlocks, found: OfBlocks) -> None:
        """Writes the core of what the region has for its blocks into that of the image."""
        for factor, (splits, of_region) in enumerate(zip(p, found, strict=True), 1):
            splits[self.tile.core_slices(factor)] = self.tile.crop_core(of_region[None], factor)

    def _slices(self, factor: int = 1) -> tuple[slice, slice]:
        rows, columns = (
            slice(factor * span.start, factor * (span.start + side))
            for span, side in zip(self.tile[:2], self.tile.sides, strict=True)
        )
        return rows, columns


def search(
    regions: Sequence[Region],
    start: Partition,
    passes: int,
    stats: SearchStats | None = None,
    report: Callable[[float], None] = lambda share: None,
    trials: int = SEARCH_TRIALS,
) -> Iterator[Partition]:
    """The partition of the image: first the start, then after each step of the search in a region.

    All passes of a region are made before the next one begins. `trials` are those of a pass.
    `report` is called before every evaluation, with the share of the work that is done, below 1.
    """
    best = _copy(start)
    yield _copy(best)
    stats = stats or SearchStats()
    for number, region in enumerate(regions if passes else ()):

        def report_of_region(share: float, number: int = number) -> None:
            report((number + share) / len(regions))

        cost = _reporting(region.make_cost(), most_evaluations(passes, trials), report_of_region)
        steps = search_fast(
            count_evaluations(cost, stats),
            region.cut(best),
            passes,
            region.decided(best.split64.shape),
            trials,
        )
        next(steps)  # the start
        for evaluated in steps:
            region.store(best, evaluated.partition)
            yield _copy(best)


def _reporting(cost: Cost, most: int, report: Callable[[float], None]) -> Cost:
    """The cost function, which reports before every evaluation the share of `most` so far."""
    begun = iter(range(most))

    def reporting_cost(candidates: Sequence[Partition]) -> Costs:
        found = []
        for candidate in candidates:
            report(next(begun) / most)
            found.append(cost([candidate]))
        return Costs(*map(np.concatenate, zip(*found, strict=True)))

    return reporting_cost


def solve(regions: Iterable[Region], grid: tuple[int, int]) -> Partition:
    """Every quadtree solved by the costs of the three uniform partitions."""
    found = _copy(partition.uniform(0, grid))
    for region in regions:
        of_region = region.cut(found).split64.shape
        region.store(found, uniform.from_uniform(region.make_cost(), of_region))
    return found


def splits(regions: Iterable[Region], p: Partition) -> SplitCosts:
    """The cost of every single split of a partition, with the rest of the image unchanged."""
    found = SplitCosts(*(np.zeros(of_size.shape) for of_size in p))
    for region in regions:
        cost = region.make_cost()
        of_region = split_costs(cost, evaluate(cost, region.cut(p)))
        region.store(found, of_region)
    return found


def _copy(p: Partition) -> Partition:
    return Partition(*(np.array(of_size, bool) for of_size in p))
