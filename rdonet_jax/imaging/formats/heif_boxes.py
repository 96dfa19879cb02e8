"""What the boxes of an AVIF or HEIC file say of its main image, which Pillow does not tell."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from rdonet_jax.imaging.metadata.cicp import Cicp

_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
_GAIN_MAPS = (b"urn:com:apple:photo:2020:aux:hdrgainmap",)
_DEPTH = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth", b"urn:mpeg:hevc:2015:auxid:2")
_GAIN_MAP_ITEM = b"tmap"
_LIGHT = {b"mdcv": "mastering display (mdcv)", b"clli": "content light level (clli)"}
_MOST_ITEMS = 2**16

Box = tuple[bytes, bytes]
"""Its type and what it holds."""


class Facts(NamedTuple):
    """Of the main image: its colors, if they are named, and what the file has besides."""

    cicp: Cicp | None = None
    besides: tuple[str, ...] = ()


def facts(data: bytes) -> Facts:
    """Of a file's bytes. Boxes that make no sense are passed over."""
    try:
        meta = dict(_boxes(_first(data, b"meta")[4:]))
        properties = dict(_boxes(meta.get(b"iprp", b"")))
        every = list(_boxes(properties.get(b"ipco", b"")))
        main = _main_item(meta.get(b"pitm", b""))
        mine = [every[n] for n in _numbers(properties.get(b"ipma", b""), main) if n < len(every)]
        items = list(_item_kinds(meta.get(b"iinf", b"")))
    except (struct.error, IndexError):
        return Facts()
    kinds = [content[4:].split(b"\0")[0] for kind, content in every if kind == b"auxC"]
    return Facts(_cicp(mine), tuple(_besides(mine, kinds, items)))


def _besides(mine: list[Box], auxiliary: list[bytes], items: list[bytes]) -> Iterator[str]:
    """What goes along with the main image, in words."""
    yield from (_LIGHT[kind] for kind in dict(mine) if kind in _LIGHT)
    if _GAIN_MAP_ITEM in items or any(kind in _GAIN_MAPS for kind in auxiliary):
        yield "gain map"
    if any(kind in _DEPTH for kind in auxiliary):
        yield "depth map"
    if any(kind not in (*_ALPHA, *_GAIN_MAPS, *_DEPTH) for kind in auxiliary):
        yield "auxiliary images"


def _cicp(properties: list[Box]) -> Cicp | None:
    for kind, content in properties:
        if kind == b"colr" and content[:4] == b"nclx":
            primaries, transfer = struct.unpack_from(">HH", content, 4)
            if primaries < 256 and transfer < 256:
                return Cicp(primaries, transfer)
    return None


def _boxes(data: bytes) -> Iterator[Box]:
    """Boxes one after another, until they make no sense."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        header = 8
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, at + 8)
            header = 16
        elif size == 0:
            size = len(data) - at
        if size < header:
            return
        yield kind, data[at + header : at + size]
        at += size


def _first(data: bytes, name: bytes) -> bytes:
    return next((content for kind, content in _boxes(data) if kind == name), b"")


def _main_item(content: bytes) -> int:
    """Its number, from the box pitm."""
    return struct.unpack_from(">I" if content[0] else ">H", content, 4)[0]


def _numbers(content: bytes, item: int) -> list[int]:
    """Which properties an item has, from the box ipma; the first is 0."""
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
    for kind, entry in _boxes(content[start:]):
        if kind == b"infe" and entry[0] >= 2:
            at = 8 if entry[0] == 2 else 10
            yield entry[at : at + 4]
