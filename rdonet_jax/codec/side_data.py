"""Sections of a file besides the coded colors: alpha and metadata, all lossless.

Alpha is a PNG file. Color profile, EXIF data and XMP are compressed as raw LZMA. The others are a
few bytes. Sections are not trusted: their claims are checked before a decoder allocates memory for
them.
"""

from __future__ import annotations

import io
import lzma
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin

from rdonet_jax.codec.bitstream import FormatError, Header, Sections
from rdonet_jax.core.defaults import MAX_METADATA
from rdonet_jax.imaging import pixel_format
from rdonet_jax.imaging.formats import png
from rdonet_jax.imaging.metadata import cicp, exif, resolution, xmp
from rdonet_jax.imaging.pixel_format import ImageData

_COMPRESSED = {"icc": "color profile", "exif": "EXIF data", "xmp": "XMP"}
"""Compressed sections, with their names for error messages."""

_FILTERS = [
    {"id": lzma.FILTER_LZMA1, "dict_size": 2**20, "lc": 0, "lp": 0, "pb": 0, "nice_len": 273}
]
"""On common profiles, which are tables of numbers, the result is a sixth smaller than Deflate's."""


class _Small(NamedTuple):
    """A section of a few bytes: its name for error messages, the type of its value, its coding."""

    title: str
    kind: type
    pack: Callable[[Any], bytes]
    parse: Callable[[bytes], Any]


_SMALL = {
    "cicp": _Small("color description", cicp.Cicp, cicp.pack, cicp.parse),
    "resolution": _Small("resolution", resolution.Resolution, resolution.pack, resolution.parse),
}


class SideDataError(ValueError):
    """Metadata that a file cannot hold."""


def pack(image: ImageData) -> dict[str, bytes]:
    """The sections of an image, by their names.

    Raises SideDataError for too much metadata, and for values that `fields` would refuse.
    """
    return {
        "alpha": b"" if image.alpha is None else _pack_alpha(image.alpha),
        **{n: _pack_metadata(words, getattr(image, n)) for n, words in _COMPRESSED.items()},
        **{n: _pack_small(small, getattr(image, n)) for n, small in _SMALL.items()},
    }


def require(name: str, value: Any) -> None:
    """Raises SideDataError for metadata, by its name in `ImageData`, that a file cannot hold."""
    if name in _SMALL:
        _pack_small(_SMALL[name], value)
    elif not isinstance(value, bytes):
        raise SideDataError(f"the {_COMPRESSED[name]} is bytes, not {type(value).__name__}")
    else:
        _check_size(_COMPRESSED[name], value)


def fields(sections: Sections) -> dict[str, Any]:
    """The metadata in sections, by the names of the fields of `ImageData`; all but alpha.

    Images are coded upright, but EXIF data and XMP of some files still have the orientation of the
    original; it is corrected. Raises FormatError for invalid metadata.
    """
    values: dict[str, Any] = {
        name: metadata(title, getattr(sections, name)) for name, title in _COMPRESSED.items()
    }
    values["exif"] = exif.called_upright(values["exif"])
    if xmp.is_text(values["xmp"]):
        values["xmp"] = xmp.upright(values["xmp"])
    for name, small in _SMALL.items():
        section = getattr(sections, name)
        values[name] = small.parse(section) if section else None
        if section and values[name] is None:
            raise FormatError(f"the file's {small.title} is invalid")
    return values


def alpha(header: Header, section: bytes) -> np.ndarray | None:
    """Alpha [H, W], uint8 or uint16 as the image; None for an empty section.

    Raises FormatError for a section that is no alpha of this image.
    """
    if not section:
        return None
    try:
        depth = _checked_depth(header, section)
        # Not by Image.open, which warns of many pixels: their number is checked above.
        with PngImagePlugin.PngImageFile(io.BytesIO(section)) as image:
            samples = np.asarray(image)
    except (OSError, ValueError, SyntaxError) as error:
        raise FormatError(f"the file's alpha is invalid: {error}") from error
    if depth == 1:
        samples = samples.astype(np.uint8) * np.uint8(255)
    return pixel_format.to_uint16(samples) if header.is_16bit else np.array(samples)


def metadata(name: str, section: bytes) -> bytes:
    """The ICC profile, the EXIF data or the XMP in a section; empty for an empty one.

    Raises FormatError, with `name` in the message, for a section that is invalid or holds nothing
    or more than MAX_METADATA bytes.
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
    """The bits per sample of an alpha section. Raises PngError for files that no encoder writes."""
    chunks = list(png.chunks(section))
    kinds = [kind for kind, _ in chunks]
    expected = [b"IHDR", *[b"IDAT"] * max(1, len(kinds) - 2), b"IEND"]
    if kinds != expected or chunks[-1][1]:
        raise png.PngError("it has other chunks than IHDR, IDAT and IEND")
    ihdr = png.header(chunks[0][1])
    if (ihdr.height, ihdr.width) != (header.height, header.width):
        raise png.PngError(f"it is one of {ihdr.width} x {ihdr.height} pixels")
    if ihdr.depth not in ((1, 8, 16) if header.is_16bit else (1, 8)) or ihdr[3:] != (0, 0, 0, 0):
        raise png.PngError("it is no gray image of the right depth")
    png.require_exact_rows(ihdr, [content for kind, content in chunks if kind == b"IDAT"])
    return ihdr.depth


def _pack_small(small: _Small, value: Any) -> bytes:
    if value is None:
        return b""
    refused = SideDataError(f"no {small.title} that a file can hold: {value!r}")
    if not isinstance(value, small.kind):
        raise refused
    try:
        section = small.pack(value)
    except (struct.error, TypeError, ValueError) as error:  # no integers, or out of range
        raise refused from error
    if small.parse(section) != value:
        raise refused
    return section


def _check_size(name: str, data: bytes) -> None:
    if len(data) > MAX_METADATA:
        raise SideDataError(f"the {name} has {len(data)} bytes, more than {MAX_METADATA}")


def _pack_metadata(name: str, data: bytes) -> bytes:
    _check_size(name, data)
    return lzma.compress(data, lzma.FORMAT_RAW, filters=_FILTERS) if data else b""
