"""Pictures to files of a suffix's format, in their own form as far as that can hold it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, features

from rdonet_jax import content, exif, images, png, tiff
from rdonet_jax.content import Picture
from rdonet_jax.images import ImageError


class Abilities(NamedTuple):
    """What a format holds besides 8-bit colours."""

    deep: bool = False
    alpha: bool = False
    icc: int = 0  # bytes of a colour profile, at most
    exif: int = 0  # likewise


_OPTIONAL = {"AVIF": "avif", "WEBP": "webp"}
"""Formats that Pillow may have been built without, by its names for that."""

_ANY = 2**32
ABILITIES = {
    "PNG": Abilities(True, True, _ANY, _ANY),
    "TIFF": Abilities(True, True, _ANY, _ANY),
    "PPM": Abilities(deep=True),
    "WEBP": Abilities(False, True, _ANY, _ANY),
    "AVIF": Abilities(False, True, _ANY, _ANY),
    # Profiles are cut into 255 markers, EXIF data has one.
    "JPEG": Abilities(icc=255 * 65519, exif=65533 - len(exif.PREFIX)),
    "BMP": Abilities(),
}
"""By the names of Pillow's formats."""


def check(path: str | os.PathLike, force: bool, size: tuple[int, int], alpha: bool = False) -> None:
    """Raise ImageError if `save` would refuse a picture of (height, width), with or without alpha,
    at this path; for asking before long work."""
    images.check_picture_target(path, force, size)
    if _format(path) in _OPTIONAL and not features.check(_OPTIONAL[_format(path)]):
        raise ImageError(f"{path}: this installation of Pillow cannot write {_format(path)}")
    if alpha and not _abilities(path).alpha:
        suffixes = [s for s, (name, _) in images.WRITABLE_FORMATS.items() if ABILITIES[name].alpha]
        raise ImageError(
            f"{path}: {_format(path)} cannot hold the picture's transparency: take another suffix "
            f"({' '.join(suffixes)}) or give a --background to flatten it on"
        )


def save(
    path: str | os.PathLike,
    picture: Picture,
    force: bool = False,
    like: os.stat_result | None = None,
) -> tuple[str, ...]:
    """Write a picture, and say in a few words each what the format could not hold.

    The file gets the times and permissions of `like`.

    The file appears whole or not at all. Raises ImageError as `check` does, and for whatever keeps
    the file from being written.
    """
    check(path, force, picture.size, picture.alpha is not None)
    name, able = _format(path), _abilities(path)
    notes = []
    samples = np.atleast_3d(content.samples(picture))
    if name == "TIFF" and picture.deep and samples.shape[2] == 2:
        samples = samples[..., [0, 0, 0, 1]]  # gray with alpha of 16 bits is hardly read anywhere
    if picture.deep and not able.deep:
        samples = content.shallow(samples)
        notes.append(f"8 bits, since {name} holds no more")
    kept = {}
    for field, what, most in (
        ("icc", "colour profile", able.icc),
        ("exif", "EXIF data", able.exif),
    ):
        data = getattr(picture, field)
        kept[field] = data if len(data) <= most else b""
        if len(data) > most:
            notes.append(f"without its {what}, which {name} cannot hold")
    if kept["icc"][16:20] == b"GRAY" and (samples.shape[2] > 2 or name == "WEBP"):
        kept["icc"] = b""
        notes.append("without its colour profile for gray, since its colours become RGB")
    if kept["exif"] and name in ("TIFF", "AVIF") and not exif.is_sound(kept["exif"]):
        kept["exif"] = b""
        notes.append(f"without its EXIF data, which is damaged and would spoil {name}")
    images.replace(path, lambda file: _write(file, path, samples, **kept), like)
    return tuple(notes)


def _format(path: str | os.PathLike) -> str:
    return images.WRITABLE_FORMATS[Path(path).suffix.lower()][0]


def _abilities(path: str | os.PathLike) -> Abilities:
    return ABILITIES[_format(path)]


def _write(
    file: BinaryIO, path: str | os.PathLike, samples: np.ndarray, icc: bytes, exif: bytes
) -> None:
    name = _format(path)
    if name == "TIFF":
        tiff.write(file, samples, icc, exif)
    elif samples.dtype == np.uint8:
        _write_8_bits(file, path, samples, icc, exif)
    elif name == "PNG":
        file.writelines(png.encode(samples, png.metadata(icc, exif)))
    else:
        kind = b"P5" if samples.shape[2] == 1 else b"P6"
        file.write(b"%s\n%d %d\n65535\n" % (kind, samples.shape[1], samples.shape[0]))
        file.write(samples.astype(">u2").tobytes())


def _write_8_bits(
    file: BinaryIO, path: str | os.PathLike, samples: np.ndarray, icc: bytes, exif_data: bytes
) -> None:
    name, options = images.WRITABLE_FORMATS[Path(path).suffix.lower()]
    single = samples.shape[2] == 1
    extra: dict[str, object] = {}
    if icc:
        extra["icc_profile"] = icc
    if exif_data:
        extra["exif"] = exif.PREFIX + exif_data
    if name == "WEBP":
        extra["exact"] = True  # colours under alpha 0 are kept
    if name == "AVIF" and single:
        extra["subsampling"] = "4:0:0"
    picture = Image.fromarray(np.ascontiguousarray(samples[..., 0] if single else samples))
    picture.save(file, name, **(options | extra))
