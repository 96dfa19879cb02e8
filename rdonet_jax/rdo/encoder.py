"""Rate-distortion-optimized encoding: initial partition, passes of a search, latent refinement.

Without passes, the initial partition is used ("zero-pass RDO" in the papers for the variance mask).
After a search, both the initial partition and the result are encoded, and the file of lower cost by
its real bits is kept. So a search never increases the cost. The same holds for a refinement of the
latents, which follows the search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rdonet_jax.codec import codec, engine_choice, family_codec, preparation
from rdonet_jax.codec.codec import Encoded, Report
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.codec.image_quality import ImageQuality
from rdonet_jax.codec.preparation import PreparedImage
from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition
from rdonet_jax.imaging import pixel_format
from rdonet_jax.imaging.pixel_format import ImageData
from rdonet_jax.models import registry
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import image_regions, initial_masks
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan
from rdonet_jax.rdo.search import regions
from rdonet_jax.rdo.search.costs import SearchStats
from rdonet_jax.rdo.search.regions import Region

if TYPE_CHECKING:
    from rdonet_jax.codec.level_coder import ImageLatents
    from rdonet_jax.rdo.refinement import Problem

MAX_STEPS = 10
"""Reported steps of a search, and those of a refinement at most."""

_SEARCH, _REFINEMENT = "search", "refinement"
REFINED_CODING = "refined coding"


class SearchSummary(NamedTuple):
    """The summary of a search, of a refinement, or of one after the other."""

    stats: SearchStats
    before: float  # J per pixel of the file with the initial partition, by real bits
    after: float  # the same for the file that is kept
    interrupted: bool
    refinements: int = 0  # iterations asked for


class EncodeResult(NamedTuple):
    """An encoded image, its partition, and the summary of search and refinement."""

    encoded: Encoded
    partition: Partition
    searched: SearchSummary | None  # None without a pass and without a refinement
    prepared: PreparedImage  # the image as it was encoded
    quality: ImageQuality


def require_plan(model: Model, plan: Plan) -> None:
    """Raises `EncodeError` for a plan that the model does not support.

    A model without masks supports no search for them, and no kind of masks. A partition is checked
    when it is coded. Only some refine latents.
    """
    if plan.refinements and not family_codec.of(model.config).takes_latents:
        raise EncodeError(
            f"{model.name}: the latents of this kind of model cannot be refined, only those of "
            "portable models"
        )
    is_masked = plan.passes or (isinstance(plan.init, str) and plan.init != Plan.init)
    if is_masked and not registry.family_of(model.config).has_levels(model.config):
        raise EncodeError(
            f"{model.name} codes every block at one level: there is no mask to choose or to "
            "search for"
        )


def steps(plan: Plan, reconstruct: bool = False) -> tuple[str, ...]:
    """The steps that `encode` reports, in this order."""
    if not plan.passes and not plan.refinements:
        return (*codec.ENCODING_STEPS, *((codec.SYNTHESIS,) if reconstruct else ()))
    searching = ("start", *_numbered_steps(_SEARCH, MAX_STEPS)) if plan.passes else ()
    return (*searching, "coding", *refinement_steps(plan))


def refinement_steps(plan: Plan) -> tuple[str, ...]:
    """The steps that `refine` reports, in this order."""
    if not plan.refinements:
        return ()
    return (*iteration_steps(plan.refinements), REFINED_CODING)


def iteration_steps(iterations: int) -> tuple[str, ...]:
    """The steps of the refinement itself, in this order."""
    return _numbered_steps(_REFINEMENT, min(MAX_STEPS, iterations))


def _numbered_steps(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name} {number}/{count}" for number in range(1, count + 1))


def encode(
    model: Model,
    image: PreparedImage | ImageData | np.ndarray,
    options: EncodeOptions,
    report: Report = codec.silent,
) -> EncodeResult:
    """Encodes an image, or an array of pixels, at one quality.

    The partition is chosen by the 8-bit colors of the image, also for gray and 16-bit images. An
    interrupt (Ctrl-C) during a search or a refinement ends both, and the best so far is used. So
    does a `KeyboardInterrupt` that `report` raises at one of their steps.

    Raises `PartitionError` and `EncodeError` as `codec.encode` and `require_plan` do, and
    ValueError for a target, which `rdonet_jax.rdo.coding` takes.
    """
    if options.target is not None:
        raise ValueError("one encoding has a quality and no target")
    require_plan(model, options.plan)
    prepared = preparation.prepare(model.config, image)
    quality = parse_quality(model.config, options.quality, options.gains, prepared.size)
    if options.plan.passes:
        result = _encode_with_search(model, prepared, quality, options, report)
    elif options.plan.refinements:
        report("coding")
        result = _encode_plainly(model, prepared, quality, options, codec.silent)
    else:
        return _encode_plainly(model, prepared, quality, options, report)
    is_interrupted = result.searched is not None and result.searched.interrupted
    if not options.plan.refinements or is_interrupted:
        return result
    return refine(model, result, options, report)


def _encode_plainly(
    model: Model,
    prepared: PreparedImage,
    quality: ImageQuality,
    options: EncodeOptions,
    report: Report,
) -> EncodeResult:
    """Encodes with the initial partition. Before a refinement, with the decoder's pixels."""
    start = initial_masks.partition_at(model, prepared.rgb8, options.plan.init, quality)
    encoded = codec.encode_prepared(
        model,
        prepared,
        start,
        quality,
        options.coder,
        report,
        reconstruct=options.reconstruct or bool(options.plan.refinements),
        engine=options.engine,
    )
    return EncodeResult(encoded, start, None, prepared, quality)


def refine(
    model: Model, result: EncodeResult, options: EncodeOptions, report: Report
) -> EncodeResult:
    """Refines the latents of an encoded image, and keeps the file of lower cost.

    `result` has the decoder's pixels.
    """
    from rdonet_jax.rdo.cost import make_file_cost

    cost = make_file_cost(model, result.prepared, result.quality)
    refined, interrupted = encode_refined(model, result, options, report)
    before, after = (cost.of(file) for file in (result.encoded, refined))
    best = refined if after < before else result.encoded
    searched = result.searched or SearchSummary(SearchStats(), before, before, False)
    summary = searched._replace(
        after=min(before, after), interrupted=interrupted, refinements=options.plan.refinements
    )
    return result._replace(encoded=best, searched=summary)


def encode_refined(
    model: Model, result: EncodeResult, options: EncodeOptions, report: Report
) -> tuple[Encoded, bool]:
    """The file of refined latents, and whether the refinement was interrupted.

    `result` is as in `refine`. The file may cost more, for its estimate is not exact.
    """
    from rdonet_jax.rdo import refinement

    refinement.require_memory(model, result.prepared.size)
    problem, start = refinement_problem(model, result, options)
    iterations = options.plan.refinements
    names = iteration_steps(iterations)
    refined = refinement.refine(problem, start, iterations, names, report)
    report(REFINED_CODING)
    return encode_given_latents(model, result, options, refined.latents), refined.interrupted


def refinement_problem(
    model: Model, result: EncodeResult, options: EncodeOptions
) -> tuple[Problem, ImageLatents]:
    """What is to be refined, and the latents to start from; `result` is as in `refine`."""
    from rdonet_jax.rdo.cost import make_file_cost
    from rdonet_jax.rdo.refinement import Problem

    prepared, quality = result.prepared, result.quality
    cost = make_file_cost(model, prepared, quality)
    p = partition.trim(result.partition, *prepared.size)
    start = codec.start_latents(model, prepared, p, quality, options.engine)
    weights = tuple(cost.weights(pixel_format.as_rgb8(result.encoded.pixels)))
    problem = Problem(model, prepared.rgb8, p, quality, cost.distortions, weights, cost.relative)
    return problem, start


def encode_given_latents(
    model: Model, result: EncodeResult, options: EncodeOptions, latents: ImageLatents
) -> Encoded:
    """The file of other latents for the image and the partition of a result."""
    return codec.encode_prepared(
        model,
        result.prepared,
        partition.trim(result.partition, *result.prepared.size),
        result.quality,
        options.coder,
        engine=options.engine,
        latents=latents,
    )


def _encode_with_search(
    model: Model,
    prepared: PreparedImage,
    quality: ImageQuality,
    options: EncodeOptions,
    report: Report,
) -> EncodeResult:
    """Encodes with the initial and with the searched partition; keeps the file of lower cost."""
    codec.require_coder(options.coder)
    engine_choice.choose(model.config, options.engine)
    report("start")

    def encode_with(p: Partition) -> Encoded:
        return codec.encode_prepared(
            model, prepared, p, quality, options.coder, engine=options.engine
        )

    start = initial_masks.partition_at(model, prepared.rgb8, options.plan.init, quality)
    candidates, files = [start], [encode_with(start)]
    decoded = pixel_format.as_rgb8(files[0].pixels)
    all_regions = image_regions.of_image(model, prepared, quality, start, decoded)
    stats = SearchStats()
    result, interrupted = _run_search(all_regions, start, options.plan, stats, report)
    report("coding")
    if not all(map(np.array_equal, start, result)):
        candidates.append(result)
        files.append(encode_with(result))
    from rdonet_jax.rdo.cost import make_file_cost

    cost = make_file_cost(model, prepared, quality)
    costs = [cost.of(file) for file in files]
    best = int(np.argmin(costs))
    summary = SearchSummary(stats, costs[0], costs[best], interrupted)
    return EncodeResult(files[best], candidates[best], summary, prepared, quality)


def choose(model: Model, image: np.ndarray, plan: Plan, quality: float | None = None) -> Partition:
    """The partition of an image uint8 [H, W, 3] by `plan`, without encoding it.

    Raises as `encode` does.
    """
    require_plan(model, plan)
    parsed = parse_quality(model.config, quality)
    start = initial_masks.partition_at(model, image, plan.init, parsed)
    if not plan.passes:
        return start
    all_regions = image_regions.of_image(model, image, parsed, start)
    *_, best = regions.search(all_regions, start, plan.passes, trials=plan.trials)
    return best


def is_search_step(step: str) -> bool:
    """Whether a reported step belongs to a search or a refinement, which may be interrupted."""
    return step.startswith((f"{_SEARCH} ", f"{_REFINEMENT} "))


def _run_search(
    all_regions: list[Region], start: Partition, plan: Plan, stats: SearchStats, report: Report
) -> tuple[Partition, bool]:
    """The best partition of the search, and whether the search was interrupted."""
    names = _numbered_steps(_SEARCH, MAX_STEPS)
    best = start

    def report_share(share: float) -> None:
        report(names[int(share * len(names))])

    partitions = regions.search(all_regions, start, plan.passes, stats, report_share, plan.trials)
    try:
        for found in partitions:
            best = found
    except KeyboardInterrupt:
        return best, True
    return best, False
