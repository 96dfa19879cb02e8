"""A run that was stopped or killed goes on as if nothing had happened."""

from __future__ import annotations

import signal
import time

import jax
import numpy as np
import pytest

from rdonet_jax import training

from .conftest import STEPS, curve, ended, logged, newest_state, wait_for_step


def resumed(start, run) -> None:
    ended(start(run, "--resume"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_run_told_to_stop_leaves_a_checkpoint_and_goes_on_bit_for_bit(
    start, finished, tmp_path, number, code
):
    run = tmp_path / "stopped"
    process = start(run)
    wait_for_step(run, 5, [process])
    process.send_signal(number)
    if number == signal.SIGTERM:  # some senders do it twice
        time.sleep(0.05)
        process.send_signal(number)
    said = ended(process, code)
    stopped_at = int(newest_state(run).step)
    assert 5 <= stopped_at < STEPS
    assert said.splitlines()[-1].endswith(
        f"{number.name}: stopped after step {stopped_at}, --resume goes on from there"
    )
    assert "Traceback" not in said
    resumed(start, run)
    assert curve(run) == curve(finished)
    assert_equal(newest_state(run), newest_state(finished))


def test_a_killed_run_goes_on_from_its_last_checkpoint_bit_for_bit(start, finished, tmp_path):
    run = tmp_path / "killed"
    process = start(run)
    wait_for_step(run, 11, [process])
    process.kill()
    process.communicate()
    assert max(logged(run, "loss")) < STEPS
    resumed(start, run)
    assert curve(run) == curve(finished)
    assert_equal(newest_state(run), newest_state(finished))


def assert_equal(ours: training.TrainState, theirs: training.TrainState) -> None:
    jax.tree_util.tree_map(np.testing.assert_array_equal, ours, theirs)
