"""Alpha and metadata in a file: exact, and harmless whatever somebody wrote there."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import lzma
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rdonet_jax.codec import side_data
from rdonet_jax.codec.bitstream import FormatError, Header, Sections
from rdonet_jax.codec.side_data import MAX_METADATA
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.resolution import Resolution
from rdonet_jax.imaging.pixel_format import ImageData
from tests.image_samples import chunk, png

HEADER = Header(1, 16, 24, None, bytes(4), "", 0)
DEEP = dataclasses.replace(HEADER, is_16bit=True)


def packed(alpha, **more):
    return side_data.pack(ImageData(np.zeros(alpha.shape, alpha.dtype), alpha, **more))


def depth_of(section):
    return section[24]


# Alpha


@pytest.mark.parametrize(
    ("values", "depth"),
    [
        ([0, 255], 1), ([0, 1, 255], 8), (range(256), 8), ([0], 1),
        ([0, 65535], 1), ([0, 257, 65535], 8), ([0, 256], 16), (range(0, 65536, 171), 16),
    ],
)  # fmt: skip
def test_alpha_is_exact_in_the_least_depth_that_holds_it(values, depth):
    is_16bit = max(values) > 255
    alpha = np.resize(np.array(values, np.uint16 if is_16bit else np.uint8), (16, 24))
    section = packed(alpha)["alpha"]
    assert depth_of(section) == depth
    again = side_data.alpha(DEEP if is_16bit else HEADER, section)
    assert again.dtype == alpha.dtype
    np.testing.assert_array_equal(again, alpha)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.booleans(), st.integers(0, 99))
def test_alpha_of_any_size_and_of_all_values_is_exact(height, width, is_16bit, seed):
    dtype = np.uint16 if is_16bit else np.uint8
    rng = np.random.default_rng(seed)
    alpha = rng.integers(0, np.iinfo(dtype).max, (height, width), dtype, endpoint=True)
    header = dataclasses.replace(HEADER, height=height, width=width, is_16bit=is_16bit)
    np.testing.assert_array_equal(side_data.alpha(header, packed(alpha)["alpha"]), alpha)


def test_no_alpha_is_no_section():
    assert side_data.pack(ImageData(np.zeros((4, 4), np.uint8)))["alpha"] == b""
    assert side_data.alpha(HEADER, b"") is None


SAMPLES = np.random.default_rng(0).integers(0, 256, (16, 24, 1), dtype=np.uint16)
GOOD = png(SAMPLES, "gray", 8)


def rebuilt(*chunks):
    return GOOD[:8] + b"".join(chunk(*each) for each in chunks)


IHDR = (b"IHDR", GOOD[16:29])
IDAT = (b"IDAT", zlib.compress(bytes(16 * 25)))
IEND = (b"IEND", b"")


@pytest.mark.parametrize(
    "section",
    [
        b"x", GOOD[:-1], GOOD[:8], GOOD + b"\0", GOOD + GOOD,
        *(rebuilt(*chunks) for chunks in (
            (IHDR, IDAT), (IHDR, IEND), (IDAT, IEND), (IHDR, IHDR, IDAT, IEND),
            (IHDR, (b"tEXt", b"a\0b"), IDAT, IEND), (IHDR, (b"tRNS", b"\0\0"), IDAT, IEND),
            (IHDR, (b"acTL", bytes(8)), IDAT, IEND), (IHDR, IDAT, (b"IEND", b"x")),
            ((b"IHDR", GOOD[16:28]), IDAT, IEND), (IHDR, (b"IDAT", b""), IEND),
            (IHDR, (b"IDAT", zlib.compress(bytes(99))), IEND), (IHDR, (b"IDAT", b"junk"), IEND),
            # One row, a row too many, no checksum, a wrong one, bytes and another stream behind it.
            (IHDR, (b"IDAT", zlib.compress(bytes(25))), IEND),
            (IHDR, (b"IDAT", zlib.compress(bytes(17 * 25))), IEND),
            (IHDR, (b"IDAT", IDAT[1][:-4]), IEND), (IHDR, (b"IDAT", IDAT[1][:-1] + b"x"), IEND),
            (IHDR, (b"IDAT", IDAT[1] + b"x"), IEND), (IHDR, IDAT, IDAT, IEND),
        )),
        GOOD[:40] + bytes([GOOD[40] ^ 1]) + GOOD[41:],
        png(SAMPLES[:15], "gray", 8), png(SAMPLES[:, :23], "gray", 8), png(SAMPLES % 16, "gray", 4),
        png(SAMPLES, "gray", 16), png(SAMPLES, "gray", 8, interlaced=True),
        png(np.repeat(SAMPLES, 3, 2), "rgb", 8), png(np.repeat(SAMPLES, 2, 2), "gray-alpha", 8),
    ],
)  # fmt: skip
def test_an_alpha_section_of_any_other_kind_is_refused(section):
    np.testing.assert_array_equal(side_data.alpha(HEADER, GOOD), SAMPLES[..., 0])
    with pytest.raises(FormatError, match="alpha is invalid"):
        side_data.alpha(HEADER, section)


@pytest.mark.parametrize("length", [1, 7, 10**6])
def test_alpha_may_be_in_several_chunks(length):
    whole = GOOD[41:-16]
    parts = [whole[first : first + length] for first in range(0, len(whole), length)]
    section = rebuilt(IHDR, *((b"IDAT", part) for part in (b"", *parts, b"")), IEND)
    np.testing.assert_array_equal(side_data.alpha(HEADER, section), SAMPLES[..., 0])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1))
def test_damaged_alpha_with_right_checksums_gives_alpha_or_a_format_error(damage):
    data = bytearray(GOOD)
    for parity, value in damage:
        data[parity] = value
    chunks = (b"IHDR", bytes(data[16:29])), (b"IDAT", bytes(data[41:-16])), IEND
    for section in (bytes(data), rebuilt(*chunks)):
        with contextlib.suppress(FormatError):
            assert side_data.alpha(HEADER, section).shape == (16, 24)


def peak_of(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bomb_of_alpha_allocates_no_more_than_the_image_that_was_declared():
    bomb = rebuilt(IHDR, (b"IDAT", zlib.compress(bytes(2**26), 9)), IEND)
    large = rebuilt((b"IHDR", b"\0\0\xff\xff" * 2 + GOOD[24:29]), IDAT, IEND)

    def work():
        for section in (bomb, large):
            with contextlib.suppress(FormatError):
                side_data.alpha(HEADER, section)

    assert len(bomb) < 2**17
    assert peak_of(work) < 2**20


# Metadata


@settings(deadline=None, max_examples=50)
@given(st.binary(min_size=1, max_size=5000))
def test_metadata_comes_back_byte_for_byte(data):
    sections = side_data.pack(ImageData(np.zeros((4, 4), np.uint8), icc=data, exif=data[::-1]))
    assert side_data.metadata("color profile", sections["icc"]) == data
    assert side_data.metadata("EXIF data", sections["exif"]) == data[::-1]
    assert side_data.metadata("EXIF data", b"") == b""


def test_metadata_up_to_the_limit_is_packed_and_no_more():
    image = ImageData(np.zeros((4, 4), np.uint8), exif=bytes(MAX_METADATA))
    section = side_data.pack(image)["exif"]
    assert len(side_data.metadata("EXIF data", section)) == MAX_METADATA
    with pytest.raises(side_data.SideDataError, match=f"more than {MAX_METADATA}"):
        side_data.pack(dataclasses.replace(image, exif=bytes(MAX_METADATA + 1)))


def squeezed(data):
    return lzma.compress(data, lzma.FORMAT_RAW, filters=side_data._FILTERS)


@pytest.mark.parametrize(
    "section",
    [
        b"\0", b"junk", squeezed(b"EXIF")[:-1], squeezed(b"EXIF") + b"\0", squeezed(b""),
        lzma.compress(b"EXIF"), zlib.compress(b"EXIF"), squeezed(bytes(MAX_METADATA + 1)),
    ],
)  # fmt: skip
def test_metadata_of_any_other_kind_is_refused(section):
    with pytest.raises(FormatError, match="the file's EXIF data"):
        side_data.metadata("EXIF data", section)


@pytest.mark.slow
def test_a_bomb_of_metadata_allocates_no_more_than_the_limit():
    bomb = squeezed(bytes(2**28))

    def work():
        with pytest.raises(FormatError, match=f"more than {MAX_METADATA}"):
            side_data.metadata("EXIF data", bomb)

    assert len(bomb) < 2**17
    assert peak_of(work) < 3 * MAX_METADATA


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_give_metadata_or_a_format_error(section):
    with contextlib.suppress(FormatError):
        assert side_data.metadata("EXIF data", section)


@pytest.mark.parametrize("primaries, transfer, full", [(9, 16, True), (0, 255, False)])
def test_what_colors_are_and_how_large_pixels_are_take_the_bytes_of_png(primaries, transfer, full):
    image = ImageData(
        np.zeros((4, 4), np.uint8),
        cicp=Cicp(primaries, transfer, full),
        resolution=Resolution(11811, 2**31 - 1, True),
    )
    sections = side_data.pack(image)
    assert sections["cicp"] == bytes([primaries, transfer, 0, full])
    assert sections["resolution"] == bytes.fromhex("00002e23 7fffffff 01")
    fields = side_data.fields(Sections(b"", b"", b"", b"", **sections))
    assert (fields["cicp"], fields["resolution"]) == (image.cicp, image.resolution)


@pytest.mark.parametrize(
    ("name", "section"),
    [
        *(("cicp", each) for each in (b"\1", b"\1\1\1\1", b"\1\1\0\2", bytes(5))),
        *(("resolution", each) for each in (bytes(9), b"\0\0\0\1" * 2, b"\0\0\0\1" * 2 + b"\2",
                                            b"\x80\0\0\0\0\0\0\1\1", bytes(10))),
    ],
)  # fmt: skip
def test_numbers_that_mean_nothing_are_refused(name, section):
    sections = Sections(b"", b"", b"", b"")._replace(**{name: section})
    with pytest.raises(FormatError, match="the file's .* is invalid"):
        side_data.fields(sections)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["icc", "exif", "xmp", "cicp", "resolution"]), st.binary(max_size=99))
def test_any_section_gives_its_field_or_a_format_error(name, section):
    with contextlib.suppress(FormatError):
        side_data.fields(Sections(b"", b"", b"", b"")._replace(**{name: section}))


def test_exif_data_that_calls_an_upright_image_sideways_is_put_right():
    sideways = b"II*\0\x08\0\0\0\1\0\x12\1\4\0\1\0\0\0\6\0\0\0" + bytes(4)
    section = side_data.pack(ImageData(np.zeros((4, 4), np.uint8), exif=sideways))["exif"]
    fields = side_data.fields(Sections(b"", b"", b"", b"", exif=section))
    block = Image.Exif()
    block.load(fields["exif"])
    assert block[274] == 1


def test_xmp_that_calls_an_upright_image_sideways_is_put_right():
    section = squeezed(b'<rdf:Description tiff:Orientation="6" x="6"/>')
    fields = side_data.fields(Sections(b"", b"", b"", b"", xmp=section))
    assert fields["xmp"] == b'<rdf:Description tiff:Orientation="1" x="6"/>'


def test_alpha_is_a_file_that_any_png_reader_opens():
    section = packed(SAMPLES[..., 0].astype(np.uint8))["alpha"]
    with Image.open(io.BytesIO(section)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (24, 16))
