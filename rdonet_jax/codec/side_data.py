"""What goes along with the coded colors, as the sections of a file: alpha and metadata.

All of it is lossless. Alpha is a PNG file; color profile, EXIF data and XMP are compressed as raw
LZMA; the rest are a few bytes. Reading trusts nothing: what a section claims is judged before a
decoder allocates anything for it.
"""

from __future__ import annotations

import io
import lzma
from typing import Any

import numpy as np
from PIL import Image

from rdonet_jax.codec.bitstream import FormatError, Header, Sections
from rdonet_jax.imaging import pixel_format
from rdonet_jax.imaging.formats import png
from rdonet_jax.imaging.metadata import cicp, exif, resolution
from rdonet_jax.imaging.pixel_format import ImageData

MAX_METADATA = 2**24
"""Bytes of an ICC profile, of EXIF data or of XMP, uncompressed."""

_COMPRESSED = {"icc": "color profile", "exif": "EXIF data", "xmp": "XMP"}
"""Sections of metadata by what they are called."""

_FILTERS = [
    {"id": lzma.FILTER_LZMA1, "dict_size": 2**20, "lc": 0, "lp": 0, "pb": 0, "nice_len": 273}
]
"""A sixth smaller than Deflate on the usual profiles, which are tables of numbers."""


class AttachmentError(ValueError):
    """Something that no file can hold."""


def pack(image: ImageData) -> dict[str, bytes]:
    """The sections of an image, by their names. Raises AttachmentError for too much metadata."""
    return {
        "alpha": b"" if image.alpha is None else _pack_alpha(image.alpha),
        **{n: _pack_metadata(words, getattr(image, n)) for n, words in _COMPRESSED.items()},
        "cicp": b"" if image.cicp is None else cicp.pack(image.cicp),
        "resolution": b"" if image.resolution is None else resolution.pack(image.resolution),
    }


def fields(sections: Sections) -> dict[str, Any]:
    """What all sections but alpha hold, as the fields of `ImageData` of their names.

    Some files hold EXIF data that says how the image lay before it was turned: that is put right.
    Raises FormatError for what is none.
    """
    found: dict[str, Any] = {
        name: metadata(words, getattr(sections, name)) for name, words in _COMPRESSED.items()
    }
    found["exif"] = exif.called_upright(found["exif"])
    for name, words, parse in (
        ("cicp", "color description", cicp.parse),
        ("resolution", "resolution", resolution.parse),
    ):
        section = getattr(sections, name)
        found[name] = parse(section) if section else None
        if section and found[name] is None:
            raise FormatError(f"the file's {words} is invalid")
    return found


def alpha(header: Header, section: bytes) -> np.ndarray | None:
    """Alpha [H, W] in the depth of the image; None for an empty section.

    Raises FormatError for a section that holds none of this image.
    """
    if not section:
        return None
    try:
        depth = _checked_depth(header, section)
        with Image.open(io.BytesIO(section), formats=["PNG"]) as image:
            samples = np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FormatError(f"the file's alpha is invalid: {error}") from error
    if depth == 1:
        samples = samples.astype(np.uint8) * np.uint8(255)
    return pixel_format.to_uint16(samples) if header.is_16bit else np.array(samples)


def metadata(name: str, section: bytes) -> bytes:
    """The ICC profile, the EXIF data or the XMP in a section; empty for an empty one.

    Raises FormatError, naming it, for one that holds nothing or more than MAX_METADATA.
    """
    if not section:
        return b""
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        data = decompressor.decompress(section, MAX_METADATA + 1)
    except lzma.LZMAError as error:
        raise FormatError(f"the file's {name} is invalid: {error}") from error
    if len(data) > MAX_METADATA:
        raise FormatError(f"the file's {name} has more than {MAX_METADATA} bytes")
    if not data or not decompressor.eof or decompressor.unused_data:
        raise FormatError(f"the file's {name} is invalid: it does not end where it should")
    return data


def _pack_alpha(samples: np.ndarray) -> bytes:
    """The PNG file of the least depth that holds them all."""
    most = np.iinfo(samples.dtype).max
    low = pixel_format.to_uint8(samples)
    if ((samples == 0) | (samples == most)).all():
        image = Image.fromarray(low).convert("1", dither=Image.Dither.NONE)
    elif samples.dtype == np.uint8 or np.array_equal(pixel_format.to_uint16(low), samples):
        image = Image.fromarray(low)
    else:
        image = Image.fromarray(np.ascontiguousarray(samples))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _checked_depth(header: Header, section: bytes) -> int:
    """The bits per sample of an alpha section; raises PngError for what no encoder writes."""
    chunks = list(png.chunks(section))
    kinds = [kind for kind, _ in chunks]
    expected = [b"IHDR", *[b"IDAT"] * max(1, len(kinds) - 2), b"IEND"]
    if kinds != expected or chunks[-1][1]:
        raise png.PngError("it has other chunks than IHDR, IDAT and IEND")
    named = png.header(chunks[0][1])
    if (named.height, named.width) != (header.height, header.width):
        raise png.PngError(f"it is one of {named.width} x {named.height} pixels")
    if named.depth not in ((1, 8, 16) if header.is_16bit else (1, 8)) or named[3:] != (0, 0, 0, 0):
        raise png.PngError("it is no gray image of the right depth")
    stored = sum(len(content) for kind, content in chunks if kind == b"IDAT")
    if named.height * (1 + -(-named.width * named.depth // 8)) > png.DEFLATE_RATIO * stored:
        raise png.PngError("it is too short for so many pixels")
    return named.depth


def _pack_metadata(name: str, data: bytes) -> bytes:
    if len(data) > MAX_METADATA:
        raise AttachmentError(f"the {name} has {len(data)} bytes, more than {MAX_METADATA}")
    return lzma.compress(data, lzma.FORMAT_RAW, filters=_FILTERS) if data else b""
