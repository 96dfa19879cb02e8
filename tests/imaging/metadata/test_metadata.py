"""EXIF data and profiles of image files: what is applied, what is kept, what is dropped."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from rdonet_jax.imaging import reader
from rdonet_jax.imaging.errors import ImageError
from tests.image_samples import (
    CHANNELS,
    SRGB,
    SWAPPED,
    assert_same,
    drawn,
    exif_block,
    expected_of,
    load,
    png,
)

pytestmark = pytest.mark.once


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif"])
def test_the_orientation_is_applied_and_the_exif_data_becomes_upright(
    tmp_path, suffix, orientation
):
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = 250
    stored = np.ascontiguousarray(turned(upright, orientation))
    data = exif_block(orientation)
    Image.fromarray(stored).save(tmp_path / f"a.{suffix}", exif=b"Exif\0\0" + data)
    image = reader.load(tmp_path / f"a.{suffix}")
    assert image.size == (16, 24)
    assert np.abs(image.pixels.astype(int) - upright).max() < 20
    if suffix in ("png", "jpg", "webp"):
        assert image.exif == exif_block(1)
    block = Image.Exif()
    block.load(image.exif)
    assert block.get(ExifTags.Base.Orientation, 1) == 1
    assert block[ExifTags.Base.Make] == "A maker"
    assert block.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] == 0.02


def turned(upright, orientation):
    """How a camera held that way stores the scene, by the definition of each orientation."""
    flipped = upright.swapaxes(0, 1)
    return {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: flipped,
        6: flipped[::-1],
        7: flipped[::-1, ::-1],
        8: flipped[:, ::-1],
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["gray", "rgb", "gray-alpha"])
def test_the_orientation_is_applied_to_16_bits(tmp_path, kind, orientation):
    samples = drawn(CHANNELS[kind], 16)
    stored = turned(samples, orientation)
    data = png(stored, kind, 16, before=[(b"eXIf", exif_block(orientation))])
    assert_same(load(tmp_path, data), *expected_of(samples, 16))


@pytest.mark.parametrize("orientation", [3, 6])
def test_the_orientation_is_applied_to_tiff_of_16_bits(tmp_path, orientation):
    samples = drawn(3, 16)
    tifffile.imwrite(
        tmp_path / "a.tif", turned(samples, orientation), photometric="rgb", metadata=None,
        extratags=[(274, "H", 1, orientation, True)],
    )  # fmt: skip
    assert_same(reader.load(tmp_path / "a.tif"), samples)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif"])
def test_the_profile_and_the_colors_stay_as_they_are(tmp_path, suffix):
    source = np.full((16, 16, 3), (250, 5, 5), np.uint8)
    Image.fromarray(source).save(tmp_path / f"a.{suffix}", icc_profile=SWAPPED, quality=100)
    image = reader.load(tmp_path / f"a.{suffix}")
    assert image.icc == SWAPPED
    assert np.abs(image.pixels.astype(int) - source).max() < 8


@pytest.mark.parametrize(("profile", "color"), [(SRGB, (255, 0, 0)), (SWAPPED, (0, 0, 255))])
def test_stripped_of_its_profile_an_image_is_in_srgb(tmp_path, profile, color):
    source = Image.new("RGBA", (4, 4), (255, 0, 0, 9))
    source.save(tmp_path / "a.png", icc_profile=profile, exif=b"Exif\0\0" + exif_block())
    image = reader.load(tmp_path / "a.png", strip=True)
    assert (image.icc, image.exif) == (b"", b"")
    assert np.abs(image.pixels.astype(int) - color).max() <= 2
    assert (image.alpha == 9).all()


def test_a_gray_image_stripped_of_its_profile_stays_gray(tmp_path):
    Image.linear_gradient("L").save(tmp_path / "a.png", icc_profile=SWAPPED)
    assert reader.load(tmp_path / "a.png", strip=True).gray


def test_16_bits_in_another_color_space_keep_their_profile(tmp_path):
    for name, profile in {"same": SRGB, "other": SWAPPED}.items():
        tifffile.imwrite(
            tmp_path / f"{name}.tif", drawn(3, 16), photometric="rgb", iccprofile=profile
        )
    assert reader.load(tmp_path / "same.tif", strip=True).icc == b""
    assert reader.load(tmp_path / "other.tif").icc == SWAPPED
    with pytest.raises(ImageError, match=r"other\.tif: has 16 bits in another color space"):
        reader.load(tmp_path / "other.tif", strip=True)
