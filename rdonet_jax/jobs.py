"""Many files: which ones, what becomes of each, and what came of it all.

A file that fails stops nothing: it is named, and counted. One that exists already is left alone
unless it is to be overwritten, so a run that was broken off goes on where it was.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from rdonet_jax.commands import COMPRESSED_SUFFIX, PICTURE_SUFFIX, Done
from rdonet_jax.console import CommandError

SAMPLES = 3
"""Bytes of a pixel before compression, by which speeds are counted."""


class Job(NamedTuple):
    """One file and what it becomes."""

    source: str
    target: str


class Failed(NamedTuple):
    """Why a job could not be done."""

    job: Job
    cause: str  # names the file


class Skipped(NamedTuple):
    """A job whose result was there before."""

    job: Job


Outcome = tuple[Job, Done] | Failed | Skipped


class Summary(NamedTuple):
    """What came of many jobs."""

    done: int
    skipped: int
    failed: int
    pixels: int
    size: int  # bytes of the compressed files
    seconds: float

    def words(self) -> str:
        """For people."""
        parts = [f"{self.done} files"]
        parts += [f"{self.skipped} were there already"] if self.skipped else []
        parts += [f"{self.failed} failed"] if self.failed else []
        if self.done:
            speed = SAMPLES * self.pixels / 1e6 / self.seconds
            parts.append(f"{self.size} bytes compressed, {8 * self.size / self.pixels:.3f} bpp")
            parts.append(f"{speed:.1f} MB/s of pixels")
        return ", ".join([*parts, f"{self.seconds:.1f} s"])


def compressions(sources: Sequence[str], folder: str) -> list[Job]:
    """Jobs for pictures, and for all pictures below folders, into a folder.

    What lies below a folder keeps its place in it. Raises `CommandError` as `_jobs` does.
    """
    from PIL import Image

    from rdonet_jax import picture_reader

    Image.init()
    known = [s for s, name in Image.EXTENSION.items() if name in picture_reader.FORMATS]
    known += picture_reader.MORE_SUFFIXES
    return _jobs(sources, folder, known, lambda name: name + COMPRESSED_SUFFIX)


def decompressions(sources: Sequence[str], folder: str, suffix: str = PICTURE_SUFFIX) -> list[Job]:
    """Jobs for compressed files, and all those below folders, into a folder.

    a.jpg.rdo becomes a.jpg.png, a.png.rdo a.png. Raises `CommandError` as `_jobs` does.
    """

    def named(name: str) -> str:
        stem = name.removesuffix(COMPRESSED_SUFFIX)
        return stem if stem.lower().endswith(suffix) else stem + suffix

    return _jobs(sources, folder, [COMPRESSED_SUFFIX], named)


def _jobs(
    sources: Sequence[str], folder: str, suffixes: Collection[str], named: Callable[[str], str]
) -> list[Job]:
    """Raises `CommandError` for folders without such files, and files that would become one."""
    by_target: dict[str, Job] = {}
    for source in sources:
        for path, place in _files(source, suffixes):
            target = os.path.join(folder, os.path.dirname(place), named(os.path.basename(place)))
            # There are file systems on which names that differ in case alone are the same.
            job = by_target.setdefault(target.casefold(), Job(path, target))
            if job.source != path:
                raise CommandError(f"{path}: would become {target}, as would {job.source}")
    return list(by_target.values())


def _files(source: str, suffixes: Collection[str]) -> Iterator[tuple[str, str]]:
    """The files that a source stands for, each with its name in the output folder."""
    if not os.path.isdir(source):
        yield source, os.path.basename(source)
        return
    found = sorted(p for p in _below(source) if p.suffix.lower() in suffixes)
    if not found:
        raise CommandError(f"{source}: holds no files with a suffix that is known here")
    for path in found:
        yield str(path), str(path.relative_to(source))


def passed_over(sources: Sequence[str], jobs: Sequence[Job]) -> str | None:
    """What folders hold besides what jobs are for, in words; None if it is nothing."""
    taken = {job.source for job in jobs}
    others = [
        path.suffix.lower() or path.name
        for source in sources
        if os.path.isdir(source)
        for path in _below(source)
        if str(path) not in taken
    ]
    if not others:
        return None
    return f"files passed over in folders: {len(others)} ({', '.join(sorted(set(others)))})"


def _below(folder: str) -> Iterator[Path]:
    """The files below a folder but for hidden ones. Raises OSError for what cannot be looked into.

    Links to folders are not followed.
    """

    def refuse(error: OSError) -> None:
        raise error

    for place, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(place) / name for name in names if name[0] != ".")


def run(
    jobs: Sequence[Job],
    work: Callable[[Job], Done],
    force: bool,
    workers: int,
    tell: Callable[[Outcome], None],
) -> Summary:
    """Does all jobs, some at a time, and tells of each as it ends.

    An interrupt lets those that are begun end, and no others begin.
    """
    started = time.perf_counter()
    counts = {"done": 0, "skipped": 0, "failed": 0, "pixels": 0, "size": 0}
    for outcome in _outcomes(jobs, work, force, workers):
        tell(outcome)
        if isinstance(outcome, Failed):
            counts["failed"] += 1
        elif isinstance(outcome, Skipped):
            counts["skipped"] += 1
        else:
            counts["done"] += 1
            counts["pixels"] += outcome[1].pixels
            counts["size"] += outcome[1].size
    return Summary(**counts, seconds=time.perf_counter() - started)


def _outcomes(
    jobs: Sequence[Job], work: Callable[[Job], Done], force: bool, workers: int
) -> Iterator[Outcome]:
    def one(job: Job) -> Outcome:
        if not force and os.path.exists(job.target):
            return Skipped(job)
        try:
            os.makedirs(os.path.dirname(job.target) or ".", exist_ok=True)
            return job, work(job)
        except CommandError as error:
            return Failed(job, str(error))
        except OSError as error:
            about = error.filename or job.source
            return Failed(job, f"{about}: {error.strerror or error}")
        except Exception as error:  # one file must not end the work on all others
            return Failed(job, f"{job.source}: fails in an unforeseen way: {error!r}")

    if workers == 1:  # in the main thread, which an interrupt reaches in the middle of a job
        yield from map(one, jobs)
        return
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        stack.callback(pool.shutdown, cancel_futures=True)
        for future in as_completed([pool.submit(one, job) for job in jobs]):
            yield future.result()
