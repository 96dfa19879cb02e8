"""The metadata of image files, read from chunks, segments and tags that the tests make."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from rdonet_jax.imaging import reader, writer
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.resolution import Resolution
from rdonet_jax.imaging.pixel_format import ImageData
from tests.image_samples import SWAPPED, drawn, load, png

pytestmark = pytest.mark.once

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">\xc3\xa4 <tiff:Orientation>6</tiff:Orientation>'
UPRIGHT_XMP = XMP.replace(b">6<", b">1<")
P3 = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
OF_SRGB = struct.pack(">8I", 31269, 32899, 63999, 33001, 30000, 60000, 15000, 5999)
PROFILE = (b"iCCP", b"a\0\0" + zlib.compress(SWAPPED))


def gamma(value):
    return b"gAMA", struct.pack(">I", value)


def png_with(*chunks, kind="rgb", depth=8):
    return png(drawn({"rgb": 3, "gray": 1}[kind], depth), kind, depth, before=list(chunks))


def jpeg_with(*segments, size=(24, 16), density=None):
    """A JPEG file with more segments, (marker, content), and another density than none."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 100, 50)).save(buffer, "JPEG")
    data = buffer.getvalue()
    if density is not None:
        data = data[:13] + struct.pack(">BHH", *density) + data[18:]
    more = [bytes([255, m]) + struct.pack(">H", 2 + len(c)) + c for m, c in segments]
    return data[:20] + b"".join(more) + data[20:]


def in_srgb(image, color):
    """What a color of the image's profile is."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(image.icc))
    mode = "L" if image.gray else "RGB"
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    return ImageCms.applyTransform(Image.new(mode, (1, 1), color), transform).getpixel((0, 0))


# Texts


@pytest.mark.parametrize(
    ("chunks", "note"),
    [
        ([(b"tEXt", b"Title\0a")], ("without its text entry",)),
        (
            [(b"tEXt", b"Title\0a"), (b"iTXt", b"Author\0\0\0\0\0b")],
            ("without its 2 text entries",),
        ),
        ([(b"zTXt", b"Comment\0\0" + zlib.compress(b"c"))], ("without its text entry",)),
        ([(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)], ()),
        ([], ()),
    ],
)
def test_texts_of_a_png_file_are_noted_unless_they_are_metadata_that_travels(
    tmp_path, chunks, note
):
    assert load(tmp_path, png_with(*chunks)).notes == note


@pytest.mark.parametrize(
    ("segment", "note"),
    [
        ((0xFE, b"a comment"), "comment"),
        (
            (0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x02ab"),
            "IPTC data and other data of Photoshop",
        ),
    ],
)
def test_comments_and_iptc_data_of_a_jpeg_file_are_noted(tmp_path, segment, note):
    assert load(tmp_path, jpeg_with(segment)).notes == (f"without its {note}",)


@pytest.mark.parametrize("tag", [33723, 34377])
def test_iptc_data_of_a_tiff_file_are_noted(tmp_path, tag):
    buffer = io.BytesIO()
    extra = [(tag, 7, 4, b"\x1c\x02\0\0", True)]
    tifffile.imwrite(buffer, drawn(3, 8), photometric="rgb", extratags=extra)
    assert load(tmp_path, buffer.getvalue()).notes == ("without its IPTC data",)


# Colors of PNG


@pytest.mark.parametrize("kind", ["rgb", "gray"])
@pytest.mark.parametrize("depth", [8, 16])
def test_linear_light_becomes_a_profile_that_shows_128_as_188(tmp_path, kind, depth):
    image = load(tmp_path, png_with(gamma(100000), kind=kind, depth=depth))
    assert in_srgb(image, 128 if kind == "gray" else (128,) * 3) == (188, 188, 188)
    assert image.notes == ()


@pytest.mark.parametrize("chunks", [[gamma(45455), (b"cHRM", P3)], [(b"cHRM", P3)]])
def test_wide_primaries_become_a_profile(tmp_path, chunks):
    image = load(tmp_path, png_with(*chunks))
    red = in_srgb(image, (200, 30, 30))
    assert red[0] > 212 and red[1] < 20  # beyond what sRGB's red would be


@pytest.mark.parametrize(
    "chunks",
    [
        [gamma(45455)], [gamma(45455), (b"cHRM", OF_SRGB)], [(b"sRGB", b"\0")],
        [(b"sRGB", b"\0"), gamma(100000), (b"cHRM", P3)], [(b"cICP", b"\x01\x0d\0\1")],
        [(b"cICP", b"\x01\x0d\0\1"), gamma(100000)],
    ],
)  # fmt: skip
def test_files_that_are_srgb_get_no_profile(tmp_path, chunks):
    image = load(tmp_path, png_with(*chunks))
    assert (image.icc, image.cicp, image.notes) == (b"", None, ())


def test_profiles_and_code_points_count_more_than_gamma(tmp_path):
    image = load(tmp_path, png_with(gamma(100000), PROFILE))
    assert (image.icc, image.cicp) == (SWAPPED, None)
    image = load(tmp_path, png_with(gamma(100000), (b"cICP", b"\x09\x10\0\1")))
    assert (image.icc, image.cicp) == (b"", Cicp(9, 16))
    image = load(tmp_path, png_with((b"cICP", b"\x01\x0d\0\1"), PROFILE))
    assert (image.icc, image.cicp) == (SWAPPED, Cicp(1, 13))


@pytest.mark.parametrize(
    ("chunks", "note"),
    [
        ([gamma(0)], "gamma and chromaticities (gAMA, cHRM), which make no sense"),
        ([(b"cHRM", bytes(32))], "gamma and chromaticities (gAMA, cHRM), which make no sense"),
        ([(b"cICP", b"\1\1\1\1")], "code points of colors (cICP), which are illegal"),
        ([(b"mDCV", bytes(24))], "mastering display (mDCV)"),
        ([(b"cLLI", bytes(8)), (b"cICP", b"\x09\x10\0\1")], "content light level (cLLI)"),
    ],
)
def test_what_cannot_travel_is_in_the_notes(tmp_path, chunks, note):
    assert load(tmp_path, png_with(*chunks)).notes == (f"without its {note}",)


def test_stripping_converts_what_gamma_and_code_points_mean(tmp_path):
    gray = np.full((4, 4, 3), 128, np.uint16)
    linear = png(gray, "rgb", 8, before=[gamma(100000)])
    assert (load(tmp_path, linear, strip=True).pixels == 188).all()
    numbers = png(
        gray, "rgb", 8, before=[(b"cICP", b"\x01\x08\0\1"), (b"pHYs", b"\0\0\1\0" * 2 + b"\1")]
    )
    image = load(tmp_path, numbers, strip=True)
    assert (image.pixels == 188).all()
    assert (image.cicp, image.resolution, image.xmp) == (None, None, b"")
    with pytest.raises(ImageError, match="BT.2020 with PQ, which are not converted"):
        load(tmp_path, png_with((b"cICP", b"\x09\x10\0\1")), strip=True)


# How large pixels are


@pytest.mark.parametrize(
    ("x", "y", "unit", "expected"),
    [
        (11811, 11811, 1, Resolution(11811, 11811, True)), (1, 2, 0, Resolution(1, 2, False)),
        (2**31 - 1, 1, 1, Resolution(2**31 - 1, 1, True)), (5, 5, 0, None), (0, 5, 1, None),
    ],
)  # fmt: skip
def test_the_resolution_of_png(tmp_path, x, y, unit, expected):
    image = load(tmp_path, png_with((b"pHYs", struct.pack(">IIB", x, y, unit))))
    assert image.resolution == expected


@pytest.mark.parametrize(
    ("density", "expected"),
    [
        ((1, 300, 300), Resolution(11811, 11811, True)),
        ((2, 118, 59), Resolution(11800, 5900, True)),
        ((0, 1, 2), Resolution(1, 2, False)), ((0, 1, 1), None), ((1, 0, 0), None),
    ],
)  # fmt: skip
def test_the_resolution_of_jpeg(tmp_path, density, expected):
    assert load(tmp_path, jpeg_with(density=density), "a.jpg").resolution == expected


def test_the_resolution_in_exif_data_stays_there(tmp_path):
    block = Image.Exif()
    block[282], block[283], block[296] = 300.0, 300.0, 2
    data = block.tobytes().removeprefix(b"Exif\0\0")
    image = load(tmp_path, jpeg_with((0xE1, b"Exif\0\0" + data)), "a.jpg")
    assert (image.exif, image.resolution) == (data, None)


@pytest.mark.parametrize(("unit", "meter"), [(2, 11811), (3, 30000), (1, None)])
def test_the_resolution_of_tiff_turns_with_the_image(tmp_path, unit, meter):
    tifffile.imwrite(
        tmp_path / "a.tif", drawn(3, 8).astype(np.uint8), photometric="rgb", metadata=None,
        resolution=(300, 150), resolutionunit=unit, extratags=[(274, "I", 1, 6, True)],
    )  # fmt: skip
    image = reader.load(tmp_path / "a.tif")
    assert image.size == (13, 11)
    wanted = (150, 300) if meter is None else (round(meter / 2), meter)
    found = image.resolution
    assert found.metric == (meter is not None)
    np.testing.assert_allclose(found[:2], wanted, atol=1)
    block = Image.Exif()
    if image.exif:
        block.load(image.exif)
    assert not {274, 282, 283, 296} & set(block)


def test_files_without_the_entry_have_no_resolution(tmp_path):
    for suffix in (".png", ".tif", ".jpg", ".webp", ".avif", ".ppm"):
        writer.save(tmp_path / f"a{suffix}", ImageData(np.zeros((9, 9, 3), np.uint8)))
        assert reader.load(tmp_path / f"a{suffix}").resolution is None


# XMP


def test_xmp_is_read_from_every_format_with_an_upright_orientation(tmp_path):
    text = b"XML:com.adobe.xmp" + bytes(5) + XMP
    found = [load(tmp_path, png_with((b"iTXt", text)))]
    segment = (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
    found.append(load(tmp_path, jpeg_with(segment), "a.jpg"))
    tifffile.imwrite(
        tmp_path / "a.tif", drawn(3, 8).astype(np.uint8), photometric="rgb", metadata=None,
        extratags=[(700, "B", len(XMP), XMP, True)],
    )  # fmt: skip
    found.append(reader.load(tmp_path / "a.tif"))
    for suffix in ("webp", "avif"):
        Image.new("RGB", (24, 16)).save(tmp_path / f"a.{suffix}", xmp=XMP)
        found.append(reader.load(tmp_path / f"a.{suffix}"))
    silent = XMP.replace(b"<tiff:Orientation>6</tiff:Orientation>", b"")
    for image in found:
        assert image.xmp in (UPRIGHT_XMP, silent) and image.notes == ()
    assert found[0].size == (13, 11)  # as Pillow turns it, where EXIF data does not say


@pytest.mark.parametrize("text", [b"\xff\xfe<\0", b"a\0b"])
def test_xmp_that_is_no_text_is_left_out_with_a_note(tmp_path, text):
    segment = (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + text)
    image = load(tmp_path, jpeg_with(segment), "a.jpg")
    assert (image.xmp, image.notes) == (b"", ("without its XMP, which is no text",))


# EXIF data that is none


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("data", [b"garbage garbage", b"MM\0!\0\0\0\x08\0\0\0\0", b"II*\0"])
def test_exif_data_that_is_none_is_left_out_with_a_note(tmp_path, data, depth):
    note = ("without what it calls EXIF data, which is none",)
    image = load(tmp_path, jpeg_with((0xE1, b"Exif\0\0" + data)), "a.jpg")
    assert (image.exif, image.notes, image.size) == (b"", note, (16, 24))
    image = load(tmp_path, png_with((b"eXIf", data), depth=depth))
    assert (image.exif, image.notes, image.size) == (b"", note, (11, 13))
    assert image.is_16bit == (depth == 16)


# Further images in a file


GAIN_MAP = b'<x hdrgm:Version="1.0" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"/>'


@pytest.mark.parametrize(
    ("xmp", "count", "notes"),
    [
        (b"", 1, ["1 further image (a gain map, a preview or another view)"]),
        (b"", 2, ["2 further images (a gain map, a preview or another view)"]),
        (GAIN_MAP, 1, ["gain map"]),
        (b'<a Item:Semantic="Primary"/><a Item:Semantic="GainMap"/>', 1, ["gain map"]),
        (b'<a Item:Semantic="Primary"/><a Item:Semantic="MotionPhoto"/>', 0, ["video"]),
        (b'<a xmpNote:HasExtendedXMP="0"/>', 0, None),
    ],
)
def test_what_a_jpeg_file_holds_after_its_image_is_noted(tmp_path, xmp, count, notes):
    written = Image.new("RGB", (24, 16))
    further = {"save_all": True, "append_images": [Image.new("RGB", (8, 8))] * count}
    written.save(
        tmp_path / "a.jpg", "MPO" if count else "JPEG", xmp=xmp, **(further if count else {})
    )
    image = reader.load(tmp_path / "a.jpg")
    expected = ["the second part of its XMP"] if notes is None else [f"its {n}" for n in notes]
    assert image.notes == tuple(f"without {words}" for words in expected)
