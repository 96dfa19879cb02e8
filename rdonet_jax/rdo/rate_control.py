"""Rate control: encodes with the quality that meets a target, found in few trials.

A target is a size or a value of a metric. Both rise with the quality, at a nearly constant rate,
except for flat and tiny images. `targets` has the metrics, and `quality_search` chooses the trials.
Only variable-rate models have qualities.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from rdonet_jax.codec import codec, preparation
from rdonet_jax.codec.codec import Report
from rdonet_jax.codec.preparation import PreparedImage
from rdonet_jax.imaging import pixel_format
from rdonet_jax.imaging.pixel_format import ImageData
from rdonet_jax.models import registry
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import encoder
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan
from rdonet_jax.rdo.encoder import EncodeResult, SearchSummary
from rdonet_jax.rdo.search.costs import SearchStats
from rdonet_jax.rdo.target_trials import Solution, Trials
from rdonet_jax.rdo.targets import AIMS
from rdonet_jax.rdo.targets import TargetError as TargetError

REFINED_TRIALS = 3
"""Refinements at most, each at another quality. Two are the rule."""

TRIALS, MORE_TRIALS = "trials", "more trials"


def steps(plan: Plan) -> tuple[str, ...]:
    """The steps that `encode` reports, in this order."""
    searched = dataclasses.replace(plan, refinements=0)
    searching = (*encoder.steps(searched), MORE_TRIALS) if plan.passes else ()
    return (TRIALS, *searching, *encoder.refinement_steps(plan))


def encode(
    model: Model,
    image: PreparedImage | ImageData | np.ndarray,
    options: EncodeOptions,
    report: Report = codec.silent,
) -> EncodeResult:
    """Encodes an image at the quality that meets the target of the options.

    The first trials are without a search. If the plan has passes, a search at the resulting quality
    and further trials with its partition follow. If it has refinements, the latents of the file
    found are refined, at up to `REFINED_TRIALS` qualities. A refined file is kept if it meets the
    target too and has less distortion or, for a metric, is smaller. The costs in the result are
    those of the first file that met the target and of the one that is kept, by the lambda of the
    latter.

    The result meets the target: a size from below, within `TOLERANCE`, a metric from its better
    side, within the tolerance of its `Aim`, or one step of the quality. A refined file may be
    further from it, on the same side. If quality 100 gives a file
    smaller than the target, that is the result. If values do not rise with the quality, the result
    is the highest quality of those tried that meet the size, or the smallest file of those that
    meet the metric. For a metric the result contains the decoder's pixels.

    Raises `TargetError` where none of `SCANNED` qualities, nor of some next to the best of them,
    meets the target, and for a metric that is not installed or has no value for the image. Raises
    `EncodeError` as `encoder.encode` does, and ValueError for options without a target.
    """
    target = options.target
    if target is None:
        raise ValueError("rate control needs a target")
    if not registry.family_of(model.config).variable_rate:
        raise TargetError("the model was trained for one quality: it can aim at no target")
    if target.field in AIMS:
        AIMS[target.field].require()
    prepared = preparation.prepare(model.config, image)
    trials = Trials(model, prepared, target, options)
    number = codec.stream_quality(model.config, None)
    report(TRIALS)
    first = trials.best(dataclasses.replace(options.plan, passes=0, refinements=0), number)
    if isinstance(first, str):
        raise TargetError(first)
    best, searched = first, SearchSummary(SearchStats(), math.nan, math.nan, False)
    if options.plan.passes:
        best, searched = _searched(trials, first, report)
    if options.plan.refinements and not searched.interrupted:
        best, interrupted = _refined(trials, best, report)
        searched = searched._replace(interrupted=interrupted, refinements=options.plan.refinements)
    if not options.plan.passes and not options.plan.refinements:
        return first.result
    return _with_costs(trials, first, best, searched)


def _searched(trials: Trials, solution: Solution, report: Report) -> tuple[Solution, SearchSummary]:
    """The better of a solution and one with the partition of a search at its quality."""
    target = trials.target
    plan = dataclasses.replace(trials.options.plan, refinements=0)
    options = trials.at_quality(solution.number, plan=plan, reconstruct=False)
    searched = encoder.encode(trials.model, trials.image, options, report)
    report(MORE_TRIALS)
    other = trials.best(Plan(searched.partition), solution.number)
    # A partition of lower cost at one quality may miss the target, or need a larger file for it.
    worse = isinstance(other, str) or (target.size is None and other.size > solution.size)
    return (solution if worse else other), searched.searched


def _refined(trials: Trials, solution: Solution, report: Report) -> tuple[Solution, bool]:
    """The best file with refined latents that meets the target, or the solution itself.

    And whether the refinement was interrupted. For a size the best file is that of the least
    distortion, for a metric the smallest one. A refined file is a little larger or
    smaller than a plain one of its quality, and looks better or worse. Where it misses the target,
    or has more than is needed, the quality is another one in the next try: at which a plain file
    meets the target if it changes as the last one did.
    """
    cost = trials.file_cost(solution.number)

    def to_minimize(found: Solution) -> float:
        """The size for a metric; else the distortion, which is J of no bytes."""
        if trials.aim:
            return found.size
        return cost(0, pixel_format.as_rgb8(found.result.encoded.image))

    plain = trials.with_pixels(solution)
    best, interrupted = plain, False
    tried: set[int] = set()
    while len(tried) < REFINED_TRIALS and plain.number not in tried and not interrupted:
        tried.add(plain.number)
        options = trials.at_quality(plain.number)
        encoded, interrupted = encoder.encode_refined(trials.model, plain.result, options, report)
        refined = Solution(plain.number, plain.result._replace(encoded=encoded))
        if trials.meets(encoded) and to_minimize(refined) < to_minimize(best):
            best = refined
        change = trials.value(encoded) - trials.value(plain.result.encoded)
        if trials.is_near(encoded) or not math.isfinite(change):
            break
        changing = dataclasses.replace(trials, change=change)
        following = changing.best(Plan(plain.result.partition), plain.number)
        if isinstance(following, str):
            break
        plain = trials.with_pixels(following)
    return best, interrupted


def _with_costs(
    trials: Trials, first: Solution, best: Solution, searched: SearchSummary
) -> EncodeResult:
    """The best file, with its J and that of the first one, both by the lambda of the best one."""
    cost = trials.file_cost(best.number)
    first, best = trials.with_pixels(first), trials.with_pixels(best)
    before, after = (cost.of(each.result.encoded) for each in (first, best))
    return best.result._replace(searched=searched._replace(before=before, after=after))
