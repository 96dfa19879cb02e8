"""XMP data: a text in XML that goes along, and says that the image stands upright."""

from __future__ import annotations

import re

_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)[0-9]")
_PARTS = re.compile(rb"Item:Semantic(?:\s*=\s*[\"']|>)\s*(\w+)")
"""Files behind the image, as phones name them."""
_GAIN_MAP = b"http://ns.adobe.com/hdr-gain-map/1.0/"
_EXTENDED = b"HasExtendedXMP"
_PART_WORDS = {b"GainMap": "gain map", b"MotionPhoto": "video", b"Depth": "depth map"}


def is_text(data: bytes) -> bool:
    """Whether it is UTF-8 without zeros, as all formats want it."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def upright(data: bytes) -> bytes:
    """With every orientation set to 1; no byte moves."""
    return _ORIENTATION.sub(rb"\g<1>1", data)


def besides(data: bytes) -> tuple[str, ...]:
    """What it says that the file holds behind the image, in words."""
    parts = set(_PARTS.findall(data)) - {b"Primary"}
    words = {_PART_WORDS.get(part, "further files") for part in parts}
    return tuple(sorted(words | ({_PART_WORDS[b"GainMap"]} if _GAIN_MAP in data else set())))


def is_extended(data: bytes) -> bool:
    """Whether it is the first part of two, of which JPEG files hold the second elsewhere."""
    return _EXTENDED in data
