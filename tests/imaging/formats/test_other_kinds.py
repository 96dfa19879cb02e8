"""What is no image, or more than one, is named."""

from __future__ import annotations

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
