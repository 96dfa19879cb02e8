"""The header of JPEG XL files (ISO/IEC 18181-1): size, bits per channel, animation; and their XMP.

Pillow's plug-in reduces all images to 8 bits and reports neither further frames nor XMP.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rdonet_jax.imaging.formats import boxes

_CODESTREAM = b"\xff\x0a"
_PART_NUMBER_BYTES = 4
"""Bytes before the codestream in a box that holds a part of it."""
_MOST_BYTES = 2**10
"""Bytes that are read of the codestream, more than its header takes."""
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


_COMPRESSED_BOX = b"brob"
_COMPRESSED_KINDS = {
    b"xml ": ("xmp", "XMP, which is compressed with Brotli"),
    b"Exif": ("exif", "EXIF data, which is compressed with Brotli"),
}


class JxlError(ValueError):
    """Bytes that are not the start of a JPEG XL file."""


class Header(NamedTuple):
    """What the header holds. Height and width are those before the orientation is applied."""

    height: int
    width: int
    bits: int
    floats: bool
    animated: bool


def header(path: str | os.PathLike) -> Header:
    """The header of a file. Raises JxlError for a damaged one."""
    with open(path, "rb") as file:
        data = _codestream(file)
    bits = _Bits(data[len(_CODESTREAM) :])
    height, width = _size(bits)
    if bits.take(1):  # all fields have their defaults: 8 bits, no animation
        return Header(height, width, 8, False, False)
    animated = False
    if bits.take(1):
        bits.take(3)  # orientation
        if bits.take(1):
            _size(bits)  # intrinsic
        if bits.take(1):
            _preview_size(bits)
        animated = bool(bits.take(1))
        if animated:
            _skip_animation(bits)
    floats = bool(bits.take(1))
    depth = bits.one_of((32, 0), (16, 0), (24, 0), (1, 6)) if floats else bits.one_of(
        (8, 0), (10, 0), (12, 0), (1, 6)
    )  # fmt: skip
    return Header(height, width, depth, floats, animated)


def xmp(path: str | os.PathLike) -> bytes:
    """The first XMP in a file; empty if it has none, or compressed XMP alone."""
    parsed = boxes.parse(Path(path).read_bytes())
    return next((content for kind, content in parsed if kind == b"xml "), b"")


def compressed_metadata(path: str | os.PathLike) -> dict[str, str]:
    """The metadata that a file holds in compressed form alone, in words, by Pillow's names."""
    found = list(boxes.parse(Path(path).read_bytes()))
    compressed = {content[:4] for kind, content in found if kind == _COMPRESSED_BOX}
    missing = compressed - {kind for kind, _ in found}
    return dict(found for kind, found in _COMPRESSED_KINDS.items() if kind in missing)


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)

    def side() -> int:
        return 8 * (1 + bits.take(5)) if small else bits.one_of((1, 9), (1, 13), (1, 18), (1, 30))

    height = side()
    ratio = bits.take(3)
    if not ratio:
        return height, side()
    across, down = _RATIOS[ratio - 1]
    return height, height * across // down


def _preview_size(bits: _Bits) -> None:
    in_eights = bits.take(1)
    choices = (
        ((16, 0), (32, 0), (1, 5), (33, 9))
        if in_eights
        else ((1, 6), (65, 8), (321, 10), (1345, 12))
    )
    bits.one_of(*choices)
    if not bits.take(3):
        bits.one_of(*choices)


def _skip_animation(bits: _Bits) -> None:
    bits.one_of((100, 0), (1000, 0), (1, 10), (1, 30))
    bits.one_of((1, 0), (1001, 0), (1, 8), (1, 10))
    bits.one_of((0, 0), (0, 3), (0, 16), (0, 32))
    bits.take(1)


def _codestream(file: BinaryIO) -> bytes:
    """The start of the codestream, which may be inside of boxes, behind any others."""
    start = file.read(_MOST_BYTES)
    if start.startswith(_CODESTREAM):
        return start
    file.seek(0)
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        content = size - 8
        if size == 1:
            content = int.from_bytes(file.read(8), "big") - 16
        if kind == b"jxlc":
            return file.read(_MOST_BYTES)
        if kind == b"jxlp":
            return file.read(_PART_NUMBER_BYTES + _MOST_BYTES)[_PART_NUMBER_BYTES:]
        if content < 0:  # up to the end of the file, or no box
            break
        file.seek(content, os.SEEK_CUR)
    raise JxlError("no codestream was found in it")


class _Bits:
    """Reads numbers of a few bits, the lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data[:64], "little")
        self._left = 8 * min(64, len(data))

    def take(self, count: int) -> int:
        if count > self._left:
            raise JxlError("it ends within its header")
        value = self._number & (1 << count) - 1
        self._number >>= count
        self._left -= count
        return value

    def one_of(self, *choices: tuple[int, int]) -> int:
        """A number: 2 bits select an offset and the number of bits that are added to it."""
        offset, more = choices[self.take(2)]
        return offset + self.take(more)
