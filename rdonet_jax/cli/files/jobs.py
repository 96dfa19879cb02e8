"""Which files a command is to work on, and what each result is called.

A file whose result would have the name of an earlier one is refused, and so is a folder that cannot
be read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rdonet_jax.cli.errors import CommandError, cause_of, explained
from rdonet_jax.cli.files import file_names, streams
from rdonet_jax.core.defaults import COMPRESSED_SUFFIX, IMAGE_SUFFIX
from rdonet_jax.core.shard import Shard
from rdonet_jax.storage import urls


class Job(NamedTuple):
    """One file and what it becomes."""

    source: str
    target: str


class Failed(NamedTuple):
    """Why a job could not be done."""

    job: Job
    cause: str  # names the file


class Found(NamedTuple):
    """The jobs, and the files and folders that are left out."""

    jobs: list[Job]
    failed: list[Failed]  # before any work
    others: list[str]  # suffixes, or names without suffix, of files in folders of another kind
    links: list[str]  # in folders, to folders


def of_shard(found: Found, shard: Shard) -> Found:
    """A part of the jobs. What is left out before any work is reported with the first part."""
    is_first = shard.number == 1
    return found._replace(
        jobs=list(shard.part(found.jobs)),
        failed=found.failed if is_first else [],
        others=found.others if is_first else [],
        links=found.links if is_first else [],
    )


class Origin(NamedTuple):
    """A file to work on."""

    path: str
    relative: str  # the path of its result in the output folder, before the suffix changes


def compressions(sources: Sequence[str], folder: str, listed: Sequence[str] = ()) -> Found:
    """Jobs that compress images, and all images below folders, into a folder.

    A file below a folder keeps its path relative to that folder, and a file named in a list its
    path relative to the common folder of all names in the list. Files and folders may be URLs.
    Raises `CommandError` for a list whose names have no common folder, and `UrlError` for a folder
    that is a URL without one of its slashes.
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
    """Jobs that restore compressed files, and all those below folders, into a folder.

    Paths are as in `compressions`. a.jpg.rdo becomes a.jpg.png, and a.png.rdo becomes a.png.
    """

    def named(name: str) -> str:
        stem, ending = os.path.splitext(name)
        stem = stem if ending.lower() == COMPRESSED_SUFFIX else name
        return stem if stem.lower().endswith(suffix) else stem + suffix

    return _jobs(sources, listed, folder, [COMPRESSED_SUFFIX], named)


def _jobs(
    sources: Sequence[str],
    listed: Sequence[str],
    folder: str,
    suffixes: Collection[str],
    named: Callable[[str], str],
) -> Found:
    urls.require_no_flattened_url(folder)
    found = Found([], [], [], [])
    with explained(ValueError, about="--list"):
        root = file_names.common_folder(listed) if listed else ""
    origins = [origin for source in sources for origin in _origins(source, None, suffixes, found)]
    origins += [origin for source in listed for origin in _origins(source, root, suffixes, found)]
    jobs: dict[str, Job] = {}  # by absolute path, since a file that is named twice is one job
    for path, relative in origins:
        below, name = os.path.split(relative)
        target = _joined(folder, below, named(name))
        jobs.setdefault(path if urls.is_url(path) else os.path.abspath(path), Job(path, target))
    first = _by_target(list(jobs.values()), folder)
    for job in jobs.values():
        other = first[job.target]
        if other == job:
            found.jobs.append(job)
        else:
            cause = f"{job.source}: would become {job.target}, as would {other.source}"
            found.failed.append(Failed(job, cause))
    return found


def _joined(folder: str, below: str, name: str) -> str:
    """The path or URL of a result."""
    if urls.is_url(folder):
        return urls.join(folder, *filter(None, Path(below).parts), name)
    return os.path.join(folder, below, name)


def _by_target(jobs: Sequence[Job], folder: str) -> dict[str, Job]:
    """For every target the first job whose result would have that path."""
    known = {file_names.folded(job.target) for job in jobs}
    same: Callable[[str], str] = file_names.folded
    if urls.is_url(folder):  # every name is one of its own
        same = str
    elif len(known) < len(jobs):  # which one may be right depends on the file system
        same = file_names.identity(folder)
    first: dict[str, Job] = {}
    for job in jobs:
        first.setdefault(same(job.target), job)
    return {job.target: first[same(job.target)] for job in jobs}


def _origins(
    source: str, root: str | None, suffixes: Collection[str], found: Found
) -> Iterator[Origin]:
    """The files that a source stands for, with their paths relative to `root`, or without one to
    the source. What is left out is added to `found`."""
    if urls.is_url(source):
        yield from _origins_at_url(source, root, suffixes, found)
        return
    try:
        urls.require_no_flattened_url(source)
        streams.require_file(source)
    except (urls.UrlError, CommandError) as error:
        found.failed.append(Failed(Job(source, ""), str(error)))
        return
    if not os.path.isdir(source):
        relative = os.path.basename(source) if root is None else _below_root(source, root)
        yield Origin(source, relative)
        return
    below = _below(source)
    found.links.extend(below.links)
    for unread in below.errors:
        cause = cause_of(unread, source)
        found.failed.append(Failed(Job(str(unread.filename or source), ""), cause))
    chosen = [path for path in below.files if path.suffix.lower() in suffixes and _is_file(path)]
    _note_others(source, below.files, chosen, found, may_be_empty=bool(below.errors))
    for path in sorted(chosen):
        below_source = str(path.relative_to(source))
        yield Origin(str(path), below_source if root is None else _below_root(str(path), root))


def _origins_at_url(
    url: str, root: str | None, suffixes: Collection[str], found: Found
) -> Iterator[Origin]:
    """As `_origins`, for a file or a folder at a URL."""
    try:
        below = urls.listed(url)
    except urls.UrlError as error:
        found.failed.append(Failed(Job(url, ""), str(error)))
        return
    if not below:  # a file, or nothing, which its job will report
        yield Origin(url, urls.name_of(url) if root is None else _below_root(url, root))
        return
    files = [Path(name) for name in below if not any(p[0] == "." for p in Path(name).parts)]
    chosen = [path for path in files if path.suffix.lower() in suffixes]
    _note_others(url, files, chosen, found)
    for path in chosen:
        file = urls.join(url, *path.parts)
        yield Origin(file, str(path) if root is None else _below_root(file, root))


def _note_others(
    source: str,
    files: Sequence[Path],
    chosen: Sequence[Path],
    found: Found,
    may_be_empty: bool = False,
) -> None:
    """Adds to `found` the files of a folder that are not `chosen`, and an error where none is."""
    ours = set(chosen)
    found.others.extend(p.suffix.lower() or p.name for p in files if p not in ours)
    if not chosen and not may_be_empty:
        cause = f"{source}: holds no files with a suffix that is known here"
        found.failed.append(Failed(Job(source, ""), cause))


def _below_root(path: str, root: str) -> str:
    if urls.is_url(path):
        return path.removeprefix(root).lstrip("/")
    return os.path.relpath(os.path.abspath(path), root)


def _is_file(path: Path) -> bool:
    """Whether it is a file, or a link to none, for which there should be an error message."""
    return path.is_file() or path.is_symlink()


def passed_over(found: Found) -> str | None:
    """A message about what was left out in folders; None if nothing was."""
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
    """The contents of a folder and of all folders in it, without hidden files and folders."""

    files: list[Path]
    links: list[str]  # to folders, which are not followed
    errors: list[OSError]  # of folders that cannot be read


def _below(folder: str) -> _Below:
    below = _Below([], [], [])
    for parent, folders, names in os.walk(folder, onerror=below.errors.append):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        inner = (os.path.join(parent, name) for name in folders)
        below.links.extend(path for path in inner if os.path.islink(path))
        below.files.extend(Path(parent) / name for name in names if name[0] != ".")
    return below
