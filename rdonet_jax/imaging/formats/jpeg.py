"""JPEG files whose coded data end before the image does.

libjpeg fills what is missing with gray, and Pillow does not pass its warning on. A file that ends
early is refused by Pillow, but not one that has been closed by an end mark.
"""

from __future__ import annotations

import io
import os
import re

import numpy as np
from PIL import JpegImagePlugin

from rdonet_jax.imaging.errors import ImageError

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""What ends the coded data of a scan: no stuffed byte, no fill byte, no restart."""

_RESTART = re.compile(rb"\xff([\xd0-\xd7])")

_FILLER = b"\0" + bytes(np.random.default_rng(0).integers(0, 255, 4096, np.uint8))
"""Bytes of many blocks that hold no marker, nor make one of a byte 0xFF before them."""

_MISSING = 8
"""Blocks of 8x8 samples that may differ, since encoders may leave out the last bits."""

_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9


def require_all_blocks(path: str | os.PathLike) -> None:
    """Raises ImageError for a Huffman-coded file with blocks that are missing.

    A decoder does not look at what stands between the last block of a scan and the next marker. So
    bytes are put there: only where blocks are missing they change the image. In a progressive file
    that is seen of the scans that hold the means of blocks.
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        found, other = _means(content), _means(_filled(content))
    except (OSError, SyntaxError, ValueError):  # markers that Pillow reads in another way
        return
    if np.count_nonzero((found != other).any(-1)) > _MISSING:
        raise ImageError(f"{path}: is damaged: its coded data end before the image does")


def _means(content: bytes) -> np.ndarray:
    """The first image of a file, reduced to its blocks of 8x8 pixels, [rows, columns, C]."""
    with JpegImagePlugin.JpegImageFile(io.BytesIO(content)) as image:
        image.draft(None, (1, 1))
        return np.atleast_3d(np.asarray(image))


def _filled(content: bytes) -> bytes:
    """The file with bytes after the data of each scan: some, and some after a restart marker."""
    parts, done, position = [], 0, 2
    while (found := _MARKER.search(content, position)) is not None:
        marker = content[found.start() + 1]
        if marker == _END_OF_IMAGE:
            break
        position = found.end() + int.from_bytes(content[found.end() : found.end() + 2], "big")
        if marker == _START_OF_SCAN:
            end = _MARKER.search(content, position)
            stop = len(content) if end is None else end.start()
            restarts = _RESTART.findall(content, position, stop)
            number = (restarts[-1][0] - 0xD0 + 1) % 8 if restarts else 0
            extra = _FILLER + bytes([0xFF, 0xD0 + number]) + _FILLER
            parts += [content[done:stop], extra]
            done = position = stop
    return b"".join([*parts, content[done:]])
