"""Images as values: their forms, what is hidden in them, and what is around it."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from unittest import mock

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.imaging import pixel_format, push_pull
from rdonet_jax.imaging.pixel_format import ImageData, PixelFormatError

pytestmark = pytest.mark.once

EVERY_8 = np.arange(256, dtype=np.uint8)
EVERY_16 = np.arange(65536, dtype=np.uint16)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint16), np.zeros((4, 4), np.int16), np.zeros(4, np.uint8),
    ],
)  # fmt: skip
def test_arrays_of_other_kinds_are_no_images(pixels):
    with pytest.raises(PixelFormatError, match="uint8 or uint16 array"):
        pixel_format.as_image_data(pixels)


@pytest.mark.parametrize("alpha", [np.zeros((4, 4), np.uint16), np.zeros((4, 5), np.uint8)])
def test_alpha_has_the_size_and_the_depth_of_the_pixels(alpha):
    with pytest.raises(PixelFormatError, match="alpha is uint8"):
        ImageData(np.zeros((4, 4, 3), np.uint8), alpha)


def test_depths_are_exchanged_to_the_nearest_value_of_the_same_share():
    np.testing.assert_array_equal(pixel_format.to_uint16(EVERY_8), np.arange(256) * 257)
    np.testing.assert_array_equal(pixel_format.to_uint8(pixel_format.to_uint16(EVERY_8)), EVERY_8)
    np.testing.assert_array_equal(pixel_format.to_uint8(EVERY_16), np.rint(EVERY_16 / 257.0))


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 65535)] * 3), min_size=1, max_size=9), st.booleans())
def test_gray_is_the_mean_of_the_three_to_half_a_step(triples, is_16bit):
    gray = pixel_format.mean_gray(np.array(triples, np.uint16)[None], is_16bit)
    for value, triple in zip(gray[0], triples, strict=True):
        exact = Fraction(sum(triple), 3) / (1 if is_16bit else 257)
        assert abs(int(value) - exact) <= Fraction(1, 2)


def test_what_the_search_sees_of_any_form_is_8_bit_color():
    gray = np.array([[0, 128, 65535]], np.uint16)
    for image in (gray, ImageData(gray), pixel_format.as_rgb(gray)):
        plain = pixel_format.as_rgb8(image)
        assert plain.dtype == np.uint8
        np.testing.assert_array_equal(plain, [[[0] * 3, [0] * 3, [255] * 3]])
    pixels = np.zeros((2, 2, 3), np.uint8)
    assert pixel_format.as_rgb8(pixels) is pixels


# Backgrounds


@settings(deadline=None, max_examples=50)
@given(
    st.tuples(*[st.integers(0, 255)] * 3), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1)
)
def test_a_flattened_image_is_the_mean_that_alpha_weighs(background, gray, is_16bit, seed):
    most = 65535 if is_16bit else 255
    rng = np.random.default_rng(seed)
    dtype = np.uint16 if is_16bit else np.uint8
    pixels = rng.integers(0, most + 1, (3, 4) if gray else (3, 4, 3)).astype(dtype)
    alpha = rng.choice([0, 1, most // 2, most - 1, most], (3, 4)).astype(dtype)
    with mock.patch.object(pixel_format, "_ROWS", 2):  # two strips, the second one shorter
        flat = pixel_format.flatten(ImageData(pixels, alpha, b"icc", b"exif"), background)
    share = alpha[..., None] / most
    expected = share * pixel_format.as_rgb(pixels) + (1 - share) * np.array(background) * most / 255
    assert flat.alpha is None and (flat.icc, flat.exif) == (b"icc", b"exif")
    assert flat.pixels.dtype == dtype
    assert flat.gray == (gray and len(set(background)) == 1)
    assert np.abs(pixel_format.as_rgb(flat.pixels) - expected).max() <= 0.5 + 1e-6


# What alpha hides


def test_only_what_is_wholly_hidden_is_replaced_and_twice_is_once():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (37, 53, 3), dtype=np.uint8)
    alpha = rng.choice(np.array([0, 0, 1, 255], np.uint8), (37, 53))
    image = ImageData(pixels, alpha)
    once = pixel_format.fill_hidden(image)
    np.testing.assert_array_equal(once.pixels[alpha > 0], pixels[alpha > 0])
    assert (once.pixels[alpha == 0] != pixels[alpha == 0]).any()
    np.testing.assert_array_equal(once.alpha, alpha)
    np.testing.assert_array_equal(pixel_format.fill_hidden(once).pixels, once.pixels)
    noise = np.where(alpha[..., None] > 0, pixels, rng.integers(0, 256, pixels.shape, np.uint8))
    other = pixel_format.fill_hidden(dataclasses.replace(image, pixels=noise))
    np.testing.assert_array_equal(other.pixels, once.pixels)


def test_alpha_that_is_opaque_everywhere_is_no_alpha():
    image = ImageData(np.zeros((3, 3), np.uint16), np.full((3, 3), 65535, np.uint16))
    assert pixel_format.fill_hidden(image).alpha is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (64, 64), (61, 130)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_flat_color_is_continued_as_itself(shape, dtype):
    known = np.zeros(shape, bool)
    known[0, -1] = True
    samples = np.where(known[..., None], np.array([7, 200, 91]), 3).astype(dtype)
    filled = push_pull.fill(samples, known)
    assert filled.dtype == dtype
    assert (filled == [7, 200, 91]).all()


def test_an_image_without_visible_pixels_becomes_black():
    samples = np.full((5, 6, 3), 9, np.uint8)
    assert not push_pull.fill(samples, np.zeros((5, 6), bool)).any()
    assert push_pull.fill(samples, np.ones((5, 6), bool)) is samples


def test_filled_pixels_continue_the_visible_ones_smoothly():
    photograph = skimage.data.coffee()[:256, :256]
    rows, columns = np.mgrid[:256, :256]
    known = (rows - 128) ** 2 + (columns - 128) ** 2 > 80**2
    filled = push_pull.fill(photograph, known).astype(int)
    inside = (rows - 128) ** 2 + (columns - 128) ** 2 < 76**2
    steps = np.abs(np.diff(filled, axis=1))[inside[:, 1:]]
    assert steps.mean() < np.abs(np.diff(photograph.astype(int), axis=1))[inside[:, 1:]].mean() / 3
    edge = known[:, :-1] & ~known[:, 1:]
    from_mean = np.abs(photograph - photograph[known].mean(axis=0))[:, :-1][edge].mean()
    assert np.abs(np.diff(filled, axis=1))[edge].mean() < from_mean / 2
    assert filled.min() >= photograph.min() and filled.max() <= photograph.max()


def test_a_ramp_with_a_hole_is_continued_as_a_ramp():
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (64, 1))
    known = np.ones((64, 256), bool)
    known[:, 100:140] = False
    filled = push_pull.fill(ramp, known).astype(int)
    assert np.abs(filled - ramp).max() < 8000
    assert len(np.unique(filled[32, 100:140])) > 10
