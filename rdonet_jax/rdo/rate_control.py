"""Rate control: encodes with the quality that meets a target, found in few trials.

A target is a size or a value of a metric. Both rise with the quality, at a nearly constant rate,
except for flat and tiny images. `targets` has the metrics, and `quality_search` chooses the trials.
Only variable-rate models have qualities.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np

from rdonet_jax.codec import codec, preparation
from rdonet_jax.codec.codec import Encoded, Report
from rdonet_jax.codec.preparation import PreparedImage
from rdonet_jax.core.partition import Partition
from rdonet_jax.imaging.pixel_format import ImageData
from rdonet_jax.models import registry
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import encoder, quality_search
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan, Target
from rdonet_jax.rdo.encoder import EncodeResult, SearchSummary
from rdonet_jax.rdo.quality_search import Goal, Trial
from rdonet_jax.rdo.search.costs import SearchStats
from rdonet_jax.rdo.targets import AIMS, Aim
from rdonet_jax.rdo.targets import TargetError as TargetError

TOLERANCE = 0.01
"""How far below the target a size may be, as a share of it, to end the search."""

LOG_SIZE_SLOPE = 0.57
"""Typical increase of log(size) per e-fold lambda: a first guess."""

SCANNED = 21
"""Number of qualities of a scan, where values do not rise, and before a refusal."""

REFINED_TRIALS = 2
"""Refinements at most, each at another quality."""

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
    found are refined. A refined file is kept if it costs less, by the lambda of the quality found,
    and meets the target too; for a metric it is also no larger. The costs in the result are then
    those before and after it.

    The result meets the target: a size from below, within `TOLERANCE`, a metric from its better
    side, within the tolerance of its `Aim`, or one step of the quality. If quality 100 gives a file
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
    trials = _Trials(model, prepared, target, options)
    number = codec.stream_quality(model.config, None)
    report(TRIALS)
    solution = trials.best(dataclasses.replace(options.plan, passes=0, refinements=0), number)
    if isinstance(solution, str):
        raise TargetError(solution)
    if options.plan.passes:
        solution = _searched(trials, solution, report)
    searched = solution.result.searched
    if not options.plan.refinements or (searched is not None and searched.interrupted):
        return solution.result
    return _refined(trials, solution, report)


class _Solution(NamedTuple):
    """The file that meets a target, and its quality on the model's scale."""

    number: int
    result: EncodeResult

    @property
    def size(self) -> int:
        return len(self.result.encoded.data)


def _searched(trials: _Trials, solution: _Solution, report: Report) -> _Solution:
    """The better of a solution and one with the partition of a search at its quality."""
    target = trials.target
    plan = dataclasses.replace(trials.options.plan, refinements=0)
    options = trials.at_quality(solution.number, plan=plan, reconstruct=False)
    searched = encoder.encode(trials.model, trials.image, options, report)
    report(MORE_TRIALS)
    other = trials.best(Plan(searched.partition), solution.number)
    # A partition of lower cost at one quality may miss the target, or need a larger file for it.
    worse = isinstance(other, str) or (target.size is None and other.size > solution.size)
    best = solution if worse else other
    return best._replace(result=best.result._replace(searched=searched.searched))


def _refined(trials: _Trials, solution: _Solution, report: Report) -> EncodeResult:
    """The solution with refined latents, where they meet the target; else as it was.

    A refined file costs less, but may be a little larger or look a little worse. Then there is
    one more try, at the quality that should make up for that.
    """
    quality = codec.quality_of(trials.model.config, solution.number)
    cost = encoder.file_cost(trials.model, trials.image, quality, trials.options.gains)
    plain = trials.encoded(solution.result.partition, solution.number)
    kept, number, interrupted = plain, solution.number, False
    before = after = cost.of(plain.encoded)
    tried: set[int] = set()
    while len(tried) < REFINED_TRIALS and number not in tried:
        if tried:
            plain = trials.encoded(plain.partition, number)
        tried.add(number)
        options = trials.at_quality(number)
        encoded, interrupted = encoder.encode_refined(trials.model, plain, options, report)
        misses_by, j = trials.excess(encoded), cost.of(encoded)
        is_larger = trials.target.size is None and len(encoded.data) > solution.size
        if misses_by <= 0 and j < before and not is_larger:
            kept, after = kept._replace(encoded=encoded), j
        if misses_by <= 0 or interrupted:
            break
        number = trials.corrected(number, misses_by)
    searched = solution.result.searched
    stats = searched.stats if searched else SearchStats()
    iterations = trials.options.plan.refinements
    summary = SearchSummary(stats, before, after, interrupted, iterations)
    return kept._replace(searched=summary)


@dataclasses.dataclass(frozen=True)
class _Trials:
    """Encodings of one image, for one target."""

    model: Model
    image: PreparedImage
    target: Target
    options: EncodeOptions

    @property
    def aim(self) -> Aim | None:
        """The metric that is the target; None for a size."""
        return AIMS.get(self.target.field)

    def best(self, plan: Plan, first: int) -> _Solution | str:
        """The best file that meets the target, or the reason why there is none."""
        goal, first = self._goal(), self._position(first)
        trials: tuple[Trial, ...] = ()
        kept: EncodeResult | None = None  # the best file so far
        nearest: EncodeResult | None = None  # the one nearest to the target, or far within it
        while (position := quality_search.next_number(goal, first, trials)) is not None:
            result = self._encode(plan, self._position(position))
            trials = (*trials, self._trial(position, result))
            if quality_search.best(goal, trials) == trials[-1]:
                kept = result
            if trials[-1].value == min(trial.value for trial in trials):
                nearest = result
        if kept is None:
            return self._reason_of_failure(nearest.encoded)
        return _Solution(self._position(quality_search.best(goal, trials).number), kept)

    def encoded(self, p: Partition, number: int) -> EncodeResult:
        """The image at a quality, without a search, with the decoder's pixels."""
        options = self.at_quality(number, plan=Plan(p), reconstruct=True)
        return encoder.encode(self.model, self.image, options)

    def at_quality(self, number: int, **changes: Any) -> EncodeOptions:
        """The options at a quality in place of the target, with other changes."""
        quality = codec.quality_of(self.model.config, number)
        return dataclasses.replace(self.options, quality=quality, target=None, **changes)

    def excess(self, encoded: Encoded) -> float:
        """How far a file with pixels misses the target, on the scale; not positive if met."""
        if self.aim is None:
            return math.log(len(encoded.data) / self.target.value)
        return self.aim.to_scale(self.target.value) - self._scaled(self.aim, encoded)

    def corrected(self, number: int, excess: float) -> int:
        """The quality at which a file should meet the target that this one missed."""
        goal = self._goal()
        steps = math.ceil((excess + goal.tolerance / 2) / goal.slope)
        number += -steps if self.aim is None else steps
        return min(max(number, 0), goal.most)

    def _position(self, number: int) -> int:
        """Converts a quality to the scale of the search, on which values rise, and back."""
        return number if self.aim is None else self.model.config.steps_of_quality - number

    def _goal(self) -> Goal:
        """The goal for log(size), or for the negative metric, which falls with the quality."""
        config = self.model.config
        most = config.steps_of_quality
        per_step = math.log(config.lmbdas[1] / config.lmbdas[0]) / most
        scan = quality_search.evenly(most, SCANNED)
        if self.aim is None:
            limit, tolerance = math.log(self.target.value), -math.log1p(-TOLERANCE)
            return Goal(limit, tolerance, LOG_SIZE_SLOPE * per_step, most, scan)
        limit = -self.aim.to_scale(self.target.value)
        return Goal(limit, self.aim.tolerance, self.aim.slope * per_step, most, scan)

    def _trial(self, position: int, result: EncodeResult) -> Trial:
        size = len(result.encoded.data)
        if self.aim is None:
            return Trial(position, math.log(size), -position)
        return Trial(position, -self._scaled(self.aim, result.encoded), size)

    def _scaled(self, aim: Aim, encoded: Encoded) -> float:
        """The metric of a file with pixels, on its scale."""
        return aim.to_scale(aim.measure(self.image, encoded.image))

    def _encode(self, plan: Plan, number: int) -> EncodeResult:
        reconstruct = self.options.reconstruct or self.aim is not None
        options = self.at_quality(number, plan=plan, reconstruct=reconstruct)
        return encoder.encode(self.model, self.image, options)

    def _reason_of_failure(self, nearest: Encoded) -> str:
        target = self.target.value
        if self.aim is None:
            size = len(nearest.data)
            return (
                f"the smallest file, of quality {nearest.quality:g}, has {size} bytes, not {target}"
            )
        value = self.aim.in_words(self.aim.measure(self.image, nearest.image))
        return f"the best image, of quality {nearest.quality:g}, has {value}, not {target:g}"
