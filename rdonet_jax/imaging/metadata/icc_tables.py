"""Whether the tables in an ICC profile fit in it (ICC.1:2022).

Little CMS allocates what a table claims before it reads it, up to 512 MB for a few bytes.
"""

from __future__ import annotations

import math
import struct

_TAGS_AT = 128
_MOST_TAGS = 100
"""Little CMS reads no more."""


def fit(profile: bytes) -> bool:
    """Whether no table of texts or colors claims more than its tag holds."""
    return all(_fits(tag) for tag in _tags(profile))


def _tags(profile: bytes) -> list[bytes]:
    """The content of each tag."""
    count = int.from_bytes(profile[_TAGS_AT : _TAGS_AT + 4], "big")
    entries = profile[_TAGS_AT + 4 :][: 12 * min(count, _MOST_TAGS)]
    found = []
    for at in range(0, len(entries) - 11, 12):
        offset, size = struct.unpack_from(">II", entries, at + 4)
        found.append(profile[offset : offset + size])
    return found


def _fits(tag: bytes) -> bool:
    kind = tag[:4]
    if kind == b"mluc":
        return 12 * int.from_bytes(tag[8:12], "big") <= len(tag)
    if len(tag) < 32 or kind not in (b"mft1", b"mft2", b"mAB ", b"mBA "):
        return True  # no table, or too short to be read
    inputs, outputs = tag[8], tag[9]
    if kind in (b"mft1", b"mft2"):
        return tag[10] ** inputs * outputs * int(kind[3:]) <= len(tag)
    grid = tag[struct.unpack_from(">I", tag, 24)[0] :] if any(tag[24:28]) else b""
    return math.prod(grid[:inputs]) * outputs * (grid[16] if len(grid) > 16 else 1) <= len(tag)
