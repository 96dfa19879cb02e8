"""Training pictures to batches of crops.

Crop number i of a run is a pure function of (seed, i): which picture, where, how much reduced,
whether mirrored. So a batch depends on its step alone, a run can be resumed anywhere, and any
number of devices or readers sees the same crops.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import grain
import numpy as np
from PIL import Image

SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".ppm")
AREA_POWER = 0.5
"""Pictures are drawn with probability proportional to their area to this power."""


class DataError(ValueError):
    """Training or validation pictures that cannot be used."""


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The usable pictures of a folder tree, decoded once and kept in memory as 8-bit RGB."""

    paths: tuple[Path, ...]
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
            except (OSError, SyntaxError, ValueError) as error:
                raise DataError(f"{path}: cannot be decoded ({error})") from error
            with self.lock:
                self.decoded.setdefault(path, picture)
        return self.decoded[path]


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


def usable(paths: Sequence[Path], crop: int) -> Pictures:
    """The pictures that hold a crop; others are skipped with a warning that names them.

    Raises `DataError` when none is left.
    """
    kept: list[Path] = []
    areas: list[int] = []
    for path in paths:
        try:
            with Image.open(path) as picture:
                width, height = picture.size
        except (OSError, SyntaxError, ValueError) as error:
            warnings.warn(f"{path}: skipped, not readable ({error})", stacklevel=2)
            continue
        if min(width, height) < crop:
            warnings.warn(f"{path}: skipped, {width}x{height} is under {crop}", stacklevel=2)
            continue
        kept.append(path)
        areas.append(width * height)
    if not kept:
        raise DataError(f"none of {len(paths)} pictures holds a crop of {crop}x{crop} pixels")
    weights = np.cumsum(np.asarray(areas, float) ** AREA_POWER)
    return Pictures(tuple(kept), weights / weights[-1])


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
    dataset = grain.MapDataset.range(first_step * batch_size, last_step * batch_size)
    dataset = dataset.map(lambda i: random_crop(pictures, crop, min_scale, seed, int(i)))
    dataset = dataset.batch(batch_size)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4 * threads)
    return iter(dataset.to_iter_dataset(options))


def centre_crops(paths: Sequence[Path], crop: int) -> np.ndarray:
    """One crop from the middle of each picture, for validation: uint8 [N, crop, crop, 3]."""
    pictures = usable(paths, crop)
    crops = []
    for index in range(len(pictures.paths)):
        picture = pictures.picture(index)
        left, top = (picture.width - crop) // 2, (picture.height - crop) // 2
        crops.append(np.asarray(picture.crop((left, top, left + crop, top + crop))))
    return np.stack(crops)
