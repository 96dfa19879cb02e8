"""Datasets of photographs: which files of a folder or of shards are used, and their pixels.

Copies that the archives of some datasets hold are left out (`archive_copies`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import threading
import warnings
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rdonet_jax.imaging import access, archive_copies, named_datasets, shards, srgb
from rdonet_jax.imaging.errors import AccessError, ImageError
from rdonet_jax.imaging.named_datasets import NamedDataset, NamedDatasetError
from rdonet_jax.imaging.packed_image import PackedImage
from rdonet_jax.imaging.shards import ShardImage
from rdonet_jax.runtime import system_memory
from rdonet_jax.storage import url_cache, urls

SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".ppm")

ImageFile = Path | PackedImage
"""An image file, or one in shards or in a dataset by name."""

AREA_POWER = 0.5
"""Images are drawn with probability proportional to their area to this power."""

READERS = 16
"""Threads that read headers. They mostly wait for the disk or the network."""

BYTES_PER_PIXEL = 4
"""Memory of a decoded image: Pillow pads RGB pixels to 4 bytes."""

UNKNOWN_MEMORY_BYTES = 2**31
"""Size of the cache of decoded images on systems that do not report the available memory."""


class DatasetError(ValueError):
    """There are no images, or none of them can be used. The message names folder or file."""


class DatasetWarning(UserWarning):
    """Images are left out. The message names the file, or the folder and the number of images."""


@dataclasses.dataclass
class _Cache:
    """Decoded images and broken files, by index; shared by all threads."""

    kept: dict[int, Image.Image] = dataclasses.field(default_factory=dict)
    kept_bytes: int = 0
    broken: set[int] = dataclasses.field(default_factory=set)
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)


@dataclasses.dataclass(frozen=True)
class ImageDataset:
    """The usable images of some folders.

    An image is decoded when it is first used. Decoded images are cached up to `cache_bytes`; images
    beyond that are decoded at every use.

    Attributes:
      paths: the files.
      sizes: width and height of each, upright.
      weights: cumulative probabilities with which the images are drawn.
      cache_bytes: the largest size of the cache.
    """

    paths: tuple[ImageFile, ...]
    sizes: tuple[tuple[int, int], ...]
    weights: np.ndarray
    cache_bytes: int
    _cache: _Cache = dataclasses.field(default_factory=_Cache, repr=False)

    def draw(self, chance: float) -> int:
        """The index of a random image, from a number that is uniform in [0, 1)."""
        return min(int(np.searchsorted(self.weights, chance, "right")), len(self.paths) - 1)

    def image(self, index: int, keep: bool = True) -> Image.Image | None:
        """The image in mode RGB, or None if its file is broken, which is warned of once.

        keep: whether to cache it. The method is safe to call from several threads. Raises
        `DatasetError` once all files have been found broken, and for a file that cannot be reached
        for minutes (see `access`), or whose image does not fit into the memory.
        """
        cache = self._cache
        if index in cache.kept:
            return cache.kept[index]
        if index not in cache.broken:
            try:
                image = _decode(self.paths[index], self.sizes[index])
            except ImageError as error:
                if isinstance(error, AccessError) or isinstance(error.__cause__, MemoryError):
                    raise DatasetError(str(error)) from error
                self._mark_broken(index, error)
            else:
                if keep:
                    self._keep(index, image)
                return image
        if len(cache.broken) == len(self.paths):
            raise DatasetError(
                f"none of {len(self.paths)} images can be decoded, such as {self.paths[0]}"
            )
        return None

    @property
    def passed_over(self) -> list[int]:
        """The indices of the files that have been found broken so far."""
        return sorted(self._cache.broken)

    @property
    def cached_bytes(self) -> int:
        """The present size of the cache."""
        return self._cache.kept_bytes

    def _keep(self, index: int, image: Image.Image) -> None:
        size = BYTES_PER_PIXEL * image.width * image.height
        cache = self._cache
        with cache.lock:
            if index not in cache.kept and cache.kept_bytes + size <= self.cache_bytes:
                cache.kept[index] = image
                cache.kept_bytes += size

    def _mark_broken(self, index: int, error: ImageError) -> None:
        cache = self._cache
        with cache.lock:
            is_known = index in cache.broken
            cache.broken.add(index)
        if not is_known:
            warnings.warn(f"{error}; passed over", DatasetWarning, stacklevel=3)


@dataclasses.dataclass(frozen=True)
class DatasetFingerprint:
    """Identifies the images of a run, so that it is resumed with the same ones."""

    count: int
    sha256: str  # first 16 hex digits of a hash over relative names and sizes, in order


def fingerprint(images: ImageDataset, folders: Sequence[str | Path]) -> DatasetFingerprint:
    """The fingerprint of images that were found below `folders`. It does not depend on where the
    folders are, and is the same for images in shards."""
    digest = hashlib.sha256()
    for path, (width, height) in zip(images.paths, images.sizes, strict=True):
        digest.update(os.fsencode(relative_name(path, folders)))
        digest.update(f"\0{width}x{height}\n".encode())
    return DatasetFingerprint(len(images.paths), digest.hexdigest()[:16])


def is_image(name: str) -> bool:
    """Whether a file below a folder is taken for an image, by its name."""
    parts = Path(name).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and Path(name).suffix.lower() in SUFFIXES


def relative_name(path: ImageFile, folders: Sequence[str | Path]) -> str:
    """The path of an image below the one of the folders in which it was found."""
    if isinstance(path, PackedImage):
        return path.name
    folder = next(
        folder for folder in folders if not urls.is_url(folder) and path.is_relative_to(folder)
    )
    return path.relative_to(folder).as_posix()


def load(path: ImageFile) -> np.ndarray:
    """The image as `srgb.load` gives it. Raises ImageError."""
    return np.array(path.open()) if isinstance(path, PackedImage) else srgb.load(path)


def inspect(path: ImageFile) -> tuple[int, int]:
    """Width and height as `srgb.inspect` gives them. Raises ImageError."""
    return path.inspect() if isinstance(path, PackedImage) else srgb.inspect(path)


def local(folders: Sequence[str | Path]) -> list[str | Path]:
    """The folders, with a local copy in place of every folder at a URL, but not of shards there.

    Raises `UrlError`.
    """
    return [
        folder if not urls.is_url(folder) or urls.exists(urls.join(str(folder), shards.INDEX))
        else url_cache.folder(str(folder), is_image)
        for folder in folders
    ]  # fmt: skip


Folders = str | os.PathLike[str] | Sequence[str | Path]
"""Folders, or one of them."""


def listed(folders: Folders) -> Sequence[str | Path]:
    """The folders as a list, also if one alone is given."""
    if isinstance(folders, str):
        return [folders]
    return [Path(folders)] if isinstance(folders, os.PathLike) else folders


def find(folders: Folders) -> list[ImageFile]:
    """All image files below the folders except for copies, by folder as given, then by name.

    One folder alone may be given too. A folder with an index of shards has the images of this
    index, in its order, and a dataset by name those of its rows. Hidden files and folders are
    skipped. Links are followed. A file that is reached twice counts once. Warns of copies
    (`archive_copies`), once for each kind and folder. Raises `DatasetError` for a folder that does
    not exist or cannot be read, for damaged shards, and if there are no images.
    """
    found: dict[Hashable, ImageFile] = {}  # by where a file really lies
    left_out = 0
    folders = listed(folders)
    for given in folders:
        if (packed := _packed(given)) is not None:
            found.update((image.resolve(), image) for image in packed.images())
            continue
        folder = Path(given)
        if not folder.is_dir():
            raise DatasetError(f"{folder}: {'not a' if folder.exists() else 'no such'} folder")
        below = dict(_files_below(folder, os.path.realpath(folder)))
        originals = _originals(folder, below)
        left_out += len(below) - len(originals)
        for path in originals:
            found.setdefault(below[path], path)
    if not found:
        copies = f", but for {left_out} that were left out" if left_out else ""
        raise DatasetError(f"no images below {', '.join(map(str, folders))}{copies}")
    return list(found.values())


def _packed(folder: str | Path) -> shards.Shards | NamedDataset | None:
    """A dataset by name, or the shards in a folder; None for a folder of files.

    Raises `DatasetError`.
    """
    try:
        if named_datasets.is_name(folder):
            return NamedDataset(str(folder))
        packed = shards.found_in(folder)
    except (shards.ShardError, NamedDatasetError) as error:
        raise DatasetError(str(error)) from error
    if packed is None and urls.is_url(folder):
        raise DatasetError(f"{folder}: holds no shards, and images there have to be copied first")
    return packed


def usable(
    paths: Sequence[ImageFile], crop: int, purpose: str = "training", cache_bytes: int | None = None
) -> ImageDataset:
    """The images that are at least as large as a crop and that `srgb.read` accepts.

    This is judged by their headers, or by the index of shards; where there is no index, images with
    alpha are decoded. Each of the others is left out with a warning that names it. `cache_bytes` is
    by default half of the memory that is available now. Raises `DatasetError` if none is left;
    `purpose` is a word of its message.
    """
    kept: list[ImageFile] = []
    sizes: list[tuple[int, int]] = []
    unknown = [path for path in paths if not isinstance(path, ShardImage)]
    inspected = in_threads(lambda path: _judge(path, crop), unknown)
    for path in paths:
        judged = _judge(path, crop) if isinstance(path, ShardImage) else next(inspected)
        if isinstance(judged, str):
            warnings.warn(f"{judged}; left out", DatasetWarning, stacklevel=2)
        else:
            kept.append(path)
            sizes.append(judged)
    if not kept:
        raise DatasetError(f"none of {len(paths)} {purpose} images gives crops of {crop}x{crop}")
    weights = np.cumsum(np.prod(np.asarray(sizes, float), axis=1) ** AREA_POWER)
    budget = default_cache_bytes() if cache_bytes is None else cache_bytes
    return ImageDataset(tuple(kept), tuple(sizes), weights / weights[-1], budget)


def in_threads(
    function: Callable[[Any], Any], items: Iterable[Any], threads: int = READERS
) -> Iterator[Any]:
    """The results of the function in the order of the items, computed by several threads."""
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(function, items)


def _files_below(
    folder: Path, real: str, above: frozenset[str] = frozenset()
) -> Iterator[tuple[Path, str]]:
    """Image files below a folder, ordered by name, each with its real path.

    `real` is the real path of the folder. `above` holds the real paths of the folders above it. A
    link to one of them is skipped, since following it would never end.
    """
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be read ({error.strerror})") from error
    for entry in listed:
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        path, target = folder / entry.name, os.path.join(real, entry.name)
        if entry.is_symlink():
            target = os.path.realpath(path)
        if _is_folder(entry):
            if target not in above | {real}:
                yield from _files_below(path, target, above | {real})
        elif path.suffix.lower() in SUFFIXES and (entry.is_symlink() or entry.is_file()):
            yield path, target


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as of a link to itself
        return False


def _originals(folder: Path, paths: Collection[Path]) -> list[Path]:
    """The paths below a folder without copies. Warns of these."""
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    kept, left_out = archive_copies.separated(names)
    for what, count in left_out:
        warnings.warn(
            f"{folder}: left out {count} of {len(paths)} images, {what}; "
            "to use them, give their own folder",
            DatasetWarning,
            stacklevel=3,
        )
    return [names[name] for name in kept]


def _judge(path: ImageFile, crop: int) -> tuple[int, int] | str:
    """Width and height of an image, or the reason why it cannot be used."""
    try:
        width, height = inspect(path)
    except ImageError as error:
        return str(error)
    if min(width, height) < crop:
        return f"{path}: {width}x{height} is too small for crops of {crop}x{crop}"
    return width, height


def _decode(path: ImageFile, size: tuple[int, int]) -> Image.Image:
    """The decoded image of a file, once it can be read. Its size is to be `size`.

    Raises ImageError.
    """
    read = path.content if isinstance(path, PackedImage) else lambda: access.content(path)
    image = srgb.read_content(access.patiently(read), str(path))
    if image.size != size:
        found, header = ("x".join(map(str, pair)) for pair in (image.size, size))
        raise ImageError(f"{path}: is {found} now, but its header said {header}")
    return image


def default_cache_bytes() -> int:
    """Half of the available memory. The other half is left to the training."""
    available = system_memory.available_bytes()
    return UNKNOWN_MEMORY_BYTES if available is None else available // 2
