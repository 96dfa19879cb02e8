"""Inputs and results of jobs at URLs: local files stand for them while they are worked on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from rdonet_jax.cli.errors import TargetExists
from rdonet_jax.cli.files.file_result import FilePath
from rdonet_jax.cli.files.streams import Stream
from rdonet_jax.runtime import interrupts
from rdonet_jax.storage import urls


def exists(name: str) -> bool:
    """Whether there is a file of this name, which may be a URL. Raises `UrlError`.

    A folder or a device of this name is no result.
    """
    return urls.exists(name) if urls.is_url(name) else os.path.isfile(name)


def existing(names: Sequence[str]) -> set[str]:
    """Those of the names that are files. Of URLs, each folder is listed once. Raises `UrlError`."""
    roots: list[str] = []
    for folder in sorted({name.rpartition("/")[0] for name in names if urls.is_url(name)}):
        if not roots or not folder.startswith(roots[-1] + "/"):  # one below another is in its list
            roots.append(folder)
    found = {urls.join(root, below) for root in roots for below in urls.listed(root)}
    return {name for name in names if (name in found if urls.is_url(name) else exists(name))}


def make_folder(name: str) -> None:
    """Makes the folder of a local file; stores need none. Raises OSError."""
    if not urls.is_url(name):
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)


@contextlib.contextmanager
def local(source: str, target: str, force: bool) -> Iterator[tuple[FilePath, FilePath]]:
    """Local files in place of names that are URLs.

    The source is copied before the work, and the target in one piece once the work has succeeded.
    Raises `TargetExists` for a target that is there by then, unless it is to be overwritten, and
    `UrlError`.
    """
    if not (urls.is_url(source) or urls.is_url(target)):
        yield source, target
        return
    with interrupts.temporary_folder() as folder:
        input_path: FilePath = source
        if urls.is_url(source):
            copy = Path(_folder(folder, "input"), urls.name_of(source))
            urls.download(source, copy)
            input_path = Stream(str(copy), source)
        if not urls.is_url(target):
            yield input_path, target
            return
        result = Path(_folder(folder, "output"), urls.name_of(target))
        yield input_path, Stream(str(result), target)
        if not force and urls.exists(target):
            raise TargetExists(f"{target}: exists already and is not overwritten without --force")
        urls.upload(result, target)


def _folder(parent: str, name: str) -> str:
    path = os.path.join(parent, name)
    os.mkdir(path)
    return path
