"""The short form of `python -m tests.stress.soak`."""

from __future__ import annotations

import sys

import pytest

from tests.stress import soak

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(sys.platform != "linux", reason="needs /proc"),
]


@pytest.mark.slow
@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.long)])
def test_memory_files_and_threads_stay_as_they_are_after_many_images(count, monkeypatch):
    monkeypatch.setattr(soak, "LARGEST_SIDE", 80)
    found = list(soak.soaked(count, "numpy", threads=1))
    assert soak.complaints(found) == []


@pytest.mark.slow
def test_threads_code_side_by_side_and_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "LARGEST_SIDE", 80)
    before = soak.usage()
    *_, after = soak.soaked(20, "numpy", threads=4)
    assert after.files <= before.files + 1  # the bundled weights
    assert soak.usage().threads <= before.threads + 1


@pytest.mark.slow
@pytest.mark.parametrize("method", [pytest.param("fork", marks=pytest.mark.long), "spawn"])
def test_workers_code_as_their_parent_does(method, monkeypatch):
    fewest, most = soak.in_workers(6, "numpy", method)
    assert most <= fewest + 2


def test_what_grows_is_named():
    steady = [soak.Usage(2**30, 7, 3)] * soak.PARTS
    assert soak.complaints(steady) == []
    grown = [soak.Usage(2**30 + 2**23 * part, 7 + part, 3) for part in range(soak.PARTS)]
    assert [words.partition(":")[0] for words in soak.complaints(grown)] == ["memory", "files"]
