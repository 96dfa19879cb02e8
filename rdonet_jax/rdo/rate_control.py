"""Rate control: encodes with the quality that meets a target, found in few trials.

A target is a size or a value of a metric. Both rise with the quality, at a nearly constant rate,
except for flat and tiny images. `targets` has the metrics, and `quality_search` chooses the trials.
Only variable-rate models have qualities.
"""

from __future__ import annotations

import dataclasses
import math
from typing import cast

import numpy as np

from rdonet_jax.codec import codec, preparation
from rdonet_jax.codec.codec import Report
from rdonet_jax.codec.preparation import PreparedImage
from rdonet_jax.codec.qualities import stream_quality
from rdonet_jax.imaging import pixel_format
from rdonet_jax.imaging.pixel_format import ImageData
from rdonet_jax.models import registry
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import encoder
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan
from rdonet_jax.rdo.encoder import EncodeResult, SearchSummary
from rdonet_jax.rdo.search.costs import SearchStats
from rdonet_jax.rdo.target_trials import Miss, Solution, Trials
from rdonet_jax.rdo.targets import TARGET_METRICS
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

    The result meets the target: a size from below, within `target_trials.TOLERANCE`, a metric from
    its better side, within the tolerance of its `TargetMetric`, or one step of the quality. A
    refined file may be further from it, on the same side. If quality 100 gives a file smaller than
    the target, that is the result. If values do not rise with the quality, the result is the
    highest quality of those tried that meet the size, or the smallest file of those that meet the
    metric. For a metric the result contains the decoder's pixels.

    Raises `TargetError` where none of `target_trials.SCANNED` qualities, nor of some next to the
    best of them, meets the target, and for a metric that is not installed or has no value for the
    image. Raises `EncodeError` as `encoder.encode` does, and ValueError for options without a
    target.
    """
    target, plan = options.target, options.plan
    if target is None:
        raise ValueError("rate control needs a target")
    if not registry.family_of(model.config).variable_rate:
        raise TargetError("the model was trained for one quality: it can aim at no target")
    if target.field in TARGET_METRICS:
        TARGET_METRICS[target.field].require()
    prepared = preparation.prepare(model.config, image)
    if plan.passes or plan.refinements:
        # Files are compared by their pixels then.
        options = dataclasses.replace(options, reconstruct=True)
    trials = Trials(model, prepared, target, options)
    number = cast(int, stream_quality(model.config, None))  # of a variable-rate model
    report(TRIALS)
    first = trials.best(dataclasses.replace(plan, passes=0, refinements=0), number)
    if isinstance(first, Miss):
        raise TargetError(first.reason)
    best, searched = first, SearchSummary(SearchStats(), math.nan, math.nan, False)
    if plan.passes:
        best, searched = _searched(trials, first, report)
    if plan.refinements and not searched.interrupted:
        best, interrupted = _refined(trials, best, report)
        searched = searched._replace(interrupted=interrupted, refinements=plan.refinements)
    if not plan.passes and not plan.refinements:
        return first.result
    cost = trials.file_cost(best.number)
    before, after = (cost.of(each.result.encoded) for each in (first, best))
    return best.result._replace(searched=searched._replace(before=before, after=after))


def _searched(trials: Trials, solution: Solution, report: Report) -> tuple[Solution, SearchSummary]:
    """The better of a solution and one with the partition of a search at its quality."""
    plan = dataclasses.replace(trials.options.plan, refinements=0)
    options = trials.at_quality(solution.number, plan=plan, reconstruct=False)
    searched = encoder.encode(trials.model, trials.image, options, report)
    report(MORE_TRIALS)
    # A partition of lower cost at one quality may miss the target, or be worse at another one.
    other = trials.best(Plan(searched.partition), solution.number)
    found = solution if isinstance(other, Miss) else _better(trials, solution, other)
    return found, cast(SearchSummary, searched.searched)  # as there was a pass


def _refined(trials: Trials, solution: Solution, report: Report) -> tuple[Solution, bool]:
    """The best file with refined latents that meets the target, or the solution itself.

    And whether the refinement was interrupted. A refined file is a little larger or smaller than a
    plain one of its quality, and looks better or worse. Where it misses the target, or has more
    than is needed, the quality is another one in the next try: at which a plain file meets the
    target if it changes as the last one did.
    """
    plain = best = solution
    tried: set[int] = set()
    while True:
        tried.add(plain.number)
        options = trials.at_quality(plain.number)
        encoded, interrupted = encoder.encode_refined(trials.model, plain.result, options, report)
        value = trials.value(encoded)
        if trials.meets(value):
            refined = plain._replace(result=plain.result._replace(encoded=encoded))
            best = _better(trials, best, refined)
        if interrupted or trials.is_near(value) or len(tried) == REFINED_TRIALS:
            return best, interrupted
        try:
            changing = trials.changing(value - trials.value(plain.result.encoded))
            following = changing.best(Plan(plain.result.partition), plain.number, plain.result)
        except KeyboardInterrupt:
            return best, True
        if isinstance(following, Miss) or following.number in tried:
            return best, False
        plain = following


def _better(trials: Trials, one: Solution, other: Solution) -> Solution:
    """The better of two files that meet the target; `one` if they are as good as each other.

    It is the smaller one for a metric, that of less distortion for a size.
    """
    if trials.metric:
        return min(one, other, key=lambda found: found.size)
    cost = trials.file_cost(one.number)
    return min(
        one, other, key=lambda found: cost(0, pixel_format.as_rgb8(found.result.encoded.pixels))
    )
