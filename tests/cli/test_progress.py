"""The bar of long work, and work that there is not enough memory for."""

from __future__ import annotations

import io
import sys

import pytest

from rdonet_jax.cli import progress
from rdonet_jax.cli.errors import CommandError

STEPS = ("analysis", "level 64", "synthesis")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown_by(monkeypatch, delay, screen, quiet=False):
    """What standard error shows of work in three steps."""
    monkeypatch.setattr(progress, "PROGRESS_DELAY", delay)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", screen)
        with progress.progress_bar("a.png", STEPS, quiet) as report:
            for step in STEPS:
                report(step)
    return screen.getvalue()


def test_a_terminal_shows_the_steps_of_long_work_and_is_left_clean(monkeypatch):
    shown = shown_by(monkeypatch, 0.0, Terminal())
    assert all(step in shown for step in STEPS)
    assert shown.rpartition("\r")[0].rpartition("\r")[2].strip() == ""
    assert "\n" not in shown


def test_quick_quiet_and_redirected_work_show_no_progress(monkeypatch):
    assert shown_by(monkeypatch, 1e6, Terminal()) == ""
    assert shown_by(monkeypatch, 0.0, Terminal(), quiet=True) == ""
    assert shown_by(monkeypatch, 0.0, io.StringIO()) == ""


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: 9 bytes")])
def test_exhausted_memory_is_the_images_fault(error):
    with (
        pytest.raises(CommandError, match="^a.png: there is not enough memory"),
        progress.progress_bar("a.png", STEPS, True),
    ):
        raise error


def test_any_other_runtime_error_is_a_bug_and_shows_as_one():
    with pytest.raises(RuntimeError, match="else"), progress.progress_bar("a.png", STEPS, True):
        raise RuntimeError("something else")
