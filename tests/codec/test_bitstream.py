import dataclasses
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.codec.bitstream import (
    MAGIC,
    MAX_QUALITY,
    MAX_SIDE,
    VERSIONS,
    FormatError,
    Header,
    Sections,
    pack,
    parse,
)
from rdonet_jax.entropy.range_coder import CODERS

HEADER = Header(
    coder=1,
    height=512,
    width=768,
    quality=None,
    weights=bytes(range(4)),
    platform="cpu x86_64 jax 1.2.3",
    symbols_crc=0xDEADBEEF,
)
SECTIONS = Sections(b"tree", b"", bytes(200), b"\xff" * 300)
PACKED = pack(HEADER, SECTIONS)
FORMED = pack(
    dataclasses.replace(HEADER, gray=True, is_16bit=True),
    SECTIONS._replace(alpha=b"alpha", icc=b"profile", exif=b"exif"),
)
"""A file that has all that version 3 holds."""
RICH = pack(
    dataclasses.replace(HEADER, gray=True, is_16bit=True),
    SECTIONS._replace(
        alpha=b"alpha", icc=b"profile", exif=b"exif", xmp=b"xmp", cicp=b"4444", resolution=bytes(9)
    ),
)
"""A file that has all that version 4 holds."""
REGIONS = pack(HEADER, SECTIONS._replace(offsets=b"offsets"))
FILES = ["plain", "formed", "rich", "regions"]
FORM_AT = PACKED.index(b"\xde\xad\xbe\xef") + 4

printable = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
sizes = st.integers(1, MAX_SIDE)
headers = st.builds(
    Header,
    coder=st.sampled_from(sorted(CODERS.values())),
    height=sizes,
    width=sizes,
    quality=st.none() | st.integers(0, MAX_QUALITY),
    weights=st.binary(min_size=4, max_size=4),
    platform=st.text(printable, max_size=64),
    symbols_crc=st.integers(0, 2**32 - 1),
    gray=st.booleans(),
    is_16bit=st.booleans(),
)
section = st.binary(max_size=300)


def sealed(body: bytes) -> bytes:
    """Bytes with a correct checksum, so that only the fields can be at fault."""
    return body + zlib.crc32(body).to_bytes(4, "big")


@given(headers, st.builds(Sections, *[section] * 11))
@settings(deadline=None)
def test_a_parsed_file_equals_what_was_packed(header, sections):
    assert parse(pack(header, sections), max_pixels=2**64) == (header, sections)


@given(headers, st.builds(Sections, *[section] * 11))
@settings(deadline=None)
def test_versions_3_to_5_are_for_what_others_cannot_hold_and_name_it(header, sections):
    plain = dataclasses.replace(header, gray=False, is_16bit=False), Sections(*sections[:4])
    more = header.gray + 2 * header.is_16bit
    flags = (4, 8, 16, 32, 64, 128, 256)
    more += sum(flag * bool(each) for flag, each in zip(flags, sections[4:], strict=True))
    data, simple = pack(header, sections), pack(*plain)
    version = 5 if more >= 256 else 4 if more >= 32 else 3 if more else 2
    assert (data[4], simple[4]) == (version, 2)
    if more:
        behind = sum(1 + (len(each) > 127) + len(each) for each in sections[:4]) + 4
        at = len(simple) - behind
        form = bytes([more]) if version < 5 else bytes([more % 128 + 128, more // 128])
        assert data[5:at] == simple[5:at] and data[at:].startswith(form)
        lengths = sum(1 + (len(each) > 127) for each in sections[4:] if each)
        assert len(data) == len(simple) + len(form) + lengths + sum(map(len, sections[4:]))
    else:
        assert data == simple


def test_a_kodak_image_of_a_portable_model_pays_32_bytes_for_the_container():
    sections = Sections(bytes(60), bytes(1000), bytes(2000), bytes(4000))
    header = dataclasses.replace(HEADER, quality=320, platform="")
    assert len(pack(header, sections)) - sum(map(len, sections)) == 32


@pytest.mark.parametrize("data", [PACKED, FORMED, RICH, REGIONS], ids=FILES)
def test_any_change_of_any_byte_is_refused(data):
    for position, byte in enumerate(data):
        for flip in {1 << k for k in range(8)} | {0xFF, byte}:
            if flip:
                damaged = bytearray(data)
                damaged[position] ^= flip
                with pytest.raises(FormatError):
                    parse(bytes(damaged))


@pytest.mark.parametrize("data", [PACKED, FORMED, RICH, REGIONS], ids=FILES)
def test_every_truncation_is_refused_as_such(data):
    for length in range(1, len(data)):
        with pytest.raises(FormatError, match="truncated"):
            parse(data[:length])


FOREIGN_FORMS = [(3, 0), (4, 0), (3, 32), (3, 255), (4, 1), (4, 31), (5, 0), (5, 255), (5, 768)]


@pytest.mark.parametrize(("version", "form"), FOREIGN_FORMS)
def test_a_form_that_says_nothing_or_belongs_to_another_version_is_refused(version, form):
    flags = (4, 8, 16, 32, 64, 128, 256)
    names = [name for flag, name in zip(flags, Sections._fields[4:], strict=True) if form & flag]
    field = bytes([form]) if version < 5 or not form else bytes([form % 128 + 128, form // 128])
    plain = FORM_AT + 6  # 1 + 1 + 2 + 2 bytes of lengths
    body = (
        MAGIC + bytes([version]) + PACKED[5:FORM_AT] + field + PACKED[FORM_AT:plain]
        + b"\1" * len(names) + PACKED[plain:-4] + b"x" * len(names)
    )  # fmt: skip
    with pytest.raises(FormatError, match=f"illegal form {form}"):
        parse(sealed(body))


@pytest.mark.parametrize(
    ("flag", "name"),
    [(4, "alpha"), (8, "icc"), (16, "exif"), (32, "xmp"), (64, "cicp"), (128, "resolution"),
     (256, "offsets")],
)  # fmt: skip
def test_an_empty_section_that_the_form_names_is_refused(flag, name):
    lengths_end = FORM_AT + 6  # 1 + 1 + 2 + 2 bytes
    form = bytes([flag]) if flag < 256 else b"\x80\x02"
    version = b"\x03" if flag < 32 else b"\x04" if flag < 256 else b"\x05"
    body = (
        MAGIC + version + PACKED[5:FORM_AT] + form
        + PACKED[FORM_AT:lengths_end] + b"\0"
        + PACKED[lengths_end:-4]
    )  # fmt: skip
    with pytest.raises(FormatError, match=f"section {name} is empty"):
        parse(sealed(body))


def test_the_length_of_a_section_is_believed_only_where_the_bytes_are_there():
    at = FORMED.index(b"\x05\x07\x04")  # of alpha, the profile and EXIF data
    for claim in (b"\xff\xff\xff\xff\x0f\x07\x04", b"\x06\x07\x04", b"\x05\x07\x05"):
        tracemalloc.start()
        with pytest.raises(FormatError, match="truncated"):
            parse(sealed(FORMED[:at] + claim + FORMED[at + 3 : -4]))
        assert tracemalloc.get_traced_memory()[1] < 2**16
        tracemalloc.stop()


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


def test_an_older_or_newer_version_is_named():
    for version in (VERSIONS[0] - 1, VERSIONS[-1] + 1):
        body = MAGIC + bytes([version]) + PACKED[5:-4]
        with pytest.raises(FormatError, match=f"version {version} is unknown"):
            parse(sealed(body))


@given(st.binary(max_size=200))
@settings(max_examples=500, deadline=None)
def test_random_bytes_after_a_right_start_raise_nothing_but_format_errors(tail):
    starts = [MAGIC + bytes([version]) + tail for version in VERSIONS]
    for data in (tail, *starts, *map(sealed, starts)):
        with pytest.raises(FormatError):
            parse(data)


def test_images_above_the_limit_are_refused():
    assert parse(PACKED, max_pixels=512 * 768)[0] == HEADER
    with pytest.raises(FormatError, match="768 x 512 pixels"):
        parse(PACKED, max_pixels=512 * 768 - 1)
    largest = dataclasses.replace(HEADER, height=2**13, width=2**14)
    assert parse(pack(largest, SECTIONS))[0] == largest
    with pytest.raises(FormatError, match=f"limit of {2**27}"):
        parse(pack(dataclasses.replace(largest, height=2**13 + 1), SECTIONS))


ILLEGAL = [
    ("quality", -1),
    ("quality", 2**16),
    ("weights", bytes(3)),
    ("weights", bytes(5)),
    ("platform", "x" * 65),
    ("platform", "näme"),
    ("platform", "one\ntwo"),
    ("platform", "\x1b[2J"),
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
        (MAGIC + b"\x02\x01", MAGIC + b"\x02\x4d", "unknown range coder, number 77"),
        (b"\x06\x00\x00\x01", b"\x06\x81\x80\x04\x00\x01", "illegal quality 65536"),
        (b"\x06\x00\x00\x01", b"\x06\x80\x00\x00\x01", "illegal number: the quality"),
        (b"\x14cpu", b"\x14c\xffu", "illegal platform"),
        (b"\x14cpu", b"\x14c\x00u", "illegal platform"),
        (b"\x14cpu x86_64", b"\x5a" + bytes(70) + b"cpu x86_64", "illegal platform"),
    ],
)
def test_an_illegal_field_is_refused_even_with_a_right_checksum(old, new, message):
    assert PACKED.count(old) == 1
    with pytest.raises(FormatError, match=message):
        parse(sealed(PACKED[:-4].replace(old, new)))
