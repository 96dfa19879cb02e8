"""The file format: header, sections and checksum, as described in docs/format.md.

`parse` does not trust its input. It returns what `pack` was given, or raises FormatError, and
allocates no more memory than the size of the input. What decoding allocates depends on the size
that the header claims, however small the file is. The limit on pixels bounds that.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from rdonet_jax.core.config import WEIGHTS_BYTES
from rdonet_jax.core.defaults import MAX_PIXELS
from rdonet_jax.entropy import range_coder

MAGIC = b"\x92RDO"
PLAIN_VERSION = 2
"""Version of files of 8-bit RGB images without alpha and metadata. They have no field `form`."""
FORM_VERSION = 3
"""Version of files of gray or 16-bit images, or with alpha, an ICC profile or EXIF data."""
RICH_VERSION = 4
"""Version of files with XMP, CICP or a resolution."""
REGION_VERSION = 5
"""Version of files whose blocks have qualities of their own. Its `form` is a varint."""
VERSIONS = (PLAIN_VERSION, FORM_VERSION, RICH_VERSION, REGION_VERSION)

MAX_SIDE = 2**16 - 1
"""Bounds the work per row or column for a file that claims a long, thin image."""

MAX_QUALITY = 2**16 - 1
"""The largest number on the quality scale of a model."""
MAX_PLATFORM = 64
"""Characters of the name of a platform."""

_GRAY_FLAG, _16BIT_FLAG = 1, 2
"""Flags of the field `form` for the pixels."""
SECTION_FLAGS = {
    **{"alpha": 4, "icc": 8, "exif": 16, "xmp": 32, "cicp": 64, "resolution": 128},
    "offsets": 256,
}
"""Flags of the field `form` for the optional sections."""

_FORMS = {
    FORM_VERSION: range(1, 32),
    RICH_VERSION: range(32, 256),
    REGION_VERSION: range(256, 512),
}
"""Legal values of `form` by version. They do not overlap."""
_CRC_BYTES = 4
_MAX_VARINT_BYTES = 5

_MAX_HEADER_BYTES = 512
"""No file has more bytes before its first section."""

_PART_BYTES = 2**24
"""A file is read in parts of at most this size."""


class FormatError(ValueError):
    """The bytes are no valid file, or the header is illegal."""


@dataclass(frozen=True)
class Header:
    """What a decoder must know before the first section.

    Attributes:
      coder: number of the range coder, a value of `range_coder.CODERS`.
      height, width: of the image, in pixels.
      quality: on the scale of the model, 0 to MAX_QUALITY; None for a fixed-rate model.
      weights: first 4 bytes of the SHA-256 of the weights file.
      platform: what the file is bound to, printable ASCII; empty if it decodes everywhere.
      symbols_crc: CRC-32 of all symbols, by which a decoder detects wrong ones.
      gray: whether the image has one channel.
      is_16bit: whether it has 16 bits per sample, not 8.
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
    """The sections of a file in their order: partition, levels, alpha and metadata, offsets.

    Those from alpha on are optional, and empty if the file does not have them. `codec.side_data`
    packs and parses alpha and metadata, `codec.offset_coding` the offsets.
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
    offsets: bytes = b""


def _form_of(header: Header, sections: Sections) -> int:
    """The field `form`, a sum of flags; 0 for a file of the plain version."""
    form = _GRAY_FLAG * header.gray | _16BIT_FLAG * header.is_16bit
    return form | sum(flag for name, flag in SECTION_FLAGS.items() if getattr(sections, name))


def version_of(header: Header, sections: Sections) -> int:
    """The version of the format in which a file is written."""
    form = _form_of(header, sections)
    return next((v for v, forms in _FORMS.items() if form in forms), PLAIN_VERSION)


def _section_names(form: int) -> tuple[str, ...]:
    """The names of the sections of a file of this form."""
    flags = SECTION_FLAGS
    return tuple(name for name in Sections._fields if name not in flags or form & flags[name])


def pack(header: Header, sections: Sections) -> bytes:
    """The bytes of a file. Raises FormatError for a header that `parse` would refuse."""
    _check_header(header, max_pixels=None)
    quality = 0 if header.quality is None else 1 + header.quality
    form = _form_of(header, sections)
    present = [getattr(sections, name) for name in _section_names(form)]
    body = b"".join(
        (
            MAGIC,
            bytes([version_of(header, sections), header.coder]),
            _varint(header.height),
            _varint(header.width),
            _varint(quality),
            header.weights,
            bytes([len(header.platform)]),
            header.platform.encode("ascii"),
            header.symbols_crc.to_bytes(_CRC_BYTES, "big"),
            _varint(form) if form >= _FORMS[REGION_VERSION].start else bytes([form] * (form > 0)),
            *(_varint(len(section)) for section in present),
            *present,
        )
    )
    return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "big")


def parse(data: bytes, max_pixels: float = MAX_PIXELS) -> tuple[Header, Sections]:
    """Header and sections of a file.

    Raises FormatError for other formats, for damaged, truncated or extended files, for illegal
    fields, and for images of more than `max_pixels`.
    """
    _check_magic(data)
    reader = _Reader(data)
    header, form, lengths = _parse_header(reader)
    sizes = zip(_section_names(form or 0), lengths, strict=True)
    sections = Sections(**{name: reader.take(size, f"section {name}") for name, size in sizes})
    checksum = int.from_bytes(reader.take(_CRC_BYTES, "checksum"), "big")
    reader.finish()
    # Before the fields are checked, so that a damaged file is not reported as an illegal one.
    if checksum != zlib.crc32(data[:-_CRC_BYTES]):
        raise FormatError("the file is damaged: its checksum does not match")
    _check_header(header, max_pixels)
    if form is not None:
        _check_form(form, data[len(MAGIC)], sections)
    return header, sections


def _parse_header(reader: _Reader) -> tuple[Header, int | None, list[int]]:
    """All that precedes the first section: header, form and the lengths of the sections.

    The form is None in a file of the plain version. The values of the fields are not checked.
    """
    reader.take(len(MAGIC), "magic bytes")
    version = reader.byte("version")
    coder = reader.byte("range coder")
    height = reader.varint("height")
    width = reader.varint("width")
    quality = reader.varint("quality")
    weights = reader.take(WEIGHTS_BYTES, "weights")
    platform = reader.take(reader.byte("platform"), "platform")
    symbols_crc = int.from_bytes(reader.take(_CRC_BYTES, "symbols checksum"), "big")
    form = None
    if version in _FORMS:
        form = reader.varint("form") if version == REGION_VERSION else reader.byte("form")
    header = Header(
        coder,
        height,
        width,
        quality - 1 if quality else None,
        weights,
        platform.decode("latin-1"),
        symbols_crc,
        gray=bool(form and form & _GRAY_FLAG),
        is_16bit=bool(form and form & _16BIT_FLAG),
    )
    lengths = [reader.varint(f"length of section {name}") for name in _section_names(form or 0)]
    return header, form, lengths


def read(file: BinaryIO) -> bytes:
    """The bytes of a file from the current position, for `parse`.

    It reads no more than the header asks for: only the first bytes of a file of another format.
    Raises FormatError for such a file, and for one with more bytes after its end.
    """
    start = _read_parts(file, _MAX_HEADER_BYTES)
    _check_magic(start)
    try:
        reader = _Reader(start)
        *_, lengths = _parse_header(reader)
    except FormatError:  # `parse` raises it again with the right message
        return start
    size = reader.position + sum(lengths) + _CRC_BYTES
    data = start + _read_parts(file, size - len(start))
    if size < len(start) or file.read(1):
        raise FormatError("there are bytes too many at the end of the file")
    return data


def _read_parts(file: BinaryIO, count: int) -> bytes:
    """`count` bytes, or those up to the end of the file.

    In parts: a stream may give less than it is asked for, and may allocate all of that at once.
    """
    parts: list[bytes] = []
    while count > 0 and (part := file.read(min(count, _PART_BYTES))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _check_magic(data: bytes) -> None:
    if not data:
        raise FormatError("the file is empty")
    if not data.startswith(MAGIC[: len(data)]):
        raise FormatError("this is no RDONet file: it does not begin with the magic bytes")
    if len(data) > len(MAGIC) and data[len(MAGIC)] not in VERSIONS:
        raise FormatError(
            f"format version {data[len(MAGIC)]} is unknown; this program reads versions "
            f"{VERSIONS[0]} to {VERSIONS[-1]}"
        )


def _check_header(header: Header, max_pixels: float | None) -> None:
    if header.coder not in range_coder.CODERS.values():
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
    for name, flag in SECTION_FLAGS.items():
        if form & flag and not getattr(sections, name):
            raise FormatError(f"the section {name} is empty, though the file says that it has one")


def _varint(value: int) -> bytes:
    """A varint: 7 bits per byte, lowest first, the high bit set in all bytes but the last."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class _Reader:
    """Reads one field after another. The name of the field is for error messages."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, count: int, field: str) -> bytes:
        end = self.position + count
        if end > len(self._data):
            raise FormatError(f"the file is truncated: it ends within the {field}")
        part = bytes(self._data[self.position : end])
        self.position = end
        return part

    def byte(self, field: str) -> int:
        return self.take(1, field)[0]

    def varint(self, field: str) -> int:
        value = 0
        for i in range(_MAX_VARINT_BYTES):
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
