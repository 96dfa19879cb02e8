"""Packs folders of images into shards, and makes the index of tar files that exist."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import tarfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rdonet_jax.imaging import dataset, image_names, srgb
from rdonet_jax.imaging.dataset import DatasetWarning, ImageFile
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.imaging.packed_image import PackedImage
from rdonet_jax.imaging.shards import (
    ARRAY_RECORD,
    INDEX,
    TAR,
    Index,
    ShardError,
    ShardImage,
    require_possible,
)
from rdonet_jax.runtime import interrupts
from rdonet_jax.storage import files, urls

SHARD_BYTES = 2**28
"""Bytes of a shard, at least; the last one may have fewer."""


@dataclasses.dataclass
class _Entries:
    """The index of images as it grows."""

    names: list[str] = dataclasses.field(default_factory=list)
    labels: list[str] = dataclasses.field(default_factory=list)
    sizes: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    shard: list[int] = dataclasses.field(default_factory=list)
    ranges: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    files: list[str] = dataclasses.field(default_factory=list)
    file_bytes: list[int] = dataclasses.field(default_factory=list)

    def index(self, kind: str) -> Index:
        return Index(
            kind, tuple(self.files), tuple(self.file_bytes), tuple(self.names),
            np.array(self.sizes, np.int32).reshape(-1, 2), np.array(self.shard, np.int32),
            np.array(self.ranges, np.int64).reshape(-1, 2),
            () if self.labels == self.names else tuple(self.labels),
        )  # fmt: skip


class _Writer(Protocol):
    """An open shard."""

    def add(self, name: str, content: bytes) -> int:
        """Appends an image file. Returns its first byte, as `Index.ranges` has it."""

    def close(self) -> None: ...


class _ArrayRecords:
    """An ArrayRecord file in which every image can be read alone."""

    def __init__(self, path: Path) -> None:
        from array_record.python.array_record_module import ArrayRecordWriter

        # Image files do not become smaller.
        self._writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
        self._count = 0

    def add(self, name: str, content: bytes) -> int:
        self._writer.write(content)
        self._count += 1
        return self._count - 1

    def close(self) -> None:
        self._writer.close()


class _Tar:
    """A tar file."""

    def __init__(self, path: Path) -> None:
        self._file = tarfile.open(path, "w")  # noqa: SIM115 - closed by `close`

    def add(self, name: str, content: bytes) -> int:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        header = len(member.tobuf(self._file.format, self._file.encoding, self._file.errors))
        start = self._file.offset + header
        self._file.addfile(member, io.BytesIO(content))
        return start

    def close(self) -> None:
        self._file.close()


WRITERS: Mapping[str, Callable[[Path], _Writer]] = {ARRAY_RECORD: _ArrayRecords, TAR: _Tar}


def pack(
    folders: Sequence[str | Path],
    target: str | Path,
    kind: str = ARRAY_RECORD,
    shard_bytes: int = SHARD_BYTES,
) -> Index:
    """Writes the images below the folders as shards into a new folder, or to a URL.

    Images are the files as they are, in the order of `dataset.find`; a dataset by name is packed
    too. Those that training could not use are left out with a warning that names them. The index is
    written last. Raises `ShardError` where there is one already, a package is missing or `target`
    cannot be one, `DatasetError`, and OSError.
    """
    if _exists(target):
        raise ShardError(f"{target}: holds shards already")
    if not urls.is_url(target):
        require_possible(target, kind)
    folders = dataset.local(folders)
    found = dataset.find(folders)
    if packed := next((path for path in found if isinstance(path, ShardImage)), None):
        raise ShardError(f"{packed.shards.folder}: holds shards; pack the images themselves")
    entries = _Entries()
    with _place(target) as folder:
        shard: _Shard | None = None
        for name, label, path, size in _usable(found, folders):
            content = path.content() if isinstance(path, PackedImage) else path.read_bytes()
            if shard is None:
                shard = _Shard(folder, target, kind, len(entries.files))
            entries.ranges.append((shard.writer.add(label, content), len(content)))
            entries.names.append(name)
            entries.labels.append(label)
            entries.sizes.append(size)
            entries.shard.append(len(entries.files))
            shard.bytes += len(content)
            if shard.bytes >= shard_bytes:
                _finish(shard, target, entries)
                shard = None
        if shard is not None:
            _finish(shard, target, entries)
    if not entries.names:
        raise dataset.DatasetError(f"none of {len(found)} images can be packed")
    index = entries.index(kind)
    _write_index(target, index)
    return index


def index_tars(target: str | Path) -> Index:
    """Writes the index of the tar files in a folder, such as those of WebDataset.

    They are read once. Members that are no images, or none that training could use, are left out,
    the latter with a warning. Raises `ShardError`.
    """
    folder = Path(target)
    if _exists(folder):
        raise ShardError(f"{folder}: holds an index already")
    if not folder.is_dir():
        raise ShardError(
            f"{folder}: is no folder" if folder.exists() else f"{folder}: no such folder"
        )
    paths = sorted(folder.glob(f"*.{TAR}"))
    entries = _Entries()
    for path in paths:
        for name, start, content in _members(path):
            try:
                size = srgb.read_content(content, f"{path}/{name}").size
            except ImageError as error:
                warnings.warn(f"{error}; left out", DatasetWarning, stacklevel=2)
                continue
            entries.names.append(f"{path.stem}/{name}")
            entries.labels.append(f"{path.stem}/{name}")
            entries.sizes.append(size)
            entries.shard.append(len(entries.files))
            entries.ranges.append((start, len(content)))
        entries.files.append(path.name)
        entries.file_bytes.append(path.stat().st_size)
    if not entries.names:
        raise ShardError(f"{folder}: there are no images in {len(paths)} tar files")
    index = entries.index(TAR)
    _write_index(folder, index)
    return index


def _members(path: Path) -> Iterator[tuple[str, int, bytes]]:
    """Name, first byte and content of the images in a tar file. Raises `ShardError`."""
    try:
        with tarfile.open(path, "r:") as file:
            for member in file:
                opened = file.extractfile(member) if dataset.is_image(member.name) else None
                if opened is not None:
                    yield member.name, member.offset_data, opened.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ShardError(f"{path}: is no uncompressed tar file ({error})") from error


class _Shard:
    """A shard that is written in a temporary folder."""

    def __init__(self, folder: Path, target: str | Path, kind: str, number: int) -> None:
        self.name = f"images-{number:05d}.{kind}"
        self.path = folder / self.name
        self.bytes = 0
        try:
            self.writer: _Writer = WRITERS[kind](self.path)
        except ImportError as error:
            raise ShardError(f"{target}: {kind} shards need the package {error.name}") from error


def _finish(shard: _Shard, target: str | Path, entries: _Entries) -> None:
    """Closes a shard and puts it in its place."""
    shard.writer.close()
    entries.files.append(shard.name)
    entries.file_bytes.append(shard.path.stat().st_size)
    if urls.is_url(target):
        urls.upload(shard.path, urls.join(str(target), shard.name))
        shard.path.unlink()
    else:
        os.replace(shard.path, Path(target) / shard.name)


@contextlib.contextmanager
def _place(target: str | Path) -> Iterator[Path]:
    """A temporary folder in which shards are written, on the disk of the target if it is local."""
    parent = None if urls.is_url(target) else Path(target)
    if parent:
        parent.mkdir(parents=True, exist_ok=True)
    with interrupts.temporary_folder(
        ".rdonet-shards-" if parent else "rdonet-shards-", parent
    ) as name:
        yield Path(name)


def _usable(
    found: Sequence[Any], folders: Sequence[str | Path]
) -> Iterable[tuple[str, str, ImageFile, tuple[int, int]]]:
    """Name, label, path and size of the images that training can use."""
    names = [dataset.relative_name(path, folders) for path in found]
    labels = image_names.distinct(names, map(_folder_name, found, names))
    judgements = dataset.in_threads(_inspected, found)
    for name, label, path, judged in zip(names, labels, found, judgements, strict=True):
        if isinstance(judged, str):
            warnings.warn(f"{judged}; left out", DatasetWarning, stacklevel=3)
        else:
            yield name, label, path, judged


def _folder_name(path: ImageFile, name: str) -> str:
    """What the folder is called in which an image of this name was found."""
    whole = path.absolute() if isinstance(path, PackedImage) else Path(os.path.abspath(path))
    return whole.parents[len(Path(name).parts) - 1].name


def _inspected(path: ImageFile) -> tuple[int, int] | str:
    try:
        return dataset.inspect(path)
    except ImageError as error:
        return str(error)


def _exists(target: str | Path) -> bool:
    if urls.is_url(target):
        return urls.exists(urls.join(str(target), INDEX))
    return (Path(target) / INDEX).exists()


def _write_index(target: str | Path, index: Index) -> None:
    content = index.to_bytes()
    if urls.is_url(target):
        urls.write(urls.join(str(target), INDEX), content)
    else:
        files.replace(Path(target) / INDEX, lambda file: file.write(content))
