"""Event files: one for every start, and errors that name them."""

from __future__ import annotations

import errno

import pytest

from rdonet_jax.training.folder.event_file import EventFile

pytestmark = pytest.mark.once


def test_two_starts_within_a_second_have_two_files(tmp_path):
    for step in (1, 5):
        EventFile(tmp_path / "events", step).close()
    assert len(list((tmp_path / "events").iterdir())) == 2


def test_an_error_of_a_full_disk_names_the_folder(tmp_path, monkeypatch):
    events = EventFile(tmp_path, 1)

    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(events._writer, "flush", fail)
    with pytest.raises(OSError, match="No space left") as caught:
        events.scalars(1, {"loss": 1.0})
    assert caught.value.filename == str(tmp_path)
