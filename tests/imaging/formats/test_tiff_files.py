"""TIFF files, made by tifffile: what is read equals how they were made, the rest is named."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from rdonet_jax.imaging import reader, srgb
from rdonet_jax.imaging.errors import ImageError
from tests.image_samples import (
    SMOOTH,
    SRGB,
    assert_same,
    drawn,
    expected_of,
    load,
    tiff,
)
from tests.imaging.formats.conftest import refused

pytestmark = pytest.mark.once


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "zstd"])
@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"rowsperstrip": 5}])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_tiff_of_every_layout_is_read_exactly(
    tmp_path, request, order, compression, layout, depth
):
    if compression not in (None, "zlib"):
        request.getfixturevalue("imagecodecs")
    samples = drawn(3, depth, 33, 35).astype(f"u{depth // 8}")
    data = tiff(samples, byteorder=order, compression=compression, **layout)
    assert_same(load(tmp_path, data, "a.tif"), samples)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"compression": "zlib"}])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_tiff_of_gray_and_alpha_is_read_exactly(tmp_path, order, options, depth):
    samples = drawn(2, depth).astype(f"u{depth // 8}")
    data = tiff(samples, byteorder=order, planarconfig="contig", **options)
    assert_same(load(tmp_path, data, "a.tif"), samples[..., 0], samples[..., 1])


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_with_its_channels_apart_is_read_exactly(tmp_path, depth, compression):
    samples = drawn(3, depth).astype(f"u{depth // 8}")
    planes = np.moveaxis(samples, 2, 0)
    data = tiff(planes, photometric="rgb", planarconfig="separate", compression=compression)
    assert_same(load(tmp_path, data, "a.tif"), samples)


@pytest.mark.usefixtures("imagecodecs")
def test_a_tiff_compressed_by_webp_is_coded_and_is_no_image_for_training(tmp_path, capfd):
    samples = drawn(3, 8, 33, 35).astype(np.uint8)
    data = tiff(samples, compression="webp", compressionargs={"lossless": True})
    assert_same(load(tmp_path, data, "a.tif"), samples)
    with pytest.raises(ImageError, match="a.tif: is TIFF compressed by WebP, which is not read"):
        srgb.inspect(tmp_path / "a.tif")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.usefixtures("imagecodecs")
def test_a_tiff_of_packed_bits_is_read_as_16_bits(tmp_path, bits, channels):
    samples = drawn(channels, bits)
    data = tiff(
        samples.squeeze(), bitspersample=bits, photometric=["rgb", "minisblack"][channels < 3]
    )
    image = load(tmp_path, data, "a.tif")
    assert image.is_16bit
    exact = samples.squeeze() * (65535 / (2**bits - 1))
    assert np.abs(image.pixels - exact).max() <= 0.5


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("depth", [1, 8, 16])
def test_a_tiff_whose_white_is_zero_is_inverted(tmp_path, photometric, depth):
    samples = drawn(1, depth)[..., 0]
    stored = samples.astype(bool if depth == 1 else f"u{depth // 8}")
    image = load(tmp_path, tiff(stored, photometric=photometric), "a.tif")
    pixels, _ = expected_of(samples[..., None], depth)
    most = np.iinfo(pixels.dtype).max
    assert_same(image, most - pixels if photometric == "miniswhite" else pixels)


def test_a_tiff_with_a_palette_is_read_exactly(tmp_path):
    index, colors = drawn(1, 8)[..., 0].astype(np.uint8), drawn(256, 8, 3, 1)[:, 0] * 257
    data = tiff(index, photometric="palette", colormap=colors.astype(np.uint16))
    assert_same(load(tmp_path, data, "a.tif"), (colors.T >> 8).astype(np.uint8)[index])


@pytest.mark.parametrize("channels", [2, 3])
def test_a_tiff_that_tifffile_reads_keeps_profile_exif_and_orientation(tmp_path, channels):
    samples = drawn(channels, 16)
    tags = [(271, "s", 0, "A maker", True), (274, "H", 1, 6, True)]
    if channels == 3:
        data = tiff(
            np.moveaxis(samples, 2, 0), photometric="rgb", planarconfig="separate",
            iccprofile=SRGB, extratags=tags,
        )  # fmt: skip
    else:
        data = tiff(samples, planarconfig="contig", iccprofile=SRGB, extratags=tags)
    image = load(tmp_path, data, "a.tif")
    block = Image.Exif()
    block.load(image.exif)
    assert image.icc == SRGB and block[271] == "A maker" and block.get(274, 1) == 1
    upright = np.rot90(samples, 3)
    np.testing.assert_array_equal(image.pixels, upright if channels == 3 else upright[..., 0])


def test_an_error_names_the_package_that_tiff_needs(tmp_path, monkeypatch):
    data = tiff(drawn(2, 16), planarconfig="contig")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    refused(tmp_path, data, r"pip install 'rdonet-jax\[tiff\]'", "a.tif")


def test_a_bigtiff_with_a_number_of_64_bits_is_read_exactly(tmp_path):
    data = tiff(SMOOTH, bigtiff=True, extratags=[(65006, "Q", 1, 2**40, True)])
    assert_same(load(tmp_path, data, "a.tif"), SMOOTH)


@pytest.mark.parametrize("first", ["image", "thumbnail", "mask"])
def test_tiff_pages_that_are_copies_or_masks_do_not_count(tmp_path, first):
    pages = {
        "image": (SMOOTH, 0),
        "thumbnail": (SMOOTH[::2, ::2], 1),
        "mask": (SMOOTH[..., 0] > 99, 4),
    }
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for name in sorted(pages, key=lambda name: name != first):
            samples, kind = pages[name]
            file.write(np.ascontiguousarray(samples), subfiletype=kind, metadata=None,
                       photometric="rgb" if samples.ndim == 3 else "mask")  # fmt: skip
    assert_same(reader.load(tmp_path / "a.tif"), SMOOTH)


def test_a_thumbnail_before_an_image_of_16_bits_is_passed_over(tmp_path):
    is_16bit = drawn(3, 16, 24, 40)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(SMOOTH[::2, ::2].copy(), subfiletype=1, photometric="rgb", metadata=None)
        file.write(is_16bit, photometric="rgb", metadata=None)
    assert_same(reader.load(tmp_path / "a.tif"), is_16bit)


@pytest.mark.parametrize(
    ("dtype", "photometric", "channels", "reason"),
    [
        ("i1", "minisblack", 1, "holds signed numbers"),
        ("i2", "minisblack", 1, "holds signed numbers"),
        ("i4", "minisblack", 1, "holds signed numbers"),
        ("i1", "rgb", 3, "holds signed numbers"),
        ("f4", "minisblack", 1, "holds floating-point numbers"),
        ("f2", "rgb", 3, "holds floating-point numbers"),
        ("f4", "rgb", 3, "holds floating-point numbers"),
        ("u4", "minisblack", 1, "has 32 bits per channel"),
        ("u1", "separated", 4, "is CMYK"),
        ("u2", "separated", 4, "is CMYK"),
        ("u2", "cielab", 3, "is CIE L"),
        ("u2", "cfa", 1, "is the raw data of a camera"),
    ],
)
def test_a_tiff_that_cannot_be_coded_is_named(tmp_path, dtype, photometric, channels, reason):
    samples = np.zeros((11, 13, channels), dtype).squeeze()
    more = {"extrasamples": ()} if channels == 4 else {}
    refused(tmp_path, tiff(samples, photometric=photometric, **more), reason, "a.tif")


def test_a_tiff_of_five_channels_is_refused(tmp_path):
    samples = drawn(5, 16)
    data = tiff(samples, photometric="rgb", extrasamples=[0, 0], planarconfig="contig")
    refused(tmp_path, data, "channels besides colors and alpha", "a.tif")


def test_the_first_page_of_16_bits_is_read_by_either_library(tmp_path):
    for channels, number in ((3, 0), (2, 1)):
        pages = [drawn(channels, 16, seed=seed) for seed in range(3)]
        path = tmp_path / f"{number}.tif"
        with tifffile.TiffWriter(path) as file:
            for page in pages:
                file.write(page, metadata=None, planarconfig="contig",
                           photometric="rgb" if channels == 3 else "minisblack",
                           extrasamples=["unassalpha"] if channels == 2 else None)  # fmt: skip
        image = reader.load(path, first_frame=True)
        found = image.pixels if channels == 3 else np.dstack([image.pixels, image.alpha])
        np.testing.assert_array_equal(found, pages[0])


def test_signed_numbers_are_refused_for_training_too(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), np.int8), photometric="minisblack")
    with pytest.raises(ImageError, match="holds signed numbers"):
        srgb.load(tmp_path / "a.tif")
