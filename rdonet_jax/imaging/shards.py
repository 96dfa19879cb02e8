"""Images in few large files, shards, with an index of their names and sizes.

A shard is an ArrayRecord file or an uncompressed tar file, as of WebDataset. It holds image
files as they are. The index, `index.npz`, lies beside the shards. So no header is read before an
image is used, and an image is one read at a known offset. ArrayRecord files are read by grain.

Tar files may be at a URL. Of these, the parts that are used are read from there.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import re
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rdonet_jax.core import messages
from rdonet_jax.imaging.errors import AccessError, ImageError
from rdonet_jax.imaging.packed_image import PackedImage
from rdonet_jax.storage import urls

INDEX = "index.npz"
"""The name of the index. It is written last, so shards without one are not complete."""

ARRAY_RECORD, TAR = "array_record", "tar"
KINDS = (ARRAY_RECORD, TAR)
"""Kinds of shards; each is the suffix of its files too."""

VERSION = 1

_CALL_FAILED = re.compile(r"\w+\(\) failed: ")
"""How messages about ArrayRecord files begin when the system gave an error, and not the content."""


class ShardError(ValueError):
    """Shards that are damaged or cannot be read here. The message names the file or the folder."""


@dataclasses.dataclass(frozen=True)
class Index:
    """What is known of the images in shards without reading these.

    Attributes:
      kind: one of `KINDS`.
      files: names of the shards.
      file_bytes: their sizes.
      names: of the images, as paths below the folder that they come from.
      sizes: int32 [N, 2], width and height of each, upright.
      shard: int32 [N], the number of the shard that an image is in.
      ranges: int64 [N, 2], of the image file in a tar file: the first byte, and how many there are.
        For ArrayRecord files the number of the record, and how many bytes it has.
      labels: names of the images that differ, where `names` of several folders are equal; else
        empty.
    """

    kind: str
    files: tuple[str, ...]
    file_bytes: tuple[int, ...]
    names: tuple[str, ...]
    sizes: np.ndarray
    shard: np.ndarray
    ranges: np.ndarray
    labels: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        target = io.BytesIO()
        labels: Any = {"labels": _packed(self.labels)} if self.labels else {}
        np.savez_compressed(
            target,
            version=np.int32(VERSION),
            kind=_packed([self.kind]),
            files=_packed(self.files),
            file_bytes=np.array(self.file_bytes, np.int64),
            names=_packed(self.names),
            sizes=self.sizes,
            shard=self.shard,
            ranges=self.ranges,
            **labels,
        )
        return target.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> Index:
        """The index that `to_bytes` gave. Raises `ShardError` for anything else."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as found:
                if int(found["version"]) != VERSION:
                    raise ValueError(f"it has version {found['version']}, not {VERSION}")
                index = cls(
                    _unpacked(found["kind"])[0],
                    _unpacked(found["files"]),
                    tuple(found["file_bytes"].tolist()),
                    _unpacked(found["names"]),
                    found["sizes"].astype(np.int32).reshape(-1, 2),
                    found["shard"].astype(np.int32),
                    found["ranges"].astype(np.int64).reshape(-1, 2),
                    _unpacked(found["labels"]) if "labels" in found else (),
                )
            index._require_valid()
        except (
            EOFError, IndexError, KeyError, OSError, RuntimeError, ValueError, zipfile.BadZipFile,
            zlib.error,
        ) as error:  # fmt: skip
            # RuntimeError: of `zipfile`, for what is encrypted or compressed as it does not know
            raise ShardError(f"{where}: is no index of shards ({error})") from error
        return index

    def _require_valid(self) -> None:
        """Raises ValueError for an index that is no index."""
        counts = {len(self.names), len(self.sizes), len(self.shard), len(self.ranges)}
        if self.labels:
            counts.add(len(self.labels))
        if len(counts) > 1 or len(self.files) != len(self.file_bytes) or self.kind not in KINDS:
            raise ValueError("its parts do not belong together")
        if any("/" in name or "\\" in name for name in self.files):
            raise ValueError("a shard lies beside its index")
        if any(map(_leads_out, self.names + self.labels)):
            raise ValueError("the name of an image leads out of its folder")
        if len(self.names) and not 0 <= self.shard.min() <= self.shard.max() < len(self.files):
            raise ValueError("an image is in a shard that there is not")
        if len(self.names) and (self.sizes.min() < 1 or self.ranges.min() < 0):
            raise ValueError("an image has no size")


def _leads_out(name: str) -> bool:
    """Whether a name, below any folder, would not lie in it."""
    if not name or name[0] == "/" or (".." in name and ".." in re.split(r"[/\\]", name)):
        return True
    return os.name == "nt" and (name[0] == "\\" or os.path.splitdrive(name)[0] != "")


class Shards:
    """The images of one index. Safe for use by several threads."""

    def __init__(self, folder: str | Path, index: Index) -> None:
        """`folder` may be a URL for tar files. Raises `ShardError` for shards that are missing or
        cut short, and `UrlError`."""
        self.folder, self.index = folder, index
        if not urls.is_url(folder):
            require_possible(folder, index.kind)
        elif index.kind == ARRAY_RECORD:
            raise ShardError(
                f"{folder}: ArrayRecord shards are read from a local or mounted folder; tar shards "
                f"('rdonet data pack --kind tar') are read from URLs"
            )
        self._require_whole()
        self.location = str(folder) if urls.is_url(folder) else os.path.realpath(folder)
        self.sizes = list(map(tuple, index.sizes.tolist()))  # quicker than arrays one by one
        self._lock = threading.Lock()
        self._source: Any = None
        self._open: dict[int, int] = {}  # descriptors of local tar files, by shard

    def __len__(self) -> int:
        return len(self.index.names)

    def images(self) -> Iterator[ShardImage]:
        """All images, in the order of the index."""
        return (ShardImage(self, number) for number in range(len(self)))

    def read(self, number: int) -> bytes:
        """The file of an image.

        Raises `ShardError` for damage, and OSError, such as `UrlError`, where it cannot be reached.
        """
        shard = int(self.index.shard[number])
        start, size = map(int, self.index.ranges[number])
        if urls.is_url(self.folder):
            url = urls.join(str(self.folder), self.index.files[shard])
            content = urls.read_range(url, start, start + size)
        elif self.index.kind == TAR:
            content = self._part(shard, start, size)
        else:
            content = self._record(number)
        if len(content) != size:
            raise ShardError(
                f"{self.path(shard)}: has {len(content)} bytes where {self.index.names[number]} "
                f"has {size}"
            )
        return content

    def path(self, shard: int) -> str | Path:
        """The path or URL of a shard."""
        name = self.index.files[shard]
        if urls.is_url(self.folder):
            return urls.join(str(self.folder), name)
        return Path(self.folder) / name

    def _require_whole(self) -> None:
        listed: dict[str, urls.Entry] = {}
        # A web server has pages in place of lists.
        if urls.is_url(self.folder) and not str(self.folder).lower().startswith("http"):
            listed = urls.listed(str(self.folder))
        for shard, expected in enumerate(self.index.file_bytes):
            path = self.path(shard)
            try:
                size = _size(path, listed.get(self.index.files[shard]))
            except OSError as error:
                raise ShardError(f"{path}: cannot be read ({error.strerror})") from error
            if size is not None and size != expected:
                raise ShardError(f"{path}: has {size} bytes, and its index says {expected}")

    def _part(self, shard: int, start: int, size: int) -> bytes:
        """Bytes of a local tar file."""
        descriptor = self._descriptor(shard)
        try:
            return os.pread(descriptor, size, start)
        except OSError:
            with self._lock:  # the file may have to be opened anew; other threads may still read
                if self._open.get(shard) == descriptor:
                    del self._open[shard]
            raise

    def _descriptor(self, shard: int) -> int:
        """A file descriptor of a tar file, which stays open."""
        with self._lock:
            if shard not in self._open:
                self._open[shard] = os.open(self.path(shard), os.O_RDONLY)
            return self._open[shard]

    def _record(self, number: int) -> bytes:
        with self._lock:
            if self._source is None:
                self._source = _array_records(self)
            source = self._source
        try:
            return source[number]
        except (OSError, RuntimeError, ValueError) as error:
            shard = int(self.index.shard[number])
            cause = messages.first_line(error)
            if isinstance(error, OSError) or _CALL_FAILED.match(cause):
                with self._lock:  # it would give the same error again
                    self._source = None if self._source is source else self._source
                raise OSError(errno.EIO, cause, str(self.path(shard))) from error
            raise ShardError(f"{self.path(shard)}: is damaged ({cause})") from error


@dataclasses.dataclass(frozen=True, slots=True)
class ShardImage(PackedImage):
    """One image of shards, in place of the path of a file."""

    shards: Shards
    number: int

    @property
    def name(self) -> str:
        """Its path below the folder that it comes from."""
        return self.shards.index.names[self.number]

    @property
    def label(self) -> str:
        """As `name`, but another one for every image."""
        labels = self.shards.index.labels
        return labels[self.number] if labels else self.name

    def inspect(self) -> tuple[int, int]:
        """Width and height, upright, as the index has them: no header is read."""
        return self.shards.sizes[self.number]

    def __str__(self) -> str:
        return f"{self.shards.folder}/{self.label}"

    def resolve(self) -> tuple[str, int]:
        return self.shards.location, self.number

    def absolute(self) -> Path:
        """The path that the image would have as a file; for a URL, below its protocol."""
        folder = self.shards.folder
        if urls.is_url(folder):
            return Path("/", *urls.parts(str(folder)), self.label)
        return Path(os.path.abspath(folder)) / self.label

    def content(self) -> bytes:
        try:
            return self.shards.read(self.number)
        except ShardError as error:
            raise ImageError(f"{self}: cannot be read: {error}") from error
        except OSError as error:
            raise AccessError(f"{self}: cannot be read: {error}") from error


def require_possible(folder: str | Path, kind: str) -> None:
    """Raises `ShardError` for a folder whose name the library of these shards cannot open."""
    name = messages.unicode_text(str(folder))
    if kind == ARRAY_RECORD and name != str(folder):
        raise ShardError(
            f"{name}: the name of a folder with ArrayRecord shards has to be UTF-8; rename it, or "
            f"pack tar shards ('rdonet data pack --kind tar')"
        )


def found_in(folder: str | Path) -> Shards | None:
    """The shards in a folder or at a URL; None if there is no index. Raises `ShardError`."""
    if urls.is_url(folder):
        url = urls.join(str(folder), INDEX)
        if not urls.exists(url):
            return None
        content = urls.read(url)
    else:
        path = Path(folder) / INDEX
        if not path.is_file():
            return None
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ShardError(f"{path}: cannot be read ({error.strerror})") from error
    return Shards(folder, Index.from_bytes(content, f"{folder}/{INDEX}"))


def _size(path: str | Path, listed: urls.Entry | None) -> int | None:
    """The bytes of a shard; None where a server does not tell them. Raises OSError."""
    if not urls.is_url(path):
        return os.path.getsize(path)
    if listed is not None and listed.size:
        return listed.size
    return urls.entry(str(path)).size or None


def _array_records(shards: Shards) -> Any:
    """grain's reader of all records in their order. Raises `ShardError` where grain is missing."""
    try:
        from grain.sources import ArrayRecordDataSource
    except ImportError as error:
        raise ShardError(
            f"{shards.folder}: ArrayRecord shards need the package grain, of the extra 'train'"
        ) from error
    counts = np.bincount(shards.index.shard, minlength=len(shards.index.files))
    # With the counts, the files are opened when they are first read.
    paths = [f"{shards.path(n)}[0:{count}]" for n, count in enumerate(counts.tolist())]
    return ArrayRecordDataSource(paths)


def _packed(texts: Sequence[str]) -> np.ndarray:
    """Texts as bytes, each ended by NUL, which no path has."""
    return np.frombuffer(b"".join(os.fsencode(text) + b"\0" for text in texts), np.uint8)


def _unpacked(content: np.ndarray) -> tuple[str, ...]:
    return tuple(os.fsdecode(part) for part in content.tobytes().split(b"\0")[:-1])
