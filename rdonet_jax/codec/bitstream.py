"""The container: header, sections, checksum. docs/format.md is its description.

Parsing trusts nothing: whatever the bytes are, it returns what `pack` was given or raises
FormatError, and itself it allocates no more than the input's own size. What decoding allocates
depends on the size that the header claims, whatever the file's own size is; the limit on pixels
bounds that.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from rdonet_jax.core.config import WEIGHTS_BYTES
from rdonet_jax.imaging import pixel_format

MAGIC = b"\x92RDO"
PLAIN_VERSION = 2
"""Of files that hold 8-bit color and nothing more."""
FORM_VERSION = 3
"""Of those that say in what form their colors are, or hold alpha, a profile or EXIF data."""
RICH_VERSION = 4
"""Of those that hold more than version 3 can."""
VERSIONS = (PLAIN_VERSION, FORM_VERSION, RICH_VERSION)

MAX_PIXELS = pixel_format.MAX_PIXELS
MAX_SIDE = 2**16 - 1
"""Bounds what a decoder does per row or column of a file that claims a long, thin image."""

MAX_QUALITY = 2**16 - 1
"""The largest number on a model's scale of qualities."""
MAX_PLATFORM = 64
"""Characters that name a platform."""

GRAY, DEEP = 1, 2
EXTRAS = {"alpha": 4, "icc": 8, "exif": 16, "xmp": 32, "cicp": 64, "resolution": 128}
"""The flags of the form: of the pixels, and of the sections that a file may have more."""

_FORMS = {FORM_VERSION: range(1, 32), RICH_VERSION: range(32, 256)}
"""By the version: no form is of two."""
_CRC_BYTES = 4
_NUMBER_BYTES = 5

_LONGEST_START = 512
"""Bytes that hold everything before the first section, whatever the file."""

_PART_BYTES = 2**24
"""So much of a file is read at a time."""


class FormatError(ValueError):
    """The bytes are no file of this format, or the header is one that none may have."""


@dataclass(frozen=True)
class Header:
    """What a decoder must know before the first section.

    coder: number of the range coder in coder.CODERS. height, width: of the image, in pixels.
    quality: on the scale of the model, 0 to MAX_QUALITY; None when the model has one quality.
    weights: first 4 bytes of the SHA-256 of the weights file. platform: what the file is bound to,
    printable ASCII; empty when it decodes everywhere. symbols_crc: CRC-32 of all symbols, by which
    a decoder notices that it has arrived at other symbols than the encoder's. gray: the image
    has one channel. deep: it has 16 bits, not 8.
    """

    coder: int
    height: int
    width: int
    quality: int | None
    weights: bytes
    platform: str
    symbols_crc: int
    gray: bool = False
    is_16bit: bool = False


class Sections(NamedTuple):
    """What a file holds, in its order: partition, levels from the coarsest, and what goes along.

    From alpha on they are for `attachments` to read, and empty where the file has no such thing.
    """

    partition: bytes
    level2: bytes
    level1: bytes
    level0: bytes
    alpha: bytes = b""
    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    cicp: bytes = b""
    resolution: bytes = b""


def form_of(header: Header, sections: Sections) -> int:
    """The flags that a file has; 0 for one of the plain version, which does not name them."""
    pixels = GRAY * header.gray | DEEP * header.is_16bit
    return pixels | sum(flag for name, flag in EXTRAS.items() if getattr(sections, name))


def version_of(header: Header, sections: Sections) -> int:
    """The version of the format in which a file is written."""
    form = form_of(header, sections)
    return next((v for v, forms in _FORMS.items() if form in forms), PLAIN_VERSION)


def _present(form: int) -> tuple[str, ...]:
    """The names of the sections of a file of this form."""
    return tuple(n for n in Sections._fields if n not in EXTRAS or form & EXTRAS[n])


def pack(header: Header, sections: Sections) -> bytes:
    """The file's bytes. Raises FormatError for a header that `parse` would refuse."""
    _check(header, max_pixels=None)
    quality = 0 if header.quality is None else 1 + header.quality
    form = form_of(header, sections)
    present = [getattr(sections, name) for name in _present(form)]
    body = b"".join(
        (
            MAGIC,
            bytes([version_of(header, sections), header.coder]),
            _number(header.height),
            _number(header.width),
            _number(quality),
            header.weights,
            bytes([len(header.platform)]),
            header.platform.encode("ascii"),
            header.symbols_crc.to_bytes(_CRC_BYTES, "big"),
            bytes([form] if form else []),
            *(_number(len(section)) for section in present),
            *present,
        )
    )
    return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "big")


def parse(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[Header, Sections]:
    """Header and sections of a file's bytes.

    Raises FormatError for foreign, damaged, truncated or lengthened data, for illegal fields, and
    for images of more than max_pixels, against files that claim a huge image.
    """
    _check_start(data)
    reader = _Reader(data, 0)
    header, form, lengths = _fields(reader)
    pairs = zip(lengths, _present(form or 0), strict=True)
    sections = Sections(**{name: reader.take(n, f"section {name}") for n, name in pairs})
    checksum = int.from_bytes(reader.take(_CRC_BYTES, "checksum"), "big")
    reader.finish()
    # Damage is told from illegal fields: past this point the fields are what somebody wrote.
    if checksum != zlib.crc32(data[:-_CRC_BYTES]):
        raise FormatError("the file is damaged: its checksum does not match")
    _check(header, max_pixels)
    if form is not None:
        _check_form(form, data[len(MAGIC)], sections)
    return header, sections


def _fields(reader: _Reader) -> tuple[Header, int | None, list[int]]:
    """What stands before the first section, not judged: the header, the form where the version has
    one, and the lengths of the sections."""
    reader.take(len(MAGIC), "magic bytes")
    version = reader.byte("version")
    coder = reader.byte("range coder")
    height = reader.number("height")
    width = reader.number("width")
    quality = reader.number("quality")
    weights = reader.take(WEIGHTS_BYTES, "weights")
    platform = reader.take(reader.byte("platform"), "platform")
    symbols_crc = int.from_bytes(reader.take(_CRC_BYTES, "symbols checksum"), "big")
    form = reader.byte("form") if version in _FORMS else None
    header = Header(
        coder,
        height,
        width,
        quality - 1 if quality else None,
        weights,
        platform.decode("latin-1"),
        symbols_crc,
        gray=bool(form and form & GRAY),
        is_16bit=bool(form and form & DEEP),
    )
    lengths = [reader.number(f"length of section {name}") for name in _present(form or 0)]
    return header, form, lengths


def read(file: BinaryIO) -> bytes:
    """The bytes of a file, from where it stands, for `parse` to judge.

    No more is read than the sizes of its sections ask for: of a file that is none, the first bytes
    alone. Raises FormatError for such a file, and for one that goes on behind its end.
    """
    start = file.read(_LONGEST_START)
    _check_start(start)
    try:
        reader = _Reader(start, 0)
        *_, lengths = _fields(reader)
    except FormatError:  # for `parse` to explain
        return start
    size = reader.position + sum(lengths) + _CRC_BYTES
    # In parts, since whoever is asked for so many bytes provides room for them at once.
    parts, missing = [start], size - len(start)
    while missing > 0 and (part := file.read(min(missing, _PART_BYTES))):
        parts.append(part)
        missing -= len(part)
    if missing < 0 or file.read(1):
        raise FormatError("there are bytes too many at the end of the file")
    return b"".join(parts)


def _check_start(data: bytes) -> None:
    if not data:
        raise FormatError("the file is empty")
    if not data.startswith(MAGIC[: len(data)]):
        raise FormatError("this is no RDONet file: it does not begin with the magic bytes")
    if len(data) > len(MAGIC) and data[len(MAGIC)] not in VERSIONS:
        raise FormatError(
            f"format version {data[len(MAGIC)]} is unknown; this program reads versions "
            f"{VERSIONS[0]} to {VERSIONS[-1]}"
        )


def _check(header: Header, max_pixels: int | None) -> None:
    # Here, since it loads JAX: `read` refuses files that are none without it.
    from rdonet_jax.entropy.range_coder import CODERS

    if header.coder not in CODERS.values():
        raise FormatError(f"unknown range coder, number {header.coder}")
    for field in ("height", "width"):
        if not 1 <= getattr(header, field) <= MAX_SIDE:
            raise FormatError(f"illegal {field} {getattr(header, field)}, not 1 to {MAX_SIDE}")
    if header.quality is not None and not 0 <= header.quality <= MAX_QUALITY:
        raise FormatError(f"illegal quality {header.quality}, not 0 to {MAX_QUALITY}")
    if len(header.weights) != WEIGHTS_BYTES:
        raise FormatError(f"the weights hash has {len(header.weights)} bytes, not {WEIGHTS_BYTES}")
    if len(header.platform) > MAX_PLATFORM or not (
        header.platform.isascii() and header.platform.isprintable()
    ):
        raise FormatError(
            f"illegal platform {header.platform!r}, not up to {MAX_PLATFORM} printable characters"
        )
    if not 0 <= header.symbols_crc < 2**32:
        raise FormatError(f"illegal symbols checksum {header.symbols_crc}")
    if max_pixels is not None and header.height * header.width > max_pixels:
        raise FormatError(
            f"the image has {header.width} x {header.height} pixels, more than the limit of "
            f"{max_pixels}"
        )


def _check_form(form: int, version: int, sections: Sections) -> None:
    legal = _FORMS[version]
    if form not in legal:
        raise FormatError(f"illegal form {form}, not {legal.start} to {legal.stop - 1}")
    for name, flag in EXTRAS.items():
        if form & flag and not getattr(sections, name):
            raise FormatError(f"the section {name} is empty, though the file says that it has one")


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
        self.position = position

    def take(self, count: int, field: str) -> bytes:
        end = self.position + count
        if end > len(self._data):
            raise FormatError(f"the file is truncated: it ends within the {field}")
        part = bytes(self._data[self.position : end])
        self.position = end
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
        extra = len(self._data) - self.position
        if extra:
            raise FormatError(f"{extra} bytes too many at the end of the file")
