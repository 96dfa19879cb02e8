"""PNG files, made here: what is read equals how they were made."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from tests.image_samples import (
    CHANNELS,
    assert_same,
    chunk,
    drawn,
    expected_of,
    load,
    png,
)
from tests.imaging.formats.conftest import refused

pytestmark = pytest.mark.once


SIZES = [(1, 1), (1, 32), (2, 3), (5, 7), (8, 8), (9, 31), (32, 1), (32, 32)]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_a_png_of_every_small_size_is_read_exactly(tmp_path, size, interlaced):
    for kind, depth in [("gray", 1), ("gray", 4), ("rgb", 8), ("rgb-alpha", 16)]:
        samples = drawn(CHANNELS[kind], depth, *size)
        image = load(tmp_path, png(samples, kind, depth, interlaced=interlaced))
        assert_same(image, *expected_of(samples, depth))


def test_a_png_with_its_data_in_many_chunks_and_others_around_is_read_exactly(tmp_path):
    samples = drawn(3, 8)
    data = png(samples, "rgb", 8)
    at = data.index(b"IDAT")
    (length,) = struct.unpack_from(">I", data, at - 4)
    stored, end = data[at + 4 : at + 4 + length], data[at + 8 + length :]
    parts = b"".join(chunk(b"IDAT", stored[n : n + 1]) for n in range(length))
    around = chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"prVt", b"private")
    odd = data[: at - 4] + around + chunk(b"IDAT", b"") + parts + chunk(b"tEXt", b"a\0b") + end
    assert_same(load(tmp_path, odd), *expected_of(samples, 8))


def header(width=13, height=11, depth=8, color=2):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))


@pytest.mark.parametrize(
    "parts",
    {
        "no pixels": [header(), chunk(b"IEND", b"")],
        "nothing but a header": [header()],
        "no header": [chunk(b"IDAT", zlib.compress(bytes(440)))],
        "no width": [header(width=0), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b"")],
        "no height": [header(height=0), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b"")],
        "a color type of no meaning": [
            header(color=5),
            chunk(b"IDAT", zlib.compress(bytes(440))),
        ],
        "a depth that is none": [header(depth=3), chunk(b"IDAT", zlib.compress(bytes(440)))],
        "a false checksum": [header()[:-1] + b"\0", chunk(b"IDAT", zlib.compress(bytes(440)))],
        "too few pixels": [header(), chunk(b"IDAT", zlib.compress(bytes(99))), chunk(b"IEND", b"")],
        "what is no Deflate": [header(), chunk(b"IDAT", b"abcdefgh"), chunk(b"IEND", b"")],
    }.values(),
)
def test_a_broken_png_is_refused(tmp_path, parts):
    refused(tmp_path, b"\x89PNG\r\n\x1a\n" + b"".join(parts), "damaged|cannot be read")


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("kind", "depth"), [("gray", 1), ("rgb", 8), ("rgb", 16)])
def test_a_png_whose_pixels_end_early_is_damaged(tmp_path, kind, depth, interlaced):
    samples = np.ones((24, 10, CHANNELS[kind]), np.uint16 if depth == 16 else np.uint8)
    whole = png(samples, kind, depth, interlaced=interlaced)
    load(tmp_path, whole)
    start = whole.index(b"IDAT")
    (length,) = struct.unpack(">I", whole[start - 4 : start])
    rows = zlib.decompress(whole[start + 4 : start + 4 + length])
    for kept in (len(rows) - 1, len(rows) // 2, 1):
        short = chunk(b"IDAT", zlib.compress(rows[:kept]))
        data = whole[: start - 4] + short + whole[start + 8 + length :]
        refused(tmp_path, data, "is damaged: ")
