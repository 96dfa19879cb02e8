"""The container: header, four sections of coded data, checksum. docs/format.md is its description.

Parsing trusts nothing: whatever the bytes are, it returns what `pack` was given or raises
FormatError, and itself it allocates no more than the input's own size. What decoding allocates
hangs on the size that the header claims, whatever the file's own size is; the limit on pixels
bounds that.
"""

import re
import zlib
from dataclasses import dataclass
from typing import NamedTuple

from rdonet_jax.coder import CODERS

MAGIC = b"\x92RDO"
VERSION = 1
MAX_PIXELS = 2**27
"""Pixels of the largest picture that is written, and that is read unless the caller asks for more.
"""
MAX_SIDE = 2**16 - 1
"""Bounds what a decoder does per row or column of a file that claims a long, thin picture."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WEIGHTS_BYTES = 8
_CRC_BYTES = 4
_NUMBER_BYTES = 5


class FormatError(ValueError):
    """The bytes are no file of this format, or the header is one that none may have."""


def is_legal_name(name: str) -> bool:
    """Whether a header may hold this name of a model."""
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class Header:
    """What a decoder must know before the first section.

    model: name of the model; letters, digits, '.', '_', '-', at most 64, the first no sign (so
        that a name from a file is never a path). weights: first 8 bytes of the SHA-256 of the
        weights file. coder: number of the range coder in coder.CODERS. height, width: of the
        picture, in pixels. symbols_crc: CRC-32 of all symbols, by which a decoder notices that
        its arithmetic has led it to other symbols than the encoder's.
    """

    model: str
    weights: bytes
    coder: int
    height: int
    width: int
    symbols_crc: int


class Sections(NamedTuple):
    """The coded data in the order of the file: partition, then levels from the coarsest."""

    partition: bytes
    level2: bytes
    level1: bytes
    level0: bytes


def pack(header: Header, sections: Sections) -> bytes:
    """The file's bytes. Raises FormatError for a header that `parse` would refuse."""
    _check(header, max_pixels=None)
    name = header.model.encode("ascii")
    body = b"".join(
        (
            MAGIC,
            bytes([VERSION, header.coder]),
            _number(header.height),
            _number(header.width),
            bytes([len(name)]),
            name,
            header.weights,
            header.symbols_crc.to_bytes(_CRC_BYTES, "big"),
            *(_number(len(section)) for section in sections),
            *sections,
        )
    )
    return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "big")


def parse(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[Header, Sections]:
    """Header and sections of a file's bytes.

    Raises FormatError for foreign, damaged, truncated or lengthened data, for illegal fields, and
    for pictures of more than max_pixels, against files that claim a huge picture.
    """
    _check_start(data)
    reader = _Reader(data, len(MAGIC) + 1)
    coder = reader.byte("range coder")
    height = reader.number("height")
    width = reader.number("width")
    name = reader.take(reader.byte("model name"), "model name")
    weights = reader.take(_WEIGHTS_BYTES, "weights")
    symbols_crc = int.from_bytes(reader.take(_CRC_BYTES, "symbols checksum"), "big")
    lengths = [reader.number(f"length of section {field}") for field in Sections._fields]
    pairs = zip(lengths, Sections._fields, strict=True)
    sections = Sections(*(reader.take(n, f"section {field}") for n, field in pairs))
    checksum = int.from_bytes(reader.take(_CRC_BYTES, "checksum"), "big")
    reader.finish()
    # Damage is told from illegal fields: past this point the fields are what somebody wrote.
    if checksum != zlib.crc32(data[:-_CRC_BYTES]):
        raise FormatError("the file is damaged: its checksum does not match")
    header = Header(name.decode("latin-1"), weights, coder, height, width, symbols_crc)
    _check(header, max_pixels)
    return header, sections


def _check_start(data: bytes) -> None:
    if not data:
        raise FormatError("the file is empty")
    if not data.startswith(MAGIC[: len(data)]):
        raise FormatError("this is no RDONet file: it does not begin with the magic bytes")
    if len(data) > len(MAGIC) and data[len(MAGIC)] != VERSION:
        raise FormatError(
            f"format version {data[len(MAGIC)]} is unknown; this program reads version {VERSION}"
        )


def _check(header: Header, max_pixels: int | None) -> None:
    if not is_legal_name(header.model):
        raise FormatError(f"illegal model name {header.model!r}")
    if len(header.weights) != _WEIGHTS_BYTES:
        raise FormatError(f"the weights hash has {len(header.weights)} bytes, not {_WEIGHTS_BYTES}")
    if header.coder not in CODERS.values():
        raise FormatError(f"unknown range coder, number {header.coder}")
    for field in ("height", "width"):
        if not 1 <= getattr(header, field) <= MAX_SIDE:
            raise FormatError(f"illegal {field} {getattr(header, field)}, not 1 to {MAX_SIDE}")
    if not 0 <= header.symbols_crc < 2**32:
        raise FormatError(f"illegal symbols checksum {header.symbols_crc}")
    if max_pixels is not None and header.height * header.width > max_pixels:
        raise FormatError(
            f"the picture has {header.width} x {header.height} pixels, more than the limit of "
            f"{max_pixels}"
        )


def _number(value: int) -> bytes:
    """A varint: 7 bits a byte, lowest first, the high bit set on all bytes but the last."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class _Reader:
    """Reads fields one after another; names the field at which the data fails."""

    def __init__(self, data: bytes, position: int):
        self._data = data
        self._position = position

    def take(self, count: int, field: str) -> bytes:
        end = self._position + count
        if end > len(self._data):
            raise FormatError(f"the file is truncated: it ends within the {field}")
        part = bytes(self._data[self._position : end])
        self._position = end
        return part

    def byte(self, field: str) -> int:
        return self.take(1, field)[0]

    def number(self, field: str) -> int:
        value = 0
        for i in range(_NUMBER_BYTES):
            byte = self.byte(field)
            value |= (byte & 0x7F) << 7 * i
            if byte < 0x80:
                if value >= 2**32 or (byte == 0 and i > 0):
                    break
                return value
        raise FormatError(f"illegal number: the {field}")

    def finish(self) -> None:
        extra = len(self._data) - self._position
        if extra:
            raise FormatError(f"{extra} bytes too many at the end of the file")
