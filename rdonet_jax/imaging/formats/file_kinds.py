"""Recognizes files by their first bytes.

This chooses the reader for formats that Pillow alone does not read. For files that are not read at
all, it gives the reason.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

_START_BYTES = 4096
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs")
_HEIF_BRANDS = (b"mif1", b"msf1", b"mif2")
_AVIF_BRANDS = (b"avif", b"avis")
_JXL_BOX = b"\0\0\0\x0cJXL \r\n\x87\n"
_JXL_CODESTREAM = b"\xff\x0a"
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_NOT_READ = (
    (b"\x92RDO", "is a compressed file already"),
    (b"%PDF", "is a PDF document, not an image"),
    (b"8BPS", "is a Photoshop document, save it as PNG or TIFF first"),
    (b"v/1\x01", "is OpenEXR, whose floating-point numbers are not coded"),
    (b"#?RADIANCE", "is Radiance HDR, whose floating-point numbers are not coded"),
    (b"PF\n", "holds floating-point numbers, which are not coded"),
    (b"Pf\n", "holds floating-point numbers, which are not coded"),
    (b"II\xbc\x01", "is JPEG XR, convert it to PNG or TIFF first"),
    (b"<svg", "is SVG, which holds no pixels: render it first"),
    (b"DDS ", "is DDS, convert it to PNG first"),
    (b"\x93NUMPY", "is an array of NumPy, which `rdonet_jax.compress` takes from Python"),
    (b"\x1aE\xdf\xa3", "is a film, not a still image"),
)
_JPEG_LS = 0xF7
_FRAMES = {
    0xC3: "lossless JPEG",
    0xC5: "hierarchical JPEG",
    0xC6: "hierarchical JPEG",
    0xC7: "hierarchical JPEG",
    0xCB: "lossless JPEG",
    0xCD: "hierarchical JPEG",
    0xCE: "hierarchical JPEG",
    0xCF: "hierarchical JPEG",
    _JPEG_LS: "JPEG-LS",
}
"""Kinds of JPEG that libjpeg does not decode, by the marker of the frame."""

_NO_FRAMES = (0xC4, 0xC8, 0xCC)
"""Markers in the range of frames that are none: Huffman tables, an extension, arithmetic coding."""


class JpegFrame(NamedTuple):
    """The frame header of a JPEG file."""

    marker: int
    precision_at: int  # offset in the file of the byte that holds `bits`
    bits: int
    height: int
    width: int
    sampling: tuple[tuple[int, int], ...]  # horizontal and vertical factors by component

    @property
    def huffman(self) -> bool:
        """Whether the entropy coding is Huffman, not arithmetic."""
        return self.marker < 0xC8

    def blocks(self) -> int:
        """The number of blocks of 8×8 samples in all components."""
        most = [max(factors) for factors in zip(*self.sampling, strict=True)]
        return sum(
            -(-self.width * across // (8 * most[0])) * -(-self.height * down // (8 * most[1]))
            for across, down in self.sampling
        )


def kind_of(path: str | os.PathLike) -> str | None:
    """TIFF, HEIF, JXL, PAM or JPEG; None for all other files and for missing ones."""
    try:
        start = _start(path)
    except OSError:
        return None
    if start.startswith(_TIFF_STARTS):
        return "TIFF"
    if start.startswith((_JXL_BOX, _JXL_CODESTREAM)):
        return "JXL"
    if start.startswith(b"P7\n"):
        return "PAM"
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    return "HEIF" if _is_heif(start) else None


def _is_heif(start: bytes) -> bool:
    """Whether the file is HEIC or another HEIF file, but not AVIF."""
    if start[4:8] != b"ftyp":
        return False
    (length,) = struct.unpack_from(">I", start)
    box = start[8:length]
    brands = {box[:4], *(box[at : at + 4] for at in range(8, len(box), 4))}
    return not brands.isdisjoint(_HEIC_BRANDS) or (
        not brands.isdisjoint(_HEIF_BRANDS) and brands.isdisjoint(_AVIF_BRANDS)
    )


def why_not(path: str | os.PathLike) -> str | None:
    """Why a file is not read although it is valid, as the end of a sentence; None if unknown."""
    start = _start(path)
    for signature, reason in _NOT_READ:
        if start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(signature):
            return reason
    if start.startswith(b"<?xml") and b"<svg" in start:
        return "is SVG, which holds no pixels: render it first"
    if start.startswith(b"P7\n"):
        return "is PAM, convert it to PNG or PPM first"
    if start.startswith((_JXL_BOX, _JXL_CODESTREAM)):
        return "is JPEG XL, convert it to PNG first"
    if _is_heif(start):
        return "is HEIC, convert it to PNG or JPEG first"
    if start[4:8] == b"ftyp" and start[8:12] not in _AVIF_BRANDS:
        return "is a film, or an image in a container that is not read"
    frame = jpeg_frame(path) if start.startswith(b"\xff\xd8\xff") else None
    if frame is None:
        return None
    if frame.marker in _FRAMES:
        return f"is {_FRAMES[frame.marker]}, convert it to PNG first"
    return None if frame.bits == 8 else f"is JPEG of {frame.bits} bits, convert it to PNG first"


def jpeg_frame(path: str | os.PathLike) -> JpegFrame | None:
    """The frame header of a JPEG file; None if it has none."""
    with open(path, "rb") as file:
        file.seek(2)
        while (mark := file.read(2)) and mark[0] == 0xFF:
            if mark[1] == 0xFF:  # a fill byte
                file.seek(-1, os.SEEK_CUR)
                continue
            if mark[1] == 0x01 or 0xD0 <= mark[1] <= 0xD9:  # markers without contents
                continue
            length = int.from_bytes(file.read(2), "big")
            if mark[1] == _JPEG_LS or (0xC0 <= mark[1] <= 0xCF and mark[1] not in _NO_FRAMES):
                return _frame(mark[1], file.tell(), file.read(max(0, length - 2)))
            if mark[1] == 0xDA or length < 2:
                return None
            file.seek(length - 2, os.SEEK_CUR)
    return None


def _frame(marker: int, at: int, content: bytes) -> JpegFrame | None:
    if len(content) < 6 or len(content) < 6 + 3 * content[5]:
        return None
    bits, height, width, count = struct.unpack_from(">BHHB", content)
    factors = [content[7 + 3 * n] for n in range(count)]
    sampling = tuple((each >> 4, each & 15) for each in factors)
    return JpegFrame(marker, at, bits, height, width, sampling) if sampling else None


def _start(path: str | os.PathLike) -> bytes:
    with open(path, "rb") as file:
        return file.read(_START_BYTES)
