from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from rdonet_jax import exif, tiff
from tests.picture_samples import exif_block

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


@pytest.mark.parametrize("value", range(1, 9))
def test_arrays_are_turned_as_pillow_turns_pictures(value):
    samples = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    picture, block = Image.fromarray(samples), Image.Exif()
    block[ExifTags.Base.Orientation] = value
    picture.info["exif"] = block.tobytes()
    assert exif.orientation(picture.info["exif"]) == value
    expected = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(exif.turned(samples, value), expected)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("data", [b"", b"garbage", BIG[:20], BIG.replace(b"\0\x06", b"\0\x77")])
def test_an_orientation_that_makes_no_sense_is_upright(data):
    assert exif.orientation(data) == 1


def test_sound_data_is_told_from_damaged_data():
    assert exif.is_sound(exif_block()) and exif.is_sound(BIG) and exif.is_sound(LITTLE)
    assert not exif.is_sound(b"garbage that is no header")


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=3))
def test_what_is_sound_can_be_written_into_tiff(changes):
    data = bytearray(exif_block())
    for place, value in changes:
        data[place % len(data)] = value
    if exif.is_sound(bytes(data)):
        tiff.write(io.BytesIO(), np.zeros((2, 2, 1), np.uint8), b"", bytes(data))


@given(st.binary(max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_any_other_bytes_are_left_as_they_are(tail, cut, count):
    for data in (tail, b"II*\0" + tail, b"MM\0*" + tail, BIG[:cut], LITTLE[:cut]):
        assert len(exif.upright(data)) == len(data)
    claim = LITTLE[:8] + bytes([count, count]) + LITTLE[10:]
    assert exif.upright(claim)[:30] == claim[:30]
