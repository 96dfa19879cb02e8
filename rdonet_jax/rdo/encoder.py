"""Rate-distortion-optimized encoding: a start, passes of search from it, and the file.

With no pass, the partition is the start itself ("zero-pass RDO" when that is the variance mask).
After a search both the start and what was found are coded for good, and the file that costs less by
its real bits is the result, so that a search never does harm.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rdonet_jax.codec import codec, preparation
from rdonet_jax.codec.codec import Encoded, Report
from rdonet_jax.codec.preparation import EncodeError, PreparedImage
from rdonet_jax.core.partition import Partition
from rdonet_jax.imaging import pixel_format
from rdonet_jax.imaging.pixel_format import Picture
from rdonet_jax.models import registry
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import search
from rdonet_jax.rdo.cost import RDCost
from rdonet_jax.rdo.encode_options import MAX_PASSES, EncodeOptions, Plan
from rdonet_jax.rdo.initial_masks import initial_partition
from rdonet_jax.rdo.search import SearchStats


class SearchSummary(NamedTuple):
    """What a search has done."""

    stats: SearchStats
    before: float  # J per pixel of the start's file: real bits
    after: float  # of the result's
    interrupted: bool


class EncodeResult(NamedTuple):
    """An encoded image, its partition and how that was found."""

    encoded: Encoded
    partition: Partition
    searched: SearchSummary | None  # None without a pass
    image: PreparedImage  # what was encoded


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
    return ("start", *_color_steps(plan.passes), "coding")


def _color_steps(passes: int) -> tuple[str, ...]:
    colors = range(1, len(search.COLORS) + 1)
    return tuple(
        f"pass {number}, {color}/{len(search.COLORS)}"
        for number in range(1, passes + 1)
        for color in colors
    )


def encode(
    model: Model,
    image: PreparedImage | Picture | np.ndarray,
    options: EncodeOptions,
    report: Report = codec.silent,
) -> EncodeResult:
    """Encodes an image, or its pixels alone, at one quality.

    The partition is chosen by the image's colors in 8 bits, whatever form it has. An interrupt
    (Ctrl-C) in the middle of a search ends it, and the best partition so far is used; so does a
    `KeyboardInterrupt` that `report` raises at a step of the search.

    Raises `PartitionError` and `EncodeError` as `codec.encode` and `require_masks` do, and
    ValueError for a target, which `rdonet_jax.rdo.coding` takes.
    """
    if options.target is not None:
        raise ValueError("one encoding has a quality and no target")
    require_masks(model, options.plan)
    prepared = preparation.prepare(model.config, image)
    if options.plan.passes:
        return _encode_with_search(model, prepared, options, report)
    start = initial_partition(model, prepared.rgb8, options.plan.init, options.quality)
    encoded = codec.encode(
        model,
        prepared,
        start,
        options.quality,
        options.coder,
        report,
        reconstruct=options.reconstruct,
    )
    return EncodeResult(encoded, start, None, prepared)


def _encode_with_search(
    model: Model, image: PreparedImage, options: EncodeOptions, report: Report
) -> EncodeResult:
    """The cheaper by real bits of two files: that of the start, and that of the search."""
    codec.require_coder(options.coder)
    report("start")
    rd_cost = RDCost(model, image, options.quality)
    stats = SearchStats()
    cost = search.count_evaluations(rd_cost, stats)
    start = initial_partition(model, image.rgb8, options.plan.init, options.quality, cost)
    found, interrupted = _run_search(cost, start, options.plan.passes, report)
    report("coding")
    candidates = [start] if all(map(np.array_equal, start, found)) else [start, found]
    files = [codec.encode(model, image, p, options.quality, options.coder) for p in candidates]
    costs = [rd_cost.of_file(len(file.data), pixel_format.as_rgb8(file.picture)) for file in files]
    best = int(np.argmin(costs))
    searched = SearchSummary(stats, costs[0], costs[best], interrupted)
    return EncodeResult(files[best], candidates[best], searched, image)


def choose(model: Model, image: np.ndarray, plan: Plan, quality: float | None = None) -> Partition:
    """The partition of an image uint8 [H, W, 3] by `plan`, where no file is to be written.

    Raises as `encode` does.
    """
    require_masks(model, plan)
    if not plan.passes:
        return initial_partition(model, image, plan.init, quality)
    rd_cost = RDCost(model, image, quality)
    start = initial_partition(model, image, plan.init, quality, rd_cost)
    *_, best = search.fast(rd_cost, start, plan.passes)
    return best.partition


def is_search_step(step: str) -> bool:
    """Whether a step that `encode` reports is one of the search."""
    return step in _color_steps(MAX_PASSES)


def _run_search(
    cost: search.Cost, start: Partition, passes: int, report: Report
) -> tuple[Partition, bool]:
    """The result of the fast search, and whether it was interrupted."""
    waiting = iter(_color_steps(passes))
    best = start
    try:
        for found in search.fast(cost, start, passes):
            best = found.partition
            report(next(waiting, "coding"))
    except KeyboardInterrupt:
        return best, True
    return best, False
