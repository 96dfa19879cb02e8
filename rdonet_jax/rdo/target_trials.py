"""Encodings of one image for a target: trials at several qualities, and how near each comes."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from rdonet_jax.codec.codec import Encoded
from rdonet_jax.codec.image_quality import quality_of
from rdonet_jax.codec.preparation import PreparedImage
from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import encoder, quality_search
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan, Target
from rdonet_jax.rdo.encoder import EncodeResult
from rdonet_jax.rdo.quality_search import Goal, Trial
from rdonet_jax.rdo.targets import TARGET_METRICS, TargetMetric

if TYPE_CHECKING:
    from rdonet_jax.rdo.file_cost import FileCost

TOLERANCE = 0.01
"""How far below the target a size may be, as a share of it, to end the search."""

LOG_SIZE_SLOPE = 0.57
"""Typical increase of log(size) per e-fold lambda: a first guess."""

SCANNED = 21
"""Number of qualities of a scan, where values do not rise, and before a refusal."""


class Solution(NamedTuple):
    """A file that meets a target, and its quality on the model's scale."""

    number: int
    result: EncodeResult

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.result.encoded.data)


class Miss(NamedTuple):
    """No file meets a target, and why."""

    reason: str


@dataclasses.dataclass(frozen=True)
class Trials:
    """Encodings of one image, for one target.

    Attributes:
      options: of the encodings, but for their quality.
      change: of the value of every file by what is to be done with it later, see `value`.
    """

    model: Model
    image: PreparedImage
    target: Target
    options: EncodeOptions
    change: float = 0.0

    @property
    def metric(self) -> TargetMetric | None:
        """The metric that is the target; None for a size."""
        return TARGET_METRICS.get(self.target.field)

    def best(
        self, plan: Plan, first: int, first_result: EncodeResult | None = None
    ) -> Solution | Miss:
        """The best file that meets the target, or why there is none.

        `first` is the quality that is tried first, whose result may be there already.
        """
        goal, first = self._goal(), self._position(first)
        trials: tuple[Trial, ...] = ()
        kept: EncodeResult | None = None  # the best file so far
        nearest: EncodeResult | None = None  # the one nearest to the target, or far within it
        while (position := quality_search.next_number(goal, first, trials)) is not None:
            given = first_result if position == first else None
            result = given or self._encode(plan, self._position(position))
            trials = (*trials, self._trial(position, result))
            if quality_search.best(goal, trials) == trials[-1]:
                kept = result
            if trials[-1].value == min(trial.value for trial in trials):
                nearest = result
        if kept is None:
            return self._miss(nearest.encoded)
        return Solution(self._position(quality_search.best(goal, trials).number), kept)

    def changing(self, change: float) -> Trials:
        """The trials of files whose values change later, as one has changed."""
        # A metric is infinite for an exact copy, and what is to be gained is unclear then.
        return dataclasses.replace(self, change=change if math.isfinite(change) else 0.0)

    def at_quality(self, number: int, **changes: Any) -> EncodeOptions:
        """The options at a quality in place of the target, with other changes."""
        quality = quality_of(self.model.config, number)
        return dataclasses.replace(self.options, quality=quality, target=None, **changes)

    def file_cost(self, number: int) -> FileCost:
        """J of files of the image, for the lambda of a quality."""
        from rdonet_jax.rdo.cost import make_file_cost

        config, size = self.model.config, self.image.size
        quality = parse_quality(config, quality_of(config, number), self.options.gains, size)
        return make_file_cost(self.model, self.image, quality)

    def value(self, encoded: Encoded) -> float:
        """log(size) of a file, or the negative metric of a file with pixels, on its scale."""
        if self.metric is None:
            return math.log(len(encoded.data))
        return -self.metric.to_scale(self.metric.measure(self.image, encoded.pixels))

    def meets(self, value: float) -> bool:
        """Whether a file of this value meets the target."""
        return value <= self._goal().limit

    def is_near(self, value: float) -> bool:
        """Whether it meets the target within the tolerance."""
        return self.meets(value) and value >= self._goal().limit - self._goal().tolerance

    def _position(self, number: int) -> int:
        """Converts a quality to the scale of the search, on which values rise, and back."""
        return number if self.metric is None else self.model.config.steps_of_quality - number

    def _goal(self) -> Goal:
        """The goal for log(size), or for the negative metric, which falls with the quality."""
        config = self.model.config
        most = config.steps_of_quality
        per_step = math.log(config.lmbdas[1] / config.lmbdas[0]) / most
        scan = quality_search.evenly(most, SCANNED)
        if self.metric is None:
            limit, tolerance = math.log(self.target.value), -math.log1p(-TOLERANCE)
            return Goal(limit, tolerance, LOG_SIZE_SLOPE * per_step, most, scan)
        limit = -self.metric.to_scale(self.target.value)
        return Goal(limit, self.metric.tolerance, self.metric.slope * per_step, most, scan)

    def _trial(self, position: int, result: EncodeResult) -> Trial:
        cost = -position if self.metric is None else len(result.encoded.data)
        return Trial(position, self.value(result.encoded) + self.change, cost)

    def _encode(self, plan: Plan, number: int) -> EncodeResult:
        reconstruct = self.options.reconstruct or self.metric is not None
        options = self.at_quality(number, plan=plan, reconstruct=reconstruct)
        return encoder.encode(self.model, self.image, options)

    def _miss(self, nearest: Encoded) -> Miss:
        target = self.target.value
        if self.metric is None:
            size = len(nearest.data)
            return Miss(
                f"the smallest file, of quality {nearest.quality:g}, has {size} bytes, not {target}"
            )
        value = self.metric.in_words(self.metric.measure(self.image, nearest.pixels))
        return Miss(f"the best image, of quality {nearest.quality:g}, has {value}, not {target:g}")
