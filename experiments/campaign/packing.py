"""Training and validation images in one folder of bounded size.

Training images are coded by AVIF 4:4:4, or by JPEG 4:4:4 where Pillow has no AVIF. What does not
fit is first made smaller and then coded more coarsely: training reduces its crops at random anyway,
while coding takes away the noise that high qualities have to code. Of a validation image the middle
is kept, without loss: that is what validations take, so they stay comparable.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image, features

from rdonet_jax.cli import program
from rdonet_jax.core import files
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


EXPECTED = (PackError, dataset.DatasetError, srgb.ImageError)
"""Errors that are one line to the user."""


def has_avif() -> bool:
    """Whether this Pillow reads and writes AVIF, as its wheels do from 11.3 on."""
    return bool(features.check("avif"))


def run(sources: Sources, out: Path, megabytes: float, form: str | None, crop: int) -> int:
    """Packs, says what came out, and returns the exit code."""
    form = form or ("avif" if has_avif() else "jpeg")

    def packed() -> int:
        setting, size = pack(sources, out, megabytes, form, crop)
        limit = "" if math.isinf(setting.pixels) else f", at most {setting.pixels:.0f} pixels each"
        print(f"{out}: {size / MEGABYTE:.1f} MB; quality {setting.quality}{limit}")
        return 0

    return program.exit_code(packed, EXPECTED, "pack")


def pack(
    sources: Sources, out: Path, megabytes: float, form: str, crop: int
) -> tuple[Setting, int]:
    """Makes a folder; returns the setting of training images and the bytes of all files.

    Raises `PackError`, `DatasetError`, `ImageError` and OSError; no folder is left then.
    """
    if out.exists():
        raise PackError(f"{out}: is there already")
    if form == "avif" and not has_avif():
        raise PackError("this Pillow has no AVIF; use --format jpeg, or Pillow 11.3 and newer")
    with _filled(out) as part:
        setting = _pack_into(part, sources, megabytes, form, crop)
        return setting, size_of(part)


def _pack_into(out: Path, sources: Sources, megabytes: float, form: str, crop: int) -> Setting:
    """Fills a folder; returns the setting of training images. Raises as `pack` does."""
    _pack_validation(sources.valid, out / VALID, crop)
    budget = megabytes * MEGABYTE - size_of(out)
    paths = dataset.find([sources.train])
    for setting in SETTINGS:
        if _estimate(paths, setting, form) > budget:
            continue
        _pack_training(sources.train, paths, out / TRAIN, setting, form)
        if size_of(out) <= megabytes * MEGABYTE:
            return setting
        shutil.rmtree(out / TRAIN)
    raise PackError(f"{len(paths)} images do not fit into {megabytes:g} MB")


@contextlib.contextmanager
def _filled(folder: Path) -> Iterator[Path]:
    """A folder to fill, which gets the name of `folder` in the end. It is removed on failure.

    An OSError becomes a `PackError`, since that of a full disk names no file.
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    part.mkdir(parents=True)
    try:
        yield part
        part.rename(folder)
    except OSError as error:
        raise PackError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


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
    out.mkdir()

    def write(path: Path, name: str) -> None:
        (out / f"{name}.{form}").write_bytes(coded(path, setting, form))

    with _threads() as pool:
        list(pool.map(write, paths, _names(folder, paths)))


def _pack_validation(folder: Path, out: Path, crop: int) -> None:
    out.mkdir()
    paths = dataset.find([folder])
    for path, name in zip(paths, _names(folder, paths), strict=True):
        image = srgb.read(path)
        if min(image.size) < crop:
            continue
        left, top = (image.width - crop) // 2, (image.height - crop) // 2
        middle = image.crop((left, top, left + crop, top + crop))
        middle.save(out / f"{name}.webp", lossless=True, quality=100)


def _names(folder: Path, paths: Sequence[Path]) -> list[str]:
    """A name without a suffix for each image: the parts of its path below the folder.

    Where two images would have the same name, the later one gets a number.
    """
    names: dict[str, str] = {}  # by what is the same to file systems that ignore case
    for path in paths:
        whole = "_".join(path.relative_to(folder).with_suffix("").parts)
        numbered = (f"{whole}-{number}" for number in itertools.count(2))
        name = next(n for n in itertools.chain([whole], numbered) if n.casefold() not in names)
        names[name.casefold()] = name
    return list(names.values())


def unpacked(data: Path, out: Path) -> tuple[Path, Path]:
    """The folders of training and of validation images that training reads.

    Training reads no AVIF, so such images are decoded into `out`, as PPM. They stay there for the
    next training from the same files. What files these were is in a file beside `out`.

    Raises `PackError` for AVIF that Pillow cannot read and for a folder `out` of other origin,
    `ImageError` for a damaged image, and OSError.
    """
    train = data / TRAIN
    sources = sorted(train.glob("*.avif"))
    if not sources:
        return train, data / VALID
    if not has_avif():
        raise PackError(
            f"{train}: holds AVIF, which this Pillow does not read; pack with --format jpeg"
        )
    origin, listed = out.with_name(out.name + ".json"), _listed(sources)
    if out.exists() and not origin.exists():
        raise PackError(
            f"{out}: is of unknown origin without {origin.name} beside it; remove the folder"
        )
    if not out.exists() or origin.read_bytes() != listed:
        _decode_all(sources, out, origin, listed)
    return out, data / VALID


def _listed(sources: Sequence[Path]) -> bytes:
    """The names and the sizes of files, to see whether images were decoded from these."""
    sizes = {source.name: source.stat().st_size for source in sources}
    return json.dumps(sizes, indent=1).encode()


def _decode_all(sources: Sequence[Path], out: Path, origin: Path, listed: bytes) -> None:
    """Puts decoded images in place of those in `out`, and what they come from into `origin`."""
    origin.parent.mkdir(parents=True, exist_ok=True)
    # An empty file is equal to no list, so after an interruption all images are decoded again.
    origin.write_bytes(b"")
    if out.exists():
        shutil.rmtree(out)
    with _filled(out) as part, _threads() as pool:
        list(pool.map(functools.partial(_decode, part), sources))
    files.replace(origin, lambda file: file.write(listed))


def _decode(out: Path, source: Path) -> None:
    with srgb.opened(source, ["AVIF"], srgb.require_still) as image:
        decoded = image.convert("RGB")
    decoded.save(out / f"{source.stem}.ppm")


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1)
