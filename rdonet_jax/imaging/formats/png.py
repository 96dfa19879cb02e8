"""PNG functions that Pillow lacks: chunks of a file, and an encoder for 16-bit samples."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP_KEYWORD = b"XML:com.adobe.xmp"
COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""The color type in the header by the number of channels: gray, gray and alpha, RGB, RGBA."""

Chunk = tuple[bytes, bytes]
"""Type and content of a chunk."""

_SMALL = 64
"""The largest size, in bytes, of a chunk that holds a resolution or a color space."""
DEFLATE_RATIO = 1032
"""The largest compression ratio of Deflate: 2 bits can stand for 258 bytes."""

_ADAM7 = (
    (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)
)  # fmt: skip
"""The passes of an interlaced image: first row and column, and steps of both."""

_INFLATED_AT_ONCE = 2**20

_STRIP_ROWS = 256
_UP = 2


class PngError(ValueError):
    """Bytes that are not laid out as a PNG file."""


class Header(NamedTuple):
    """The content of the chunk IHDR."""

    width: int
    height: int
    depth: int
    color_type: int
    compression: int
    filtering: int
    interlacing: int


def chunks(data: bytes) -> Iterator[Chunk]:
    """All chunks of a file. Nothing may follow the last one.

    Raises PngError for bytes that are not laid out as PNG, and for a wrong checksum.
    """
    if not data.startswith(SIGNATURE):
        raise PngError("it does not begin as a PNG file")
    position = len(SIGNATURE)
    while position < len(data):
        if len(data) - position < 12:
            raise PngError("it ends within a chunk")
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise PngError("it ends within a chunk")
        if zlib.crc32(data[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise PngError("a chunk is damaged")
        yield data[position + 4 : position + 8], data[position + 8 : end]
        position = end + 4


def leading(file: BinaryIO, kinds: Collection[bytes]) -> dict[bytes, bytes]:
    """The first chunk of each kind among the chunks before the pixels, except for long ones.

    Checksums are not verified, since the decoder does that. For other files than PNG the result is
    incomplete.
    """
    found: dict[bytes, bytes] = {}
    file.seek(len(SIGNATURE))
    while len(start := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        if kind in (b"IDAT", b"IEND"):
            break
        if kind in kinds and kind not in found and length <= _SMALL:
            found[kind] = file.read(length)
            length = 0
        file.seek(length + 4, os.SEEK_CUR)
    return found


def header(content: bytes) -> Header:
    """The header from the content of IHDR. Raises PngError for a wrong length."""
    if len(content) != 13:
        raise PngError("its header has another length than 13")
    return Header(*struct.unpack(">IIBBBBB", content))


def require_all_rows(path: str | os.PathLike) -> None:
    """Raises PngError for a file whose pixel data end before its last row.

    Pillow gives black pixels then. Whatever else is wrong with a file is left to its decoder.
    """
    with open(path, "rb") as file:
        file.seek(len(SIGNATURE))
        left, inflate = 0, zlib.decompressobj()
        while len(start := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", start)
            if kind == b"IHDR":
                left = _pixel_bytes(header(file.read(length)))
            elif kind == b"IDAT":
                left -= _inflated_bytes(inflate, file.read(length), left)
            else:
                file.seek(length, os.SEEK_CUR)
            if left <= 0 or kind == b"IEND":
                break
            file.seek(4, os.SEEK_CUR)
    if left > 0 and inflate.eof:
        raise PngError("its pixel data end before its last row")


def require_exact_rows(found: Header, contents: Sequence[bytes]) -> None:
    """Raises PngError unless the contents of chunks IDAT are one whole zlib stream of all rows.

    Pillow gives black pixels for rows that are missing, and does not look behind the last one.
    """
    left, inflate = _pixel_bytes(found), zlib.decompressobj()
    if left > DEFLATE_RATIO * sum(map(len, contents)):
        raise PngError("it is too short for so many pixels")
    try:
        for content in contents:
            data = content
            while data and left >= 0 and not inflate.eof:
                left -= len(inflate.decompress(data, min(left + 1, _INFLATED_AT_ONCE)))
                data = inflate.unconsumed_tail
            if data or inflate.unused_data:
                raise PngError("it has more than the pixels that it claims")
        if not inflate.eof:  # what it holds back
            left -= len(inflate.decompress(b"", left + 1))
    except zlib.error as error:
        raise PngError("its pixel data are damaged") from error
    if left or not inflate.eof:
        raise PngError("its pixel data do not end with its last row")


def _pixel_bytes(found: Header) -> int:
    """The bytes of all rows with their filters."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(found.color_type, 0)
    passes = _ADAM7 if found.interlacing else ((0, 0, 1, 1),)
    total = 0
    for row, column, rows, columns in passes:
        height = -(-(found.height - row) // rows)
        width = -(-(found.width - column) // columns)
        if height > 0 and width > 0:
            total += height * (1 + -(-width * channels * found.depth // 8))
    return total


def _inflated_bytes(inflate: Any, data: bytes, most: int) -> int:
    """How many bytes these are, up to somewhat more than `most`, or to where they are damaged."""
    count = 0
    try:
        while data and count < most and not inflate.eof:
            count += len(inflate.decompress(data, _INFLATED_AT_ONCE))
            data = inflate.unconsumed_tail
    except zlib.error:
        return count
    return count


def encode(samples: np.ndarray, extra: Sequence[Chunk] = ()) -> Iterator[bytes]:
    """A file of uint16 samples [H, W, 1 to 4], in parts; `extra` chunks precede the pixels.

    All rows have the filter "up", differences from the row above, which suits photographs.
    """
    height, width, channels = samples.shape
    yield SIGNATURE
    yield chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, COLOR_TYPES[channels], 0, 0, 0))
    for kind, content in extra:
        yield chunk(kind, content)
    compressor = zlib.compressobj(6)
    above = np.zeros((1, 2 * width * channels), np.uint8)
    for first in range(0, height, _STRIP_ROWS):
        strip = samples[first : first + _STRIP_ROWS].astype(">u2")
        rows = strip.reshape(len(strip), -1).view(np.uint8)
        filtered = rows - np.concatenate([above, rows[:-1]])
        above = rows[-1:]
        lines = np.insert(filtered, 0, _UP, axis=1)
        yield chunk(b"IDAT", compressor.compress(lines.tobytes()))
    yield chunk(b"IDAT", compressor.flush())
    yield chunk(b"IEND", b"")


def metadata(
    icc: bytes = b"",
    exif: bytes = b"",
    xmp: bytes = b"",
    cicp: bytes = b"",
    resolution: bytes = b"",
) -> list[Chunk]:
    """The chunks of the metadata that is not empty. `cicp` and `resolution` are packed already."""
    chunks = [
        (b"cICP", cicp),
        (b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc) if icc else b""),
        (b"pHYs", resolution),
        (b"eXIf", exif),
        (b"iTXt", XMP_KEYWORD + bytes(5) + xmp if xmp else b""),
    ]
    return [(kind, content) for kind, content in chunks if content]


def chunk(kind: bytes, content: bytes) -> bytes:
    """The bytes of a chunk in a file, with length and checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
