"""AVIF and HEIC files by their boxes, made here as ISO 23008-12 lays them out."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.imaging.formats import heif_boxes
from rdonet_jax.imaging.metadata.cicp import Cicp

pytestmark = pytest.mark.once


def box(kind: bytes, *content: bytes) -> bytes:
    data = b"".join(content)
    return struct.pack(">I4s", 8 + len(data), kind) + data


def full(kind: bytes, *content: bytes, version=0, flags=0) -> bytes:
    return box(kind, bytes([version, 0, 0, flags]), *content)


def nclx(primaries, transfer):
    return box(b"colr", b"nclx", struct.pack(">HHHB", primaries, transfer, 0, 0x80))


def item(number, kind):
    return full(b"infe", struct.pack(">HH", number, 0), kind, b"\0", version=2)


def heif(properties, owned, items=(b"av01",), main=1, wide=False):
    """A file whose main item has the properties of the numbers `owned`; a second has the others."""
    numbers = struct.Struct(">H" if wide else ">B")
    others = [n for n in range(1, len(properties) + 1) if n not in owned]
    associations = [
        struct.pack(">HB", number, len(each)) + b"".join(numbers.pack(n) for n in each)
        for number, each in ((main + 1, others), (main, owned))
    ]
    return box(b"ftyp", b"avif", bytes(4)) + full(
        b"meta",
        full(b"hdlr", bytes(20)),
        full(b"pitm", struct.pack(">H", main)),
        full(b"iinf", struct.pack(">H", len(items)), *map(item, range(1, 9), items)),
        box(
            b"iprp",
            box(b"ipco", *properties),
            full(b"ipma", struct.pack(">I", 2), *associations, flags=int(wide)),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("wide", [False, True])
def test_the_colors_are_those_of_the_main_image(wide):
    data = heif([nclx(9, 18), full(b"ispe", bytes(8)), nclx(12, 13)], [2, 3], wide=wide)
    assert heif_boxes.facts(data) == (Cicp(12, 13), ())
    assert heif_boxes.facts(heif([nclx(9, 18)], [], wide=wide)).cicp is None


def auxiliary(kind):
    return full(b"auxC", kind + b"\0")


@pytest.mark.parametrize(
    ("properties", "items", "besides"),
    [
        ([auxiliary(b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha")], [b"av01"], ()),
        ([auxiliary(b"urn:com:apple:photo:2020:aux:hdrgainmap")], [b"hvc1"], ("gain map",)),
        ([], [b"av01", b"av01", b"tmap"], ("gain map",)),
        ([auxiliary(b"urn:mpeg:hevc:2015:auxid:2")], [b"hvc1"], ("depth map",)),
        ([auxiliary(b"urn:other")], [b"hvc1"], ("auxiliary images",)),
    ],
)
def test_what_the_file_has_besides_its_main_image_is_named(properties, items, besides):
    assert heif_boxes.facts(heif(properties, [], items)).further_content == besides


@pytest.mark.parametrize("owned", [[1], [2], []])
def test_the_properties_of_a_kind_are_those_of_the_main_image_or_of_all(owned):
    data = heif([box(b"av1C", b"one"), box(b"av1C", b"two"), nclx(9, 18)], owned)
    own = [[b"one", b"two"][n - 1] for n in owned] or [b"one", b"two"]
    assert heif_boxes.properties(data, b"av1C") == own
    assert heif_boxes.properties(data[:50], b"av1C") == []


def test_mastering_data_is_named_where_it_is_that_of_the_main_image():
    properties = [box(b"mdcv", bytes(24)), box(b"clli", bytes(4))]
    named = ("mastering display (mdcv)", "content light level (clli)")
    assert heif_boxes.facts(heif(properties, [1, 2])).further_content == named
    assert heif_boxes.facts(heif(properties, [])).further_content == ()


GOOD = heif([nclx(9, 16), auxiliary(b"urn:other"), box(b"clli", bytes(4))], [1, 3])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4))
def test_damaged_boxes_are_passed_over(changes):
    data = bytearray(GOOD)
    for place, value in changes:
        data[place] = value
    for each in (data, data[: changes[0][0]] if changes else b""):
        assert heif_boxes.facts(bytes(each)) is not None
