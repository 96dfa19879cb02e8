"""Arrays to bytes and back, and the same by way of Pillow."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import subprocess
import sys
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

import rdonet_jax
from rdonet_jax import pillow_plugin
from rdonet_jax.codec import bitstream, codec
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.core.partition import Partition
from rdonet_jax.imaging import pixel_format
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.resolution import Resolution
from rdonet_jax.rdo import refinement
from rdonet_jax.rdo.encode_options import Target
from rdonet_jax.rdo.search import regions

pytestmark = pytest.mark.usefixtures("mini_as_standard")


@pytest.fixture
def image(photograph):
    return np.ascontiguousarray(photograph[:100, :90])


def with_alpha(pixels):
    alpha = np.zeros(pixels.shape[:2], pixels.dtype)
    alpha[20:80, 30:60] = np.iinfo(pixels.dtype).max
    alpha[:20] = 77
    return np.concatenate([np.atleast_3d(pixels), alpha[..., None]], axis=2)


@pytest.mark.parametrize("is_16bit", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("gray", [False, True])
def test_arrays_of_every_form_come_back_in_it(image, gray, alpha, is_16bit):
    pixels = image[..., 1] if gray else image
    pixels = pixel_format.to_uint16(pixels) if is_16bit else pixels
    pixels = with_alpha(pixels) if alpha else pixels
    back = rdonet_jax.decompress(rdonet_jax.compress(pixels, quality=90))
    assert (back.shape, back.dtype) == (pixels.shape, pixels.dtype)
    if alpha:
        np.testing.assert_array_equal(back[..., -1], pixels[..., -1])
        back, pixels = (np.where(v[..., -1:] > 0, v, 0) for v in (back, pixels))
    assert pixel_format.psnr(pixels, back) > 18


def test_a_target_stands_in_for_a_quality(image):
    size = len(rdonet_jax.compress(image, 60))
    assert len(rdonet_jax.compress(image, target=Target(size=size))) <= size
    with pytest.raises(ValueError, match="not both"):
        rdonet_jax.compress(image, 60, target=Target(size=size))


@pytest.mark.parametrize("wrong", [np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4, 3)), "text"])
def test_what_is_no_image_is_a_value_error(wrong):
    with pytest.raises(ValueError, match="an image is"):
        rdonet_jax.compress(wrong)


def test_bytes_that_are_no_file_are_a_value_error(image):
    for wrong in (b"", b"text", rdonet_jax.compress(image)[:-3]):
        with pytest.raises(bitstream.FormatError):
            rdonet_jax.decompress(wrong)


NO_ARGUMENTS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.text(),
    st.binary(), st.decimals(), st.just(10**400), st.just(object()), st.just(print),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(), st.none(), max_size=2),
    st.lists(st.lists(st.booleans(), max_size=2), max_size=3).map(tuple),
    st.sampled_from([np.zeros(3), np.zeros((1, 1), bool), np.array(50.0), np.float32(7)]),
)  # fmt: skip
NAMES = (
    "quality", "target", "model", "rdo_passes", "init", "icc", "exif", "xmp", "cicp", "resolution",
    "pixels", "roi", "effort", "refinements",
)  # fmt: skip


@pytest.fixture
def without_work(monkeypatch):
    """Stops both directions where the coding would begin, at what every file is made with."""

    def stop(*_, **__):
        raise EncodeError("the coding would begin")

    monkeypatch.setattr(codec, "_level_coder", stop)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(arguments=st.dictionaries(st.sampled_from(NAMES), NO_ARGUMENTS, min_size=1, max_size=3))
@example(arguments={"quality": "50"})
@example(arguments={"quality": np.array(50.0)})
@example(arguments={"target": 40_000})
@example(arguments={"model": "m" * 5000})
@example(arguments={"model": "\0"})
@example(arguments={"rdo_passes": 1.0})
@example(arguments={"init": None})
@example(arguments={"icc": "profile"})
@example(arguments={"xmp": "<x/>"})
@example(arguments={"effort": True})
def test_whatever_is_wrong_in_compressing_is_a_value_error(image, without_work, arguments):
    with pytest.raises(ValueError):
        rdonet_jax.compress(**{"pixels": image, **arguments})


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(
    data=NO_ARGUMENTS,
    others=st.dictionaries(st.sampled_from(["model", "max_pixels"]), NO_ARGUMENTS),
)
@example(data="text", others={})
@example(data=b"RDON", others={"max_pixels": "few"})
@example(data=b"", others={"model": 5})
def test_whatever_is_wrong_in_decompressing_is_a_value_error(data, others):
    with pytest.raises(ValueError):
        rdonet_jax.decompress(data, **others)


@pytest.mark.parametrize("wrong", ["few", None, (), float("nan"), 10**400, -1, np.zeros(2)])
@pytest.mark.parametrize("field", ["size", "psnr"])
def test_a_target_that_is_no_positive_number_is_a_value_error(field, wrong):
    with pytest.raises(ValueError, match="a target"):
        Target(**{field: wrong})


def partition_of(split64, split32):
    """Of an image of 100x90 pixels."""
    return Partition(np.full((2, 2), split64), np.full((4, 4), split32))


@pytest.mark.parametrize(
    ("init", "cause"),
    [
        (partition_of(False, True), "only where it splits"),
        (partition_of(1, 0), "arrays of bool"),
        (Partition(np.zeros((1, 2, 2), bool), np.zeros((1, 4, 4), bool)), "arrays of bool"),
        (Partition(np.zeros((1, 2), bool), np.zeros((2, 4), bool)), "blocks of 64x64"),
        (tuple(partition_of(True, False)), "a partition is a Partition"),
    ],
)
def test_what_is_no_partition_of_the_image_is_a_value_error(image, without_work, init, cause):
    with pytest.raises(ValueError, match=cause):
        rdonet_jax.compress(image, init=init)


@pytest.mark.parametrize(
    "metadata",
    [
        {"resolution": Resolution(0, 0, True)},
        {"resolution": Resolution(2**31, 1, True)},
        {"resolution": Resolution(1, 2, 2)},
        {"resolution": Resolution(72.5, 72.5, True)},
        {"resolution": Resolution(-1, 1, True)},
        {"resolution": (72, 72)},
        {"cicp": Cicp(1, 13, 2)},
        {"cicp": Cicp(256, 13)},
        {"cicp": (1, 13)},
    ],
)
def test_metadata_that_no_decoder_would_accept_is_a_value_error(image, metadata):
    with pytest.raises(ValueError, match="that a file can hold"):
        rdonet_jax.compress(image, **metadata)


@pytest.mark.parametrize("work", [{"rdo_passes": 2}, {"refinements": 10}])
def test_a_keyboard_interrupt_ends_a_search_or_a_refinement_without_a_file(
    image, monkeypatch, work
):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(regions, "search", interrupt)
    monkeypatch.setattr(refinement, "_descend", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rdonet_jax.compress(image, **work)


def test_numbers_and_bytes_of_other_types_are_taken(image):
    expected = rdonet_jax.compress(image, 50)
    for quality in (np.float32(50), np.array(50.0), Fraction(50), Decimal(50)):
        assert rdonet_jax.compress(image, quality) == expected
    assert rdonet_jax.compress(image, effort=np.int64(0)) == expected
    for data in (bytearray(expected), memoryview(expected), np.frombuffer(expected, np.uint8)):
        assert rdonet_jax.decompress(data).shape == image.shape


@pytest.mark.once
def test_the_package_is_imported_without_jax():
    code = "import sys, rdonet_jax; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = rdonet_jax.nothing


# Pillow


def saved(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "RDO", **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "I;16"])
def test_pillow_saves_and_opens_images_of_its_modes(tmp_path, image, mode):
    if mode == "I;16":
        pil_image = Image.fromarray(pixel_format.to_uint16(image[..., 1]))
    elif mode in ("LA", "RGBA"):
        pil_image = Image.fromarray(with_alpha(image)).convert(mode)
    else:
        pil_image = Image.fromarray(image).convert(mode)
    path = tmp_path / "a.rdo"
    pil_image.save(path, quality=90)
    back = Image.open(path)
    assert (back.format, back.size) == ("RDO", pil_image.size)
    assert back.mode == {"P": "RGB", "1": "L"}.get(mode, mode)
    expected = rdonet_jax.decompress(path.read_bytes())
    np.testing.assert_array_equal(np.asarray(back), expected)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("profile", [b"", bytes(range(256)) * 40])
def test_pillow_opens_small_images_by_their_names_as_they_are(tmp_path, mode, profile):
    """Pillow maps files of raw samples into memory where they are long enough for the image."""
    path = tmp_path / "a.rdo"
    Image.new(mode, (3, 4), 200 if mode in ("L", "I;16") else (200,) * len(mode)).save(
        path, icc_profile=profile
    )
    expected = rdonet_jax.decompress(path.read_bytes())
    np.testing.assert_array_equal(np.asarray(Image.open(path)), expected)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda i: pickle.loads(pickle.dumps(i))])
def test_copies_of_an_opened_image_hold_its_pixels(image, copied):
    opened = Image.open(io.BytesIO(saved(Image.fromarray(image))))
    other = copied(opened)
    other.load()
    np.testing.assert_array_equal(np.asarray(other), np.asarray(opened))


def test_a_transparent_gray_of_16_bits_becomes_alpha():
    pil_image = Image.fromarray(np.array([[500, 40000], [500, 65535]], np.uint16))
    pil_image.info["transparency"] = 500
    back = rdonet_jax.decompress(saved(pil_image))
    np.testing.assert_array_equal(back[..., 1], [[0, 65535], [0, 65535]])


def test_pillow_leaves_out_metadata_that_is_given_as_none(image):
    pil_image = Image.fromarray(image)
    pil_image.info["exif"] = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"
    assert "exif" in Image.open(io.BytesIO(saved(pil_image))).info
    back = Image.open(io.BytesIO(saved(pil_image, exif=None, icc_profile=None, xmp=None)))
    assert not {"exif", "icc_profile", "xmp"} & back.info.keys()


def test_pillow_keeps_the_aspect_of_pixels(image):
    data = rdonet_jax.compress(image, resolution=Resolution(2, 1, False))
    opened = Image.open(io.BytesIO(data))
    assert opened.info["aspect"] == (2, 1)
    assert Image.open(io.BytesIO(saved(opened))).info["aspect"] == (2, 1)


@pytest.mark.parametrize("suffix", [".png", ".rdo"])
def test_pillow_closes_the_file_that_it_has_loaded(tmp_path, image, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(image).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        with open(path, "rb") as file, Image.open(file) as pil_image:
            pil_image.load()
            assert not file.closed
        opened = Image.open(path)
        file = opened.fp
        opened.load()
        assert file.closed
        del opened
        gc.collect()


def test_a_transparent_color_of_a_palette_becomes_alpha(image):
    pil_image = Image.fromarray(image).quantize(8)
    pil_image.info["transparency"] = 3
    back = Image.open(io.BytesIO(saved(pil_image)))
    np.testing.assert_array_equal(
        np.asarray(back)[..., 3], np.where(np.asarray(pil_image) == 3, 0, 255)
    )


def test_pillow_passes_quality_profile_and_exif_on(image):
    pil_image = Image.fromarray(image)
    assert len(saved(pil_image, quality=5)) < len(saved(pil_image, quality=95))
    exif = Image.Exif()
    exif[0x010E] = "a description"
    back = Image.open(io.BytesIO(saved(pil_image, icc_profile=b"profile" * 20, exif=exif)))
    assert back.info["icc_profile"] == b"profile" * 20
    assert back.getexif()[0x010E] == "a description"


def test_pillow_passes_xmp_resolution_and_code_points_on(image):
    pil_image = Image.fromarray(image)
    pil_image.info["xmp"] = b'<x tiff:Orientation="1"/>'
    back = Image.open(io.BytesIO(saved(pil_image, dpi=(300, 150))))
    assert back.info["xmp"] == pil_image.info["xmp"] and back.info["dpi"] == (300, 150)
    pil_image.info["cicp"] = Cicp(12, 13)
    back = Image.open(io.BytesIO(saved(pil_image)))
    assert back.info["cicp"] == (12, 13, True)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(back.info["icc_profile"]))
    assert "Display P3" in ImageCms.getProfileDescription(profile)


def test_pillow_warns_of_exif_data_that_is_none_and_leaves_it_out(image):
    with pytest.warns(UserWarning, match="is none"):
        data = saved(Image.fromarray(image), exif=b"garbage")
    assert "exif" not in Image.open(io.BytesIO(data)).info
    with pytest.raises(ValueError, match="has no TIFF header and directory"):
        rdonet_jax.compress(image, exif=b"garbage")
    with pytest.raises(ValueError, match="no text in UTF-8"):
        rdonet_jax.compress(image, xmp=b"\xff")


@pytest.mark.slow
def test_an_effort_stands_for_passes_and_iterations(image):
    plain = rdonet_jax.compress(image)
    assert rdonet_jax.compress(image, effort=0) == plain
    assert rdonet_jax.compress(image, effort=3) == rdonet_jax.compress(image, rdo_passes=1)
    opened = Image.fromarray(image)
    assert saved(opened, effort=0) == plain
    assert saved(opened, refinements=1) == rdonet_jax.compress(image, refinements=1)
    for wrong in ({"effort": 10}, {"effort": 3, "rdo_passes": 1}, {"effort": 0, "refinements": 0}):
        with pytest.raises(ValueError, match="effort"):
            rdonet_jax.compress(image, **wrong)


@pytest.mark.parametrize("orientation", [3, 6])
def test_pillow_saves_images_upright(image, orientation):
    pil_image, exif = Image.fromarray(image), Image.Exif()
    exif[0x0112] = orientation
    pil_image.info["exif"] = exif.tobytes()
    expected = saved(ImageOps.exif_transpose(pil_image))
    data = saved(pil_image)
    np.testing.assert_array_equal(rdonet_jax.decompress(data), rdonet_jax.decompress(expected))
    assert Image.open(io.BytesIO(data)).getexif()[0x0112] == 1
    with pytest.raises(ValueError, match="turn it first"):
        rdonet_jax.compress(image, exif=exif.tobytes().removeprefix(b"Exif\0\0"))


def test_colors_of_16_bits_open_in_8(image):
    data = rdonet_jax.compress(pixel_format.to_uint16(image), quality=90)
    back = Image.open(io.BytesIO(data))
    assert back.mode == "RGB"
    np.testing.assert_array_equal(
        np.asarray(back), pixel_format.to_uint8(rdonet_jax.decompress(data))
    )


def test_pillow_says_why_a_file_is_not_opened_or_written(image):
    data = saved(Image.fromarray(image))
    with pytest.raises(OSError, match="damaged"):
        Image.open(io.BytesIO(data[:60] + bytes([data[60] ^ 1]) + data[61:]))
    with pytest.raises(OSError, match="cannot write mode CMYK"):
        saved(Image.new("CMYK", (4, 4)))
    with pytest.raises(OSError, match="between 0 and 100"):
        saved(Image.fromarray(image), quality=101)
    assert pillow_plugin.RDOImageFile.format_description == "RDONet"


def test_a_mask_of_regions_makes_a_file_with_regions(image):
    plain = rdonet_jax.compress(image, quality=30)
    assert rdonet_jax.compress(image, quality=30, roi=np.full((1, 1), 128)) == plain
    rows, columns = image.shape[:2]
    mask = np.full((rows, columns), 90.5)
    mask[: rows // 2] = 200
    data = rdonet_jax.compress(image, quality=30, roi=mask)
    assert (plain[4], data[4]) == (2, 5)
    assert rdonet_jax.decompress(data).shape == image.shape
    with io.BytesIO() as file:
        Image.fromarray(image).save(file, "RDO", quality=30, roi=mask)
        assert file.getvalue() == data
    with pytest.raises(ValueError, match="do not scale"):
        rdonet_jax.compress(image, roi=np.zeros((1, 9)))
