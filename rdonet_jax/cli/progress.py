"""What happens at the beginning of each step of the codec: a bar, timing, Ctrl-C in a search."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rdonet_jax.cli.errors import CommandError
from rdonet_jax.runtime import interrupts

if TYPE_CHECKING:
    from rdonet_jax.codec.codec import Report

PROGRESS_DELAY = 2.0
"""Seconds that a command may take before it shows its progress."""


@contextlib.contextmanager
def progress_bar(about: str, steps: Sequence[str], quiet: bool) -> Iterator[Callable[[str], None]]:
    """For work that takes long and much memory, on the file `about`.

    Gives a function to call at the beginning of each step: on a terminal it moves a bar.
    """
    try:
        with _bar(steps, silent=quiet or not sys.stderr.isatty()) as report:
            yield report
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise CommandError(f"{about}: there is not enough memory for this image") from error


@contextlib.contextmanager
def _bar(steps: Sequence[str], silent: bool) -> Iterator[Callable[[str], None]]:
    """A bar that appears when the work has taken `PROGRESS_DELAY`, within a step if need be."""
    if silent:
        yield lambda step: None
        return
    bar = _LateBar(steps)
    timer = threading.Timer(PROGRESS_DELAY, bar.appear)
    timer.daemon = True
    try:
        timer.start()
        yield bar.report
    finally:
        timer.cancel()
        bar.close()


class _LateBar:
    """A bar of tqdm, which is imported only when it appears: most commands are done before."""

    def __init__(self, steps: Sequence[str]) -> None:
        self._steps, self._at = steps, 0
        self._bar: Any = None
        self._started, self._lock, self._is_over = time.time(), threading.RLock(), False

    def appear(self) -> None:
        with self._lock:
            if self._bar is not None or self._is_over:
                return
            from tqdm import tqdm

            self._bar = tqdm(
                total=len(self._steps),
                bar_format="{desc:<9} |{bar}| {n_fmt}/{total_fmt} [{elapsed}]",
                initial=self._at,
                desc=self._steps[self._at],
                mininterval=0,
                leave=False,
            )
            self._bar.start_t = self._started

    def report(self, step: str) -> None:
        with self._lock:
            self._at = self._steps.index(step)
            if self._bar is not None:
                self._bar.set_description_str(step, refresh=False)
                self._bar.update(self._at - self._bar.n)
            elif time.time() - self._started >= PROGRESS_DELAY:
                self.appear()

    def close(self) -> None:
        with self._lock:
            self._is_over = True
            if self._bar is not None:
                self._bar.close()


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
