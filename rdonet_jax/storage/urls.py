"""Files at URLs: in buckets, on servers, in memory, through fsspec.

fsspec is imported when a URL is first used, so local files cost nothing. Every error becomes a
`UrlError`, an OSError whose file name is the URL and whose message is one sentence.

Object stores have neither locks nor renames nor appending. An object appears whole under its name
when its upload is complete, and can be created only where there is none; both are used here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rdonet_jax.core import messages

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FLATTENED = re.compile(r"(s3|s3a|gs|gcs|az|abfs|abfss|https?|hdfs|memory):/")

_CHAINED = re.compile(r"::[A-Za-z][A-Za-z0-9+.-]*://")
"""Where a URL says what it is in, such as zip://name::s3://bucket/archive.zip."""

_MISSING_BUCKET = re.compile(r"NoSuchBucket|bucket (does not|doesn't) exist", re.IGNORECASE)

WHOLE_OBJECTS = frozenset(
    ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "memory")
)
"""Protocols under which an object appears when its upload is complete.

Elsewhere a file is written under another name and moved."""

PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs",
    "abfss": "adlfs",
}  # fmt: skip
"""What to install where fsspec lacks a package; for other protocols fsspec says it."""


class UrlError(OSError):
    """A file at a URL that cannot be read or written. The message names the URL and the cause."""

    def __init__(self, url: str, cause: str, number: int = errno.EIO) -> None:
        super().__init__(number, cause, url)

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError would give its own arguments, which stand in another order.
        return UrlError, (self.filename, self.strerror, self.errno)

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


class Entry(NamedTuple):
    """A file below a URL."""

    size: int  # bytes
    version: str  # another one after every change, as far as the store tells


def is_url(name: str | os.PathLike[str]) -> bool:
    """Whether a name is a URL and not a local path."""
    return isinstance(name, str) and _URL.match(name) is not None


def parsed(name: str) -> str | Path:
    """A URL as it is, a file:// URL or any other name as a local path."""
    if name.startswith("file://"):
        return Path(name.removeprefix("file://"))
    return name if is_url(name) else Path(name)


def require_no_flattened_url(path: str | os.PathLike[str]) -> None:
    """Raises `UrlError` for a URL that was made a path, which would be a folder such as "gs:"."""
    text = os.fspath(path)
    if not is_url(text) and _FLATTENED.match(text):
        raise UrlError(text, "is a URL that was made a path; give it as text, with both slashes")


def join(url: str, *names: str) -> str:
    """The URL of something below a URL."""
    return "/".join([url.rstrip("/"), *names])


def name_of(url: str) -> str:
    """The last part of a URL."""
    return url.rstrip("/").rpartition("/")[2]


def parts(url: str) -> tuple[str, ...]:
    """The protocol and the parts of the path of a URL, none of which leads upwards."""
    protocol, _, path = url.partition("://")
    return (protocol.lower(), *(part for part in path.split("/") if part.strip(".")))


def read(url: str) -> bytes:
    """The content of a file. Raises `UrlError`."""
    with _explained(url):
        store, path = _opened(url)
        return store.cat_file(path)


def read_range(url: str, start: int, end: int) -> bytes:
    """The bytes of a file from `start` to before `end`. Raises `UrlError`."""
    with _explained(url):
        store, path = _opened(url)
        return store.cat_file(path, start=start, end=end)


def exists(url: str) -> bool:
    """Whether there is a file. Raises `UrlError` when that cannot be told."""
    with _explained(url):
        store, path = _opened(url)
        try:
            store.invalidate_cache()
            return store.info(path)["type"] == "file"
        except FileNotFoundError as error:
            if _is_missing_bucket(error):
                raise
            return False


def write(url: str, content: bytes) -> None:
    """Writes a file in one piece; replaces one that is there. Raises `UrlError`."""
    with _explained(url):
        store, path = _opened(url)
        with _placed(store, url, path) as target:
            store.pipe_file(target, content)


def create(url: str, content: bytes) -> bool:
    """Writes a file where there is none; False where there is one. Raises `UrlError`.

    Of several processes that do so at a time, one succeeds.
    """
    with _explained(url):
        store, path = _opened(url)
        if not _has_whole_objects(url):
            store.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            store.pipe_file(path, content, mode="create")
        except FileExistsError:
            return False
        return True


def upload(source: Path, url: str) -> None:
    """Copies a local file to a URL, where it appears whole. Raises `UrlError`."""
    with _explained(url):
        store, path = _opened(url)
        with _placed(store, url, path) as target:
            store.put_file(str(source), target)


def download(url: str, target: Path) -> None:
    """Copies a file to a local path. Raises `UrlError`; a part of a file may be left then."""
    with _explained(url):
        store, path = _opened(url)
        store.get_file(path, str(target))


def listed(url: str) -> dict[str, Entry]:
    """All files below a URL, by their path below it; none if there is nothing.

    Names that would lead upwards on a disk are left out. Raises `UrlError`, also for a bucket that
    does not exist.
    """
    with _explained(url):
        store, path = _opened(url)
        root = path.rstrip("/") + "/"
        try:
            # Another process may have changed what this one has listed before.
            store.invalidate_cache()
            found = store.find(path, detail=True)
        except FileNotFoundError as error:
            if _is_missing_bucket(error):
                raise
            found = {}
        return {
            name.removeprefix(root): Entry(int(about.get("size") or 0), _version(about))
            for name, about in sorted(found.items())
            if name.startswith(root) and ".." not in name.split("/")
        }


def entry(url: str) -> Entry:
    """Size and version of a file. Raises `UrlError`."""
    with _explained(url):
        store, path = _opened(url)
        store.invalidate_cache()
        about = store.info(path)
        return Entry(int(about.get("size") or 0), _version(about))


def remove(url: str) -> None:
    """Removes a file, if it is there. Raises `UrlError`."""
    with _explained(url), contextlib.suppress(FileNotFoundError):
        store, path = _opened(url)
        store.rm_file(path)


def _version(about: dict[str, Any]) -> str:
    """What changes with the content of a file, from what the store says about it."""
    names = (
        "ETag", "etag", "generation", "content_md5", "LastModified", "Last-Modified", "updated",
        "mtime", "created", "modificationTime", "last_modified", "modified",
    )  # fmt: skip
    return " ".join(str(about[name]) for name in names if about.get(name) is not None)


def _opened(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path there."""
    import fsspec

    if "::" in url and not _CHAINED.search(url):
        # In the name of a file, where fsspec looks for another URL all the same.
        kind = fsspec.get_filesystem_class(url.partition("://")[0])
        path = kind._strip_protocol(url)
        if not path.startswith(kind.root_marker):  # in memory, where there are colons
            path = kind.root_marker + path
        return kind(**kind._get_kwargs_from_urls(url)), path
    return fsspec.core.url_to_fs(url)


def _has_whole_objects(url: str) -> bool:
    return url.partition(":")[0].lower() in WHOLE_OBJECTS


@contextlib.contextmanager
def _placed(store: Any, url: str, path: str) -> Iterator[str]:
    """The path to write to, so that the file appears whole under its name."""
    if _has_whole_objects(url):
        yield path
        return
    folder, _, name = path.rpartition("/")
    store.makedirs(folder, exist_ok=True)
    temporary = f"{folder}/.{name}.{os.getpid()}.part"
    try:
        yield temporary
        store.mv(temporary, path)
    except BaseException:
        with contextlib.suppress(Exception):
            store.rm_file(temporary)
        raise


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turns every error of fsspec and of the packages below it into a `UrlError`."""
    try:
        yield
    except UrlError:
        raise
    except FileNotFoundError as error:
        what = "bucket" if _is_missing_bucket(error) else "file or bucket"
        raise UrlError(url, f"there is no such {what}", errno.ENOENT) from error
    except PermissionError as error:
        raise UrlError(
            url, f"access is denied ({messages.first_line(error)})", errno.EACCES
        ) from error
    except ImportError as error:
        raise UrlError(url, _what_to_install(url, error)) from error
    except Exception as error:  # the packages raise almost anything
        raise UrlError(url, f"cannot be accessed ({messages.first_line(error)})") from error


def _is_missing_bucket(error: Exception) -> bool:
    """Whether a store says so. Some say the same of files and of buckets."""
    texts = [f"{type(one).__name__} {one}" for one in (error, error.__cause__) if one]
    return any(_MISSING_BUCKET.search(text) for text in texts)


def _what_to_install(url: str, error: ImportError) -> str:
    protocol = url.partition(":")[0].lower()
    if error.name == "fsspec" or protocol not in PACKAGES:
        missing = error.name or messages.first_line(error)
    else:
        missing = PACKAGES[protocol]
    return f"{protocol}:// needs a package that is not installed: {missing}"
