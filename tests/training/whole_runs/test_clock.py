"""Runs of so many minutes, by a clock that ticks whenever it is looked at."""

from __future__ import annotations

import os
import signal

import pytest

from rdonet_jax.core import presets
from rdonet_jax.models import zoo
from rdonet_jax.training import run as training_run
from rdonet_jax.training.config import RunLength, TrainingConfig
from rdonet_jax.training.folder import checkpoints, exports
from rdonet_jax.training.folder.run_dir import Run, RunError
from rdonet_jax.training.loop import Intervals

from .conftest import logged

pytestmark = [pytest.mark.once, pytest.mark.slow]

MINUTES = 1.0
TICK = 0.3


class Ticking:
    """A clock that goes on by `TICK` seconds at every look, and sends SIGTERM at a time."""

    def __init__(self, stop_at: float = 1e9) -> None:
        self.seconds, self.stop_at = 0.0, stop_at

    def __call__(self) -> float:
        before, self.seconds = self.seconds, self.seconds + TICK
        if before < self.stop_at <= self.seconds:
            os.kill(os.getpid(), signal.SIGTERM)
        return self.seconds


@pytest.fixture
def run(light_steps, photograph_folder, tmp_path):
    """A run by the clock of a name, with its outcome and the seconds that it took."""

    def run(name, clock=None, resume=False, length=None, **changes):
        clock = clock or Ticking()
        training = TrainingConfig(
            **{"minutes": MINUTES, "crop": 64, "start": "random", "stage1_steps": 1,
               "stage2_steps": 3, "warmup_steps": 0, "resident": True, **changes}
        )  # fmt: skip
        outcome = training_run.train(
            tmp_path / name,
            Run(presets.tiny(), training, "tiny"),
            training_run.Sources([photograph_folder]),
            resume,
            Intervals(log=1, validation=50, checkpoint=40, export=0.2),
            length or RunLength(as_before=resume),
            now=clock,
        )
        return outcome, clock.seconds

    return run


def progress_of(folder) -> checkpoints.Progress:
    held = Run.load(folder)
    with checkpoints.Checkpoints(folder, read_only=True) as kept:
        return kept.restore(held.model, held.training)[1]


def test_a_run_by_the_clock_ends_in_time_with_validation_checkpoint_and_weights(run, tmp_path):
    outcome, seconds = run("whole")
    steps = int(outcome.state.step)
    assert not outcome.stopped_by and 50 < seconds <= 60 * MINUTES and steps > 50
    folder = tmp_path / "whole"
    stages = list(logged(folder, "stage").values())
    assert len(stages) == steps and stages == sorted(stages)
    assert stages.index(2) / steps == pytest.approx(1 / 4, abs=0.1)
    events = logged(folder, "event")
    minutes = logged(folder, "minutes")
    assert minutes == {0: MINUTES} and not logged(folder, "steps")
    assert events[stages.index(2)] == "stage 2 begins" or (
        events[stages.index(2) + 1] == "stage 2 begins"
    )
    assert max(logged(folder, "validation")) == steps
    progress = progress_of(folder)
    assert (progress.step, progress.passed) == (steps, 1.0)
    newest = exports.weights_files(folder / exports.FOLDER)
    assert len(newest) == 2 and zoo.load(newest[-1]).record.steps_done == steps
    again, _ = run("whole", resume=True)
    assert again.was_finished and outcome.by_clock and again.by_clock
    with pytest.raises(RunError, match="is finished, and more_minutes are for what is left"):
        run("whole", resume=True, length=RunLength(more_minutes=1, as_before=True))


def test_a_run_that_was_stopped_goes_on_with_what_was_left(run, tmp_path):
    first, _ = run("cut", Ticking(stop_at=30))
    assert first.stopped_by == "SIGTERM"
    progress = progress_of(tmp_path / "cut")
    assert 0.3 < progress.passed < 0.6
    assert progress.left == pytest.approx(30, abs=2)
    done = int(first.state.step)
    assert (
        zoo.load(exports.weights_files(tmp_path / "cut" / exports.FOLDER)[-1]).record.steps_done
        == done
    )
    second, seconds = run("cut", resume=True)
    assert not second.stopped_by and int(second.state.step) > done
    assert seconds <= progress.left
    assert progress_of(tmp_path / "cut").passed == 1
    assert list(logged(tmp_path / "cut", "event").values()).count("stage 2 begins") == 1


def test_a_run_that_was_stopped_can_have_more_minutes(run, tmp_path):
    run("more", Ticking(stop_at=30))
    outcome, seconds = run("more", resume=True, length=RunLength(more_minutes=1, as_before=True))
    assert not outcome.stopped_by and 50 < seconds <= 60  # of the first minute, 30 s were left


def test_the_minutes_and_the_shares_of_a_run_stay_as_they_are(run, tmp_path):
    run("same", Ticking(stop_at=30))
    with pytest.raises(RunError, match=r"minutes: 1.0 then, 2.0 now"):
        run("same", resume=True, minutes=2.0)
    with pytest.raises(RunError, match="goes by the clock and keeps the shares"):
        run("same", resume=True, length=RunLength(), stage2_steps=5)
