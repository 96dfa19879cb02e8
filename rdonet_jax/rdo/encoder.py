"""Rate-distortion-optimized encoding: a start, passes of search from it, and the file.

With no pass, the partition is the start itself ("zero-pass RDO" when that is the variance mask).
After a search both the start and what was found are coded for good, and the file that costs less by
its real bits is the result, so that a search never does harm.
"""

from __future__ import annotations

import dataclasses
import numbers
from typing import NamedTuple

import numpy as np

from rdonet_jax.codec import codec
from rdonet_jax.codec.codec import Encoded, EncodeError, Report
from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition
from rdonet_jax.imaging import pixel_format
from rdonet_jax.imaging.pixel_format import Picture
from rdonet_jax.models import registry
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import search
from rdonet_jax.rdo.cost import RDCost
from rdonet_jax.rdo.masks import INITS
from rdonet_jax.rdo.search import SearchStats

MOST_PASSES = 2


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to choose a partition.

    Attributes:
      init: where to start, one of `INITS`, or a partition.
      passes: of the search from there, 0 to `MOST_PASSES`.
    """

    init: str | Partition = "variance"
    passes: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.init, str) and self.init not in INITS:
            raise ValueError(f"unknown start {self.init!r}; there are {', '.join(INITS)}")
        whole = isinstance(self.passes, numbers.Integral)
        if not whole or self.passes not in range(MOST_PASSES + 1):
            raise ValueError(f"a search has 0 to {MOST_PASSES} passes, not {self.passes}")


class Searched(NamedTuple):
    """What a search has done."""

    stats: SearchStats
    before: float  # J per pixel of the start's file: real bits
    after: float  # of the result's
    interrupted: bool


class Optimised(NamedTuple):
    """A compressed image, its partition and how that was found."""

    encoded: Encoded
    partition: Partition
    searched: Searched | None  # None without a pass


def require_masks(model: Model, plan: Plan) -> None:
    """Raises `EncodeError` for another plan than the default with a model that has no masks."""
    if not registry.family_of(model.config).has_levels and plan != Plan():
        raise EncodeError(
            f"{model.name} codes every block at one level: there is no mask to choose or to "
            "search for"
        )


def steps(plan: Plan, reconstruct: bool = False) -> tuple[str, ...]:
    """What `encode` reports, in this order."""
    if not plan.passes:
        return (*codec.ENCODING_STEPS, *((codec.SYNTHESIS,) if reconstruct else ()))
    return ("start", *_colour_steps(plan.passes), "coding")


def _colour_steps(passes: int) -> tuple[str, ...]:
    colours = range(1, len(search.COLOURS) + 1)
    return tuple(
        f"pass {number}, {colour}/{len(search.COLOURS)}"
        for number in range(1, passes + 1)
        for colour in colours
    )


def encode(
    model: Model,
    image: Picture | np.ndarray,
    plan: Plan,
    quality: float | None = None,
    coder_name: str = codec.DEFAULT_CODER,
    report: Report = codec.silent,
    reconstruct: bool = False,
) -> Optimised:
    """Compresses an image, or pixels alone, with a partition by `plan`.

    Partitions are chosen by its colors in 8 bits, whatever form it has. With no pass the image
    is reconstructed only if asked for. An interrupt (Ctrl-C) in the middle of a search ends it, and
    the best so far is coded; so does a `KeyboardInterrupt` that `report` raises at a step of the
    search. Raises `PartitionError` and `EncodeError` as `codec.encode` and `require_masks` do.
    """
    require_masks(model, plan)
    codec.checked_size(model.config, image)
    picture = pixel_format.fill_hidden(pixel_format.as_picture(image))
    plain = pixel_format.as_rgb8(picture)
    if not plan.passes:
        start = start_of(model, plain, plan.init, quality)
        encoded = codec.encode(
            model, picture, start, quality, coder_name, report, reconstruct=reconstruct
        )
        return Optimised(encoded, start, None)
    codec.require_coder(coder_name)
    report("start")
    rd_cost = RDCost(model, plain, quality)
    stats = SearchStats()
    cost = search.counted(rd_cost, stats)
    start = start_of(model, plain, plan.init, quality, cost)
    found, interrupted = _found(cost, start, plan.passes, report)
    report("coding")
    candidates = [start] if all(map(np.array_equal, start, found)) else [start, found]
    files = [codec.encode(model, picture, p, quality, coder_name) for p in candidates]
    costs = [rd_cost.of_file(len(file.data), pixel_format.as_rgb8(file.picture)) for file in files]
    best = int(np.argmin(costs))
    searched = Searched(stats, costs[0], costs[best], interrupted)
    return Optimised(files[best], candidates[best], searched)


def choose(model: Model, image: np.ndarray, plan: Plan, quality: float | None = None) -> Partition:
    """The partition of an image uint8 [H, W, 3] by `plan`, where no file is to be written.

    Raises as `encode` does.
    """
    require_masks(model, plan)
    if not plan.passes:
        return start_of(model, image, plan.init, quality)
    rd_cost = RDCost(model, image, quality)
    start = start_of(model, image, plan.init, quality, rd_cost)
    *_, best = search.fast(rd_cost, start, plan.passes)
    return best.partition


def is_of_search(step: str) -> bool:
    """Whether a step that `encode` reports is one of the search."""
    return step in _colour_steps(MOST_PASSES)


def _found(
    cost: search.Cost, start: Partition, passes: int, report: Report
) -> tuple[Partition, bool]:
    """The result of the fast search, and whether it was interrupted."""
    waiting = iter(_colour_steps(passes))
    best = start
    try:
        for found in search.fast(cost, start, passes):
            best = found.partition
            report(next(waiting, "coding"))
    except KeyboardInterrupt:
        return best, True
    return best, False


def start_of(
    model: Model,
    image: np.ndarray,
    init: str | Partition,
    quality: float | None = None,
    cost: search.Cost | None = None,
) -> Partition:
    """The partition that a search starts from, or that is used without one.

    `init` is one of `INITS`, or a partition. `cost` is for `masks.SOLVED`, and made where it is
    missing. Raises `PartitionError` for a mask of another size than the image's.
    """
    if not isinstance(init, str):
        return init
    mask = INITS[init]
    if mask is None:
        cost = cost or RDCost(model, image, quality)
        p = search.from_uniform(cost, partition.grid_of(*image.shape[:2]))
    else:
        p = mask(model, image, quality)
    return partition.trim(p, *image.shape[:2])
