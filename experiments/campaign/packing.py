"""Training and validation images in one folder of bounded size.

Training images are coded by AVIF 4:4:4, or by JPEG 4:4:4 where Pillow has no AVIF. What does not
fit is first made smaller and then coded more coarsely: training reduces its crops at random anyway,
while coding takes away the noise that high qualities have to code. Of a validation image the middle
is kept, without loss: that is what validations take, so they stay comparable.
"""

from __future__ import annotations

import functools
import io
import math
import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image, features

from rdonet_jax.imaging import dataset, srgb

TRAIN, VALID = "train", "valid"


class Setting(NamedTuple):
    """How training images are stored."""

    quality: int  # of Pillow
    pixels: float  # that an image has at most


SETTINGS = tuple(
    Setting(quality, megapixels * 1e6)
    for quality, megapixels in (
        (97, math.inf), (97, 1.5), (95, 1.0), (95, 0.75), (93, 0.75), (93, 0.6), (92, 0.5),
        (90, 0.5), (90, 0.4), (88, 0.4), (87, 0.33), (85, 0.27), (82, 0.27), (79, 0.27),
        (75, 0.27), (70, 0.27), (65, 0.22), (60, 0.2), (50, 0.18), (40, 0.16), (30, 0.15),
    )
)  # fmt: skip
"""From the best to the smallest."""

SHORTEST_SIDE = 384
"""No image is reduced below it, so that crops of 256 pixels still come from many places."""

SAMPLED = 16
"""Images by which a setting is judged before all are coded."""

MEGABYTE = 1e6


class Sources(NamedTuple):
    """Folders of images."""

    train: Path
    valid: Path


class PackError(ValueError):
    """Images that cannot be made small enough, or no folder to write to."""


def has_avif() -> bool:
    """Whether this Pillow reads and writes AVIF, as its wheels do from 11.3 on."""
    return bool(features.check("avif"))


def run(sources: Sources, out: Path, megabytes: float, form: str | None, crop: int) -> int:
    """Packs, says what came out, and returns the exit code."""
    form = form or ("avif" if has_avif() else "jpeg")
    try:
        setting, size = pack(sources, out, megabytes, form, crop)
    except (PackError, dataset.DatasetError, srgb.ImageError, OSError) as error:
        print(f"pack: {error}", file=sys.stderr)
        return 1
    limit = "" if math.isinf(setting.pixels) else f", at most {setting.pixels:.0f} pixels each"
    print(f"{out}: {size / MEGABYTE:.1f} MB; quality {setting.quality}{limit}")
    return 0


def pack(
    sources: Sources, out: Path, megabytes: float, form: str, crop: int
) -> tuple[Setting, int]:
    """Fills a new folder; returns the setting of training images and the bytes of all files."""
    if out.exists():
        raise PackError(f"{out}: is there already")
    if form == "avif" and not has_avif():
        raise PackError("this Pillow has no AVIF; use --format jpeg, or Pillow 11.3 and newer")
    _pack_validation(sources.valid, out / VALID, crop)
    budget = megabytes * MEGABYTE - size_of(out)
    paths = dataset.find([sources.train])
    for setting in SETTINGS:
        if _estimate(paths, setting, form) > budget:
            continue
        _pack_training(sources.train, paths, out / TRAIN, setting, form)
        if size_of(out) <= megabytes * MEGABYTE:
            return setting, size_of(out)
        shutil.rmtree(out / TRAIN)
    shutil.rmtree(out)
    raise PackError(f"{len(paths)} images do not fit into {megabytes:g} MB")


def size_of(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def coded(path: Path, setting: Setting, form: str) -> bytes:
    """A training image as it is stored."""
    image = srgb.read(path)
    pixels, shortest = image.width * image.height, min(image.size)
    scale = min(1.0, math.sqrt(setting.pixels / pixels))
    scale = max(scale, min(1.0, SHORTEST_SIDE / shortest))
    if scale < 1:
        size = tuple(round(scale * side) for side in image.size)
        image = image.resize(size, Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    if form == "avif":
        image.save(stream, "AVIF", quality=setting.quality, subsampling="4:4:4", speed=7)
    else:
        image.save(stream, "JPEG", quality=setting.quality, subsampling=0, optimize=True)
    return stream.getvalue()


def _estimate(paths: Sequence[Path], setting: Setting, form: str) -> float:
    """The bytes of all training images, from some of them, evenly spread over the list."""
    sample = paths[:: max(1, len(paths) // SAMPLED)]
    with _threads() as pool:
        sizes = list(pool.map(lambda path: len(coded(path, setting, form)), sample))
    return sum(sizes) * len(paths) / len(sample)


def _pack_training(
    folder: Path, paths: Sequence[Path], out: Path, setting: Setting, form: str
) -> None:
    out.mkdir(parents=True)

    def write(path: Path) -> None:
        name = "_".join(path.relative_to(folder).with_suffix("").parts)
        (out / f"{name}.{form}").write_bytes(coded(path, setting, form))

    with _threads() as pool:
        list(pool.map(write, paths))


def _pack_validation(folder: Path, out: Path, crop: int) -> None:
    out.mkdir(parents=True)
    for path in dataset.find([folder]):
        image = srgb.read(path)
        if min(image.size) < crop:
            continue
        left, top = (image.width - crop) // 2, (image.height - crop) // 2
        middle = image.crop((left, top, left + crop, top + crop))
        middle.save(out / f"{path.stem}.webp", lossless=True, quality=100)


def unpacked(data: Path, out: Path) -> tuple[Path, Path]:
    """The folders of training and of validation images that training reads.

    Training reads no AVIF, so such images are decoded into `out`, as PPM, once.
    """
    train = data / TRAIN
    sources = sorted(train.glob("*.avif"))
    if not sources:
        return train, data / VALID
    if not has_avif():
        raise PackError(
            f"{train}: holds AVIF, which this Pillow does not read; pack with --format jpeg"
        )
    if not out.exists():
        part = out.with_name(out.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        with _threads() as pool:
            list(pool.map(functools.partial(_decode, part), sources))
        part.rename(out)
    return out, data / VALID


def _decode(out: Path, source: Path) -> None:
    with Image.open(source) as image:
        image.convert("RGB").save(out / f"{source.stem}.ppm")


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1)
