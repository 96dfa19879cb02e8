"""Reads PAM files (Netpbm), which Pillow does not read."""

from __future__ import annotations

import os
from typing import BinaryIO

import numpy as np

_CHANNELS = {
    b"BLACKANDWHITE": 1,
    b"GRAYSCALE": 1,
    b"RGB": 3,
    b"BLACKANDWHITE_ALPHA": 2,
    b"GRAYSCALE_ALPHA": 2,
    b"RGB_ALPHA": 4,
}
_LONGEST_LINE = 1024
_MOST_LINES = 1024
_LARGEST = 65535


class PamError(ValueError):
    """A file that cannot be read as PAM. The message is the end of a sentence."""


def read(path: str | os.PathLike, max_pixels: int) -> tuple[np.ndarray, int]:
    """Samples [H, W, 1 to 4], unscaled, and the largest value that they can have.

    Raises PamError. A file that is too short for its header is refused before memory is allocated.
    """
    with open(path, "rb") as file:
        fields = _header(file)
        try:
            height, width, depth, largest = (
                int(fields[name]) for name in (b"HEIGHT", b"WIDTH", b"DEPTH", b"MAXVAL")
            )
        except (KeyError, ValueError) as error:
            raise PamError("is damaged: its header lacks a number") from error
        if min(height, width) < 1 or not 1 <= largest <= _LARGEST:
            raise PamError("is damaged: its header has an illegal number")
        kind = fields.get(b"TUPLTYPE", {1: b"GRAYSCALE", 3: b"RGB"}.get(depth, b"none"))
        if kind not in _CHANNELS or _CHANNELS[kind] != depth:
            raise PamError(
                f"is PAM of {depth} channels of the kind {kind.decode('ascii', 'replace')}, which "
                "is none of gray and RGB with or without alpha"
            )
        if height * width > max_pixels:
            raise PamError(f"has {width} x {height} pixels, more than the limit of {max_pixels}")
        dtype = np.dtype(">u2" if largest > 255 else np.uint8)
        count = height * width * depth
        if os.fstat(file.fileno()).st_size - file.tell() < count * dtype.itemsize:
            raise PamError("is damaged: it ends before its last pixel")
        samples = np.fromfile(file, dtype, count).reshape(height, width, depth)
    if samples.max() > largest:
        raise PamError(f"is damaged: it has a number over its largest, {largest}")
    return samples, largest


def _header(file: BinaryIO) -> dict[bytes, bytes]:
    """The fields of the header. Fields of the same name are joined by spaces."""
    fields: dict[bytes, bytes] = {}
    if file.readline(_LONGEST_LINE).strip() != b"P7":
        raise PamError("does not begin as a PAM file")
    for _ in range(_MOST_LINES):
        line = file.readline(_LONGEST_LINE).strip()
        if line == b"ENDHDR":
            return fields
        name, _, value = line.partition(b" ")
        if line and not line.startswith(b"#"):
            fields[name] = b" ".join(filter(None, [fields.get(name), value.strip()]))
    raise PamError("is damaged: its header does not end")
