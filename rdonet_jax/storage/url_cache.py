"""Local copies of files at URLs, for what reads local files alone.

They lie below the user's cache and are copied again when the file at the URL has changed. Several
processes may ask for the same files at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rdonet_jax.runtime import interrupts
from rdonet_jax.storage import files, urls
from rdonet_jax.storage.urls import Entry, UrlError

TRANSFERS = 16
"""Files that are copied at a time. They mostly wait for the network."""

VERSIONS = ".versions.json"
"""What is known of the copies in a folder, by name."""

LOCK = ".lock"

SAVING_S = 10.0
"""Seconds after which that is saved while files are copied."""

_HASHED = re.compile(r"-[0-9a-f]{16,}(\.\w+)?\Z")
"""The end of a file name that changes with the content, such as NAME-HASH.safetensors."""


def root() -> Path:
    """The folder of all copies: below $XDG_CACHE_HOME, ~/.cache, or temporary files."""
    try:
        return files.cache_folder() / "downloads"
    except RuntimeError:  # there is no home
        return Path(tempfile.gettempdir()) / "rdonet_jax" / "downloads"


def file(url: str) -> Path:
    """A local copy of a file, such as a weights file.

    It is copied again when it has changed, or when the store does not tell; a file whose name ends
    in its hash does not change. Raises `UrlError`, also for a changed file that cannot be copied.
    """
    from filelock import FileLock

    target = root().joinpath("files", *urls.parts(url))
    if _HASHED.search(target.name) and target.is_file():
        return target
    entry = urls.entry(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    known = target.with_name(f".{target.name}{VERSIONS}")
    with FileLock(target.with_name(f".{target.name}{LOCK}")):
        is_same = entry.version and _versions(known).get(target.name) == list(entry)
        if not is_same or not target.is_file():
            _download(url, target)
            _save(known, {target.name: list(entry)})
    return target


def folder(url: str, is_wanted: Callable[[str], bool]) -> Path:
    """A folder with copies of the files below a URL whose names `is_wanted` accepts, and no others.

    A file is copied again when it has changed, or when the store tells neither version nor time.

    Raises `UrlError`, also where there is no room for them.
    """
    from filelock import FileLock

    target = _folder_of(url)
    found = {name: entry for name, entry in urls.listed(url).items() if is_wanted(name)}
    if not found:
        raise UrlError(url, "holds no images")
    target.mkdir(parents=True, exist_ok=True)
    with FileLock(target / LOCK):
        _remove_others(target, found)
        known = {n: e for n, e in _versions(target / VERSIONS).items() if n in found}
        missing = {
            name: entry
            for name, entry in found.items()
            if not entry.version or known.get(name) != list(entry) or not (target / name).is_file()
        }
        _require_room(url, target, missing.values())
        try:
            saved = time.monotonic()
            for name in _downloaded(url, target, missing):
                known[name] = list(found[name])
                if time.monotonic() - saved >= SAVING_S:
                    _save(target / VERSIONS, known)
                    saved = time.monotonic()
        finally:
            _save(target / VERSIONS, known)
    return target


def _folder_of(url: str) -> Path:
    """The folder of a copy. It has the name of that at the URL, and neighbors stay neighbors.

    A folder below another one is not below the copy of that, whose images would be its own.
    """
    *above, name = urls.parts(url)
    return root() / "folders" / hashlib.sha256("/".join(above).encode()).hexdigest()[:32] / name


def _remove_others(target: Path, found: Iterable[str]) -> None:
    """Removes all files but those found, also ones that a process has left which was killed."""
    kept = {target / name for name in (*found, LOCK, VERSIONS)}
    for path in list(target.rglob("*")):
        if path not in kept and not path.is_dir():
            path.unlink(missing_ok=True)


def _downloaded(url: str, target: Path, names: Iterable[str]) -> Iterator[str]:
    """The names of files as they are copied, in the order given."""

    def download(name: str) -> str:
        _download(urls.join(url, name), target / name)
        return name

    with ThreadPoolExecutor(TRANSFERS) as pool:
        yield from pool.map(download, names)


def _versions(path: Path) -> dict[str, list]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


def _save(path: Path, versions: dict[str, list]) -> None:
    content = json.dumps(versions).encode()
    files.replace(path, lambda file: file.write(content))


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
    temporary = target.with_name(f".{secrets.token_hex(8)}.part")
    with interrupts.temporary_file(temporary) as file:
        file.close()
        urls.download(url, temporary)
        os.replace(temporary, target)
