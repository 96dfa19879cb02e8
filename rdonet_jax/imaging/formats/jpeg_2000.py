"""The headers of JPEG 2000 files (ISO/IEC 15444-1): bits per component, and what the colors are.

Pillow reports neither. It multiplies samples of fewer than 8 bits by a power of two, so that white
is no longer the largest number, and reduces color of more than 8 bits to 8.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.imaging.formats import boxes

_CODESTREAM = b"\xff\x4f\xff\x51"
_COUNT_AT, _COMPONENTS_AT, _COMPONENT_BYTES = 40, 42, 3
"""Offsets in a codestream: the number of components, and the first of them."""
_SIGNED = 0x80

_ENUMERATED, _RESTRICTED_PROFILE, _ANY_PROFILE = 1, 2, 3
"""Methods of the box colr."""
_COLORS_AT = 3
_YCC = 18
_READ_COLORS = (0, 12, 15, 16, 17, _YCC)
"""Color spaces by number: black and white, sRGB, gray, sYCC; and CMYK, refused by its mode."""

_UUIDS = {
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "XMP",
    b"JpgTiffExif->JP2": "EXIF data",
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): "IPTC data",
}
_UUID_BYTES = 16
_MOST_BITS = 16


class Header(NamedTuple):
    """What the header holds. `icc` is empty, and `enumerated` None, if the file does not say.

    `left_out` names metadata that is not kept.
    """

    bits: tuple[int, ...]
    signed: bool = False
    icc: bytes = b""
    enumerated: int | None = None
    left_out: tuple[str, ...] = ()


def header(path: str | os.PathLike) -> Header:
    """The header of a file; without components for a damaged one."""
    data = Path(path).read_bytes()
    if data.startswith(_CODESTREAM):
        return Header(*_components(data))
    top = list(boxes.parse(data))
    codestream = next((content for kind, content in top if kind == b"jp2c"), b"")
    inner = next((content for kind, content in top if kind == b"jp2h"), b"")
    icc, enumerated = _colors(inner)
    named = [_UUIDS.get(content[:_UUID_BYTES]) for kind, content in top if kind == b"uuid"]
    left_out = tuple(dict.fromkeys(words for words in named if words))
    return Header(*_components(codestream), icc, enumerated, left_out)


def _components(codestream: bytes) -> tuple[tuple[int, ...], bool]:
    """Bits of every component, and whether there are signed ones."""
    count = int.from_bytes(codestream[_COUNT_AT:_COMPONENTS_AT], "big")
    end = _COMPONENTS_AT + _COMPONENT_BYTES * count
    sizes = codestream[_COMPONENTS_AT:end:_COMPONENT_BYTES]
    return tuple((size & ~_SIGNED) + 1 for size in sizes), any(size & _SIGNED for size in sizes)


def _colors(inner: bytes) -> tuple[bytes, int | None]:
    """The profile and the number of the color space by the first box that has one of them."""
    for kind, content in boxes.parse(inner):
        if kind != b"colr" or len(content) < _COLORS_AT:
            continue
        if content[0] in (_RESTRICTED_PROFILE, _ANY_PROFILE):
            return content[_COLORS_AT:], None
        if content[0] == _ENUMERATED:
            return b"", int.from_bytes(content[_COLORS_AT : _COLORS_AT + 4], "big")
    return b"", None


def check(path: str | os.PathLike) -> None:
    """Raises ImageError for files whose samples cannot be kept."""
    found = header(path)
    most = max(found.bits, default=8)
    if found.enumerated is not None and found.enumerated not in _READ_COLORS:
        raise ImageError(
            f"{path}: is JPEG 2000 in the color space of the number {found.enumerated}, "
            "convert it to sRGB first"
        )
    if most > _MOST_BITS:
        raise ImageError(f"{path}: is JPEG 2000 of {most} bits, 16 are the most that are read")
    if most > 8 and found.signed:
        raise ImageError(f"{path}: holds signed numbers, convert it to unsigned ones first")
    if most > 8 and len(set(found.bits)) > 1:
        raise ImageError(f"{path}: has channels of different numbers of bits, {found.bits}")


def bits(path: str | os.PathLike) -> int:
    """The largest number of bits among the components of a file."""
    return max(header(path).bits, default=8)


def rescaled(image: Image.Image, path: str | os.PathLike) -> Image.Image:
    """An opened file of up to 8 bits, with samples from 0 to 255 and indices as they are stored."""
    found = header(path)
    exact = all(count >= 8 for count in found.bits)
    if exact or found.enumerated == _YCC or len(found.bits) != len(image.getbands()):
        return image
    table: list[int] = []
    for band, count in zip(image.getbands(), found.bits, strict=True):
        stored = np.arange(256) >> max(0, 8 - count)
        largest = 2 ** min(count, 8) - 1
        scaled = stored if band == "P" else (stored * 255 + largest // 2) // largest
        table += scaled.tolist()
    return image.point(table)


def decode(path: str | os.PathLike) -> np.ndarray:
    """The samples of a file of more than 8 bits, uint16 [H, W, 1 to 4], unscaled.

    Raises ImageError if imagecodecs, which decodes them, is not installed, and the errors of
    imagecodecs for damaged files.
    """
    try:
        import imagecodecs
    except ImportError as error:
        raise ImageError(
            f"{path}: is JPEG 2000 of {bits(path)} bits, which is read with imagecodecs: "
            "pip install imagecodecs"
        ) from error
    samples = imagecodecs.jpeg2k_decode(Path(path).read_bytes())
    return samples[..., None] if samples.ndim == 2 else samples
