"""The index of shards: one that is damaged or contradicts itself is refused."""

from __future__ import annotations

import dataclasses
import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.imaging import shards
from rdonet_jax.imaging.shards import Index, ShardError

pytestmark = pytest.mark.once


def index_of_one() -> Index:
    return Index(
        shards.TAR, ("a.tar",), (7,), ("x.png",), np.array([[3, 4]], np.int32),
        np.zeros(1, np.int32), np.array([[5, 6]], np.int64),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("at_header", "at_directory"), [(6, 8), (8, 10)], ids=["encrypted", "of another compression"]
)
def test_an_index_that_python_cannot_unpack_is_refused(at_header, at_directory):
    content = bytearray(index_of_one().to_bytes())
    for mark, at in ((b"PK\3\4", at_header), (b"PK\1\2", at_directory)):
        content[content.index(mark) + at] ^= 1
    with pytest.raises(ShardError, match="x: is no index of shards"):
        Index.from_bytes(bytes(content), "x")


def test_an_index_whose_compressed_part_is_damaged_is_refused():
    good = index_of_one().to_bytes()
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        entry = next(each for each in archive.infolist() if each.compress_type)
    name_bytes, extra_bytes = struct.unpack_from("<HH", good, entry.header_offset + 26)
    at = entry.header_offset + 30 + name_bytes + extra_bytes
    with pytest.raises(ShardError, match="x: is no index of shards"):
        Index.from_bytes(good[:at] + b"\xff" * 4 + good[at + 4 :], "x")


@settings(max_examples=60)
@given(data=st.data())
def test_an_index_of_any_bytes_is_read_or_refused(data):
    good = index_of_one()
    content = bytearray(good.to_bytes())
    assert Index.from_bytes(bytes(content), "x").names == good.names
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    try:
        Index.from_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]), "x")
    except ShardError as error:
        assert str(error).startswith("x: is no index of shards")


@pytest.mark.parametrize(
    "changes",
    [
        {"files": ("../a.tar",)},
        {"kind": "zip"},
        {"shard": np.array([1], np.int32)},
        {"sizes": np.array([[0, 4]], np.int32)},
        {"names": ()},
        {"names": ("../x.png",)},
        {"names": ("a/../../x.png",)},
        {"names": ("a\\..\\x.png",)},
        {"names": ("/tmp/x.png",)},
        {"names": ("",)},
        {"labels": ("../x.png",)},
        {"labels": ("a.png", "b.png")},
    ],
)
def test_an_index_that_contradicts_itself_is_refused(changes):
    changed = dataclasses.replace(index_of_one(), **changes)
    with pytest.raises(ShardError, match="x: is no index of shards"):
        Index.from_bytes(changed.to_bytes(), "x")
