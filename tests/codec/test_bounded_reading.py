"""Compressed files are read as far as their headers ask, whatever is behind that."""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import rdonet_jax.pillow_plugin  # noqa: F401 - lets Pillow know the format
from rdonet_jax.codec import bitstream
from rdonet_jax.codec.bitstream import FormatError, Sections
from tests.codec.test_bitstream import FORMED, HEADER, PACKED, REGIONS, SECTIONS
from tests.conftest import ROOT

GIB = 2**30
LARGE = bitstream.pack(HEADER, SECTIONS._replace(level0=bytes(3 * bitstream._PART_BYTES)))
LONGEST = bitstream.pack(
    dataclasses.replace(HEADER, platform="x" * 64, height=1, width=2**16 - 1, is_16bit=True),
    Sections(*[b"x" * 2**15] * len(Sections._fields)),
)


class Endless(io.RawIOBase):
    """A beginning, then zeros without end; counts what is taken from it."""

    def __init__(self, start: bytes) -> None:
        self.start, self.taken = start, 0

    def read(self, count: int = -1) -> bytes:
        assert count >= 0, "everything is asked for, and there is no end"
        part = self.start[self.taken :][:count]
        self.taken += count
        return part + bytes(count - len(part))


@pytest.mark.parametrize("data", [PACKED, FORMED, LONGEST, LARGE])
def test_a_whole_file_is_read_whole(data):
    assert bitstream.read(io.BytesIO(data)) == data


class Slow(io.RawIOBase):
    """A stream that gives up to `most` bytes at a time, as pipes and sockets do."""

    def __init__(self, data: bytes, most: int) -> None:
        self.source, self.most = io.BytesIO(data), most

    def read(self, count: int = -1) -> bytes:
        return self.source.read(min(count, self.most))


@pytest.mark.parametrize("most", [1, 10, 511])
def test_a_stream_that_gives_few_bytes_at_a_time_is_read_whole(most):
    for data in (PACKED, FORMED, LONGEST):
        assert bitstream.read(Slow(data, most)) == data


@settings(deadline=None)
@given(st.sampled_from([PACKED, FORMED, REGIONS]), st.data())
def test_what_is_read_of_a_damaged_file_is_refused_as_the_whole_file_is(data, draws):
    content = bytearray(data[: draws.draw(st.integers(0, len(data)))])
    for position in draws.draw(st.lists(st.integers(0, len(data) - 1), max_size=3)):
        if position < len(content):
            content[position] ^= draws.draw(st.integers(0, 255))
    try:
        expected = bitstream.parse(bytes(content))
    except FormatError:
        expected = None
    try:
        found = bitstream.parse(bitstream.read(io.BytesIO(content)))
    except FormatError:
        found = None
    assert found == expected


@pytest.mark.parametrize("start", [b"", b"\x92RD\0", b"\x92RDO\xff"])
def test_of_a_file_that_is_none_the_beginning_is_read(start):
    file = Endless(start)
    with pytest.raises(FormatError, match="no RDONet file|version 255 is unknown"):
        bitstream.read(file)
    assert file.taken <= 1024


@pytest.mark.parametrize("data", [PACKED, FORMED])
def test_of_what_follows_the_end_a_byte_is_read(data):
    file = Endless(data)
    with pytest.raises(FormatError, match="bytes too many at the end of the file"):
        bitstream.read(file)
    assert file.taken <= len(data) + 1024


def test_lengths_that_a_file_has_not_take_no_memory():
    lengths = b"\x04\x00\xc8\x01\xac\x02"  # of SECTIONS
    assert PACKED.count(lengths) == 1
    claim = PACKED.replace(lengths, 4 * b"\xff\xff\xff\xff\x0f")
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="ends within the section partition"):
            bitstream.parse(bitstream.read(io.BytesIO(claim)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 2 * bitstream._PART_BYTES


def sparse(path: Path, start: bytes) -> Path:
    """A file of two GiB that takes no room on the disk."""
    with open(path, "wb") as file:
        file.write(start)
        file.truncate(2 * GIB)
    return path


def test_pillow_reads_no_more_of_a_file_than_its_header_asks_for(tmp_path):
    path = sparse(tmp_path / "large.rdo", PACKED)
    tracemalloc.start()
    try:
        with pytest.raises(OSError, match="bytes too many"):
            Image.open(path, formats=["RDO"])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**22


BOUNDED = """
import resource, sys
from rdonet_jax.cli import main as cli_main
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
code = cli_main.main(sys.argv[1:])
assert "jax" not in sys.modules
sys.exit(code)
"""
"""The command with 1 GiB of addresses, for what is to be refused without JAX."""


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs a file without end")
@pytest.mark.parametrize("command", ["info", "decompress"])
def test_a_command_refuses_files_of_any_size_from_their_beginning(tmp_path, command):
    no_file = "this is no RDONet file: it does not begin with the magic bytes"
    large = sparse(tmp_path / "large.rdo", b"")
    for name, cause in ((large, no_file), ("/dev/zero", "is a device, and not a file")):
        done = subprocess.run(
            [sys.executable, "-c", BOUNDED, command, name],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"rdonet: {name}: {cause}\n"
