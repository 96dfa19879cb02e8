"""Finds the number on a scale at which something measured meets a limit, in few trials.

Knows nothing of images: a caller asks `proposed` for the number to try next, measures there, and
adds what it found to its trials, until there is nothing left to try; `best` names the result.

Two kinds of curves are met. Where the measured value rises with the number, as it does on ordinary
images, secants within a bracket take about five trials. Flat and tiny images have values that rise
and fall by chance: as soon as that shows, and before anything is refused, numbers all over the
scale are tried as well.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

HALVING_AFTER = 5
"""After so many, every other trial halves the bracket, against curves on which secants creep."""

LEAST_RISE = 0.1
"""A curve that rises by less than this share of what is expected is taken for a plateau."""


@dataclasses.dataclass(frozen=True)
class Goal:
    """What is looked for, on a scale of the numbers 0 to `most`.

    limit: a value meets the goal if it is at most this. Values rise with the number as a rule.
    tolerance: how far below the limit a value may stay if no more trials are to be made.
    slope: by how much the value is expected to rise per number, a first guess.
    scan: the numbers tried where values do not rise; in order, with 0 and `most` among them.
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
    """What was measured at a number."""

    number: int
    value: float  # infinite values are allowed
    cost: float  # of two trials that meet the goal, the one of less cost is better


def evenly(most: int, count: int) -> tuple[int, ...]:
    """A scan of `count` numbers, or of all where the scale has fewer."""
    return tuple(sorted({round(i * most / (count - 1)) for i in range(count)}))


def best(goal: Goal, trials: tuple[Trial, ...]) -> Trial | None:
    """The trial of least cost among those that meet the goal; the first one of equals."""
    meeting = [trial for trial in trials if trial.value <= goal.limit]
    return min(meeting, key=lambda trial: trial.cost, default=None)


def proposed(goal: Goal, first: int, trials: tuple[Trial, ...]) -> int | None:
    """The number to try next, never one that was tried; None where the search has ended.

    `first` is tried first. The end without any trial that meets the goal comes after the whole
    scan only. Ends at the largest number that meets it or within the tolerance where values rise.
    """
    if not trials:
        return first
    tried = {trial.number for trial in trials}
    if _uneven(goal, trials):
        waiting = [number for number in goal.scan if number not in tried]
        if waiting:
            return waiting[0]
    low, high = _bracket(goal, trials)
    if not _settled(goal, low, high):
        return _between(goal, trials, low, high)
    if low is None:
        return next((number for number in goal.scan if number not in tried), None)
    if len(trials) == 1:  # which alone does not show that values rise
        return next((n for n in goal.scan if n > first), None)
    return None


def _uneven(goal: Goal, trials: tuple[Trial, ...]) -> bool:
    """Whether values fall, or hardly rise, from one trial to another at some distance from it."""
    least = goal.most / max(len(goal.scan) - 1, 1)
    ordered = sorted(trials)
    return any(
        b.number - a.number >= least
        and not b.value - a.value >= LEAST_RISE * goal.slope * (b.number - a.number)
        for i, a in enumerate(ordered)
        for b in ordered[i + 1 :]
    )


def _bracket(goal: Goal, trials: tuple[Trial, ...]) -> tuple[Trial | None, Trial | None]:
    """The largest number that meets the goal, and the least beyond it; None where there is none."""
    low = max((t for t in trials if t.value <= goal.limit), default=None)
    beyond = (t for t in trials if low is None or t.number > low.number)
    return low, min(beyond, default=None)


def _settled(goal: Goal, low: Trial | None, high: Trial | None) -> bool:
    """Whether nothing between the two is worth trying."""
    if low is not None and low.value >= goal.limit - goal.tolerance:
        return True
    return _end(high, goal.most + 1) - _end(low, -1) <= 1


def _end(trial: Trial | None, otherwise: int) -> int:
    return otherwise if trial is None else trial.number


def _between(goal: Goal, trials: tuple[Trial, ...], low: Trial | None, high: Trial | None) -> int:
    """A number between two trials, of which there is one at least."""
    start, end = _end(low, -1), _end(high, goal.most + 1)
    aim = goal.limit - goal.tolerance / 2
    halving = len(trials) > HALVING_AFTER and len(trials) % 2
    known = [trial for trial in (low, high) if trial is not None]
    if halving or any(math.isinf(trial.value) for trial in known):
        guess = (start + end) / 2
    elif low is not None and high is not None:
        # The value at `high` is over the limit, and that at `low` below it by the tolerance.
        guess = start + (aim - low.value) / (high.value - low.value) * (end - start)
    else:
        # Farther each time, for an end that the slope does not lead to.
        stride = 2 ** (len(trials) - 1) * (aim - known[0].value) / goal.slope
        guess = known[0].number + min(max(stride, -goal.most), goal.most)
    return min(max(round(guess), start + 1, 0), end - 1, goal.most)
