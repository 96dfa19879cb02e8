"""The log of a run: complete lines, and which lines remain when a run is resumed."""

from __future__ import annotations

import errno
import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdonet_jax.training.folder import run_log

pytestmark = pytest.mark.once


def write_steps(path, steps):
    path.unlink(missing_ok=True)
    for step in steps:
        run_log.append(path, {"step": step, "text": "a\nb"})


def steps_in(path):
    return [entry["step"] for entry in run_log.read(path)]


def test_what_is_appended_is_read_back(tmp_path):
    entries = [{"step": 1, "loss": 0.1 + 0.2}, {"step": 1, "event": "é", "facts": [1, None]}]
    for entry in entries:
        run_log.append(tmp_path / "log", entry)
    assert run_log.read(tmp_path / "log") == entries


def test_a_run_without_a_log_has_an_empty_one(tmp_path):
    assert run_log.read(tmp_path / "log") == []
    run_log.forget_after(tmp_path / "log", 3)
    assert not list(tmp_path.iterdir())


def test_numbers_that_json_does_not_have_are_null(tmp_path):
    entry = {"step": 1, "a": math.nan, "b": {"c": [math.inf, 1.5], "d": (-math.inf,)}}
    run_log.append(tmp_path / "log", entry)
    read = json.loads((tmp_path / "log").read_text(), parse_constant=pytest.fail)
    assert read == {"step": 1, "a": None, "b": {"c": [None, 1.5], "d": [None]}}


def test_lines_about_later_steps_are_forgotten(tmp_path):
    path = tmp_path / "log"
    write_steps(path, [1, 4, 4, 5, 4])
    run_log.forget_after(path, 4)
    assert steps_in(path) == [1, 4, 4, 4]
    assert list(tmp_path.iterdir()) == [path]


def test_a_log_without_later_lines_is_not_rewritten(tmp_path):
    path = tmp_path / "log"
    write_steps(path, [1, 2])
    before = path.stat()
    run_log.forget_after(path, 2)
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@given(cut=st.integers(0, 60), step=st.integers(0, 4))
def test_a_torn_last_line_is_passed_over_and_then_gone(tmp_path_factory, cut, step):
    path = tmp_path_factory.getbasetemp() / "torn"
    write_steps(path, [1, 2, 3])
    content = path.read_bytes()
    torn = content[: len(content) - cut]
    path.write_bytes(torn)
    whole = list(range(1, torn.count(b"\n") + 1))
    assert steps_in(path) == whole
    run_log.forget_after(path, step)
    run_log.append(path, {"step": 9})
    assert steps_in(path) == [k for k in whole if k <= step] + [9]


class FullDisk(io.FileIO):
    """A file on a disk with 7 free bytes."""

    def write(self, content):
        return super().write(content[:7])


def test_a_line_that_does_not_fit_on_the_disk_is_an_error_and_leaves_the_log_as_it_was(
    tmp_path, monkeypatch
):
    path = tmp_path / "log"
    write_steps(path, [1, 2])
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(run_log, "open", lambda path, mode, **_: FullDisk(path, mode), raising=False)
        with pytest.raises(OSError) as caught:
            run_log.append(path, {"step": 3})
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == before
    run_log.append(path, {"step": 4})
    assert steps_in(path) == [1, 2, 4]


@pytest.mark.parametrize("line", ["", "{", "7", "null", "[]", "{}", '{"step": "1"}', "\xff"])
def test_a_damaged_line_is_named_and_nothing_is_removed(tmp_path, line):
    path = tmp_path / "log"
    content = b'{"step": 1}\n' + line.encode("latin-1") + b'\n{"step": 3}\n'
    path.write_bytes(content)
    for use in (run_log.read, lambda path: run_log.forget_after(path, 1)):
        with pytest.raises(run_log.LogError, match=f"{path}: line 2 is damaged"):
            use(path)
    assert path.read_bytes() == content
