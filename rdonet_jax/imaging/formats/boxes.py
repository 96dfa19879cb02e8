"""The boxes that AVIF, HEIF, JPEG XL and JPEG 2000 files consist of (ISO/IEC 14496-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

Box = tuple[bytes, bytes]
"""Type and content of a box."""


def parse(data: bytes) -> Iterator[Box]:
    """The boxes in the data, one after another, up to the first invalid one."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        header = 8
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, at + 8)
            header = 16
        elif size == 0:
            size = len(data) - at
        if size < header:
            return
        yield kind, data[at + header : at + size]
        at += size
