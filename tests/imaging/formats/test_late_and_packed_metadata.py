"""Metadata in unusual forms: behind the pixels, in boxes, in texts, and very long."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from rdonet_jax.codec.side_data import MAX_METADATA
from rdonet_jax.imaging import reader, srgb, writer
from rdonet_jax.imaging.formats import boxes
from rdonet_jax.imaging.pixel_format import ImageData
from tests.image_samples import CHANNELS, SRGB, chunk, drawn, exif_block, load, png

pytestmark = pytest.mark.once

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">\xc3\xa4</x:xmpmeta>'
AN_XMP_TEXT = (b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + XMP)


# PNG


def png_ending_with(kind, depth, *chunks):
    data = png(drawn(CHANNELS[kind], depth), kind, depth)
    end = chunk(b"IEND", b"")
    return data.removesuffix(end) + b"".join(chunk(*each) for each in chunks) + end


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("kind", ["gray", "rgb", "gray-alpha", "rgb-alpha"])
def test_metadata_behind_the_pixels_is_read(tmp_path, kind, depth):
    late = AN_XMP_TEXT, (b"eXIf", exif_block(6))
    image = load(tmp_path, png_ending_with(kind, depth, *late))
    assert (image.xmp, image.exif, image.notes) == (XMP, exif_block(1), ())
    assert image.size == (13, 11)


def raw_profile(kind, data):
    """As ImageMagick stores it: the type, the length, and the bytes in hexadecimal numbers."""
    text = f"\n{kind}\n{len(data):8}\n{data.hex()}\n".encode()
    return b"zTXt", b"Raw profile type " + kind.encode() + b"\0\0" + zlib.compress(text)


@pytest.mark.parametrize(
    ("kind", "notes"),
    [
        ("iptc", ("without its IPTC data",)),
        ("xmp", ("without its XMP as a raw profile",)),
        ("8bim", ("without its raw profile of the type '8bim'",)),
    ],
)
def test_a_raw_profile_that_is_not_kept_is_named(tmp_path, kind, notes):
    before = [raw_profile(kind, b"8BIM\4\4hello")]
    assert load(tmp_path, png(drawn(3, 8), "rgb", 8, before=before)).notes == notes


def test_a_raw_profile_of_exif_data_is_kept(tmp_path):
    before = [raw_profile("exif", b"Exif\0\0" + exif_block(6))]
    image = load(tmp_path, png(drawn(3, 8), "rgb", 8, before=before))
    block = Image.Exif()
    block.load(image.exif)
    assert block[ExifTags.Base.Make] == "A maker" and image.notes == () and image.size == (13, 11)


def long_profile(size):
    tail = np.random.default_rng(0).bytes(size - len(SRGB))
    return struct.pack(">I", size) + (SRGB + tail)[4:]


def test_a_long_profile_comes_back_from_a_png_file(tmp_path):
    icc = long_profile(MAX_METADATA // 8)
    writer.save(tmp_path / "a.png", ImageData(np.zeros((9, 9, 3), np.uint8), icc=icc))
    assert reader.load(tmp_path / "a.png").icc == icc
    assert srgb.load(tmp_path / "a.png").shape == (9, 9, 3)


# JPEG XL


def jxl_boxes(tmp_path, **options):
    pytest.importorskip("pillow_jxl")
    image = Image.fromarray(drawn(3, 8).astype(np.uint8))
    image.save(tmp_path / "source.jxl", lossless=True, **options)
    return list(boxes.parse((tmp_path / "source.jxl").read_bytes()))


def packed(kind, content):
    imagecodecs = pytest.importorskip("imagecodecs")
    return b"brob", kind + imagecodecs.brotli_encode(content)


def load_boxes(tmp_path, parts):
    data = b"".join(struct.pack(">I4s", 8 + len(each), kind) + each for kind, each in parts)
    return load(tmp_path, data, "a.jxl")


@pytest.mark.parametrize("number", ["1", "6"])
def test_xmp_of_jpeg_xl_is_read_with_an_upright_orientation(tmp_path, number):
    text = XMP.replace(b">", b' tiff:Orientation="%s">' % number.encode(), 1)
    image = load_boxes(tmp_path, jxl_boxes(tmp_path, xmp=text))
    assert image.xmp == text.replace(b'"6"', b'"1"') and image.notes == ()
    assert image.size == (11, 13)


def test_compressed_metadata_of_jpeg_xl_is_named(tmp_path):
    parts = jxl_boxes(tmp_path, xmp=XMP, exif=b"Exif\0\0" + exif_block())
    parts = [packed(*each) if each[0] in (b"xml ", b"Exif") else each for each in parts]
    image = load_boxes(tmp_path, parts)
    assert (image.xmp, image.exif) == (b"", b"")
    assert image.notes == (
        "without its XMP, which is compressed with Brotli",
        "without its EXIF data, which is compressed with Brotli",
    )


def test_compressed_xmp_beside_plain_xmp_is_passed_over(tmp_path):
    image = load_boxes(tmp_path, [*jxl_boxes(tmp_path, xmp=XMP), packed(b"xml ", XMP)])
    assert (image.xmp, image.notes) == (XMP, ())


def test_jpeg_xl_is_read_behind_any_metadata(tmp_path):
    pytest.importorskip("pillow_jxl")
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = np.arange(96, dtype=np.uint8).reshape(8, 12)
    stream = imagecodecs.jpegxl_encode(pixels, lossless=True, usecontainer=False)
    start = [(b"JXL ", b"\r\n\x87\n"), (b"ftyp", b"jxl \0\0\0\0jxl ")]
    parts = [*start, (b"xml ", b"<x/>" + b" " * 100_000), (b"jxlc", stream)]
    data = b"".join(struct.pack(">I", 8 + len(c)) + kind + c for kind, c in parts)
    (tmp_path / "late.jxl").write_bytes(data)
    np.testing.assert_array_equal(reader.load(tmp_path / "late.jxl").pixels, pixels)


def test_metadata_of_a_jpeg_file_in_jpeg_xl_is_kept_and_not_said_to_be_lost(tmp_path):
    pytest.importorskip("pillow_jxl")
    exif = exif_block()
    text = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>" + b" " * 2000
    Image.new("RGB", (40, 24), (9, 99, 199)).save(tmp_path / "a.jpg", exif=exif, xmp=text)
    with Image.open(tmp_path / "a.jpg") as image:
        image.save(tmp_path / "a.jxl", lossless_jpeg=True)
    ours, theirs = (reader.load(tmp_path / name) for name in ("a.jxl", "a.jpg"))
    assert not [note for note in ours.notes if "Brotli" in note]
    assert (ours.exif, ours.xmp.rstrip()) == (theirs.exif, theirs.xmp.rstrip())
