"""Images of Pillow: what the plug-in and `compress` make of modes, orientations and profiles."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

import rdonet_jax
import rdonet_jax.pillow_plugin
from rdonet_jax.imaging import pixel_format, reader
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.resolution import Resolution
from tests.image_samples import SRGB, SWAPPED, exif_block

pytestmark = pytest.mark.usefixtures("mini_as_standard")


@pytest.fixture
def image(photograph):
    return np.ascontiguousarray(photograph[:70, :90])


def saved(pil_image, **options):
    file = io.BytesIO()
    pil_image.save(file, "RDO", quality=40, **options)
    return file.getvalue()


def opened(data):
    return Image.open(io.BytesIO(data))


# Orientation

NOTATIONS = {
    "attribute": b'<x tiff:Orientation="6"/>',
    "element": b"<x><tiff:Orientation>6</tiff:Orientation></x>",
    "a notation that Pillow does not recognize": b"<x tiff:Orientation = '6'/>",
}
with_xmp = pytest.mark.parametrize("text", NOTATIONS.values(), ids=NOTATIONS)


@with_xmp
@pytest.mark.parametrize(
    "exif",
    [b"", exif_block(), exif_block(1), exif_block(3)],
    ids=["no EXIF", "EXIF that does not say", "upright", "upside down"],
)
def test_the_plug_in_and_the_reader_turn_an_image_as_pillow_does(image, tmp_path, text, exif):
    options = {"exif": b"Exif\0\0" + exif} if exif else {}
    Image.fromarray(image).save(tmp_path / "a.webp", lossless=True, xmp=text, **options)
    with Image.open(tmp_path / "a.webp") as source:
        upright = np.asarray(ImageOps.exif_transpose(source))
        data = saved(source)
    found = reader.load(tmp_path / "a.webp")
    np.testing.assert_array_equal(found.pixels, upright)
    expected = rdonet_jax.compress(upright, quality=40)
    np.testing.assert_array_equal(rdonet_jax.decompress(data), rdonet_jax.decompress(expected))
    assert opened(data).info["xmp"] == found.xmp == text.replace(b"6", b"1")


@pytest.mark.parametrize("tags", [{700: NOTATIONS["element"]}, {274: 6},
                                  {274: 6, 700: NOTATIONS["element"]}])  # fmt: skip
def test_tiff_files_are_turned_once_with_their_resolution(image, tmp_path, tags):
    Image.fromarray(image).save(tmp_path / "a.tif", dpi=(300, 150), tiffinfo=tags)
    found = reader.load(tmp_path / "a.tif")
    np.testing.assert_array_equal(found.pixels, np.rot90(image, 3))
    assert found.resolution == Resolution(5906, 11811, True)
    with Image.open(tmp_path / "a.tif") as source:
        data = saved(source)
    expected = rdonet_jax.compress(np.ascontiguousarray(np.rot90(image, 3)), quality=40)
    np.testing.assert_array_equal(rdonet_jax.decompress(data), rdonet_jax.decompress(expected))
    with Image.open(tmp_path / "a.tif") as source:
        again = rdonet_jax.decompress(rdonet_jax.compress(source, quality=40))
    np.testing.assert_array_equal(again, rdonet_jax.decompress(expected))


def test_xmp_of_an_image_that_does_not_stand_upright_is_a_value_error(image):
    with pytest.raises(ValueError, match="XMP says that the image does not stand upright: turn it"):
        rdonet_jax.compress(image, xmp=b'<x tiff:Orientation="6"/>')
    rdonet_jax.compress(image, xmp=b'<x tiff:Orientation="1"/>')


# Colors


def test_code_points_are_saved_again_with_the_profile_that_came_with_them(image):
    source = opened(rdonet_jax.compress(image, cicp=Cicp(12, 13)))
    for again in (
        saved(source),
        saved(source.convert("RGB"), icc_profile=source.info["icc_profile"]),
    ):
        assert opened(again).info["cicp"] == Cicp(12, 13)
    hdr = opened(rdonet_jax.compress(image, cicp=Cicp(9, 16)))
    assert opened(saved(hdr, icc_profile=None)).info["cicp"] == Cicp(9, 16)
    both = opened(rdonet_jax.compress(image, cicp=Cicp(9, 16), icc=SWAPPED))
    assert opened(saved(both)).info["cicp"] == Cicp(9, 16)


@pytest.mark.parametrize("profile", [SRGB, None])
def test_code_points_are_left_out_with_another_profile(image, profile):
    source = opened(rdonet_jax.compress(image, cicp=Cicp(12, 13)))
    info = opened(saved(source, icc_profile=profile)).info
    assert "cicp" not in info and info.get("icc_profile") == profile


def test_code_points_are_left_out_after_a_conversion_in_place(image):
    source = opened(rdonet_jax.compress(image, cicp=Cicp(12, 13)))
    wide = ImageCms.ImageCmsProfile(io.BytesIO(source.info["icc_profile"]))
    ImageCms.profileToProfile(source, wide, ImageCms.createProfile("sRGB"), inPlace=True)
    info = opened(saved(source)).info
    assert "cicp" not in info and info["icc_profile"] == source.info["icc_profile"]


# Modes


def test_the_alpha_of_a_palette_is_saved(image):
    palette = np.random.default_rng(0).integers(0, 256, (16, 4), np.uint8)
    index = image[..., 0] % 16
    source = Image.fromarray(index)
    source.putpalette(palette.tobytes(), "RGBA")
    assert source.mode == "P"
    again = np.asarray(opened(saved(source)))
    np.testing.assert_array_equal(again[..., 3], palette[index][..., 3])


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_an_image_of_pillow_is_compressed_as_its_array_is(image, mode):
    array = np.dstack([image, image[..., 0]])
    array = {
        "L": array[..., 0], "LA": array[..., 2:], "RGB": image, "RGBA": array,
        "I;16": pixel_format.to_uint16(image[..., 0]),
    }[mode]  # fmt: skip
    pil_image = Image.fromarray(np.ascontiguousarray(array))
    assert pil_image.mode == mode
    assert rdonet_jax.compress(pil_image) == rdonet_jax.compress(array)


@pytest.mark.parametrize("mode", ["1", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "RGBX"])
def test_images_of_pillow_in_other_modes_are_a_value_error(mode):
    words = rf"mode L, LA, RGB, RGBA or I;16, not {mode}: convert it first"
    with pytest.raises(ValueError, match=words):
        rdonet_jax.compress(Image.new(mode, (8, 8)))


def test_images_of_pillow_that_show_something_else_than_their_array_are_a_value_error(image):
    pil_image = Image.fromarray(image)
    pil_image.info["transparency"] = (1, 2, 3)
    with pytest.raises(ValueError, match="transparent color, which its array lacks"):
        rdonet_jax.compress(pil_image)
    for metadata in {"exif": b"Exif\0\0" + exif_block(6)}, {"xmp": NOTATIONS["attribute"]}:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", **metadata)
        with pytest.raises(ValueError, match="does not stand upright: turn it first"):
            rdonet_jax.compress(Image.open(file))
    rdonet_jax.compress(ImageOps.exif_transpose(Image.open(file)))


def test_invalid_exif_data_of_an_image_of_pillow_does_not_matter(image):
    pil_image = Image.fromarray(image)
    pil_image.info["exif"] = b"garbage"
    assert rdonet_jax.compress(pil_image) == rdonet_jax.compress(image)


def test_a_damaged_image_of_pillow_is_a_value_error(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    with pytest.raises(ValueError, match="these are no pixels: "):
        rdonet_jax.compress(Image.open(io.BytesIO(file.getvalue()[:3000])))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_arrays_of_the_other_byte_order_give_the_same_file(image, channels):
    wide = np.dstack([image, image[..., 0]])[..., :channels].astype(np.uint16) * 200
    swapped = wide.astype(wide.dtype.newbyteorder("S"))
    assert swapped.tobytes() != wide.tobytes()
    assert rdonet_jax.compress(swapped) == rdonet_jax.compress(wide)


def test_opaque_alpha_and_an_axis_of_one_channel_are_dropped(image):
    opaque = np.full(image.shape[:2], 255, np.uint8)
    data = rdonet_jax.compress(np.dstack([image, opaque]))
    assert data == rdonet_jax.compress(image) and rdonet_jax.decompress(data).shape == image.shape
    data = rdonet_jax.compress(image[..., :1])
    assert rdonet_jax.decompress(data).shape == image.shape[:2]


def test_a_damaged_file_that_pillow_reads_late_is_a_value_error():
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    start, first, second = file.getvalue().partition(b"IDAT")
    second = second.replace(b"IDAT", b"\0\0\0\0")
    with pytest.raises(ValueError, match="these are no pixels"):
        rdonet_jax.compress(opened(start + first + second))
