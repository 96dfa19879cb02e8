"""`Report`s of the codec, called at the beginning of each step: timing, and Ctrl-C in a search."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rdonet_jax.core import interrupts

if TYPE_CHECKING:
    from rdonet_jax.codec.codec import Report


class StepTimer:
    """A `Report` that measures the time of every step and calls another one.

    A step that is reported again is still the same step.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._begun: list[tuple[str, float]] = []

    def __call__(self, step: str) -> None:
        if not self._begun or self._begun[-1][0] != step:
            self._begun.append((step, time.perf_counter()))
        self._report(step)

    def seconds(self) -> tuple[tuple[str, float], ...]:
        """The steps so far and how long each took, the last one until now."""
        ends = [begun for _, begun in self._begun[1:]] + [time.perf_counter()]
        return tuple(
            (name, end - begun) for (name, begun), end in zip(self._begun, ends, strict=True)
        )


class InterruptibleSearch:
    """A `Report` with which Ctrl-C ends a search and not the command; a context manager.

    The encoder uses the best partition so far. A second Ctrl-C ends the command.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._is_interrupted: Callable[[], bool] | None = None  # while a search runs
        self._search = contextlib.ExitStack()

    def __call__(self, step: str) -> None:
        from rdonet_jax.rdo import encoder

        self._report(step)
        if not encoder.is_search_step(step):
            self._end_search()
            return
        if self._is_interrupted is None:
            message = "the search ends with the best so far"
            self._is_interrupted = self._search.enter_context(
                interrupts.graceful_interrupt(message)
            )
        if self._is_interrupted():
            raise KeyboardInterrupt

    def _end_search(self) -> None:
        self._is_interrupted = None
        self._search.close()

    def __enter__(self) -> InterruptibleSearch:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_search()
