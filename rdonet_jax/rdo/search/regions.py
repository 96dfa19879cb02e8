"""The regions of an image that are searched one after the other, for images of any size.

A region is a tile of one of a few shapes. So nothing is compiled for the size of an image, and only
the image itself takes memory that grows with it. The blocks in the core of the tile are decided.
Those in its margin are as they were decided so far, and take part in the costs. Fixed-rate networks
do not know where an image ends in an array, so for them the only region is the whole image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from rdonet_jax.codec import codec, memory, preparation, qualities, tiles
from rdonet_jax.codec.preparation import EncodeError, PreparedImage
from rdonet_jax.codec.tiles import Span, Tile
from rdonet_jax.core import partition
from rdonet_jax.core.defaults import SEARCH_TRIALS
from rdonet_jax.core.partition import BLOCK, STRIDES, Partition
from rdonet_jax.imaging import pixel_format
from rdonet_jax.models import registry
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import encoder_tiles
from rdonet_jax.rdo.search import uniform
from rdonet_jax.rdo.search.costs import Cost, Costs, SearchStats, count_evaluations, evaluate
from rdonet_jax.rdo.search.fast import SplitCosts, fast, most_evaluations, split_costs

MARGIN = 1
"""Blocks around the core of a tile, on each side. Changes are judged by half a block around them,
and the result is judged by real files."""


@dataclasses.dataclass(frozen=True)
class Region:
    """A part of an image that is searched at a time.

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

    def store(self, p: Partition, found: Partition) -> None:
        """Writes the core of a partition of the region into that of the image."""
        for factor, (splits, of_region) in enumerate(zip(p, found, strict=True), 1):
            splits[self.tile.core_slices(factor)] = self.tile.crop_core(of_region[None], factor)

    def _slices(self, factor: int = 1) -> tuple[slice, slice]:
        rows, columns = (
            slice(factor * span.start, factor * (span.start + side))
            for span, side in zip(self.tile[:2], self.tile.sides, strict=True)
        )
        return rows, columns


def of_image(
    model: Model,
    image: PreparedImage | np.ndarray,
    quality: float | None,
    around: Partition,
    decoded: np.ndarray | None = None,
    gains: np.ndarray | None = None,
) -> list[Region]:
    """The regions of a prepared image, or of pixels uint8 [H, W, 3].

    `gains` are points of quality by 64x64 block, for families whose files have them.

    Distortions that do not add up are linearized around the image coded with the partition
    `around`; `decoded`, uint8 [H, W, 3], is that image where it is known.

    Raises `EncodeError` for an image that cannot be coded, for one that takes more memory to search
    than there is, and for a quality that the model does not have.
    """
    prepared = preparation.prepare(model.config, image)
    grid = partition.block_grid(*prepared.size)
    is_tiled = registry.family_of(model.config).variable_rate
    covering = encoder_tiles.cover(grid, margin=MARGIN) if is_tiled else [_whole(grid)]
    if lack := memory.searching_shortage(model.config, grid, covering[0].sides):
        raise EncodeError(f"the image is too large: {lack}")
    if is_tiled:
        return _tiled(model, prepared, quality, covering, around, decoded, gains)
    # Raises for gains, which no model without a quality takes.
    qualities.chosen(model.config, quality, gains, prepared.size)
    from rdonet_jax.rdo.cost import RDCost

    return [Region(covering[0], lambda: RDCost(model, prepared, quality))]


def _whole(grid: tuple[int, int]) -> Tile:
    rows, columns = (Span(0, 0, length) for length in grid)
    return Tile(rows, columns, grid)


def _tiled(
    model: Model,
    image: PreparedImage,
    quality: float | None,
    covering: Sequence[Tile],
    around: Partition,
    decoded: np.ndarray | None,
    gains: np.ndarray | None,
) -> list[Region]:
    from rdonet_jax.rdo.cost import PartCost, of_files

    chosen = qualities.chosen(model.config, quality, gains, image.size)
    blocks = chosen.of_blocks(model.config)
    file_cost = of_files(model, image.rgb8, quality, chosen)
    if file_cost.adds_up:
        weights = file_cost.weights(None)
    else:
        if decoded is None:
            encoded = codec.encode(model, image, around, quality, gains=gains)
            decoded = pixel_format.as_rgb8(encoded.image)
        weights = file_cost.weights(decoded)

    def cost(tile: Tile) -> Cost:
        pixels = tiles.cut(image.rgb8, tile, BLOCK)
        size = tuple(tile.extent(image.size, BLOCK).tolist())
        arguments = (model, file_cost.distortions, weights, quality, pixels, size)
        if not isinstance(blocks, np.ndarray):
            return PartCost(*arguments)
        relative = tiles.cut(file_cost.relative, tile, BLOCK // STRIDES[0])[0]
        return PartCost(*arguments, tiles.cut(blocks, tile)[0], relative)

    return [Region(tile, lambda tile=tile: cost(tile)) for tile in covering]


def search(
    regions: Sequence[Region],
    start: Partition,
    passes: int,
    stats: SearchStats | None = None,
    report: Callable[[float], None] = lambda share: None,
    trials: int = SEARCH_TRIALS,
) -> Iterator[Partition]:
    """The partition of the image: first the start, then after each step of `fast` in each region.

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
        steps = fast(
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
    found = SplitCosts(*(np.zeros(part.shape) for part in p))
    for region in regions:
        cost = region.make_cost()
        of_region = split_costs(cost, evaluate(cost, region.cut(p)))
        region.store(found, of_region)
    return found


def _copy(p: Partition) -> Partition:
    return Partition(*(np.array(part, bool) for part in p))
