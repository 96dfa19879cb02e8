"""Where a run is in its schedule: by the steps that it has done, or by the clock.

The schedule of the learning rate and of the masks is a function of a position, which goes from 0 to
`TrainingConfig.steps`. The host gives it to every step, so a run of another speed is not compiled
anew. In a run of so many steps, the position is the number of steps done. In a run of so many
minutes, it is the share of the time that has passed, times `steps`.

The minutes are counted from the beginning of the command: reading images, compiling, validations,
checkpoints and exports are part of them, so that a limit from outside is met. The schedule begins
when the first step is compiled and ends when only what must be done at the end has time left. So
the warm-up and both stages have their shares, however long compiling takes.
"""

from __future__ import annotations

import collections
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from rdonet_jax.core.config import ConfigError
from rdonet_jax.runtime import multihost
from rdonet_jax.training import masks
from rdonet_jax.training.config import RunLength, TrainingConfig
from rdonet_jax.training.folder.checkpoints import Progress

SAFETY = 1.5
"""What is done at the end may take so many times what it took before."""

MARGIN, SHORTEST_MARGIN_S = 0.01, 2.0
"""Share of the time that is left over at the end, for what is not measured; at least so much."""

IN_FLIGHT = 2
"""Steps that are sent to the devices and not done when the loop decides to end."""

Now = Callable[[], float]
"""A clock that only goes forward, in seconds."""


class ScheduleTracker(Protocol):
    """Says where a run is in its schedule.

    Numbers count the steps done or sent, from the beginning of the run.
    """

    def position(self, done: int) -> float:
        """The position in the schedule of the step that follows `done` steps."""

    def is_over(self, done: int) -> bool:
        """Whether the step after which so many are done is the last one."""

    def ends_stage1(self, done: int) -> bool:
        """Whether stage 2 begins after this step. True once."""

    def recorded(self, progress: Progress) -> Progress:
        """The progress with the time that has passed, for a checkpoint."""

    def measured(self, what: str) -> contextlib.AbstractContextManager[None]:
        """A context for work that is done again at the end of a run."""


class StepTracker:
    """Follows the schedule of a run of so many steps."""

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config

    def position(self, done: int) -> float:
        return float(done)

    def is_over(self, done: int) -> bool:
        return done >= self._config.steps

    def ends_stage1(self, done: int) -> bool:
        return done == self._config.stage1_steps and self._config.stage2_steps > 0

    def recorded(self, progress: Progress) -> Progress:
        is_second = progress.step > self._config.stage1_steps
        return progress.replace(switched_at=self._config.stage1_steps if is_second else None)

    def measured(self, what: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


class ClockTracker:
    """Follows the schedule of a run of so many minutes.

    Args:
      seconds: that this process has, from `began` on.
      progress: of the checkpoint from which it goes on.
      checkpoint: seconds that writing or reading one took.
      began: when the command began, by the clock `now`.
    """

    def __init__(
        self,
        config: TrainingConfig,
        seconds: float,
        progress: Progress,
        began: float,
        now: Now = time.monotonic,
        checkpoint: float = 0.0,
    ) -> None:
        self._config, self._seconds, self._now = config, seconds, now
        self._began = began
        self._passed_before = self._passed = progress.passed
        self._switched_at = progress.switched_at
        self._is_switch_reported = progress.switched_at is not None
        self._asked: list[float] = []  # when the first two positions were asked for
        self._last_asked = began
        self._step_seconds: collections.deque[float] = collections.deque(maxlen=9)
        self._durations = {"checkpoint": checkpoint}

    def position(self, done: int) -> float:
        now = self._now()
        if len(self._asked) < 2:
            # The second step is asked for when the first one has been compiled and sent.
            self._asked.append(now)
        else:
            self._step_seconds.append(now - self._last_asked)
        self._last_asked = now
        self._passed = max(self._passed, self._share(now))
        position = self._passed * self._config.steps
        if self._switched_at is None and masks.stage_of(self._config, position) == 2:
            self._switched_at = done
        return position

    def _share(self, now: float) -> float:
        """The share of the schedule that has passed; below 1 until the run is over."""
        if len(self._asked) < 2:
            return self._passed_before
        first = self._asked[1]
        whole = max(self._began + self._seconds - self._reserve() - first, 1e-6)
        here = min(max((now - first) / whole, 0.0), 1.0)
        share = self._passed_before + (1 - self._passed_before) * here
        return min(share, 1 - 1e-6)

    def _reserve(self) -> float:
        """Seconds that are kept for the end of the run."""
        steps = statistics.median(self._step_seconds) if self._step_seconds else 0.0
        work = SAFETY * (sum(self._durations.values()) + IN_FLIGHT * steps)
        return work + max(MARGIN * self._seconds, SHORTEST_MARGIN_S)

    def is_over(self, done: int) -> bool:
        over = self._now() >= self._began + self._seconds - self._reserve()
        # Where compiling the first step takes all of the time, no more of the schedule has passed.
        if over and len(self._asked) > 1:
            self._passed = 1.0
        return over

    def ends_stage1(self, done: int) -> bool:
        if self._is_switch_reported or self._switched_at is None:
            return False
        self._is_switch_reported = True
        return True

    def recorded(self, progress: Progress) -> Progress:
        left = max(self._began + self._seconds - self._now(), 0.0)
        return progress.replace(passed=self._passed, left=left, switched_at=self._switched_at)

    @contextlib.contextmanager
    def measured(self, what: str) -> Iterator[None]:
        """The newest duration of each kind of work is kept free at the end."""
        since = self._now()
        yield
        self._durations[what] = self._now() - since


def of_run(
    config: TrainingConfig,
    length: RunLength,
    progress: Progress,
    began: float,
    now: Now,
    checkpoint: float,
) -> ScheduleTracker:
    """The tracker of a run that begins, or goes on from a checkpoint's progress.

    The arguments are those of `ClockTracker`. A resumed run by the clock has the time that was left
    at its checkpoint, or `more_minutes`.
    """
    if not config.minutes:
        return StepTracker(config)
    seconds = 60 * config.minutes if progress.left is None else progress.left
    if length.more_minutes is not None:
        seconds = 60 * length.more_minutes
    return ClockTracker(config, seconds, progress, began, now, checkpoint)


def is_finished(config: TrainingConfig, progress: Progress) -> bool:
    """Whether the run of a checkpoint has come to the end of its schedule."""
    return progress.passed >= 1 if config.minutes else progress.step >= config.steps


def require_minutes_possible(config: TrainingConfig, length: RunLength, resume: bool) -> None:
    """Raises `ConfigError` for what a run by the clock cannot do, and for its options elsewhere."""
    if config.minutes and multihost.process_count() > 1:
        raise ConfigError(
            "a run of so many minutes is for one host, since every host has a clock of its own; "
            "give several hosts a number of steps"
        )
    if length.more_minutes is not None and not (resume and config.minutes):
        raise ConfigError("more_minutes is for resuming a run of so many minutes")
