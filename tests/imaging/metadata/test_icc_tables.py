"""Profiles whose tables claim more than they hold are not given to Little CMS."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import ImageCms

from rdonet_jax.imaging.metadata import icc, icc_tables

pytestmark = pytest.mark.once

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def with_tag(content: bytes) -> bytes:
    """A profile of sRGB whose description is this tag."""
    count = int.from_bytes(SRGB[128:132], "big")
    numbers = {SRGB[at : at + 4]: at for at in range(132, 132 + 12 * count, 12)}
    profile = bytearray(SRGB)
    struct.pack_into(">II", profile, numbers[b"desc"] + 4, len(SRGB), len(content))
    profile += content
    struct.pack_into(">I", profile, 0, len(profile))
    return bytes(profile)


def texts(count: int) -> bytes:
    text = "colors".encode("utf-16-be")
    records = struct.pack(">II2s2sII", count, 12, b"en", b"US", len(text), 28)
    return b"mluc\0\0\0\0" + records + text


def test_profiles_that_hold_what_they_claim_are_read():
    assert icc_tables.fit(SRGB) and icc.name(SRGB)
    assert icc.name(with_tag(texts(1))) == "colors"


@pytest.mark.parametrize(
    "tag",
    [
        texts(2**25),
        b"mft1\0\0\0\0" + bytes([3, 3, 255]) + bytes(99),
        b"mft2\0\0\0\0" + bytes([4, 3, 100]) + bytes(99),
        b"mAB \0\0\0\0" + bytes([3, 3, 0, 0]) + struct.pack(">IIIII", 0, 0, 0, 32, 0)
        + bytes([200] * 3 + [0] * 13 + [2, 0, 0, 0]) + bytes(99),
    ],
    ids=["texts", "a table of bytes", "a table of words", "a table of version 4"],
)  # fmt: skip
def test_a_table_that_claims_more_than_there_is_is_not_read(tag, monkeypatch):
    profile = with_tag(tag)
    ImageCms.ImageCmsProfile(io.BytesIO(profile))  # it opens, and its tables are read on request
    assert not icc_tables.fit(profile)

    def unreachable(*_):
        raise AssertionError

    monkeypatch.setattr(ImageCms, "ImageCmsProfile", unreachable)
    assert icc.name(profile) == "" and icc.is_srgb(profile, "RGB")


@pytest.mark.parametrize("length", [0, 1, 127, 131, 140, 300])
def test_profiles_of_any_length_have_an_answer(length):
    assert icc_tables.fit(SRGB[:length])
