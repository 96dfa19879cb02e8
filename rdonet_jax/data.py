"""Training pictures to batches of crops.

Crop number i of a run is a pure function of (seed, i): which picture, where, how much reduced,
whether mirrored. So a batch depends on its step alone, a run can be resumed anywhere, and any
number of devices or readers sees the same crops.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".ppm")
AREA_POWER = 0.5
"""Pictures are drawn with probability proportional to their area to this power."""

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
"""Pillow's modes that become 8-bit RGB without loss, if any alpha is opaque."""

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for damaged files."""


class DataError(ValueError):
    """Training or validation pictures that cannot be used."""


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The usable pictures of a folder tree, decoded once and kept in memory as 8-bit RGB."""

    paths: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]  # width and height
    weights: np.ndarray  # cumulative probabilities
    decoded: dict[Path, Image.Image] = dataclasses.field(default_factory=dict, repr=False)
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock, repr=False)

    def picture(self, index: int) -> Image.Image:
        """The decoded picture. Raises `DataError` naming a file that cannot be decoded."""
        path = self.paths[index]
        if path not in self.decoded:
            try:
                with Image.open(path) as opened:
                    picture = opened.convert("RGB")
            except UNREADABLE as error:
                raise DataError(f"{path}: cannot be decoded ({error})") from error
            with self.lock:
                self.decoded.setdefault(path, picture)
        return self.decoded[path]


@dataclasses.dataclass(frozen=True)
class PictureSet:
    """What tells whether a run is continued with the same pictures."""

    count: int
    sha256: str  # first 16 hex digits; of names below the folders and sizes, in order of use


def picture_set(pictures: Pictures, folders: Sequence[str | Path]) -> PictureSet:
    """The usable pictures that were found below `folders`, wherever these lie."""
    digest = hashlib.sha256()
    for path, (width, height) in zip(pictures.paths, pictures.sizes, strict=True):
        folder = next(folder for folder in folders if path.is_relative_to(folder))
        digest.update(os.fsencode(path.relative_to(folder).as_posix()))
        digest.update(f"\0{width}x{height}\n".encode())
    return PictureSet(len(pictures.paths), digest.hexdigest()[:16])


def find_pictures(folders: Sequence[str | Path]) -> list[Path]:
    """All picture files below the folders, sorted. Raises `DataError` when there are none."""
    paths: list[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
        paths += [p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()]
    if not paths:
        raise DataError(f"no pictures below {', '.join(map(str, folders))}")
    return sorted(paths)


def usable(paths: Sequence[Path], crop: int, purpose: str = "training") -> Pictures:
    """The pictures that hold a crop and are 8-bit gray or RGB without transparency.

    Others are skipped with a warning that names them. Only pictures with alpha are decoded for
    this. Raises `DataError` when none is left.
    """
    kept: list[Path] = []
    sizes: list[tuple[int, int]] = []
    for path in paths:
        try:
            with Image.open(path) as picture:
                size, objection = picture.size, _objection(picture, crop)
        except UNREADABLE as error:
            objection = f"not readable ({error})"
        if objection:
            warnings.warn(f"{path}: skipped, {objection}", stacklevel=2)
            continue
        kept.append(path)
        sizes.append(size)
    if not kept:
        raise DataError(f"none of {len(paths)} {purpose} pictures gives crops of {crop}x{crop}")
    weights = np.cumsum(np.prod(np.asarray(sizes, float), axis=1) ** AREA_POWER)
    return Pictures(tuple(kept), tuple(sizes), weights / weights[-1])


def _objection(picture: Image.Image, crop: int) -> str:
    """Why an opened picture cannot be used; empty if it can."""
    width, height = picture.size
    if min(width, height) < crop:
        return f"{width}x{height} is under {crop}"
    if _is_deep(picture):
        return "has more than 8 bits per channel"
    if picture.mode not in MODES:
        return f"is a {picture.mode} picture"
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        least_alpha, _ = picture.convert("RGBA").getchannel("A").getextrema()
        if least_alpha < 255:
            return "has transparent pixels"
    return ""


def _is_deep(picture: Image.Image) -> bool:
    """Whether the file has more than 8 bits per channel, which Pillow hides for colours."""
    if picture.mode.startswith(("I", "F")):
        return True
    layout = picture.tile[0][3] if picture.tile else None
    if picture.format == "PPM" and isinstance(layout, tuple):
        return layout[1] > 255
    return ";16" in str(layout)


def random_crop(
    pictures: Pictures, crop: int, min_scale: float, seed: int, index: int
) -> np.ndarray:
    """Crop number `index`: uint8 [crop, crop, 3], reduced (Lanczos) and mirrored at random."""
    rng = np.random.Generator(np.random.Philox(key=[seed, index]))
    chosen = int(np.searchsorted(pictures.weights, rng.random(), side="right"))
    picture = pictures.picture(min(chosen, len(pictures.paths) - 1))
    smallest = max(min_scale, crop / min(picture.size))
    side = crop / rng.uniform(smallest, 1.0)
    side = min(math.floor(side), min(picture.size))
    left = int(rng.integers(picture.width - side + 1))
    top = int(rng.integers(picture.height - side + 1))
    box = (left, top, left + side, top + side)
    if side == crop:
        region = picture.crop(box)
    else:
        region = picture.resize((crop, crop), Image.Resampling.LANCZOS, box)
    pixels = np.asarray(region)
    return np.ascontiguousarray(pixels[:, ::-1]) if rng.random() < 0.5 else pixels


def batches(
    pictures: Pictures,
    crop: int,
    min_scale: float,
    seed: int,
    batch_size: int,
    first_step: int,
    last_step: int,
    threads: int = 2,
) -> Iterator[np.ndarray]:
    """Batches uint8 [batch_size, crop, crop, 3] for the steps first_step ... last_step - 1."""
    import grain  # here, since evaluation lists pictures and has no need of it

    dataset = grain.MapDataset.range(first_step * batch_size, last_step * batch_size)
    dataset = dataset.map(lambda i: random_crop(pictures, crop, min_scale, seed, int(i)))
    dataset = dataset.batch(batch_size)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4 * threads)
    return iter(dataset.to_iter_dataset(options))


def centre_crops(pictures: Pictures, crop: int) -> np.ndarray:
    """One crop from the middle of each picture, for validation: uint8 [N, crop, crop, 3]."""
    crops = []
    for index in range(len(pictures.paths)):
        picture = pictures.picture(index)
        left, top = (picture.width - crop) // 2, (picture.height - crop) // 2
        crops.append(np.asarray(picture.crop((left, top, left + crop, top + crop))))
    return np.stack(crops)
