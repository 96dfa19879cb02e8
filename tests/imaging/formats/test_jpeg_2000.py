"""JPEG 2000 files of every depth, with boxes that the tests make."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest

from rdonet_jax.imaging import reader
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.imaging.formats import boxes
from tests.image_samples import SWAPPED, assert_same, drawn, load

imagecodecs = pytest.importorskip("imagecodecs")

pytestmark = pytest.mark.once

COMMENT = "without its comment"  # that of the encoder


def jp2(samples, bits, **options):
    options = {"codecformat": "jp2", "mct": False} | options
    return imagecodecs.jpeg2k_encode(
        samples.squeeze(), level=0, bitspersample=bits, reversible=True, **options
    )


def box(kind, content):
    return struct.pack(">I4s", 8 + len(content), kind) + content


def with_header_boxes(data, *more):
    """The file with more boxes in its header, in place of what its colors are."""
    parts = []
    for kind, content in boxes.parse(data):
        if kind == b"jp2h":
            kept = [box(*each) for each in boxes.parse(content) if each[0] != b"colr"]
            content = b"".join((*kept, *more))
        parts.append(box(kind, content))
    return b"".join(parts)


def colors_of(number):
    return box(b"colr", b"\1\0\0" + struct.pack(">I", number))


def profile(method=2):
    return box(b"colr", bytes([method, 0, 0]) + SWAPPED)


@pytest.mark.parametrize("container", ["jp2", "j2k"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [1, 2, 4, 7, 8, 9, 10, 12, 15, 16])
def test_every_depth_is_scaled_to_all_of_8_or_16_bits(tmp_path, bits, channels, container):
    samples = drawn(channels, bits).astype(np.uint8 if bits <= 8 else np.uint16)
    samples[0, :2] = [[0], [2**bits - 1]]
    data = jp2(samples, bits, codecformat=container)
    image = load(tmp_path, data, f"a.{container}")
    most = 255 if bits <= 8 else 65535
    exact = samples * (most / (2**bits - 1))
    both = np.dstack([image.pixels, *([] if image.alpha is None else [image.alpha])])
    assert both.dtype == (np.uint8 if bits <= 8 else np.uint16)
    assert both.shape == exact.shape and np.abs(both - exact).max() <= 0.51
    assert set(both[(samples == 0) | (samples == 2**bits - 1)]) == {0, most}


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_palette_is_that_of_the_file(tmp_path, bits, alpha):
    channels = 4 if alpha else 3
    palette = np.random.default_rng(1).integers(0, 256, (2**bits, channels), np.uint8)
    index = drawn(1, bits)[..., 0].astype(np.uint8)
    entries = struct.pack(">HB", len(palette), channels) + b"\7" * channels + palette.tobytes()
    mapping = b"".join(struct.pack(">HBB", 0, 1, n) for n in range(channels))
    data = with_header_boxes(
        jp2(index, bits), colors_of(16), box(b"pclr", entries), box(b"cmap", mapping)
    )
    expected = palette[index]
    opacities = expected[..., 3] if alpha else None
    assert_same(load(tmp_path, data, "a.jp2"), expected[..., :3], opacities)


@pytest.mark.parametrize("method", [2, 3])
@pytest.mark.parametrize("bits", [8, 12])
def test_the_profile_of_the_color_box_is_read(tmp_path, bits, method):
    samples = drawn(3, bits).astype(np.uint8 if bits == 8 else np.uint16)
    data = with_header_boxes(jp2(samples, bits), profile(method))
    image = load(tmp_path, data, "a.jp2")
    assert image.icc == SWAPPED and image.notes == (COMMENT,)
    data = with_header_boxes(jp2(samples, bits), colors_of(16), profile(method))
    assert load(tmp_path, data, "b.jp2").icc == b""  # readers pass over all but the first


def test_metadata_in_boxes_is_named(tmp_path):
    data = jp2(drawn(3, 8).astype(np.uint8), 8)
    xmp = box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + b"<x/>")
    exif = box(b"uuid", b"JpgTiffExif->JP2II*\0")
    other = box(b"uuid", b"another standard" + b"abc")
    image = load(tmp_path, data + xmp + exif + other, "a.jp2")
    assert image.notes == ("without its XMP", "without its EXIF data", COMMENT)


@pytest.mark.parametrize("number", [14, 21])
def test_colors_of_other_kinds_are_refused(tmp_path, number):
    data = with_header_boxes(jp2(drawn(3, 8).astype(np.uint8), 8), colors_of(number))
    with pytest.raises(ImageError, match=f"the color space of the number {number}"):
        load(tmp_path, data, "a.jp2")


def test_signed_numbers_of_more_than_8_bits_are_refused(tmp_path):
    data = imagecodecs.jpeg2k_encode(drawn(1, 16)[..., 0].astype(np.int16), level=0)
    with pytest.raises(ImageError, match="holds signed numbers"):
        load(tmp_path, data, "a.jp2")


def test_an_error_names_the_package_that_jpeg_2000_of_more_than_8_bits_needs(tmp_path, monkeypatch):
    (tmp_path / "a.jp2").write_bytes(jp2(drawn(3, 12), 12))
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ImageError, match=r"JPEG 2000 of 12 bits.*pip install imagecodecs"):
        reader.load(tmp_path / "a.jp2")
