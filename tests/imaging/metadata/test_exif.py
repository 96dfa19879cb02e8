from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from rdonet_jax.imaging import pillow_images, reader, writer
from rdonet_jax.imaging.formats import tiff_writer
from rdonet_jax.imaging.metadata import exif
from rdonet_jax.imaging.metadata import exif_block as exif_layout
from rdonet_jax.imaging.pixel_format import ImageData
from tests.image_samples import exif_block

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


def sides_of(data):
    """Width, height and resolutions across and down, as EXIF data say."""
    block = Image.Exif()
    block.load(data)
    nested = block.get_ifd(ExifTags.IFD.Exif)
    return nested[0xA002], nested[0xA003], float(block[282]), float(block[283])


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_widths_and_heights_are_exchanged_where_the_image_is_turned_on_its_side(endian, value):
    block = Image.Exif()
    block.endian = endian
    block[274], block[282], block[283] = value, 300.0, 150.0
    block.get_ifd(ExifTags.IFD.Exif).update({0xA002: 40, 0xA003: 24})
    data = block.tobytes().removeprefix(exif.PREFIX)
    assert sides_of(data) == (40, 24, 300, 150)
    stored = Image.Exif()  # as of a TIFF file, among the tags of the file
    stored.load(data)
    expected = (24, 40, 150, 300) if value > 4 else (40, 24, 300, 150)
    assert sides_of(exif.upright(data)) == sides_of(exif.of_block(stored)) == expected
    assert exif.orientation(exif.upright(data)) == 1


@pytest.mark.parametrize("value", range(1, 9))
def test_widths_in_the_exif_data_of_tiff_files_are_those_of_the_upright_image(tmp_path, value):
    path, block = tmp_path / "a.tif", Image.Exif()
    block[274] = 1
    block.get_ifd(ExifTags.IFD.Exif).update({0xA002: 40, 0xA003: 24})
    stored = block.tobytes().removeprefix(exif.PREFIX)
    writer.save(path, ImageData(np.zeros((24, 40, 3), np.uint8), exif=stored))
    data = bytearray(path.read_bytes())
    order = exif_layout.byte_order(data)
    entries = exif_layout.entries(data, order, exif_layout.first_directory(data, order))
    (at,) = (entry.at for entry in entries if entry.tag == 274)
    struct.pack_into(order + "H", data, at + 8, value)
    path.write_bytes(data)
    with Image.open(path) as image:
        image.load()
        of_pillow = pillow_images.exif_of(image)
    for found in (reader.load(path).exif, of_pillow):
        block = Image.Exif()
        block.load(found)
        nested = block.get_ifd(ExifTags.IFD.Exif)
        assert (nested[0xA002], nested[0xA003]) == ((24, 40) if value > 4 else (40, 24))


@pytest.mark.parametrize("value", range(1, 9))
def test_arrays_are_turned_as_pillow_turns_images(value):
    samples = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    image, block = Image.fromarray(samples), Image.Exif()
    block[ExifTags.Base.Orientation] = value
    image.info["exif"] = block.tobytes()
    assert exif.orientation(image.info["exif"]) == value
    expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(exif.turned(samples, value), expected)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("data", [b"", b"garbage", BIG[:20], BIG.replace(b"\0\x06", b"\0\x77")])
def test_an_orientation_that_makes_no_sense_is_upright(data):
    assert exif.orientation(data) == 1


ORDERS = {"<": b"II*\0", ">": b"MM\0*"}
TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f"}
"""Of TIFF, as `struct` writes them in at most four bytes."""


def lying(order, kind, value, *, thumbnail=None, own=None):
    """EXIF data that names an orientation in a type, as the specification of TIFF lays it out."""
    number = struct.pack(order + TYPES[kind], value).ljust(4, b"\0")
    data = ORDERS[order] + struct.pack(order + "IH", 8, 1)
    data += struct.pack(order + "HHI", 274, kind, 1) + number
    if thumbnail is None:
        return data + bytes(4)
    entries = [] if own is None else [struct.pack(order + "HHIHH", 274, 3, 1, own, 0)]
    second = len(data) + 4
    place = second + 2 + 12 * (len(entries) + 2) + 4
    entries += [struct.pack(order + "HHII", 513, 4, 1, place)]
    entries += [struct.pack(order + "HHII", 514, 4, 1, len(thumbnail))]
    data += struct.pack(order + "IH", second, len(entries))
    return data + b"".join(entries) + bytes(4) + thumbnail


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", TYPES)
def test_an_orientation_of_any_type_is_taken_as_pillow_takes_it_and_set_to_a_short_1(order, kind):
    data = lying(order, kind, 6)
    image = Image.new("RGB", (8, 4))
    image.info["exif"] = data
    turned = ImageOps.exif_transpose(image).size == (4, 8)
    assert exif.orientation(data) == (6 if turned else 1)
    again = exif.upright(data)
    assert again == lying(order, 3, 1) == exif.called_upright(data)
    assert turned or kind in (1, 6)


def shown(samples):
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


LEFT_WHITE = np.repeat(np.repeat([[255, 0]], 48, 0), 40, 1).astype(np.uint8)
"""[48, 80]: its left half is white, so upright by orientation 6 its upper half."""


def thumbnail_of(data):
    """By Pillow: orientation and pixels."""
    block = Image.Exif()
    block.load(data)
    second = block.get_ifd(ExifTags.IFD.IFD1)
    if not second:
        return None, None
    file = data[second[513] : second[513] + second[514]]
    return second.get(274), np.asarray(Image.open(io.BytesIO(file)))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("own", [None, 6])
@pytest.mark.parametrize("color", [False, True])
def test_the_thumbnail_is_turned_with_the_image(order, own, color):
    stored = np.repeat(LEFT_WHITE[..., None], 3, 2) if color else LEFT_WHITE
    data = exif.upright(lying(order, 3, 6, thumbnail=shown(stored), own=own))
    says, pixels = thumbnail_of(data)
    assert exif.orientation(data) == 1 and says == (None if own is None else 1)
    assert pixels.shape[:2] == (80, 48)
    assert pixels[:36].min() > 240 and pixels[44:].max() < 15


def test_an_upright_thumbnail_is_not_turned():
    data = exif.upright(lying("<", 3, 6, thumbnail=shown(LEFT_WHITE), own=1))
    assert thumbnail_of(data)[1].shape == (48, 80)
    upright = lying("<", 3, 1, thumbnail=shown(LEFT_WHITE), own=6)
    assert exif.upright(upright) == upright


def test_a_thumbnail_that_grows_by_turning_is_appended():
    noise = np.random.default_rng(0).integers(0, 256, (40, 56), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", optimize=True, quality=90)
    for value in range(2, 9):
        _, pixels = thumbnail_of(exif.upright(lying(">", 3, value, thumbnail=buffer.getvalue())))
        expected = exif.turned(np.asarray(Image.open(buffer)), value)
        assert np.abs(pixels.astype(int) - expected).mean() < 8


@pytest.mark.parametrize("thumbnail", [b"", b"no JPEG at all", shown(np.zeros((1025, 1024), "u1"))])
def test_a_thumbnail_that_cannot_be_turned_is_dropped(thumbnail):
    data = exif.upright(lying("<", 3, 6, thumbnail=thumbnail))
    assert exif.orientation(data) == 1 and thumbnail_of(data) == (None, None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=4))
def test_damaged_data_with_a_thumbnail_is_put_upright_or_left(changes):
    data = bytearray(lying("<", 3, 6, thumbnail=shown(LEFT_WHITE)))
    for place, value in changes:
        data[place] = value
    assert exif.upright(bytes(data)) is not None


@pytest.mark.parametrize(
    "data", [b"", b"garbage garbage", BIG[:7], BIG[:8], b"MM*\0" + BIG[4:], BIG[:4] + b"\xff" * 9]
)
def test_what_has_no_tiff_header_and_directory_is_no_exif_data(data):
    assert not exif.is_exif(data)
    assert exif.is_exif(BIG) and exif.is_exif(LITTLE) and exif.is_exif(exif_block())


def test_sound_data_is_distinguished_from_damaged_data():
    assert exif.is_sound(exif_block()) and exif.is_sound(BIG) and exif.is_sound(LITTLE)
    assert not exif.is_sound(b"garbage that is no header")


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=3))
def test_what_is_sound_can_be_written_into_tiff(changes):
    data = bytearray(exif_block())
    for place, value in changes:
        data[place % len(data)] = value
    if exif.is_sound(bytes(data)):
        tiff_writer.write(io.BytesIO(), np.zeros((2, 2, 1), np.uint8), b"", bytes(data))


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.binary(max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_any_other_bytes_are_left_as_they_are(tail, cut, count):
    for data in (tail, b"II*\0" + tail, b"MM\0*" + tail, BIG[:cut], LITTLE[:cut]):
        assert len(exif.upright(data)) == len(data)
    claim = LITTLE[:8] + bytes([count, count]) + LITTLE[10:]
    assert exif.upright(claim)[:30] == claim[:30]
