from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from rdonet_jax import exif

pytestmark = pytest.mark.once

BIG = (
    b"MM\0*\0\0\0\x08" b"\0\x02"
    b"\x01\x0f\0\x02\0\0\0\x04abc\0" b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0" b"\0\0\0\0"
)  # fmt: skip
LITTLE = (
    b"II*\0\x08\0\0\0" b"\x02\0"
    b"\x0f\x01\x02\0\x04\0\0\0abc\0" b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" b"\0\0\0\0"
)  # fmt: skip


@pytest.mark.parametrize(("data", "at"), [(BIG, 31), (LITTLE, 30)])
def test_the_orientation_alone_is_set_upright(data, at):
    assert data[at] == 6
    upright = exif.upright(data)
    assert upright == data[:at] + b"\x01" + data[at + 1 :]
    block = Image.Exif()
    block.load(upright)
    assert block[ExifTags.Base.Orientation] == 1 and block[ExifTags.Base.Make] == "abc"


@given(st.binary(max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_any_other_bytes_are_left_as_they_are(tail, cut, count):
    for data in (tail, b"II*\0" + tail, b"MM\0*" + tail, BIG[:cut], LITTLE[:cut]):
        assert len(exif.upright(data)) == len(data)
    claim = LITTLE[:8] + bytes([count, count]) + LITTLE[10:]
    assert exif.upright(claim)[:30] == claim[:30]
