"""Inserts metadata that Pillow cannot write into files that Pillow has written."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from rdonet_jax.imaging.formats import png
from rdonet_jax.imaging.formats.png import Chunk
from rdonet_jax.imaging.metadata import resolution
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.resolution import Resolution

_AFTER_PNG_HEADER = 33
_JFIF = slice(6, 11)
_DENSITY = slice(13, 18)
_COLORS = b"colrnclx"


class AmendmentError(ValueError):
    """A file without the place where the metadata belongs."""


def of_png(data: memoryview, chunks: Sequence[Chunk]) -> list[bytes | memoryview]:
    """A PNG file in parts, with more chunks after its header."""
    more = [png.chunk(*each) for each in chunks]
    return [data[:_AFTER_PNG_HEADER], *more, data[_AFTER_PNG_HEADER:]]


def of_jpeg(data: memoryview, size: Resolution | None) -> list[bytes | memoryview]:
    """A JPEG file in parts, with a resolution. Raises AmendmentError."""
    density = None if size is None else resolution.jfif(size)
    if density is None:
        return [data]
    if data[_JFIF] != b"JFIF\0":
        raise AmendmentError("the file has no place for its resolution")
    return [data[: _DENSITY.start], density, data[_DENSITY.stop :]]


def of_avif(data: memoryview, color_space: Cicp | None) -> list[bytes | memoryview]:
    """An AVIF file in parts, with the code points of its color space. Raises AmendmentError."""
    if color_space is None:
        return [data]
    at = bytes(data).find(_COLORS)
    if at < 0:
        raise AmendmentError("the file has no place for what its colors are")
    at += len(_COLORS)
    numbers = struct.pack(">HH", color_space.primaries, color_space.transfer)
    return [data[:at], numbers, data[at + len(numbers) :]]
