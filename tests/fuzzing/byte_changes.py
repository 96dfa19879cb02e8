"""Changes of bytes that need no knowledge of their format."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

HEADER_BYTES = 48
"""The header and the lengths of a compressed file lie in about so many bytes."""

Change = Callable[[random.Random, bytes, Sequence[bytes]], bytes]
"""(chance, a valid file, all valid files) -> other bytes."""


def flip_bits(chance: random.Random, data: bytes, files: Sequence[bytes]) -> bytes:
    """One, two or eight bits anywhere."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def change_header(chance: random.Random, data: bytes, files: Sequence[bytes]) -> bytes:
    """Another byte near the beginning."""
    changed = bytearray(data)
    if changed:
        position = chance.randrange(min(len(changed), HEADER_BYTES))
        changed[position] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return bytes(changed)


def set_integer(chance: random.Random, data: bytes, files: Sequence[bytes]) -> bytes:
    """An extreme integer of one to eight bytes anywhere, in either byte order."""
    size = chance.choice((1, 2, 2, 4, 4, 8))
    if len(data) < size:
        return data
    position = chance.randrange(len(data) - size + 1)
    top = 1 << 8 * size
    value = chance.choice((0, 1, top - 1, top // 2, top // 2 - 1, chance.randrange(top)))
    number = value.to_bytes(size, chance.choice(("little", "big")))
    return data[:position] + number + data[position + size :]


def truncate(chance: random.Random, data: bytes, files: Sequence[bytes]) -> bytes:
    """A beginning."""
    return data[: chance.randrange(len(data) + 1)]


def lengthen(chance: random.Random, data: bytes, files: Sequence[bytes]) -> bytes:
    """Up to 63 random bytes at the end."""
    return data + chance.randbytes(chance.randrange(1, 64))


def cut_out(chance: random.Random, data: bytes, files: Sequence[bytes]) -> bytes:
    """Without a part of any size."""
    first, last = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:first] + data[last:]


def insert_foreign(chance: random.Random, data: bytes, files: Sequence[bytes]) -> bytes:
    """With a part of another file."""
    other = chance.choice(files)
    first, last = sorted(chance.randrange(len(other) + 1) for _ in range(2))
    position = chance.randrange(len(data) + 1)
    return data[:position] + other[first:last] + data[position:]


CHANGES: tuple[Change, ...] = (
    *(flip_bits, change_header, set_integer, truncate, lengthen, cut_out, insert_foreign),
)
