"""Works on many files, some at a time, and counts the results.

A file that fails stops nothing: it is named and counted. A file that exists already is left alone
unless it is to be overwritten, so a run that was broken off can be continued. The same holds for a
file that another process makes in the meantime, so several can work on one list.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import NamedTuple

from rdonet_jax.cli.errors import CommandError, TargetExists, cause_of
from rdonet_jax.cli.files import remote_files
from rdonet_jax.cli.files.file_result import FileResult
from rdonet_jax.cli.files.jobs import Failed, Job
from rdonet_jax.core import optional_packages
from rdonet_jax.runtime import interrupts

SAMPLES = 3
"""Bytes of a pixel before compression, by which speeds are counted."""


class Skipped(NamedTuple):
    """A job whose result was there before, or was made by another process."""

    job: Job


Outcome = tuple[Job, FileResult] | Failed | Skipped

Outcomes = Callable[[Callable[[], bool]], Iterator[Outcome]]
"""Does jobs, without those that have not begun when the function that it is given becomes true."""

BEGUN_ARE_ENDED = "files that are begun are ended, no others are begun"
"""What happens after the first interrupt."""


class Summary(NamedTuple):
    """What came of many jobs."""

    done: int
    skipped: int
    failed: int
    not_done: int  # not begun, or not ended, because of an interruption
    pixels: int
    size: int  # bytes of the compressed files
    seconds: float
    interrupted: bool

    def text(self) -> str:
        """The summary for people."""
        parts = ["1 file" if self.done == 1 else f"{self.done} files"]
        parts += [f"{self.skipped} were there already"] if self.skipped else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.not_done} not done"] if self.not_done else []
        if self.done:
            speed = SAMPLES * self.pixels / 1e6 / self.seconds
            parts.append(f"{self.size} bytes compressed, {8 * self.size / self.pixels:.3f} bpp")
            parts.append(f"{speed:.1f} MB/s of pixels")
        return ", ".join([*parts, f"{self.seconds:.1f} s"])


def run(
    count: int,
    outcomes: Outcomes,
    on_outcome: Callable[[Outcome], None],
    failed: Sequence[Failed] = (),
    summary_text: Callable[[Summary], str] = lambda summary: "",
    after_interrupt: str = BEGUN_ARE_ENDED,
) -> Summary:
    """Does so many jobs. `on_outcome` is called for each of them, `failed` first.

    `outcomes` does them: `on_this_machine`, or others. Before a signal ends the process, the
    `summary_text` so far is printed.
    """
    started = time.perf_counter()
    counts = {"done": 0, "skipped": 0, "failed": 0, "pixels": 0, "size": 0}
    interrupted = False

    def summary() -> Summary:
        not_done = count + len(failed) - counts["done"] - counts["skipped"] - counts["failed"]
        seconds = time.perf_counter() - started
        return Summary(**counts, not_done=not_done, seconds=seconds, interrupted=interrupted)

    def add(outcome: Outcome) -> None:
        if isinstance(outcome, Failed):
            counts["failed"] += 1
        elif isinstance(outcome, Skipped):
            counts["skipped"] += 1
        else:
            counts["done"] += 1
            counts["pixels"] += outcome[1].pixels
            counts["size"] += outcome[1].byte_count

    with (
        interrupts.graceful_interrupt(after_interrupt) as asked,
        interrupts.final_output(lambda: summary_text(summary()._replace(interrupted=True))),
    ):
        try:
            for outcome in itertools.chain(failed, outcomes(asked)):
                add(outcome)
                on_outcome(outcome)
        except KeyboardInterrupt:
            interrupted = True
        interrupted = interrupted or asked()
    return summary()


def on_this_machine(
    jobs: Sequence[Job], work: Callable[[Job], FileResult], force: bool, workers: int
) -> Outcomes:
    """Does jobs in this process, so many at a time."""
    return functools.partial(_outcomes, jobs, work, force, workers)


def outcome_of(job: Job, work: Callable[[Job], FileResult], force: bool) -> Outcome:
    """Does one job, unless its result is there and `force` is not given."""
    try:
        if not force and remote_files.exists(job.target):
            return Skipped(job)
        remote_files.make_folder(job.target)
        with optional_packages.missing_as(CommandError):
            return job, work(job)
    except TargetExists:  # another process has made it
        return Skipped(job)
    except (CommandError, OSError) as error:
        cause = cause_of(error, job.source)
    except Exception as error:  # one file must not end the work on all others
        cause = f"{job.source}: fails in an unforeseen way: {error!r}"
    return Failed(job, cause)


def _outcomes(
    jobs: Sequence[Job],
    work: Callable[[Job], FileResult],
    force: bool,
    workers: int,
    stopping: Callable[[], bool],
) -> Iterator[Outcome]:
    def one(job: Job) -> Outcome | None:
        return None if stopping() else outcome_of(job, work, force)

    if workers == 1:  # in the main thread, which an interrupt reaches in the middle of a job
        yield from filter(None, map(one, jobs))
        return
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        stack.callback(pool.shutdown, cancel_futures=True)
        for future in as_completed([pool.submit(one, job) for job in jobs]):
            if outcome := future.result():
                yield outcome
