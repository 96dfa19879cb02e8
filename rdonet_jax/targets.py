"""Encoding for a size or a PSNR: the quality that meets it, found in few trials.

Sizes and PSNRs rise with the quality, nearly so much per step everywhere: the logarithm of the size
and the PSNR in dB are solved for by secants within a bracket. Only portable models have qualities.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rdonet_jax import codec, content, rdo
from rdonet_jax.codec import EncodeError, Report
from rdonet_jax.config import PortableConfig
from rdonet_jax.content import Picture
from rdonet_jax.rdo import Optimised, Plan
from rdonet_jax.zoo import Model

TOLERANCE = 0.01
"""How far below a size, as a share of it, a file may stay if no more trials are to be made."""

PSNR_TOLERANCE = 0.05
"""How far above a PSNR, in dB, likewise."""

EXACT_PSNR = 200.0
"""In dB, of a picture that decodes exactly: more than any other has, and finite."""

LOG_SIZE_SLOPE, PSNR_SLOPE = 0.57, 2.1
"""What log(size) and PSNR typically gain while lambda grows e-fold; a first guess, no more."""


TRIALS, MORE_TRIALS = "trials", "more trials"


class TargetError(EncodeError):
    """A target that no quality meets."""


@dataclasses.dataclass(frozen=True)
class Target:
    """What a file shall be: of at most so many bytes, or of at least so many dB. One is None."""

    size: int | None = None
    psnr: float | None = None

    def __post_init__(self) -> None:
        if (self.size is None) == (self.psnr is None):
            raise ValueError("a target is either a size or a PSNR")
        value = self.psnr if self.size is None else self.size
        try:
            legal = bool(0 < value < math.inf) and math.isfinite(float(value))
        except (TypeError, ValueError, ArithmeticError):  # no number, several, or far too large
            legal = False
        if not legal:
            raise ValueError(f"a target must be a positive number, not {repr(value)[:60]}")


class Solved(NamedTuple):
    """The number found, what was measured there, and how many trials it took."""

    number: int
    value: float
    trials: int


def last_within(
    measure: Callable[[int], float],
    limit: float,
    most: int,
    slope: float,
    tolerance: float,
    first: int,
) -> Solved | None:
    """The largest number of 0 to `most` whose measure is at most `limit`, None if there is none.

    The measure should rise. Ends at a number that is within the tolerance, though a larger one
    may be, too. `slope` per number is expected at first, and `first` tried first.
    """
    measured: dict[int, float] = {}
    low, high = -1, most + 1  # within the limit, and beyond it
    number = first
    while True:
        value = measured[number] = measure(number)
        if value <= limit:
            low = number
            if value >= limit - tolerance:
                break
        else:
            high = number
        if high - low <= 1:
            break
        number = _next(measured, low, high, limit - tolerance / 2, slope, most)
    return None if low < 0 else Solved(low, measured[low], len(measured))


def _next(
    measured: dict[int, float], low: int, high: int, aim: float, slope: float, most: int
) -> int:
    """What to try between `low` and `high`, of which one has been measured at least."""
    if low in measured and high in measured:
        rise = max(measured[high] - measured[low], 1e-9)
        share = (aim - measured[low]) / rise
        if len(measured) > 5 and len(measured) % 2:
            share = 0.5  # against curves that secants approach from one side alone
        guess = low + share * (high - low)
    else:
        known = low if low in measured else high
        # Farther each time, for an end that the slope does not lead to.
        guess = known + 2 ** (len(measured) - 1) * (aim - measured[known]) / slope
    return min(max(round(guess), low + 1, 0), high - 1, most)


def steps(plan: Plan) -> tuple[str, ...]:
    """What `encode` reports, in this order."""
    return (TRIALS, *rdo.steps(plan), MORE_TRIALS) if plan.passes else (TRIALS,)


def encode(
    model: Model,
    image: Picture | np.ndarray,
    plan: Plan,
    target: Target,
    coder_name: str = codec.DEFAULT_CODER,
    report: Report = codec.silent,
    reconstruct: bool = False,
) -> Optimised:
    """Compresses a picture at the quality that meets the target.

    Trials are made without the search; if `plan` has passes, one search follows at the quality
    found, and further trials with its partition. A size is kept below, a PSNR above: by
    `TOLERANCE` and `PSNR_TOLERANCE` at most, or by one step of the quality; where quality 100 makes
    a smaller file than was asked for, that is the result. What the decoder will give is there if
    it is asked for, or was needed for a PSNR.

    Raises `TargetError` where quality 0 makes too large a file, or 100 too bad a picture, and
    `EncodeError` as `rdo.encode` does.
    """
    if not isinstance(model.config, PortableConfig):
        raise TargetError("the model was trained for one quality: it can aim at no target")
    codec.checked_size(model.config, image)
    picture = content.prepared(content.of(image))
    trials = _Trials(model, picture, target, coder_name, reconstruct or target.psnr is not None)
    number = codec.stream_quality(model.config, None)
    report(TRIALS)
    number, found = trials.best(dataclasses.replace(plan, passes=0), number)
    if not plan.passes:
        return found
    quality = codec.quality_of(model.config, number)
    searched = rdo.encode(model, picture, plan, quality, coder_name, report)
    report(MORE_TRIALS)
    _, found = trials.best(Plan(searched.partition), number)
    return found._replace(searched=searched.searched)


@dataclasses.dataclass(frozen=True)
class _Trials:
    """Encodings of one picture, for one target."""

    model: Model
    picture: Picture
    target: Target
    coder_name: str
    reconstruct: bool

    def best(self, plan: Plan, first: int) -> tuple[int, Optimised]:
        """The number of the quality that meets the target, and its file."""
        config = self.model.config
        most = config.steps_of_quality
        per_step = math.log(config.lmbdas[1] / config.lmbdas[0]) / most
        kept: list[Optimised] = []  # the last one within the limit, which `last_within` ends with

        def measure(number: int) -> float:
            found = self._encoded(plan, number if self.target.psnr is None else most - number)
            value = self._value(found)
            if value <= limit:
                kept[:] = [found]
            return value

        if self.target.psnr is None:
            limit = math.log(self.target.size)
            slope, tolerance = LOG_SIZE_SLOPE * per_step, -math.log1p(-TOLERANCE)
            solved = last_within(measure, limit, most, slope, tolerance, first)
        else:  # from the best quality downwards, where the negative PSNR rises
            limit = -self.target.psnr
            slope, tolerance = PSNR_SLOPE * per_step, PSNR_TOLERANCE
            solved = last_within(measure, limit, most, slope, tolerance, most - first)
        if solved is None:
            raise TargetError(self._out_of_reach(plan))
        return (solved.number if self.target.psnr is None else most - solved.number), kept[0]

    def _encoded(self, plan: Plan, number: int) -> Optimised:
        quality = codec.quality_of(self.model.config, number)
        return rdo.encode(
            self.model,
            self.picture,
            plan,
            quality,
            self.coder_name,
            reconstruct=self.reconstruct,
        )

    def _value(self, found: Optimised) -> float:
        """What rises with what is solved for: log(size), or the PSNR with its sign turned."""
        if self.target.psnr is None:
            return math.log(len(found.encoded.data))
        return -min(content.psnr(self.picture.pixels, found.encoded.picture), EXACT_PSNR)

    def _out_of_reach(self, plan: Plan) -> str:
        if self.target.psnr is None:
            size = len(self._encoded(plan, 0).encoded.data)
            return f"the smallest file, of quality 0, has {size} bytes, not {self.target.size}"
        best = -self._value(self._encoded(plan, self.model.config.steps_of_quality))
        return f"the best picture, of quality 100, has {best:.2f} dB, not {self.target.psnr:g}"
