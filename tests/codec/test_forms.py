"""Images in all forms through the codec: what comes back, and what it costs."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import skimage.data

from rdonet_jax.codec import bitstream, codec, side_data
from rdonet_jax.codec.bitstream import FormatError
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.core import partition
from rdonet_jax.imaging import pixel_format
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.resolution import Resolution
from rdonet_jax.imaging.pixel_format import ImageData
from rdonet_jax.rdo import encoder
from rdonet_jax.rdo.encode_options import EncodeOptions

FORMS = list(itertools.product((False, True), repeat=3))
SIZES = [(128, 128), (100, 90), (65, 127)]
"""All of one padded size, so that nothing is compiled for one of them alone."""

QUALITY = 80.0


def photograph(gray=False, is_16bit=False, alpha=False, size=(128, 128), **more) -> ImageData:
    """A part of a real image in a form, with a soft-edged hole where it has alpha."""
    pixels = skimage.data.astronaut()[60 : 60 + size[0], 180 : 180 + size[1]]
    pixels = np.ascontiguousarray(pixels[..., 1] if gray else pixels)
    rows, columns = np.mgrid[: size[0], : size[1]]
    hole = np.clip(8 * (np.hypot(rows - 50, columns - 50) - 25), 0, 255).astype(np.uint8)
    if is_16bit:
        pixels, hole = pixel_format.to_uint16(pixels), pixel_format.to_uint16(hole)
    return ImageData(pixels, hole if alpha else None, **more)


def coded(model, image, quality=QUALITY):
    p = partition.uniform(0, partition.block_grid(*pixel_format.as_image_data(image).size))
    data = codec.encode(model, image, p, quality, reconstruct=False).data
    return data, codec.decode(model, data).content


def psnr(one, other):
    most = np.iinfo(one.dtype).max
    return -10 * np.log10(np.mean((one.astype(float) - other.astype(float)) ** 2) / most**2)


@pytest.mark.slow
@pytest.mark.parametrize(("gray", "is_16bit", "alpha"), FORMS)
@pytest.mark.parametrize("metadata", [False, True])
def test_every_form_comes_back_as_it_was(mini_model, gray, is_16bit, alpha, metadata):
    extra = {"icc": b"a profile", "exif": b"EXIF data" * 9} if metadata else {}
    for size in SIZES:
        image = photograph(gray, is_16bit, alpha, size, **extra)
        data, again = coded(mini_model, image)
        assert data[4] == (3 if gray or is_16bit or alpha or metadata else 2)
        assert again.pixels.dtype == image.pixels.dtype
        assert again.pixels.shape == image.pixels.shape
        assert (again.icc, again.exif) == (image.icc, image.exif)
        assert (again.alpha is None) == (not alpha)
        if alpha:
            assert again.alpha.dtype == image.alpha.dtype
            np.testing.assert_array_equal(again.alpha, image.alpha)
        visible = slice(None) if image.alpha is None else image.alpha > 0
        assert psnr(again.pixels[visible], image.pixels[visible]) > 20


@pytest.mark.parametrize("size", [(1, 1), (1, 1100), (1100, 1)])
def test_the_smallest_and_the_thinnest_images_come_back_in_every_form(mini_model, size):
    rng = np.random.default_rng(0)
    for gray, is_16bit, alpha in FORMS:
        dtype = np.uint16 if is_16bit else np.uint8
        pixels = np.add.outer(*map(np.arange, size)) % 200 + rng.integers(0, 9, size)
        pixels = (pixels * (257 if is_16bit else 1)).astype(dtype)
        hole = rng.integers(0, 3, size).astype(dtype) if alpha else None
        image = ImageData(pixels if gray else np.repeat(pixels[..., None], 3, axis=2), hole)
        _, again = coded(mini_model, image)
        assert again.pixels.dtype == dtype and again.pixels.shape == image.pixels.shape
        assert (again.alpha is None) == (not alpha or hole.min() == np.iinfo(dtype).max)
        if alpha:
            np.testing.assert_array_equal(again.alpha, hole)
        visible = slice(None) if hole is None else hole > 0
        if np.size(image.pixels[visible]):
            assert psnr(again.pixels[visible], image.pixels[visible]) > 15


def test_the_encoder_shows_what_the_decoder_gives(mini_model):
    p = partition.uniform(0, (2, 2))
    for gray, is_16bit in itertools.product((False, True), repeat=2):
        encoded = codec.encode(mini_model, photograph(gray, is_16bit), p, QUALITY)
        np.testing.assert_array_equal(encoded.image, codec.decompress(mini_model, encoded.data))


def test_pixels_alone_are_an_image_and_plain_ones_are_written_as_ever(mini_model):
    image = photograph()
    data, _ = coded(mini_model, image)
    assert data == coded(mini_model, image.pixels)[0]
    opaque = dataclasses.replace(image, alpha=np.full(image.size, 255, np.uint8))
    assert data == coded(mini_model, opaque)[0]
    assert data[4] == bitstream.PLAIN_VERSION


def test_what_is_newer_than_version_3_comes_back_in_version_4(mini_model):
    more = {"xmp": b"<x/>", "cicp": Cicp(9, 16), "resolution": Resolution(11811, 11811, True)}
    plain = coded(mini_model, photograph(exif=b"EXIF data"))[0]
    assert plain[4] == 3
    for name, value in more.items():
        data, again = coded(mini_model, photograph(exif=b"EXIF data", **{name: value}))
        assert data[4] == 4 and getattr(again, name) == value and again.exif == b"EXIF data"
        assert len(data) - len(plain) <= 1 + 16
    noted = dataclasses.replace(photograph(exif=b"EXIF data"), notes=("without its gain map",))
    assert coded(mini_model, noted)[0] == plain


def test_what_goes_along_changes_no_symbol(mini_model):
    plain = codec.decode(mini_model, coded(mini_model, photograph())[0])
    rich = codec.decode(mini_model, coded(mini_model, photograph(icc=b"i", exif=b"e"))[0])
    for one, other in zip(plain.symbols, rich.symbols, strict=True):
        assert all(map(np.array_equal, one, other))


# Gray


def test_gray_has_one_channel_and_no_less_quality_than_its_copies_in_rgb(mini_model):
    gray = photograph(gray=True)
    data, again = coded(mini_model, gray)
    copies = pixel_format.as_rgb(gray.pixels)
    as_color, seen = coded(mini_model, copies)
    assert abs(len(data) - len(as_color)) <= 1
    assert psnr(again.pixels, gray.pixels) >= psnr(seen.pixels, copies)
    assert np.ptp(seen.pixels.astype(int), axis=2).max() > 0


# 16 bits


@pytest.mark.parametrize("gray", [False, True])
def test_16_bits_cost_what_8_bits_of_the_same_photograph_cost_and_agree(mini_model, gray):
    is_16bit, shallow = (coded(mini_model, photograph(gray, each)) for each in (True, False))
    assert len(is_16bit[0]) == pytest.approx(len(shallow[0]), rel=0.002)
    difference = is_16bit[1].pixels / 257 - shallow[1].pixels.astype(float)
    assert np.abs(difference).max() <= 0.51


def test_a_ramp_of_16_bits_keeps_more_shades_than_8_bits_have(mini_model):
    ramp = np.tile(np.linspace(5000, 60000, 128).astype(np.uint16), (128, 1))
    for pixels in (ramp, pixel_format.as_rgb(ramp)):
        _, again = coded(mini_model, pixels, 100.0)
        assert len(np.unique(again.pixels)) > 1000
        assert np.abs(again.pixels.astype(int) - pixels).mean() < 65536 / 50


# Alpha


def test_noise_that_alpha_hides_costs_nothing_and_does_not_come_back(mini_model):
    flat = photograph(alpha=True)
    hidden = flat.alpha == 0
    assert hidden.mean() > 0.1
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, flat.pixels.shape, np.uint8)
    noisy = dataclasses.replace(flat, pixels=np.where(hidden[..., None], noise, flat.pixels))
    data, again = coded(mini_model, noisy)
    assert data == coded(mini_model, flat)[0]
    steps = np.abs(np.diff(again.pixels.astype(int), axis=0))
    assert steps[hidden[1:]].mean() < steps[~hidden[1:]].mean()
    black = dataclasses.replace(flat, pixels=np.where(hidden[..., None], 0, flat.pixels))
    section = len(bitstream.parse(data)[1].alpha)
    cut_out = dataclasses.replace(black, alpha=None)
    assert len(data) - section < 1.01 * len(coded(mini_model, cut_out)[0])


def test_the_variance_mask_of_any_form_is_that_of_its_8_bit_colors(mini_model):
    options = EncodeOptions(QUALITY)
    for gray in (False, True):
        masks = [
            encoder.encode(mini_model, image, options).partition
            for image in (
                photograph(gray, True),
                photograph(gray),
                pixel_format.as_rgb(photograph(gray).pixels),
            )
        ]
        for other in masks[1:]:
            assert all(map(np.array_equal, masks[0], other))


# What is refused


def test_too_much_metadata_is_refused_before_work(mini_model, monkeypatch):
    monkeypatch.setattr(side_data, "MAX_METADATA", 100)
    with pytest.raises(EncodeError, match="the EXIF data has 101 bytes"):
        coded(mini_model, photograph(exif=bytes(101)))


@pytest.fixture(scope="module")
def formed(mini_model):
    """A small file that has everything."""
    image = photograph(
        *(True, True, True, (65, 66)), icc=b"profile", exif=b"EXIF", xmp=b"<x/>",
        cicp=Cicp(9, 16), resolution=Resolution(1, 2, False),
    )  # fmt: skip
    return coded(mini_model, image, 0.0)[0]


def test_every_damaged_byte_and_every_truncation_is_refused(mini_model, formed):
    for parity in range(len(formed)):
        damaged = bytearray(formed)
        damaged[parity] ^= 1 << parity % 8
        for data in (bytes(damaged), formed[:parity]):
            with pytest.raises(FormatError):
                codec.decode(mini_model, data)


@pytest.mark.parametrize("name", ["alpha", "icc", "exif", "xmp", "cicp", "resolution"])
def test_a_false_attachment_under_right_checksums_is_refused_before_work(
    mini_model, formed, name, monkeypatch
):
    header, sections = bitstream.parse(formed)
    forged = bitstream.pack(header, sections._replace(**{name: b"no such thing"}))
    monkeypatch.setattr(codec, "_level_coder", None)
    with pytest.raises(FormatError, match="the file's"):
        codec.decode(mini_model, forged)


def test_a_form_that_is_another_than_was_coded_still_gives_pixels_of_that_form(mini_model, formed):
    header, sections = bitstream.parse(formed)
    other = bitstream.pack(dataclasses.replace(header, gray=False), sections)
    assert codec.decode(mini_model, other).image.shape == (65, 66, 3)
