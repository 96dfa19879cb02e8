"""TIFF files of several directories, with channels of all kinds, and what is in their tags."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from rdonet_jax.imaging import reader, srgb, writer
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.imaging.metadata.resolution import Resolution
from tests.image_samples import assert_same, drawn

pytestmark = pytest.mark.once

RAW = "is the raw data of a camera, develop it first"
FULL = drawn(3, 8, 24, 40).astype(np.uint8)
DNG = [(50706, "B", 4, b"\1\4\0\0", True)]
CFA, LINEAR_RAW, RGB = 32803, 34892, 2


def refused(path, reason):
    with pytest.raises(ImageError, match=reason) as caught:
        reader.load(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def write_with_inner(path, inner, photometric, outer_kind=1, inner_kind=0, extratags=()):
    """A small page, whose SubIFD is another image."""
    with tifffile.TiffWriter(path) as file:
        file.write(FULL[::2, ::2].copy(), photometric="rgb", subfiletype=outer_kind, subifds=1,
                   metadata=None, extratags=extratags)  # fmt: skip
        file.write(inner, photometric=photometric, subfiletype=inner_kind, metadata=None)


@pytest.mark.parametrize("tags", [DNG, []], ids=["DNG", "without a DNG version"])
@pytest.mark.parametrize("photometric", [CFA, LINEAR_RAW])
def test_camera_raw_behind_a_thumbnail_is_refused(tmp_path, photometric, tags):
    samples = drawn(1 if photometric == CFA else 3, 16).squeeze()
    write_with_inner(tmp_path / "a.dng", samples, photometric, extratags=tags)
    refused(tmp_path / "a.dng", RAW)


def test_a_dng_whose_only_page_is_a_preview_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.dng", FULL, photometric="rgb", metadata=None, extratags=DNG)
    refused(tmp_path / "a.dng", RAW)


def test_camera_raw_of_canon_is_refused(tmp_path):
    """CR2 files begin with previews. Two letters in their header distinguish them."""
    tags = [(256, 2), (257, 2), (258, 8), (259, 1), (262, 1), (273, 120), (277, 1), (279, 4)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    data = b"II*\0" + struct.pack("<I4sIH", 16, b"CR\2\0", 0, len(tags)) + entries
    (tmp_path / "a.cr2").write_bytes(data.ljust(120, b"\0") + b"\1\2\3\4")
    refused(tmp_path / "a.cr2", RAW)


def test_an_image_in_a_subdirectory_behind_a_thumbnail_is_refused_by_name(tmp_path):
    write_with_inner(tmp_path / "a.tif", FULL, RGB)
    refused(tmp_path / "a.tif", "has its image in a subdirectory")
    with pytest.raises(ImageError, match="has its image in a subdirectory"):
        srgb.load(tmp_path / "a.tif")


@pytest.mark.parametrize("outer_kind", [0, 1], ids=["a whole page", "a reduced page"])
def test_reduced_copies_in_a_subdirectory_do_not_matter(tmp_path, outer_kind):
    write_with_inner(tmp_path / "a.tif", FULL[::4, ::4].copy(), RGB, outer_kind, inner_kind=1)
    assert_same(reader.load(tmp_path / "a.tif"), FULL[::2, ::2])


# Channels


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(
    ("photometric", "extra"),
    [("rgb", [0]), ("rgb", [2, 0]), ("rgb", [1, 0]), ("minisblack", [0]), ("minisblack", [2, 0])],
)
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_channels_that_are_no_alpha_are_refused(tmp_path, photometric, extra, depth, planes):
    count = len(extra) + (3 if photometric == "rgb" else 1)
    samples = drawn(count, depth).astype(f"u{depth // 8}")
    tifffile.imwrite(
        tmp_path / "a.tif", samples if planes == "contig" else np.moveaxis(samples, 2, 0),
        photometric=photometric, extrasamples=extra, planarconfig=planes, metadata=None,
    )  # fmt: skip
    refused(tmp_path / "a.tif", "has channels besides colors and alpha")


def test_such_files_are_refused_for_training_too(tmp_path):
    samples = drawn(4, 8).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", extrasamples=[0])
    with pytest.raises(ImageError, match="has channels besides colors and alpha"):
        srgb.load(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "a.dng", FULL, photometric="rgb", extratags=DNG)
    with pytest.raises(ImageError, match=RAW):
        srgb.load(tmp_path / "a.dng")


def test_a_palette_with_another_channel_is_refused(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", drawn(2, 8).astype(np.uint8), photometric="minisblack",
        extrasamples=[0], planarconfig="contig", metadata=None,
        extratags=[(320, "H", 768, bytes(1536), True)],
    )  # fmt: skip
    gray, palette = (struct.pack("<HHII", 262, 3, 1, kind) for kind in (1, 3))
    data = (tmp_path / "a.tif").read_bytes()
    assert gray in data
    (tmp_path / "a.tif").write_bytes(data.replace(gray, palette))
    refused(tmp_path / "a.tif", "has channels besides colors and alpha")


def test_a_volume_is_refused(tmp_path):
    slices = drawn(5, 8, 16, 16).astype(np.uint8).transpose(2, 0, 1)
    tifffile.imwrite(
        tmp_path / "a.tif", slices, photometric="minisblack", volumetric=True, tile=(1, 16, 16),
        metadata=None,
    )  # fmt: skip
    refused(tmp_path / "a.tif", "is a volume of 5 slices")


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(
    ("channels", "planes"), [(2, "contig"), (2, "separate"), (4, "separate"), (4, "contig")]
)
def test_premultiplied_colors_are_divided_by_their_alpha(tmp_path, channels, planes, depth):
    most, dtype = 2**depth - 1, f"u{depth // 8}"
    alpha = np.array([[most, most // 3, 0]], dtype)
    colors = np.array([[[7, 8, 9], [most // 3, 0, most // 6], [0, 0, 0]]], dtype)
    colors = colors[..., : channels - 1]
    stored = np.dstack([colors, alpha])
    tifffile.imwrite(
        tmp_path / "a.tif", stored if planes == "contig" else np.moveaxis(stored, 2, 0),
        photometric="rgb" if channels == 4 else "minisblack", extrasamples=["assocalpha"],
        planarconfig=planes, metadata=None,
    )  # fmt: skip
    image = reader.load(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.alpha, alpha)
    expected = colors.astype(float)
    expected[0, 1] *= most / alpha[0, 1]
    assert image.pixels.dtype == alpha.dtype
    assert np.abs(np.atleast_3d(image.pixels) - expected).max() <= 1


# Metadata


@pytest.mark.parametrize("unit", ["INCH", "CENTIMETER", "NONE"])
def test_a_page_that_tifffile_reads_keeps_its_resolution_upright_and_names_its_iptc(tmp_path, unit):
    tifffile.imwrite(
        tmp_path / "a.tif", drawn(2, 16), photometric="minisblack", extrasamples=["unassalpha"],
        planarconfig="contig", metadata=None, resolution=(300, 150), resolutionunit=unit,
        extratags=[(274, "H", 1, 6, True), (33723, "B", 8, b"\x1c\2\0\0abcd", True)],
    )  # fmt: skip
    image = reader.load(tmp_path / "a.tif")
    assert (
        image.resolution
        == {
            "INCH": Resolution(5906, 11811, True),
            "CENTIMETER": Resolution(15000, 30000, True),
            "NONE": Resolution(150, 300, False),
        }[unit]
    )
    block = Image.Exif()
    block.load(image.exif)
    assert not {274, 282, 283, 296} & set(block)
    assert image.notes == ("without its IPTC data",)


def test_xmp_of_a_page_that_tifffile_reads_is_named_if_it_is_no_text(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", drawn(2, 16), photometric="minisblack", extrasamples=["unassalpha"],
        planarconfig="contig", metadata=None, extratags=[(700, "B", 4, b"\xff\xfe<\1", True)],
    )  # fmt: skip
    image = reader.load(tmp_path / "a.tif")
    assert (image.xmp, image.notes) == (b"", ("without its XMP, which is no text",))


def test_the_resolution_turns_with_the_page_that_is_read(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(FULL[::2, ::2].copy(), photometric="rgb", subfiletype=1, metadata=None)
        file.write(FULL, photometric="rgb", metadata=None, resolution=(300, 150),
                   resolutionunit="INCH", extratags=[(274, "H", 1, 6, True)])  # fmt: skip
    image = reader.load(tmp_path / "a.tif")
    assert image.size == (40, 24) and image.resolution == Resolution(5906, 11811, True)


def interoperability(block):
    block.get_ifd(ExifTags.IFD.Exif)
    return dict(block.get_ifd(ExifTags.IFD.Interop))


def test_the_interoperability_entries_of_exif_data_travel_through_tiff(tmp_path):
    inner = {1: "R98", 2: b"0100"}
    block = Image.Exif()
    block[ExifTags.Base.Make] = "A maker"
    block[ExifTags.IFD.Exif] = {ExifTags.Base.FNumber: 2.0, ExifTags.IFD.Interop: inner}
    Image.fromarray(FULL).save(tmp_path / "a.jpg", exif=block.tobytes())
    writer.save(tmp_path / "a.tif", reader.load(tmp_path / "a.jpg"))
    with Image.open(tmp_path / "a.tif") as file:
        assert interoperability(file.getexif()) == inner
    again = Image.Exif()
    again.load(reader.load(tmp_path / "a.tif").exif)
    assert interoperability(again) == inner


def test_a_dng_version_in_exif_data_does_not_make_a_tiff_file_camera_raw(tmp_path):
    block = Image.Exif()
    block[ExifTags.Base.Make], block[50706] = "A maker", b"\1\4\0\0"
    Image.fromarray(FULL).save(tmp_path / "a.png", exif=block.tobytes())
    writer.save(tmp_path / "a.tif", reader.load(tmp_path / "a.png"))
    assert_same(reader.load(tmp_path / "a.tif"), FULL)
