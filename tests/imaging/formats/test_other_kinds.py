"""What is no image, or more than one, is named."""

from __future__ import annotations

import numpy as np
import pytest

from rdonet_jax.imaging import reader
from tests.image_samples import (
    write_animation,
)
from tests.imaging.formats.conftest import refused

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"\x92RDO\x02", "is a compressed file already"),
        (b"%PDF-1.7", "is a PDF document"),
        (b"8BPS\0\x01", "is a Photoshop document"),
        (b"v/1\x01", "is OpenEXR"),
        (b"Pf\n4 4\n-1.0\n", "holds floating-point numbers"),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "is SVG"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "is a film"),
        (b"a text that is none of it", "is damaged or no image"),
        (b"", "is empty"),
    ],
)
def test_other_files_are_named(tmp_path, start, reason):
    refused(tmp_path, start + bytes(99 * bool(start)), reason)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif", "avif"])
def test_the_first_frame_of_an_animation_is_read_on_request(tmp_path, suffix):
    options = {"quality": 100} if suffix == "avif" else {"lossless": True}
    path = tmp_path / f"film.{suffix}"
    write_animation(path, **options)
    image = reader.load(path, first_frame=True)
    assert image.pixels.max() <= 1 and image.size == (8, 8)
    assert len(image.notes) == 1 and image.notes[0].startswith("the first of 3 ")


def frames(bits: int, channels: int) -> np.ndarray:
    """Two images of 8x12 that differ everywhere, [2, 8, 12] or with three channels."""
    most = 2**bits - 1
    kind = np.uint8 if bits == 8 else np.uint16
    first = (np.arange(96).reshape(8, 12) * (most // 200)).astype(kind)
    both = np.stack([first, most - first])
    return both if channels == 1 else np.stack([both, both // 2, both // 3], axis=-1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
def test_the_first_frame_of_a_jpeg_xl_animation_is_the_first(tmp_path, bits, channels):
    pytest.importorskip("pillow_jxl")
    imagecodecs = pytest.importorskip("imagecodecs")
    both = frames(bits, channels)
    space = "gray" if channels == 1 else "rgb"
    data = imagecodecs.jpegxl_encode(both, lossless=True, photometric=space, planar=False)
    (tmp_path / "film.jxl").write_bytes(data)
    image = reader.load(tmp_path / "film.jxl", first_frame=True)
    np.testing.assert_array_equal(image.pixels, both[0])
    assert image.notes == ("the first frame is coded, the others are left out",)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_first_image_of_an_avif_sequence_of_10_bits_is_the_first(tmp_path, channels):
    imagecodecs = pytest.importorskip("imagecodecs")
    both = frames(10, channels)
    samples = both[..., None] if channels == 1 else both
    space = {"pixelformat": "400"} if channels == 1 else {"pixelformat": "444"}
    data = imagecodecs.avif_encode(samples, level=100, bitspersample=10, **space)
    (tmp_path / "film.avif").write_bytes(data)
    image = reader.load(tmp_path / "film.avif", first_frame=True)
    expected = both[0].astype(np.float64) * 65535 / 1023
    assert image.pixels.shape == expected.shape
    assert np.max(np.abs(image.pixels - expected)) <= 4 * 64
