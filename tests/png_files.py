"""PNG files of every kind, written from their specification: what tests read them against."""

from __future__ import annotations

import struct
import zlib

import numpy as np

COLOUR_TYPES = {"gray": 0, "rgb": 2, "palette": 3, "gray-alpha": 4, "rgb-alpha": 6}
ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
"""First row and column of each pass, and their steps."""


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def png(
    samples: np.ndarray,
    kind: str,
    depth: int,
    *,
    interlaced: bool = False,
    before: list[tuple[bytes, bytes]] = (),
) -> bytes:
    """A file of integer samples [H, W, channels], with chunks between header and pixels.

    Rows are filtered by Up where samples have whole bytes, so that decoders have work to do.
    """
    height, width = samples.shape[:2]
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    data = b"".join(_rows(samples[r::dr, c::dc], depth) for r, c, dr, dc in passes)
    header = struct.pack(
        ">IIBBBBB", width, height, depth, COLOUR_TYPES[kind], 0, 0, int(interlaced)
    )
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *(chunk(*each) for each in before),
            chunk(b"IDAT", zlib.compress(data)),
            chunk(b"IEND", b""),
        )
    )


def _rows(samples: np.ndarray, depth: int) -> bytes:
    if not samples.size:
        return b""
    lines = np.ascontiguousarray(samples).reshape(len(samples), -1)
    if depth == 16:
        packed = lines.astype(">u2").view(np.uint8)
    else:
        bits = np.unpackbits(lines.astype(np.uint8)[..., None], axis=2)[..., 8 - depth :]
        packed = np.packbits(bits.reshape(len(lines), -1), axis=1)
    above = np.concatenate([np.zeros_like(packed[:1]), packed[:-1]])
    return np.insert(packed - above, 0, 2, axis=1).tobytes()
