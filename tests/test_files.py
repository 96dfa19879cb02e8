"""Files that are replaced: whole or not at all."""

from __future__ import annotations

import pytest

from rdonet_jax import files

pytestmark = pytest.mark.once


def test_a_file_is_replaced_by_what_is_written(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    files.replace(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    def write(file):
        file.write(b"half")
        raise error

    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(error):
        files.replace(path, write)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
