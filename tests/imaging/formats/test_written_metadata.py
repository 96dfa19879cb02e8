"""The metadata of image files, written: chunks, segments and tags, and what is left out."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms

from rdonet_jax.imaging import reader, writer
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.resolution import Resolution
from rdonet_jax.imaging.pixel_format import ImageData
from tests.image_samples import SRGB, chunk, drawn, exif_block

pytestmark = pytest.mark.once

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">\xc3\xa4 <tiff:Orientation>6</tiff:Orientation>'
UPRIGHT_XMP = XMP.replace(b">6<", b">1<")
RICH = ImageData(
    drawn(3, 8, 40, 56).astype(np.uint8),
    xmp=UPRIGHT_XMP,
    cicp=Cicp(12, 13),
    resolution=Resolution(11811, 5906, True),
    exif=exif_block(1),
)


def written(tmp_path, suffix, image=RICH):
    notes = writer.save(tmp_path / f"a{suffix}", image, force=True)
    return (tmp_path / f"a{suffix}").read_bytes(), notes


@pytest.mark.parametrize("is_16bit", [False, True])
def test_png_gets_the_chunks_before_its_pixels(tmp_path, is_16bit):
    pixels = RICH.pixels.astype(np.uint16) if is_16bit else RICH.pixels
    data, notes = written(tmp_path, ".png", ImageData(pixels, None, b"", *_along(RICH)))
    assert notes == ()
    for each in (
        chunk(b"cICP", b"\x0c\x0d\0\1"),
        chunk(b"pHYs", struct.pack(">IIB", 11811, 5906, 1)),
        chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + UPRIGHT_XMP),
    ):
        assert 0 < data.index(each) < data.index(b"IDAT")
    Image.open(io.BytesIO(data)).load()


def _along(image):
    return image.exif, image.xmp, image.cicp, image.resolution


def test_jpeg_gets_density_xmp_and_a_profile(tmp_path):
    data, notes = written(tmp_path, ".jpg")
    assert notes == () and data[13:18] == struct.pack(">BHH", 1, 300, 150)
    size = struct.pack(">H", 2 + 29 + len(UPRIGHT_XMP))
    assert b"\xff\xe1" + size + b"http://ns.adobe.com/xap/1.0/\0" + UPRIGHT_XMP in data
    profile = ImageCms.ImageCmsProfile(io.BytesIO(Image.open(io.BytesIO(data)).info["icc_profile"]))
    assert "Display P3" in ImageCms.getProfileDescription(profile)
    assert Image.open(io.BytesIO(data)).getexif()[ExifTags.Base.Make] == "A maker"


@pytest.mark.parametrize(
    ("resolution", "unit", "pair"),
    [
        (Resolution(11811, 5906, True), 2, (300, 150)),
        (Resolution(11800, 5900, True), 3, (118, 59)),
        (Resolution(3, 2, False), 1, (3, 2)),
    ],
)
def test_tiff_gets_tags(tmp_path, resolution, unit, pair):
    image = ImageData(RICH.pixels, xmp=UPRIGHT_XMP, resolution=resolution)
    data, notes = written(tmp_path, ".tif", image)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = {tag.code: tag.value for tag in file.pages[0].tags}
    assert notes == () and tags[700] == UPRIGHT_XMP and tags[296] == unit
    assert tuple(a / b for a, b in (tags[282], tags[283])) == pair


@pytest.mark.parametrize(
    ("suffix", "lost"),
    [(".webp", ["resolution"]), (".avif", ["resolution"]), (".bmp", ["EXIF data", "XMP"]),
     (".ppm", ["EXIF data", "XMP", "resolution"])],
)  # fmt: skip
def test_metadata_that_other_formats_cannot_hold_is_noted(tmp_path, suffix, lost):
    data, notes = written(tmp_path, suffix)
    name = suffix[1:].upper()
    colors = [f"without what its colors are (Display P3 with sRGB), which {name} cannot hold"]
    assert notes == (
        *(colors if suffix in (".bmp", ".ppm") else []),
        *(f"without its {what}, which {name} cannot hold" for what in lost),
    )
    if "XMP" not in lost:
        assert UPRIGHT_XMP in data


def test_code_points_are_written_to_the_color_box_of_avif(tmp_path):
    image = ImageData(RICH.pixels, cicp=Cicp(9, 16))
    data, notes = written(tmp_path, ".avif", image)
    assert notes == () and b"colrnclx\0\x09\0\x10" in data
    assert reader.load(tmp_path / "a.avif").cicp == Cicp(9, 16)
    _, notes = written(tmp_path, ".jpg", image)
    assert notes == ("without what its colors are (BT.2020 with PQ), which JPEG cannot hold",)


def test_xmp_that_is_too_long_for_jpeg_is_left_out_with_a_note(tmp_path):
    fits, long = b"x" * 65504, b"x" * 65505
    data, notes = written(tmp_path, ".jpg", ImageData(RICH.pixels, xmp=fits))
    assert notes == () and fits in data
    _, notes = written(tmp_path, ".jpg", ImageData(RICH.pixels, xmp=long))
    assert notes == ("without its XMP, which JPEG cannot hold",)


@pytest.mark.parametrize("alpha", [False, True])
def test_gray_in_avif_is_monochrome_and_has_its_profile_for_gray(tmp_path, alpha):
    gray = np.tile(np.arange(0, 240, 4, np.uint8), (40, 1))
    profile = SRGB[:16] + b"GRAY" + SRGB[20:]
    image = ImageData(gray, np.roll(gray, 9, axis=1) if alpha else None, icc=profile)
    data, notes = written(tmp_path, ".avif", image)
    places = [i for i in range(len(data)) if data[i : i + 4] == b"av1C"]
    assert notes == () and places
    assert all(data[place + 6] & 0x10 for place in places)
    again = reader.load(tmp_path / "a.avif")
    assert again.gray and (again.alpha is not None) == alpha
    assert np.abs(again.pixels.astype(int) - gray).mean() < 2
