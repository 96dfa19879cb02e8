"""Boxes of AVIF, HEIF and JPEG XL files."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdonet_jax.imaging.formats import boxes

pytestmark = pytest.mark.once


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def test_boxes_have_sizes_of_32_or_64_bits_or_extend_to_the_end():
    large = struct.pack(">I4sQ", 1, b"long", 16 + 3) + b"abc"
    last = struct.pack(">I4s", 0, b"last") + b"rest"
    assert list(boxes.parse(box(b"ftyp", b"avif") + large + last)) == [
        (b"ftyp", b"avif"),
        (b"long", b"abc"),
        (b"last", b"rest"),
    ]


def test_the_first_invalid_box_ends_the_list():
    invalid = struct.pack(">I4s", 7, b"tiny")
    assert list(boxes.parse(box(b"ftyp", b"") + invalid + box(b"meta", b""))) == [(b"ftyp", b"")]


@given(st.binary(max_size=64))
def test_any_bytes_give_an_end_of_the_list(data):
    assert sum(8 + len(content) for _, content in boxes.parse(data)) <= len(data)
