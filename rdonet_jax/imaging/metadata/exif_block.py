"""Reads and changes EXIF data in place: a TIFF header and directories of entries."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

ORIENTATION = 274
ENTRY_BYTES = 12

_HEADERS = {b"II*\0": "<", b"MM\0*": ">"}
_HEADER_BYTES = 8
_SHORT = 3
_WHOLE_NUMBERS = {_SHORT: "H", 4: "I"}

Buffer = bytes | bytearray


class Entry(NamedTuple):
    """An entry of a directory. `at` is its offset."""

    at: int
    tag: int
    kind: int
    count: int  # type: ignore[assignment]


def byte_order(data: Buffer) -> str | None:
    """The byte order in the notation of `struct`; None for data that is no EXIF data.

    EXIF data starts with a TIFF header, whose offset of the first directory lies within the data.
    """
    order = _HEADERS.get(bytes(data[:4]))
    if order is None or len(data) < _HEADER_BYTES or first_directory(data, order) + 2 > len(data):
        return None
    return order


def first_directory(data: Buffer, order: str) -> int:
    """The offset of the directory of the image."""
    return struct.unpack_from(order + "I", data, 4)[0]


def entries(data: Buffer, order: str, directory: int) -> list[Entry]:
    """The entries of a directory that lie within the data."""
    if directory + 2 > len(data):
        return []
    (count,) = struct.unpack_from(order + "H", data, directory)
    start = directory + 2
    count = min(count, (len(data) - start) // ENTRY_BYTES)
    part = memoryview(data)[start : start + ENTRY_BYTES * count]
    fields = struct.iter_unpack(order + "HHI4x", part)
    return [Entry(start + ENTRY_BYTES * n, *field) for n, field in enumerate(fields)]


def next_pointer(data: Buffer, order: str, directory: int) -> int | None:
    """The offset of the field that holds the offset of the next directory; None if missing."""
    (count,) = struct.unpack_from(order + "H", data, directory)
    at = directory + 2 + ENTRY_BYTES * count
    return at if at + 4 <= len(data) else None


def number(data: Buffer, order: str, entry: Entry) -> int | None:
    """The value of an entry that is a single integer; None for all others."""
    if entry.count != 1 or entry.kind not in _WHOLE_NUMBERS:
        return None
    return struct.unpack_from(order + _WHOLE_NUMBERS[entry.kind], data, entry.at + 8)[0]


def swap_values(
    data: bytearray, order: str, directory: int, pairs: Iterable[tuple[int, int]]
) -> None:
    """Swaps the values of pairs of tags in a directory, where it has both."""
    at = {entry.tag: entry.at for entry in entries(data, order, directory)}
    for one, other in pairs:
        if one in at and other in at:
            # Type, number and value, or the offset of the value.
            first, second = (slice(at[tag] + 2, at[tag] + ENTRY_BYTES) for tag in (one, other))
            data[first], data[second] = data[second], data[first]


def set_upright(data: bytearray, order: str, directory: int) -> None:
    """Sets every orientation in a directory to 1, with the standard type."""
    for entry in entries(data, order, directory):
        if entry.tag == ORIENTATION:
            struct.pack_into(order + "HIHH", data, entry.at + 2, _SHORT, 1, 1, 0)
