"""Local copies of files at URLs, for what reads local files alone.

They lie below the user's cache, under the protocol and path of the URL, and are copied again when
the file at the URL has changed. Several processes may ask for the same files at a time.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rdonet_jax.core import urls
from rdonet_jax.core.urls import Entry, UrlError

TRANSFERS = 16
"""Files that are copied at a time. They mostly wait for the network."""

VERSIONS = ".versions.json"
"""What is known of the copies in a folder, by name."""


def root() -> Path:
    """The folder of all copies: below $XDG_CACHE_HOME, ~/.cache, or temporary files."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:  # there is no home
        cache = Path(tempfile.gettempdir())
    return cache / "rdonet_jax" / "downloads"


def file(url: str) -> Path:
    """A local copy of a file that does not change, such as a weights file. Raises `UrlError`."""
    target = root().joinpath(*urls.parts(url))
    if not target.is_file():
        _download(url, target)
    return target


def folder(url: str, is_wanted: Callable[[str], bool]) -> Path:
    """A folder with copies of the files below a URL whose names are wanted, and no other ones.

    Raises `UrlError`, also where there is no room for them.
    """
    from filelock import FileLock

    target = root().joinpath(*urls.parts(url))
    found = {name: entry for name, entry in urls.listed(url).items() if is_wanted(name)}
    if not found:
        raise UrlError(url, "holds no images")
    target.mkdir(parents=True, exist_ok=True)
    with FileLock(target / ".lock"):
        known = _versions(target)
        missing = {
            name: entry
            for name, entry in found.items()
            if known.get(name) != list(entry) or not (target / name).is_file()
        }
        _require_room(url, target, missing.values())
        with ThreadPoolExecutor(TRANSFERS) as pool:
            list(pool.map(lambda name: _download(urls.join(url, name), target / name), missing))
        for name in known.keys() - found.keys():
            (target / name).unlink(missing_ok=True)
        (target / VERSIONS).write_text(json.dumps({name: list(e) for name, e in found.items()}))
    return target


def _versions(target: Path) -> dict[str, list]:
    try:
        return dict(json.loads((target / VERSIONS).read_text()))
    except (OSError, ValueError):
        return {}


def _require_room(url: str, target: Path, entries: Iterable[Entry]) -> None:
    needed, free = sum(entry.size for entry in entries), shutil.disk_usage(target).free
    if needed > free:
        raise UrlError(
            url,
            f"a copy needs {needed / 1e9:.1f} GB below {root()}, where {free / 1e9:.1f} GB are "
            "free; shards are read where they are, see 'rdonet data pack'",
        )


def _download(url: str, target: Path) -> None:
    """Copies a file, which appears whole under its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        urls.download(url, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
