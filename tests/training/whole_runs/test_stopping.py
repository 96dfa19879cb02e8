"""A run that was stopped or killed goes on as if nothing had happened."""

from __future__ import annotations

import signal
import time

import jax
import numpy as np
import pytest

from rdonet_jax.training.steps import train_state

from .conftest import STEPS, curve, ended, logged, newest_state, wait_for_step


def assert_stops(process, run, step, number, code) -> None:
    """A signal ends the run soon after a step, with a checkpoint and a line that says so."""
    wait_for_step(run, step, [process])
    process.send_signal(number)
    if number == signal.SIGTERM:  # some senders do it twice
        time.sleep(0.05)
        process.send_signal(number)
    said = ended(process, code)
    stopped_at = int(newest_state(run).step)
    assert step <= stopped_at < STEPS
    assert said.splitlines()[-1].endswith(
        f"{number.name}: stopped after step {stopped_at}, --resume goes on from there"
    )
    assert "Traceback" not in said


@pytest.mark.long
@pytest.mark.parametrize("terminated_too", [False, True])
def test_a_run_told_to_stop_and_then_killed_is_bit_for_bit_one_that_never_stopped(
    start, finished, tmp_path, terminated_too
):
    run = tmp_path / "stopped"
    if terminated_too:
        assert_stops(start(run), run, 3, signal.SIGTERM, 0)
    assert_stops(start(run, *["--resume"] * terminated_too), run, 8, signal.SIGINT, 130)
    process = start(run, "--resume")
    wait_for_step(run, 17, [process])
    process.kill()
    process.wait()
    assert int(newest_state(run).step) <= max(logged(run, "loss")) < STEPS
    ended(start(run, "--resume"))
    assert curve(run) == curve(finished)
    assert_equal(newest_state(run), newest_state(finished))


def assert_equal(ours: train_state.TrainState, theirs: train_state.TrainState) -> None:
    jax.tree_util.tree_map(np.testing.assert_array_equal, ours, theirs)
