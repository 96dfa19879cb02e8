"""Which files a command is to work on, and what each result is called.

A file whose result would have the name of an earlier one is refused, and so is a folder that cannot
be read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rdonet_jax.cli import places
from rdonet_jax.cli.console import explained
from rdonet_jax.core.defaults import COMPRESSED_SUFFIX, IMAGE_SUFFIX


class Job(NamedTuple):
    """One file and what it becomes."""

    source: str
    target: str


class Failed(NamedTuple):
    """Why a job could not be done."""

    job: Job
    cause: str  # names the file


class Found(NamedTuple):
    """What there is to do, and what was passed over."""

    jobs: list[Job]
    failed: list[Failed]  # before any work
    others: list[str]  # suffixes, or names, of files in folders that are none to work on
    links: list[str]  # to folders, in folders


class Origin(NamedTuple):
    """A file to work on, and where its result goes in the output folder, but for its suffix."""

    path: str
    place: str


def compressions(sources: Sequence[str], folder: str, listed: Sequence[str] = ()) -> Found:
    """Jobs for images, and for all images below folders, into a folder.

    What lies below a folder keeps its place in it, and what a list names its place below the common
    folder of all names in it. Raises `CommandError` for a list that has none.
    """
    from PIL import Image

    from rdonet_jax.imaging import reader

    Image.init()
    known = [s for s, name in Image.EXTENSION.items() if name in reader.FORMATS]
    known += reader.MORE_SUFFIXES
    return _jobs(sources, listed, folder, known, lambda name: name + COMPRESSED_SUFFIX)


def decompressions(
    sources: Sequence[str],
    folder: str,
    suffix: str = IMAGE_SUFFIX,
    listed: Sequence[str] = (),
) -> Found:
    """Jobs for compressed files, and all those below folders, into a folder, likewise.

    a.jpg.rdo becomes a.jpg.png, a.png.rdo a.png.
    """

    def named(name: str) -> str:
        stem = name.removesuffix(COMPRESSED_SUFFIX)
        return stem if stem.lower().endswith(suffix) else stem + suffix

    return _jobs(sources, listed, folder, [COMPRESSED_SUFFIX], named)


def _jobs(
    sources: Sequence[str],
    listed: Sequence[str],
    folder: str,
    suffixes: Collection[str],
    named: Callable[[str], str],
) -> Found:
    found = Found([], [], [], [])
    with explained(ValueError, about="--list"):
        root = places.common_folder(listed) if listed else ""
    origins = [origin for source in sources for origin in _origins(source, None, suffixes, found)]
    origins += [origin for source in listed for origin in _origins(source, root, suffixes, found)]
    jobs: dict[str, Job] = {}  # by where a file lies: one that is named twice is meant once
    for path, place in origins:
        target = os.path.join(folder, os.path.dirname(place), named(os.path.basename(place)))
        jobs.setdefault(os.path.abspath(path), Job(path, target))
    first = _by_target(list(jobs.values()), folder)
    for job in jobs.values():
        other = first[job.target]
        if other == job:
            found.jobs.append(job)
        else:
            cause = f"{job.source}: would become {job.target}, as would {other.source}"
            found.failed.append(Failed(job, cause))
    return found


def _by_target(jobs: Sequence[Job], folder: str) -> dict[str, Job]:
    """For every target the first job whose result would lie there."""
    known = {places.folded(job.target) for job in jobs}
    same = places.folded
    if len(known) < len(jobs):  # which one may be right depends on the file system
        same = places.identity(folder)
    first: dict[str, Job] = {}
    for job in jobs:
        first.setdefault(same(job.target), job)
    return {job.target: first[same(job.target)] for job in jobs}


def _origins(
    source: str, root: str | None, suffixes: Collection[str], found: Found
) -> Iterator[Origin]:
    """The files that a source stands for, with their places below `root`: without one, below the
    source. What they are not is added to `found`."""
    if not os.path.isdir(source):
        place = os.path.basename(source) if root is None else _below_root(source, root)
        yield Origin(source, place)
        return
    below = _below(source)
    found.links.extend(below.links)
    for error in below.errors:
        cause = f"{error.filename or source}: {error.strerror or error}"
        found.failed.append(Failed(Job(str(error.filename or source), ""), cause))
    known = [path for path in below.files if path.suffix.lower() in suffixes and _is_one(path)]
    taken = set(known)
    found.others.extend(p.suffix.lower() or p.name for p in below.files if p not in taken)
    if not known and not below.errors:
        cause = f"{source}: holds no files with a suffix that is known here"
        found.failed.append(Failed(Job(source, ""), cause))
    for path in sorted(known):
        place = str(path.relative_to(source)) if root is None else _below_root(str(path), root)
        yield Origin(str(path), place)


def _below_root(path: str, root: str) -> str:
    return os.path.relpath(os.path.abspath(path), root)


def _is_one(path: Path) -> bool:
    """Whether there are bytes to read, or somebody should be told that a link leads nowhere."""
    return path.is_file() or path.is_symlink()


def passed_over(found: Found) -> str | None:
    """What folders hold besides what jobs are for, in words; None if it is nothing."""
    parts = [
        f"{what}: {len(names)} ({', '.join(sorted(set(names)))})"
        for what, names in (
            ("files passed over in folders", found.others),
            ("links to folders, which are not followed", found.links),
        )
        if names
    ]
    return "; ".join(parts) or None


class _Below(NamedTuple):
    """What lies below a folder, but for hidden files and folders."""

    files: list[Path]
    links: list[str]  # to folders, which are not followed
    errors: list[OSError]  # of folders that cannot be looked into


def _below(folder: str) -> _Below:
    below = _Below([], [], [])
    for place, folders, names in os.walk(folder, onerror=below.errors.append):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        inner = (os.path.join(place, name) for name in folders)
        below.links.extend(path for path in inner if os.path.islink(path))
        below.files.extend(Path(place) / name for name in names if name[0] != ".")
    return below
