"""Training and validation images in one folder of bounded size.

Training images are coded by AVIF 4:4:4, or by JPEG 4:4:4 where Pillow has no AVIF. What does not
fit is first made smaller and then coded more coarsely: training reduces its crops at random anyway,
while coding takes away the noise that high qualities have to code. Of a validation image the middle
is kept, without loss: that is what validations take, so they stay comparable. Images that training
cannot use are left out with a warning, as `rdonet train` does.
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
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image, features

from rdonet_jax.cli import output, program
from rdonet_jax.core.partition import BLOCK
from rdonet_jax.imaging import dataset, pillow_files
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.storage import files

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
"""No image is reduced below it, so that crops of 256 pixels are cut from many positions. Nor is one
reduced below a larger crop."""

SAMPLED = 16
"""Images by which a setting is judged before all are coded."""

MEGABYTE = 1e6


class Sources(NamedTuple):
    """Images, given as for `rdonet train`: folders, shards, URLs or datasets by name."""

    train: str
    valid: str


class Form(NamedTuple):
    """What every training image is stored as, whatever the setting."""

    suffix: str  # "avif" or "jpeg"
    crop: int  # pixels that no side is reduced below


class Packed(NamedTuple):
    """What a packed folder holds."""

    setting: Setting
    size: int  # bytes
    training: int  # images
    validation: int
    left_out: int


class _Images(NamedTuple):
    """The images of a source."""

    usable: dataset.ImageDataset
    names: list[str]  # that these get, without a suffix
    found: int  # images, usable or not


class PackError(ValueError):
    """Images that cannot be made small enough, or no folder to write to."""


EXPECTED = (PackError, dataset.DatasetError, ImageError)
"""Errors that are one line to the user."""


def has_avif() -> bool:
    """Whether this Pillow reads and writes AVIF, as its wheels do from 11.3 on."""
    return bool(features.check("avif"))


def run(sources: Sources, out: Path, megabytes: float, suffix: str | None, crop: int) -> int:
    """Packs, says what came out, and returns the exit code."""
    output.show_warnings("pack")
    suffix = suffix or ("avif" if has_avif() else "jpeg")

    def packed() -> int:
        found = pack(sources, out, megabytes, suffix, crop)
        pixels = found.setting.pixels
        limit = "" if math.isinf(pixels) else f", at most {pixels:.0f} pixels each"
        print(
            f"{out}: {found.size / MEGABYTE:.1f} MB; quality {found.setting.quality}{limit}; "
            f"images: {found.training} for training, {found.validation} for validation, "
            f"{found.left_out} left out"
        )
        return 0

    return program.exit_code(packed, EXPECTED, "pack")


def pack(sources: Sources, out: Path, megabytes: float, suffix: str, crop: int) -> Packed:
    """Makes a folder of images for crops of this side.

    Warns of each image that is left out. Raises `PackError`, `DatasetError` and OSError; no folder
    is left then.
    """
    if crop < BLOCK or crop % BLOCK:
        raise PackError(f"--crop must be a positive multiple of {BLOCK} pixels, not {crop}")
    if out.exists():
        raise PackError(f"{out}: is there already")
    if suffix == "avif" and not has_avif():
        raise PackError("this Pillow has no AVIF; use --format jpeg, or Pillow 11.3 and newer")
    validation = _found(sources.valid, crop, "validation")
    training = _found(sources.train, crop, "training")
    with _filled(out) as part:
        return _pack_into(part, training, validation, megabytes, Form(suffix, crop))


def _found(source: str, crop: int, purpose: str) -> _Images:
    """The images of a source. Warns of those that training cannot use. Raises as `pack` does."""
    folders = dataset.local([source])
    paths = dataset.find(folders)
    # Nothing is cached: images that do not fit into the memory are decoded again in any case.
    usable = dataset.usable(paths, crop, purpose, cache_bytes=0)
    return _Images(usable, _names(usable.paths, folders), len(paths))


def _pack_into(
    out: Path, training: _Images, validation: _Images, megabytes: float, form: Form
) -> Packed:
    """Fills a folder. Raises as `pack` does."""
    validated = _pack_validation(validation, out / VALID, form.crop)
    budget = megabytes * MEGABYTE - size_of(out)
    for setting in SETTINGS:
        if _estimate(training.usable, setting, form) > budget:
            continue
        trained = _pack_training(training, out / TRAIN, setting, form)
        if (size := size_of(out)) <= megabytes * MEGABYTE:
            left_out = training.found + validation.found - trained - validated
            return Packed(setting, size, trained, validated, left_out)
        shutil.rmtree(out / TRAIN)
    raise PackError(f"{len(training.names)} images do not fit into {megabytes:g} MB")


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


def coded(image: Image.Image, setting: Setting, form: Form) -> bytes:
    """A training image as it is stored."""
    pixels, shortest = image.width * image.height, min(image.size)
    scale = min(1.0, math.sqrt(setting.pixels / pixels))
    scale = max(scale, min(1.0, max(SHORTEST_SIDE, form.crop) / shortest))
    if scale < 1:
        size = tuple(round(scale * side) for side in image.size)
        image = image.resize(size, Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    if form.suffix == "avif":
        image.save(stream, "AVIF", quality=setting.quality, subsampling="4:4:4", speed=7)
    else:
        image.save(stream, "JPEG", quality=setting.quality, subsampling=0, optimize=True)
    return stream.getvalue()


def _estimate(images: dataset.ImageDataset, setting: Setting, form: Form) -> float:
    """The bytes of all training images, from some of them, evenly spread over the list."""
    count = len(images.paths)

    def size(index: int) -> int:
        image = images.image(index)
        return 0 if image is None else len(coded(image, setting, form))

    sample = range(0, count, max(1, count // SAMPLED))
    with _threads() as pool:
        return sum(pool.map(size, sample)) * count / len(sample)


def _pack_training(images: _Images, out: Path, setting: Setting, form: Form) -> int:
    """Writes the images that can be decoded; returns their number."""
    out.mkdir()

    def write(index: int, name: str) -> bool:
        image = images.usable.image(index)
        if image is not None:
            (out / f"{name}.{form.suffix}").write_bytes(coded(image, setting, form))
        return image is not None

    with _threads() as pool:
        return sum(pool.map(write, itertools.count(), images.names))


def _pack_validation(images: _Images, out: Path, crop: int) -> int:
    """Writes the middles of the images that can be decoded; returns their number."""
    out.mkdir()
    count = 0
    for index, name in enumerate(images.names):
        image = images.usable.image(index)
        if image is None:
            continue
        left, top = (image.width - crop) // 2, (image.height - crop) // 2
        middle = image.crop((left, top, left + crop, top + crop))
        middle.save(out / f"{name}.webp", lossless=True, quality=100)
        count += 1
    return count


def _names(paths: Sequence[dataset.ImageFile], folders: Sequence[str | Path]) -> list[str]:
    """A name without a suffix for each image: the parts of its path below the folder.

    Where two images would have the same name, the later one gets a number.
    """
    names: dict[str, str] = {}  # by what is the same to file systems that ignore case
    for path in paths:
        below = PurePosixPath(dataset.relative_name(path, folders))
        whole = "_".join(below.with_suffix("").parts)
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
    with pillow_files.opened(source, ["AVIF"], pillow_files.require_still) as image:
        decoded = image.convert("RGB")
    decoded.save(out / f"{source.stem}.ppm")


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1)
