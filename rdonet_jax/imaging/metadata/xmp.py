"""XMP data, a text in XML, stored with an upright orientation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)([0-9])")
_PARTS = re.compile(rb"Item:Semantic(?:\s*=\s*[\"']|>)\s*(\w+)")
"""Names of files that phones append to an image."""
_GAIN_MAP = b"http://ns.adobe.com/hdr-gain-map/1.0/"
_EXTENDED = b"HasExtendedXMP"
_PART_WORDS = {b"GainMap": "gain map", b"MotionPhoto": "video", b"Depth": "depth map"}


def of_image(image: Image.Image) -> bytes:
    """The XMP data that Pillow has read from a file."""
    data = image.info.get("xmp") or b""
    data = data.encode() if isinstance(data, str) else bytes(data)
    return data.rstrip(b"\0")


def is_text(data: bytes) -> bool:
    """Whether the data is UTF-8 without zero bytes, as all formats require."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def orientation(data: bytes) -> int:
    """The first orientation that the text names, 1 to 8; 1, upright, if it names none."""
    found = _ORIENTATION.search(data)
    number = int(found[2]) if found else 1
    return number if number in range(1, 9) else 1


def upright(data: bytes) -> bytes:
    """The text with every orientation set to 1. Its length does not change."""
    return _ORIENTATION.sub(rb"\g<1>1", data)


def further_content(data: bytes) -> tuple[str, ...]:
    """Names of what the text says is appended to the image."""
    parts = set(_PARTS.findall(data)) - {b"Primary"}
    words = {_PART_WORDS.get(part, "further files") for part in parts}
    return tuple(sorted(words | ({_PART_WORDS[b"GainMap"]} if _GAIN_MAP in data else set())))


def is_extended(data: bytes) -> bool:
    """Whether this is the main part of extended XMP, whose rest is elsewhere in a JPEG file."""
    return _EXTENDED in data
