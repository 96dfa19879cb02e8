"""Finds the number on a scale at which a measured value meets a limit, in few trials.

The functions are pure and do not measure anything. The caller measures at `next_number`, appends
the result to its trials, and repeats, until `next_number` returns None. Then `best` is the result.

On ordinary images the value rises with the number, and the secant method within a bracket takes
about five trials. On flat and tiny images the value may rise and fall. Once a trial shows this, and
before the search fails, numbers all over the scale are tried as well. If none of those meets the
limit, but the value falls somewhere by more than what is missing, further numbers are tried next to
the least values.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import NamedTuple

HALVING_AFTER = 5
"""After so many trials every other one halves the bracket, since secants can converge slowly."""

MIN_RISE = 0.1
"""A curve that rises by less than this share of the expected slope counts as flat."""

CLOSER_TRIALS = 30
"""Trials after a scan, at most, next to the least values."""


@dataclasses.dataclass(frozen=True)
class Goal:
    """The goal of a search on a scale of the numbers 0 to `most`.

    Attributes:
      limit: a value meets the goal if it is at most this. Values usually rise with the number.
      tolerance: a value at most so far below the limit ends the search.
      slope: the expected rise of the value per number, a first guess.
      most: the largest number.
      scan: the numbers to try if values do not rise, in order, from 0 to `most`.
    """

    limit: float
    tolerance: float
    slope: float
    most: int
    scan: tuple[int, ...]

    def __post_init__(self) -> None:
        if not (self.scan and self.scan[0] == 0 and self.scan[-1] == self.most):
            raise ValueError("a scan goes from one end of the scale to the other")


class Trial(NamedTuple):
    """The result of measuring at a number."""

    number: int
    value: float  # infinite values are allowed
    cost: float  # the best trial is that of least cost among those that meet the goal


def evenly(most: int, count: int) -> tuple[int, ...]:
    """A scan of `count` evenly spaced numbers, or of all if the scale has fewer."""
    return tuple(sorted({round(i * most / (count - 1)) for i in range(count)}))


def best(goal: Goal, trials: tuple[Trial, ...]) -> Trial | None:
    """The trial of least cost among those that meet the goal, the first one of equal ones."""
    meeting = [trial for trial in trials if trial.value <= goal.limit]
    return min(meeting, key=lambda trial: trial.cost, default=None)


def next_number(goal: Goal, first: int, trials: tuple[Trial, ...]) -> int | None:
    """The number to try next, which was not tried before; None at the end of the search.

    `first` is tried first. Where values rise, the search ends at the largest number that meets the
    goal, or within the tolerance. It ends only after trials far enough from each other to show that
    values rise, and without any trial that meets the goal only after the whole scan.
    """
    if not trials:
        return first
    tried = {trial.number for trial in trials}
    if _uneven(goal, trials):
        untried = [number for number in goal.scan if number not in tried]
        if untried:
            return untried[0]
    low, high = _bracket(goal, trials)
    if not _is_done(goal, low, high):
        return _between(goal, trials, low, high)
    if low is None:
        scanned = next((number for number in goal.scan if number not in tried), None)
        return _closer(goal, trials) if scanned is None else scanned
    if max(tried) - min(tried) < _least_distance(goal):
        return _distant(goal, low.number)
    return None


def _least_distance(goal: Goal) -> float:
    """How far two numbers are from each other if their values show whether values rise."""
    return goal.most / max(len(goal.scan) - 1, 1)


def _distant(goal: Goal, number: int) -> int | None:
    """A number of the scan that is far enough from this one, the nearest if possible a larger."""
    distant = [n for n in goal.scan if abs(n - number) >= _least_distance(goal)]
    return min(distant, key=lambda n: (n < number, abs(n - number)), default=None)


def _closer(goal: Goal, trials: tuple[Trial, ...]) -> int | None:
    """A number in the middle of two tried ones, next to the least value.

    None after enough of them, and where the limit is further away than values fall anywhere.
    """
    pairs = list(itertools.pairwise(sorted(trials)))
    fall = max((a.value - b.value for a, b in pairs), default=0.0)
    missing = min(trial.value for trial in trials) - goal.limit
    if len(trials) >= len(goal.scan) + CLOSER_TRIALS or fall <= 0 or missing > fall:
        return None
    gaps = [
        (min(a.value, b.value), a.number - b.number, (a.number + b.number) // 2)
        for a, b in pairs
        if b.number - a.number > 1
    ]
    return min(gaps)[2] if gaps else None


def _uneven(goal: Goal, trials: tuple[Trial, ...]) -> bool:
    """Whether values fall, or hardly rise, between two trials that are not close to each other."""
    least = _least_distance(goal)
    ordered = sorted(trials)
    return any(
        b.number - a.number >= least
        and not b.value - a.value >= MIN_RISE * goal.slope * (b.number - a.number)
        for i, a in enumerate(ordered)
        for b in ordered[i + 1 :]
    )


def _bracket(goal: Goal, trials: tuple[Trial, ...]) -> tuple[Trial | None, Trial | None]:
    """The trial of the largest number that meets the goal, and the next larger trial; or None."""
    low = max((t for t in trials if t.value <= goal.limit), default=None)
    beyond = (t for t in trials if low is None or t.number > low.number)
    return low, min(beyond, default=None)


def _is_done(goal: Goal, low: Trial | None, high: Trial | None) -> bool:
    """Whether no number between the two needs to be tried."""
    if low is not None and low.value >= goal.limit - goal.tolerance:
        return True
    return _end(high, goal.most + 1) - _end(low, -1) <= 1


def _end(trial: Trial | None, otherwise: int) -> int:
    return otherwise if trial is None else trial.number


def _between(goal: Goal, trials: tuple[Trial, ...], low: Trial | None, high: Trial | None) -> int:
    """A number between two trials, at least one of which is not None."""
    start, end = _end(low, -1), _end(high, goal.most + 1)
    aim = goal.limit - goal.tolerance / 2
    halving = len(trials) > HALVING_AFTER and len(trials) % 2
    ends = [trial for trial in (low, high) if trial is not None]
    if halving or any(math.isinf(trial.value) for trial in ends):
        guess = (start + end) / 2
    elif low is not None and high is not None:
        # The value at `high` is over the limit, and that at `low` below it by the tolerance.
        guess = start + (aim - low.value) / (high.value - low.value) * (end - start)
    else:
        # The steps grow, in case the slope is too small to reach the end of the scale.
        stride = 2 ** (len(trials) - 1) * (aim - ends[0].value) / goal.slope
        guess = ends[0].number + min(max(stride, -goal.most), goal.most)
    return min(max(round(guess), start + 1, 0), end - 1, goal.most)
