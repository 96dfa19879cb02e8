"""Properties of the main image in an AVIF or HEIC file that Pillow does not report."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from rdonet_jax.imaging.formats import boxes
from rdonet_jax.imaging.metadata.cicp import Cicp

_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
_GAIN_MAPS = (b"urn:com:apple:photo:2020:aux:hdrgainmap",)
_DEPTH = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth", b"urn:mpeg:hevc:2015:auxid:2")
_GAIN_MAP_ITEM = b"tmap"
_LIGHT = {b"mdcv": "mastering display (mdcv)", b"clli": "content light level (clli)"}
_MOST_ITEMS = 2**16


class Facts(NamedTuple):
    """The color space of the main image, if it has code points, and what else the file holds."""

    cicp: Cicp | None = None
    further_content: tuple[str, ...] = ()


class _Items(NamedTuple):
    """Properties of the main image and of all images, and the types of all items."""

    own: list[boxes.Box]
    every: list[boxes.Box]
    kinds: list[bytes]


def facts(data: bytes) -> Facts:
    """The facts from the bytes of a file. Invalid boxes are ignored."""
    found = _items(data)
    auxiliary = [content[4:].split(b"\0")[0] for kind, content in found.every if kind == b"auxC"]
    return Facts(_cicp(found.own), tuple(_further_content(found.own, auxiliary, found.kinds)))


def properties(data: bytes, kind: bytes) -> list[bytes]:
    """The contents of the properties of a kind that the main image has.

    Those of all images if it has none, as a grid of tiles. Empty if there are none.
    """
    found = _items(data)
    own = [content for name, content in found.own if name == kind]
    return own or [content for name, content in found.every if name == kind]


def _items(data: bytes) -> _Items:
    """What the box meta holds; empty lists if it is invalid."""
    try:
        meta = dict(boxes.parse(_first(data, b"meta")[4:]))
        containers = dict(boxes.parse(meta.get(b"iprp", b"")))
        every = list(boxes.parse(containers.get(b"ipco", b"")))
        main = _main_item(meta.get(b"pitm", b""))
        own = [every[n] for n in _numbers(containers.get(b"ipma", b""), main) if n < len(every)]
        return _Items(own, every, list(_item_kinds(meta.get(b"iinf", b""))))
    except (struct.error, IndexError):
        return _Items([], [], [])


def _further_content(
    own: list[boxes.Box], auxiliary: list[bytes], items: list[bytes]
) -> Iterator[str]:
    """Names of what belongs to the main image and is not kept."""
    yield from (_LIGHT[kind] for kind in dict(own) if kind in _LIGHT)
    if _GAIN_MAP_ITEM in items or any(kind in _GAIN_MAPS for kind in auxiliary):
        yield "gain map"
    if any(kind in _DEPTH for kind in auxiliary):
        yield "depth map"
    if any(kind not in (*_ALPHA, *_GAIN_MAPS, *_DEPTH) for kind in auxiliary):
        yield "auxiliary images"


def _cicp(properties: list[boxes.Box]) -> Cicp | None:
    for kind, content in properties:
        if kind == b"colr" and content[:4] == b"nclx":
            primaries, transfer = struct.unpack_from(">HH", content, 4)
            if primaries < 256 and transfer < 256:
                return Cicp(primaries, transfer)
    return None


def _first(data: bytes, name: bytes) -> bytes:
    return next((content for kind, content in boxes.parse(data) if kind == name), b"")


def _main_item(content: bytes) -> int:
    """The number of the main item, from the box pitm."""
    return struct.unpack_from(">I" if content[0] else ">H", content, 4)[0]


def _numbers(content: bytes, item: int) -> list[int]:
    """The indices, from 0, of the properties of an item, from the box ipma."""
    version, flags = content[0], content[3]
    (count,) = struct.unpack_from(">I", content, 4)
    at = 8
    for _ in range(min(count, _MOST_ITEMS)):
        (number,) = struct.unpack_from(">I" if version else ">H", content, at)
        at += 4 if version else 2
        many, size = content[at], 2 if flags & 1 else 1
        at += 1
        if number == item:
            places = range(at, at + many * size, size)
            mask = (1 << (8 * size - 1)) - 1
            found = [int.from_bytes(content[p : p + size], "big") & mask for p in places]
            return [n - 1 for n in found if n]
        at += many * size
    return []


def _item_kinds(content: bytes) -> Iterator[bytes]:
    """The types of all items, from the box iinf."""
    start = 8 if content[:1] and content[0] else 6
    for kind, entry in boxes.parse(content[start:]):
        if kind == b"infe" and entry[0] >= 2:
            at = 8 if entry[0] == 2 else 10
            yield entry[at : at + 4]
