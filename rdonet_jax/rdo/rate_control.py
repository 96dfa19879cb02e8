"""Encoding for a size or a PSNR: the quality that meets it, found in few trials.

Sizes and PSNRs rise with the quality, nearly so much per step everywhere, but for flat and tiny
images. `quality_search` says what to try. Only portable models have qualities.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from rdonet_jax.codec import codec, preparation
from rdonet_jax.codec.codec import Report
from rdonet_jax.codec.preparation import EncodeError, PreparedImage
from rdonet_jax.imaging.pixel_format import Picture
from rdonet_jax.models import registry
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import encoder, quality_search
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan, Target
from rdonet_jax.rdo.encoder import EncodeResult
from rdonet_jax.rdo.quality_search import Goal, Trial

TOLERANCE = 0.01
"""How far below a size, as a share of it, a file may stay if no more trials are to be made."""

PSNR_TOLERANCE = 0.05
"""How far above a PSNR, in dB, likewise."""

LOG_SIZE_SLOPE, PSNR_SLOPE = 0.57, 2.1
"""What log(size) and PSNR typically gain while lambda grows e-fold; a first guess, no more."""

SCANNED = 21
"""Qualities all over the range, tried where size or PSNR do not rise, and before a refusal."""

TRIALS, MORE_TRIALS = "trials", "more trials"


class TargetError(EncodeError):
    """A target that no quality meets."""


def steps(plan: Plan) -> tuple[str, ...]:
    """What `encode` reports, in this order."""
    return (TRIALS, *encoder.steps(plan), MORE_TRIALS) if plan.passes else (TRIALS,)


def encode(
    model: Model,
    image: PreparedImage | Picture | np.ndarray,
    options: EncodeOptions,
    report: Report = codec.silent,
) -> EncodeResult:
    """Encodes an image at the quality that meets the target of the options.

    Trials are made without the search; if the plan has passes, one search follows at the quality
    found, and further trials with its partition. A size is kept below, a PSNR above: by
    `TOLERANCE` and `PSNR_TOLERANCE` at most, or by one step of the quality; where quality 100 makes
    a smaller file than was asked for, that is the result. Where sizes or PSNRs do not rise with the
    quality, it is the highest quality among those tried that keep the size, or the smallest file
    among those of the PSNR. For a PSNR the result always holds what the decoder will give.

    Raises `TargetError` where neither the ends of the range nor `SCANNED` qualities between them
    meet the target, `EncodeError` as `encoder.encode` does, and ValueError for options without a
    target.
    """
    target = options.target
    if target is None:
        raise ValueError("rate control needs a target")
    if not registry.family_of(model.config).variable_rate:
        raise TargetError("the model was trained for one quality: it can aim at no target")
    prepared = preparation.prepare(model.config, image)
    trials = _Trials(model, prepared, target, options)
    number = codec.stream_quality(model.config, None)
    report(TRIALS)
    found = trials.best(dataclasses.replace(options.plan, passes=0), number)
    if isinstance(found, str):
        raise TargetError(found)
    if not options.plan.passes:
        return found.result
    quality = codec.quality_of(model.config, found.number)
    at_quality = dataclasses.replace(options, quality=quality, target=None, reconstruct=False)
    searched = encoder.encode(model, prepared, at_quality, report)
    report(MORE_TRIALS)
    again = trials.best(Plan(searched.partition), found.number)
    # The partition that costs less at one quality may miss what the start met, or meet it later.
    worse = isinstance(again, str) or (target.psnr is not None and again.size > found.size)
    best = found if worse else again
    return best.result._replace(searched=searched.searched)


class _Found(NamedTuple):
    """The file that meets a target, and the number of its quality."""

    number: int
    result: EncodeResult

    @property
    def size(self) -> int:
        return len(self.result.encoded.data)


@dataclasses.dataclass(frozen=True)
class _Trials:
    """Encodings of one image, for one target."""

    model: Model
    image: PreparedImage
    target: Target
    options: EncodeOptions

    def best(self, plan: Plan, first: int) -> _Found | str:
        """The result for the target, or in words why there is none."""
        goal, first = self._goal(), self._position(first)
        trials: tuple[Trial, ...] = ()
        kept: EncodeResult | None = None  # of all files the best so far; the others are given up
        while (position := quality_search.next_number(goal, first, trials)) is not None:
            found = self._encoded(plan, self._position(position))
            trials = (*trials, self._trial(position, found))
            if quality_search.best(goal, trials) == trials[-1]:
                kept = found
        if kept is None:
            return self._out_of_reach(trials)
        return _Found(self._position(quality_search.best(goal, trials).number), kept)

    def _position(self, number: int) -> int:
        """On the scale of the search, on which values rise, of a quality's number; and back."""
        return number if self.target.psnr is None else self.model.config.steps_of_quality - number

    def _goal(self) -> Goal:
        """In log(size), or in the PSNR with its sign turned, which falls with the quality."""
        config = self.model.config
        most = config.steps_of_quality
        per_step = math.log(config.lmbdas[1] / config.lmbdas[0]) / most
        scan = quality_search.evenly(most, SCANNED)
        if self.target.psnr is None:
            limit, tolerance = math.log(self.target.size), -math.log1p(-TOLERANCE)
            return Goal(limit, tolerance, LOG_SIZE_SLOPE * per_step, most, scan)
        return Goal(-self.target.psnr, PSNR_TOLERANCE, PSNR_SLOPE * per_step, most, scan)

    def _trial(self, position: int, found: EncodeResult) -> Trial:
        size = len(found.encoded.data)
        if self.target.psnr is None:
            return Trial(position, math.log(size), -position)
        return Trial(position, -self.image.psnr(found.encoded.picture), size)

    def _encoded(self, plan: Plan, number: int) -> EncodeResult:
        options = dataclasses.replace(
            self.options,
            quality=codec.quality_of(self.model.config, number),
            target=None,
            plan=plan,
            reconstruct=self.options.reconstruct or self.target.psnr is not None,
        )
        return encoder.encode(self.model, self.image, options)

    def _out_of_reach(self, trials: tuple[Trial, ...]) -> str:
        nearest = min(trials, key=lambda trial: trial.value)
        quality = codec.quality_of(self.model.config, self._position(nearest.number))
        if self.target.psnr is None:
            size = round(math.exp(nearest.value))
            return (
                f"the smallest file, of quality {quality:g}, has {size} bytes, "
                f"not {self.target.size}"
            )
        psnr = math.floor(-100 * nearest.value) / 100  # never up to what was asked for
        return (
            f"the best image, of quality {quality:g}, has {psnr:.2f} dB, not {self.target.psnr:g}"
        )
