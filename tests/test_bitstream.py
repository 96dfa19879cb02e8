import dataclasses
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.bitstream import (
    MAGIC,
    MAX_SIDE,
    VERSION,
    FormatError,
    Header,
    Sections,
    pack,
    parse,
)

HEADER = Header(
    model="small-0.01",
    weights=bytes(range(8)),
    coder=1,
    height=512,
    width=768,
    symbols_crc=0xDEADBEEF,
)
SECTIONS = Sections(b"tree", b"", bytes(200), b"\xff" * 300)
PACKED = pack(HEADER, SECTIONS)

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
sizes = st.integers(1, MAX_SIDE)
headers = st.builds(
    Header,
    model=names,
    weights=st.binary(min_size=8, max_size=8),
    coder=st.just(1),
    height=sizes,
    width=sizes,
    symbols_crc=st.integers(0, 2**32 - 1),
)
section = st.binary(max_size=300)


def sealed(body: bytes) -> bytes:
    """Bytes with a correct checksum, so that only the fields can be at fault."""
    return body + zlib.crc32(body).to_bytes(4, "big")


@given(headers, st.builds(Sections, section, section, section, section))
@settings(deadline=None)
def test_a_parsed_file_equals_what_was_packed(header, sections):
    assert parse(pack(header, sections), max_pixels=2**64) == (header, sections)


def test_a_kodak_picture_pays_at_most_forty_bytes_for_the_container():
    sections = Sections(bytes(60), bytes(1000), bytes(2000), bytes(4000))
    header = dataclasses.replace(HEADER, model="small")
    assert len(pack(header, sections)) - sum(map(len, sections)) <= 40


def test_any_change_of_any_byte_is_refused():
    for position, byte in enumerate(PACKED):
        for flip in {1 << k for k in range(8)} | {0xFF, byte}:
            if flip:
                damaged = bytearray(PACKED)
                damaged[position] ^= flip
                with pytest.raises(FormatError):
                    parse(bytes(damaged))


def test_every_truncation_is_refused_as_such():
    for length in range(1, len(PACKED)):
        with pytest.raises(FormatError, match="truncated"):
            parse(PACKED[:length])


def test_an_empty_file_is_refused():
    with pytest.raises(FormatError, match="empty"):
        parse(b"")


@pytest.mark.parametrize("extra", [b"\0", b"more", PACKED])
def test_trailing_bytes_are_refused(extra):
    with pytest.raises(FormatError, match=f"{len(extra)} bytes too many"):
        parse(PACKED + extra)


def test_a_flipped_payload_byte_is_called_damage():
    damaged = bytearray(PACKED)
    damaged[-100] ^= 1
    with pytest.raises(FormatError, match="damaged"):
        parse(bytes(damaged))


def test_a_foreign_file_is_told_by_its_first_bytes():
    for foreign in (b"\x89PNG\r\n\x1a\n" + bytes(50), b"R", b"\xff\xd8\xff\xe0"):
        with pytest.raises(FormatError, match="no RDONet file"):
            parse(foreign)


def test_an_unknown_version_is_named():
    body = MAGIC + bytes([VERSION + 1]) + PACKED[5:-4]
    with pytest.raises(FormatError, match=f"version {VERSION + 1} is unknown"):
        parse(sealed(body))


@given(st.binary(max_size=200))
@settings(max_examples=500, deadline=None)
def test_random_bytes_after_a_right_start_raise_nothing_but_format_errors(tail):
    for data in (tail, MAGIC + bytes([VERSION]) + tail, sealed(MAGIC + bytes([VERSION]) + tail)):
        with pytest.raises(FormatError):
            parse(data)


def test_pictures_above_the_limit_are_refused():
    assert parse(PACKED, max_pixels=512 * 768)[0] == HEADER
    with pytest.raises(FormatError, match="768 x 512 pixels"):
        parse(PACKED, max_pixels=512 * 768 - 1)
    largest = dataclasses.replace(HEADER, height=2**13, width=2**14)
    assert parse(pack(largest, SECTIONS))[0] == largest
    with pytest.raises(FormatError, match=f"limit of {2**27}"):
        parse(pack(dataclasses.replace(largest, height=2**13 + 1), SECTIONS))


ILLEGAL = [
    ("model", ""),
    ("model", "../weights"),
    ("model", "a/b"),
    ("model", ".hidden"),
    ("model", "näme"),
    ("model", "name\n"),
    ("model", "x" * 65),
    ("weights", bytes(7)),
    ("weights", bytes(9)),
    ("coder", 0),
    ("coder", 77),
    ("height", 0),
    ("width", 0),
    ("width", 2**16),
    ("symbols_crc", -1),
    ("symbols_crc", 2**32),
]


@pytest.mark.parametrize(("field", "value"), ILLEGAL)
def test_an_illegal_header_is_not_written(field, value):
    with pytest.raises(FormatError):
        pack(dataclasses.replace(HEADER, **{field: value}), SECTIONS)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"\x80\x04\x80\x06", b"\x00\x80\x06", "illegal height 0"),
        (b"\x80\x04\x80\x06", b"\x80\x04\x00", "illegal width 0"),
        (b"\x80\x04\x80\x06", b"\x80\x84\x00\x80\x06", "illegal number: the height"),
        (b"\x80\x04\x80\x06", b"\x80\x04\xff\xff\xff\xff\x10", "illegal number: the width"),
        (b"\x80\x04\x80\x06", b"\x80\x04\x80\x80\x80\x80\x80\x01", "illegal number: the width"),
        (MAGIC + b"\x01\x01", MAGIC + b"\x01\x4d", "unknown range coder, number 77"),
        (b"\x0asmall-0.01", b"\x0a../../0.01", "illegal model name"),
        (b"\x0asmall-0.01", b"\x00", "illegal model name"),
        (b"\x0asmall-0.01", b"\x0asmall-0.\xff\x00", "illegal model name"),
    ],
)
def test_an_illegal_field_is_refused_even_with_a_right_checksum(old, new, message):
    assert PACKED.count(old) == 1
    with pytest.raises(FormatError, match=message):
        parse(sealed(PACKED[:-4].replace(old, new)))
