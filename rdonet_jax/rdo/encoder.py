"""Rate-distortion-optimized encoding: an initial partition, passes of a search, and the file.

Without passes, the initial partition is used ("zero-pass RDO" in the papers for the variance mask).
After a search, both the initial partition and the result are encoded, and the file of lower cost by
its real bits is kept. So a search never increases the cost.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rdonet_jax.codec import codec, engine_choice, preparation
from rdonet_jax.codec.codec import Encoded, Report
from rdonet_jax.codec.preparation import EncodeError, PreparedImage
from rdonet_jax.core.partition import Partition
from rdonet_jax.imaging import pixel_format
from rdonet_jax.imaging.pixel_format import ImageData
from rdonet_jax.models import registry
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import search
from rdonet_jax.rdo.encode_options import MAX_PASSES, EncodeOptions, Plan
from rdonet_jax.rdo.initial_masks import initial_partition
from rdonet_jax.rdo.search import SearchStats


class SearchSummary(NamedTuple):
    """The summary of a search."""

    stats: SearchStats
    before: float  # J per pixel of the file with the initial partition, by real bits
    after: float  # the same for the file that is kept
    interrupted: bool


class EncodeResult(NamedTuple):
    """An encoded image, its partition, and the summary of the search."""

    encoded: Encoded
    partition: Partition
    searched: SearchSummary | None  # None without a pass
    image: PreparedImage  # the image as it was encoded


def require_masks(model: Model, plan: Plan) -> None:
    """Raises `EncodeError` if a model without masks gets another plan than the default."""
    if not registry.family_of(model.config).has_levels and plan != Plan():
        raise EncodeError(
            f"{model.name} codes every block at one level: there is no mask to choose or to "
            "search for"
        )


def steps(plan: Plan, reconstruct: bool = False) -> tuple[str, ...]:
    """The steps that `encode` reports, in this order."""
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
    image: PreparedImage | ImageData | np.ndarray,
    options: EncodeOptions,
    report: Report = codec.silent,
) -> EncodeResult:
    """Encodes an image, or an array of pixels, at one quality.

    The partition is chosen by the 8-bit colors of the image, also for gray and 16-bit images. An
    interrupt (Ctrl-C) during a search ends it, and the best partition so far is used. So does a
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
        engine=options.engine,
    )
    return EncodeResult(encoded, start, None, prepared)


def _encode_with_search(
    model: Model, image: PreparedImage, options: EncodeOptions, report: Report
) -> EncodeResult:
    """Encodes with the initial and with the searched partition; keeps the file of lower cost."""
    codec.require_coder(options.coder)
    engine_choice.choose(model.config, options.engine)
    report("start")
    from rdonet_jax.rdo.cost import RDCost

    rd_cost = RDCost(model, image, options.quality)
    stats = SearchStats()
    cost = search.count_evaluations(rd_cost, stats)
    start = initial_partition(model, image.rgb8, options.plan.init, options.quality, cost)
    result, interrupted = _run_search(cost, start, options.plan.passes, report)
    report("coding")
    candidates = [start] if all(map(np.array_equal, start, result)) else [start, result]
    files = [
        codec.encode(model, image, p, options.quality, options.coder, engine=options.engine)
        for p in candidates
    ]
    costs = [rd_cost.file_cost(len(file.data), pixel_format.as_rgb8(file.image)) for file in files]
    best = int(np.argmin(costs))
    summary = SearchSummary(stats, costs[0], costs[best], interrupted)
    return EncodeResult(files[best], candidates[best], summary, image)


def choose(model: Model, image: np.ndarray, plan: Plan, quality: float | None = None) -> Partition:
    """The partition of an image uint8 [H, W, 3] by `plan`, without encoding it.

    Raises as `encode` does.
    """
    require_masks(model, plan)
    if not plan.passes:
        return initial_partition(model, image, plan.init, quality)
    from rdonet_jax.rdo.cost import RDCost

    rd_cost = RDCost(model, image, quality)
    start = initial_partition(model, image, plan.init, quality, rd_cost)
    *_, best = search.fast(rd_cost, start, plan.passes)
    return best.partition


def is_search_step(step: str) -> bool:
    """Whether a reported step belongs to the search."""
    return step in _color_steps(MAX_PASSES)


def _run_search(
    cost: search.Cost, start: Partition, passes: int, report: Report
) -> tuple[Partition, bool]:
    """The best partition of the fast search, and whether the search was interrupted."""
    remaining_steps = iter(_color_steps(passes))
    best = start
    try:
        for evaluated in search.fast(cost, start, passes):
            best = evaluated.partition
            report(next(remaining_steps, "coding"))
    except KeyboardInterrupt:
        return best, True
    return best, False
