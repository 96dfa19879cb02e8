"""JPEG files of every kind: what is read equals what another decoder gives."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest
from PIL import Image

from tests.image_samples import (
    SMOOTH,
    SRGB,
    assert_same,
    drawn,
    exif_block,
    load,
    saved,
)
from tests.imaging.formats.conftest import refused

pytestmark = pytest.mark.once


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:1:1"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
def test_a_jpeg_of_every_subsampling_is_read_as_another_decoder_reads_it(
    tmp_path, subsampling, options, imagecodecs
):
    data = saved(Image.fromarray(SMOOTH), "JPEG", quality=95, subsampling=subsampling, **options)
    image = load(tmp_path, data, "a.jpg")
    np.testing.assert_array_equal(image.pixels, imagecodecs.jpeg8_decode(data))
    assert np.abs(image.pixels.astype(int) - SMOOTH).mean() < 3


def test_a_gray_jpeg_stays_gray(tmp_path, imagecodecs):
    data = saved(Image.fromarray(SMOOTH[..., 0]), "JPEG", quality=95)
    assert_same(load(tmp_path, data, "a.jpg"), imagecodecs.jpeg8_decode(data))


@pytest.mark.parametrize("gray", [True, False])
def test_a_jpeg_of_12_bits_is_read_as_16_with_profile_and_orientation(
    tmp_path, gray, monkeypatch, imagecodecs
):
    samples = SMOOTH.astype(np.uint16) * 16 + 7
    samples = samples[..., 0].copy() if gray else samples
    more = {} if gray else {"subsampling": "444"}
    data = imagecodecs.jpeg8_encode(samples, level=100, bitspersample=12, **more)
    profile = b"\xff\xe2" + struct.pack(">H", 16 + len(SRGB)) + b"ICC_PROFILE\0\1\1" + SRGB
    block = b"Exif\0\0" + exif_block(orientation=6)
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(block)) + block
    data = data[:2] + segment + profile + data[2:]
    image = load(tmp_path, data, "a.jpg")
    assert image.is_16bit and image.gray == gray and image.icc == SRGB and image.exif
    exact = np.rot90(samples, 3).astype(float) * 65535 / 4095
    assert np.abs(image.pixels - exact).max() < 4 * 16
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    refused(tmp_path, data, "JPEG of 12 bits.*pip install imagecodecs", "a.jpg")


def test_a_cmyk_jpeg_is_refused(tmp_path):
    refused(tmp_path, saved(Image.new("CMYK", (9, 9)), "JPEG"), "is a CMYK image", "a.jpg")


def test_lossless_jpeg_and_jpeg_ls_are_named(tmp_path, imagecodecs):
    lossless = imagecodecs.jpeg8_encode(drawn(1, 16)[..., 0], lossless=True)
    refused(tmp_path, lossless, "is lossless JPEG", "a.jpg")
    refused(tmp_path, imagecodecs.jpegls_encode(SMOOTH), "is JPEG-LS", "a.jpg")


def test_a_jpeg_that_ends_early_is_refused(tmp_path):
    noise = Image.fromarray(drawn(3, 8, 64, 64).astype(np.uint8))
    refused(tmp_path, saved(noise, "JPEG")[:900], "damaged", "a.jpg")
