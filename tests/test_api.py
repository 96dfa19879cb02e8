"""Arrays to bytes and back, and the same by way of Pillow."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

import rdonet_jax
from rdonet_jax import api, bitstream, content, pillow_plugin, zoo
from rdonet_jax.cicp import Cicp
from rdonet_jax.targets import Target


@pytest.fixture(autouse=True)
def bundle(monkeypatch, mini_weights):
    """Lets the package hold the mini model under the default's name."""
    api._model.cache_clear()
    monkeypatch.setattr(zoo, "bundled", lambda: {"standard": mini_weights})
    yield
    api._model.cache_clear()


@pytest.fixture
def image(photograph):
    return np.ascontiguousarray(photograph[:100, :90])


def with_alpha(pixels):
    alpha = np.zeros(pixels.shape[:2], pixels.dtype)
    alpha[20:80, 30:60] = np.iinfo(pixels.dtype).max
    alpha[:20] = 77
    return np.concatenate([np.atleast_3d(pixels), alpha[..., None]], axis=2)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("gray", [False, True])
def test_arrays_of_every_form_come_back_in_it(image, gray, alpha, deep):
    pixels = image[..., 1] if gray else image
    pixels = content.deepened(pixels) if deep else pixels
    pixels = with_alpha(pixels) if alpha else pixels
    back = rdonet_jax.decompress(rdonet_jax.compress(pixels, quality=90))
    assert (back.shape, back.dtype) == (pixels.shape, pixels.dtype)
    if alpha:
        np.testing.assert_array_equal(back[..., -1], pixels[..., -1])
        back, pixels = (np.where(v[..., -1:] > 0, v, 0) for v in (back, pixels))
    assert content.psnr(pixels, back) > 18


def test_a_target_stands_in_for_a_quality(image):
    size = len(rdonet_jax.compress(image, 60))
    assert len(rdonet_jax.compress(image, target=Target(size=size))) <= size
    with pytest.raises(ValueError, match="not both"):
        rdonet_jax.compress(image, 60, target=Target(size=size))


@pytest.mark.parametrize("wrong", [np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4, 3)), "text"])
def test_what_is_no_picture_is_a_value_error(wrong):
    with pytest.raises(ValueError, match="a picture is"):
        rdonet_jax.compress(wrong)


def test_bytes_that_are_no_file_are_a_value_error(image):
    for wrong in (b"", b"text", rdonet_jax.compress(image)[:-3]):
        with pytest.raises(bitstream.FormatError):
            rdonet_jax.decompress(wrong)


@pytest.mark.once
def test_the_package_is_imported_without_jax():
    code = "import sys, rdonet_jax; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = rdonet_jax.nothing


# Pillow


def saved(picture: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, "RDO", **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "I;16"])
def test_pillow_saves_and_opens_pictures_of_its_modes(tmp_path, image, mode):
    if mode == "I;16":
        picture = Image.fromarray(content.deepened(image[..., 1]))
    elif mode in ("LA", "RGBA"):
        picture = Image.fromarray(with_alpha(image)).convert(mode)
    else:
        picture = Image.fromarray(image).convert(mode)
    path = tmp_path / "a.rdo"
    picture.save(path, quality=90)
    back = Image.open(path)
    assert (back.format, back.size) == ("RDO", picture.size)
    assert back.mode == {"P": "RGB", "1": "L"}.get(mode, mode)
    expected = rdonet_jax.decompress(path.read_bytes())
    np.testing.assert_array_equal(np.asarray(back), expected)


def test_a_transparent_colour_of_a_palette_becomes_alpha(image):
    picture = Image.fromarray(image).quantize(8)
    picture.info["transparency"] = 3
    back = Image.open(io.BytesIO(saved(picture)))
    np.testing.assert_array_equal(
        np.asarray(back)[..., 3], np.where(np.asarray(picture) == 3, 0, 255)
    )


def test_pillow_passes_quality_profile_and_exif_on(image):
    picture = Image.fromarray(image)
    assert len(saved(picture, quality=5)) < len(saved(picture, quality=95))
    exif = Image.Exif()
    exif[0x010E] = "a description"
    back = Image.open(io.BytesIO(saved(picture, icc_profile=b"profile" * 20, exif=exif)))
    assert back.info["icc_profile"] == b"profile" * 20
    assert back.getexif()[0x010E] == "a description"


def test_pillow_passes_xmp_resolution_and_code_points_on(image):
    picture = Image.fromarray(image)
    picture.info["xmp"] = b'<x tiff:Orientation="1"/>'
    back = Image.open(io.BytesIO(saved(picture, dpi=(300, 150))))
    assert back.info["xmp"] == picture.info["xmp"] and back.info["dpi"] == (300, 150)
    picture.info["cicp"] = Cicp(12, 13)
    back = Image.open(io.BytesIO(saved(picture)))
    assert back.info["cicp"] == (12, 13, True)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(back.info["icc_profile"]))
    assert "Display P3" in ImageCms.getProfileDescription(profile)


def test_pillow_warns_of_exif_data_that_is_none_and_leaves_it_out(image):
    with pytest.warns(UserWarning, match="is none"):
        data = saved(Image.fromarray(image), exif=b"garbage")
    assert "exif" not in Image.open(io.BytesIO(data)).info
    with pytest.raises(ValueError, match="begin with a TIFF header"):
        rdonet_jax.compress(image, exif=b"garbage")
    with pytest.raises(ValueError, match="no text in UTF-8"):
        rdonet_jax.compress(image, xmp=b"\xff")


@pytest.mark.parametrize("orientation", [3, 6])
def test_pillow_saves_pictures_upright(image, orientation):
    picture, exif = Image.fromarray(image), Image.Exif()
    exif[0x0112] = orientation
    picture.info["exif"] = exif.tobytes()
    expected = saved(ImageOps.exif_transpose(picture))
    data = saved(picture)
    np.testing.assert_array_equal(rdonet_jax.decompress(data), rdonet_jax.decompress(expected))
    assert Image.open(io.BytesIO(data)).getexif()[0x0112] == 1
    with pytest.raises(ValueError, match="turn it first"):
        rdonet_jax.compress(image, exif=exif.tobytes().removeprefix(b"Exif\0\0"))


def test_colours_of_16_bits_open_in_8(image):
    data = rdonet_jax.compress(content.deepened(image), quality=90)
    back = Image.open(io.BytesIO(data))
    assert back.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(back), content.shallow(rdonet_jax.decompress(data)))


def test_pillow_says_why_a_file_is_not_opened_or_written(image):
    data = saved(Image.fromarray(image))
    with pytest.raises(OSError, match="damaged"):
        Image.open(io.BytesIO(data[:60] + bytes([data[60] ^ 1]) + data[61:]))
    with pytest.raises(OSError, match="cannot write mode CMYK"):
        saved(Image.new("CMYK", (4, 4)))
    with pytest.raises(OSError, match="between 0 and 100"):
        saved(Image.fromarray(image), quality=101)
    assert pillow_plugin.RDOImageFile.format_description == "RDONet"
