"""Photographs on disk: which files of a folder are images to use, and their decoded pixels.

Archives are taken as they unpack. Some hold the same image several times, and such copies would
fill the folder with what adds nothing, so below a given folder they are left out (`COPIES`):

- DIV2K: the reduced and degraded versions, DIV2K_*_LR_*;
- TESTIMAGES of 2011 (TECNICK): the reduced and the gray versions, and the artificial patterns;
- TESTIMAGES SAMPLING: 16 bits, gray, shifted by some pixels, and all sizes but the largest.

CLIC holds every image once, whatever its splits. A folder of copies that is itself given is used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import threading
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from rdonet_jax.core import system_memory
from rdonet_jax.imaging import srgb

SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".ppm")

AREA_POWER = 0.5
"""Images are drawn with probability proportional to their area to this power."""

READERS = 16
"""Headers are read by so many threads: mostly they wait for the disk or the network."""

BYTES_PER_PIXEL = 4
"""Of a decoded image: Pillow keeps a spare byte beside red, green and blue."""

UNKNOWN_MEMORY_BYTES = 2**31
"""Of decoded images that are kept where the system does not tell how much memory there is."""


class DatasetError(ValueError):
    """Folders without images, or images none of which can be used; the message names them."""


class DatasetWarning(UserWarning):
    """Images that are left out; the message names the file, or the folder and how many."""


class Copies(NamedTuple):
    """Versions that an archive holds beside its originals."""

    what: str
    where: re.Pattern[str]  # found in the path below the given folder; a side: the largest stays


COPIES = (
    Copies(
        "reduced or degraded versions in DIV2K", re.compile(r"(^|/)DIV2K_[a-z]+_LR_[^/]*/", re.I)
    ),
    Copies("artificial patterns in TESTIMAGES", re.compile(r"(^|/)ART/ART_[^/]*/")),
    Copies("gray versions in TESTIMAGES", re.compile(r"(^|/)GRAY/(GRAY_[^/]*|\d+x\d+/C00C00)/")),
    Copies("reduced versions in TESTIMAGES", re.compile(r"(^|/)(RGB|GRAY|ART)_R\d+_\d+x\d+/")),
    Copies("versions of 16 bits in TESTIMAGES", re.compile(r"(^|/)16BIT/(RGB|GRAY)/")),
    Copies("shifted versions in TESTIMAGES", re.compile(r"(^|/)(?!C00C00)[BCT]\d\d[CLR]\d\d/")),
    Copies("smaller versions in TESTIMAGES", re.compile(r"(^|/)(?P<side>\d+)x\d+/C00C00/")),
)


@dataclasses.dataclass
class _Store:
    """What is known of images' pixels so far, by number; all threads share it."""

    kept: dict[int, Image.Image] = dataclasses.field(default_factory=dict)
    kept_bytes: int = 0
    broken: set[int] = dataclasses.field(default_factory=set)
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)


@dataclasses.dataclass(frozen=True)
class ImageDataset:
    """The usable images of some folders. Their pixels are decoded when they are first asked for,
    and kept as long as no more than `cache_bytes` are; the others are decoded every time.

    Attributes:
      paths: the files.
      sizes: width and height of each, upright.
      weights: cumulative probabilities with which they are drawn.
      cache_bytes: of decoded images that are kept at most.
    """

    paths: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]
    weights: np.ndarray
    cache_bytes: int
    _store: _Store = dataclasses.field(default_factory=_Store, repr=False)

    def drawn(self, chance: float) -> int:
        """The number of the image that a chance, uniform in [0, 1), falls on."""
        return min(int(np.searchsorted(self.weights, chance, "right")), len(self.paths) - 1)

    def image(self, index: int, keep: bool = True) -> Image.Image | None:
        """The image as Pillow's RGB; None, after one warning, if its file turns out broken.

        Every thread may call it. Raises `DatasetError` once all files have turned out broken.
        """
        store = self._store
        if index in store.kept:
            return store.kept[index]
        if index not in store.broken:
            try:
                image = _decode(self.paths[index], self.sizes[index])
            except srgb.ImageError as error:
                self._pass_over(index, error)
            else:
                if keep:
                    self._keep(index, image)
                return image
        if len(store.broken) == len(self.paths):
            raise DatasetError(
                f"none of {len(self.paths)} images can be decoded, such as {self.paths[0]}"
            )
        return None

    @property
    def cached_bytes(self) -> int:
        """Bytes of the decoded images that are kept."""
        return self._store.kept_bytes

    def _keep(self, index: int, image: Image.Image) -> None:
        size = BYTES_PER_PIXEL * image.width * image.height
        store = self._store
        with store.lock:
            if index not in store.kept and store.kept_bytes + size <= self.cache_bytes:
                store.kept[index] = image
                store.kept_bytes += size

    def _pass_over(self, index: int, error: srgb.ImageError) -> None:
        store = self._store
        with store.lock:
            is_known = index in store.broken
            store.broken.add(index)
        if not is_known:
            warnings.warn(f"{error}; passed over", DatasetWarning, stacklevel=3)


@dataclasses.dataclass(frozen=True)
class DatasetFingerprint:
    """What tells whether a run is continued with the same images."""

    count: int
    sha256: str  # first 16 hex digits; of names below the folders and sizes, in order of use


def fingerprint(images: ImageDataset, folders: Sequence[str | Path]) -> DatasetFingerprint:
    """The usable images that were found below `folders`, wherever these lie."""
    digest = hashlib.sha256()
    for path, (width, height) in zip(images.paths, images.sizes, strict=True):
        folder = next(folder for folder in folders if path.is_relative_to(folder))
        digest.update(os.fsencode(path.relative_to(folder).as_posix()))
        digest.update(f"\0{width}x{height}\n".encode())
    return DatasetFingerprint(len(images.paths), digest.hexdigest()[:16])


def find(folders: Sequence[str | Path]) -> list[Path]:
    """All image files below the folders but for `COPIES`: by folder as given, then by name.

    Hidden files and folders are passed over, links are followed, and a file that is reached twice
    counts once. Warns of copies, once for each kind and folder. Raises `DatasetError` for a folder
    that is not there or cannot be read, and when there are no images.
    """
    found: dict[str, Path] = {}  # by where a file really lies
    left_out = 0
    for folder in map(Path, folders):
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


def usable(
    paths: Sequence[Path], crop: int, purpose: str = "training", cache_bytes: int | None = None
) -> ImageDataset:
    """The images that hold a crop and that `srgb.read` takes, as far as their headers tell.

    Every other one is left out with a warning that names it. Only images with alpha are decoded
    for this. Decoded images will be kept up to `cache_bytes`, by default half of the memory that
    is available now. Raises `DatasetError` when none is left.
    """
    kept: list[Path] = []
    sizes: list[tuple[int, int]] = []
    for path, judged in zip(paths, in_threads(lambda path: _judge(path, crop), paths), strict=True):
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
    """The function's results in the order of the items, some of which are worked on at a time."""
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(function, items)


def _files_below(
    folder: Path, real: str, above: frozenset[str] = frozenset()
) -> Iterator[tuple[Path, str]]:
    """Image files below a folder by name, each with where it really lies.

    `real` is where the folder lies, `above` where the folders lie that led here: a link to one of
    them would go round in circles.
    """
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be read ({error.strerror})") from error
    for entry in listed:
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        path, place = folder / entry.name, os.path.join(real, entry.name)
        if entry.is_symlink():
            place = os.path.realpath(path)
        if entry.is_dir():
            if place not in above | {real}:
                yield from _files_below(path, place, above | {real})
        elif path.suffix.lower() in SUFFIXES and (entry.is_file() or entry.is_symlink()):
            yield path, place


def _originals(folder: Path, paths: Collection[Path]) -> list[Path]:
    """The paths below a folder without `COPIES`, of which it warns."""
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    for copies in COPIES:
        found = _matching(copies.where, names)
        if found:
            warnings.warn(
                f"{folder}: left out {len(found)} of {len(paths)} images, {copies.what}; "
                "to use them, give their own folder",
                DatasetWarning,
                stacklevel=3,
            )
        names = {name: path for name, path in names.items() if name not in found}
    return list(names.values())


def _matching(where: re.Pattern[str], names: Iterable[str]) -> set[str]:
    """The names that a rule of `COPIES` is about, but for the largest of each place's sides."""
    found = {name: match for name in names if (match := where.search(name))}
    if "side" not in where.groupindex:
        return set(found)
    sides = {
        n: (match.string[: match.start("side")], int(match["side"])) for n, match in found.items()
    }
    largest = dict(sorted(sides.values()))
    return {name for name, (place, side) in sides.items() if side < largest[place]}


def _judge(path: Path, crop: int) -> tuple[int, int] | str:
    """Width and height of an image, or why it cannot be used."""
    try:
        width, height = srgb.inspect(path)
    except srgb.ImageError as error:
        return str(error)
    if min(width, height) < crop:
        return f"{path}: {width}x{height} is too small for crops of {crop}x{crop}"
    return width, height


def _decode(path: Path, size: tuple[int, int]) -> Image.Image:
    """The image of a file that had this size. Raises ImageError."""
    image = srgb.read(path)
    if image.size != size:
        read, told = ("x".join(map(str, pair)) for pair in (image.size, size))
        raise srgb.ImageError(f"{path}: is {read} now, but its header told {told}")
    return image


def default_cache_bytes() -> int:
    """Half of the memory that is available, the other half being for the training itself."""
    available = system_memory.available_bytes()
    return UNKNOWN_MEMORY_BYTES if available is None else available // 2
