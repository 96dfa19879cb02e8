"""One device, eight, and two hosts with four each: the same run to rounding."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from rdonet_jax.training import config as training_config
from rdonet_jax.training.folder import checkpoints

from .conftest import (
    SHORT,
    STEPS,
    assert_close,
    cluster_of_two,
    curve,
    ended,
    logged,
    newest_state,
    started,
    wait_for_step,
)

pytestmark = pytest.mark.slow

IMPATIENT = """
import sys
from rdonet_jax.cli.commands import train
from rdonet_jax.training.folder import run_dir
run_dir.SHARING_PATIENCE_S = 0.5
sys.exit(train.run(sys.argv[1:], "train.py"))
"""
"""`train.py`, but that it waits a moment alone for a shared folder."""

COMPARED = 20
"""Steps whose losses are compared; rounding grows from step to step."""


def losses(run, count=COMPARED) -> np.ndarray:
    found = logged(run, "loss")
    return np.array([found[step] for step in range(1, count + 1)])


@pytest.fixture(scope="module")
def on_eight_devices(start, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "eight"
    ended(start(run, devices=8))
    return run


class Stopped(NamedTuple):
    """A run of two hosts, one of which was told to stop."""

    run: Path
    said: list[str]
    step: int


@pytest.fixture(scope="module")
def stopped(start, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "stopped"
    processes = start(run, devices=4, hosts=2)
    wait_for_step(run, 3, processes)
    processes[1].send_signal(signal.SIGTERM)
    said = [ended(process) for process in processes]
    return Stopped(run, said, int(newest_state(run).step))


@pytest.fixture(scope="module")
def on_two_hosts(start, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "hosts"
    for process in start(run, devices=4, hosts=2):
        ended(process)
    return run


@pytest.mark.long
def test_eight_devices_have_the_loss_curve_of_one(finished, on_eight_devices):
    np.testing.assert_allclose(losses(on_eight_devices), losses(finished), rtol=2e-4)
    # Every gradient is clipped. Clipped before it is averaged, it would have another direction.
    bound = training_config.TrainingConfig().clip_norm
    assert min(logged(finished, "gradient_norm").values()) > 10 * bound
    assert_close(newest_state(on_eight_devices), newest_state(finished), 1e-3)


@pytest.mark.long
def test_images_on_eight_devices_give_the_loss_curve_of_images_on_one(start, tmp_path):
    runs = [tmp_path / "one", tmp_path / "eight"]
    for run, devices in zip(runs, (1, 8), strict=True):
        ended(start(run, "--resident", devices=devices))
    one, eight = map(losses, runs)
    np.testing.assert_allclose(eight, one, rtol=2e-4)
    assert_close(newest_state(runs[0]), newest_state(runs[1]), 1e-3)


def test_two_hosts_of_four_devices_begin_with_the_losses_of_one_device(finished, stopped):
    count = min(stopped.step, COMPARED)
    np.testing.assert_allclose(losses(stopped.run, count), losses(finished, count), rtol=2e-4)


def test_hosts_stop_together_when_one_is_told(stopped):
    assert 3 < stopped.step < STEPS
    assert f"stopped after step {stopped.step}" in stopped.said[0]


def test_only_the_first_host_writes_logs_and_says_where_the_run_stands(stopped):
    assert "stopped after step" not in stopped.said[1]
    assert len(list((stopped.run / "tensorboard").iterdir())) == 1
    steps = [step for step, is_validation in curve(stopped.run) if not is_validation]
    assert steps == list(range(1, stopped.step + 1))


@pytest.mark.long
def test_two_hosts_of_four_devices_have_the_loss_curve_of_one_device(finished, on_two_hosts):
    np.testing.assert_allclose(losses(on_two_hosts), losses(finished), rtol=2e-4)
    assert_close(newest_state(on_two_hosts), newest_state(finished), 1e-3)
    ours, theirs = logged(on_two_hosts, "validation"), logged(finished, "validation")
    assert ours.keys() == theirs.keys()
    assert ours[STEPS]["loss"] == pytest.approx(theirs[STEPS]["loss"], rel=1e-3)


@pytest.mark.long
def test_a_checkpoint_of_two_hosts_goes_on_with_one_device(start, on_two_hosts, tmp_path):
    run = tmp_path / "restored"
    shutil.copytree(on_two_hosts, run)
    shutil.rmtree(run / checkpoints.LAST / str(STEPS))
    ended(start(run, "--resume"))
    assert set(logged(run, "loss")) == set(range(1, STEPS + 1))
    resumed, whole = logged(run, "loss")[STEPS], logged(on_two_hosts, "loss")[STEPS]
    assert resumed == pytest.approx(whole, rel=2e-4)
    assert_close(newest_state(run), newest_state(on_two_hosts), 1e-3)


@pytest.mark.long
def test_a_checkpoint_of_stopped_hosts_goes_on_with_eight_devices(
    start, stopped, on_eight_devices, tmp_path
):
    run = shutil.copytree(stopped.run, tmp_path / "stopped")
    ended(start(run, "--resume", devices=8))
    np.testing.assert_allclose(losses(run), losses(on_eight_devices), rtol=2e-4)
    assert set(logged(run, "loss")) == set(range(1, STEPS + 1))
    assert_close(newest_state(run), newest_state(on_eight_devices), 1e-3)


def test_hosts_that_do_not_share_the_runs_folder_all_say_so_at_the_start(
    photograph_folder, tiny_weights, tmp_path
):
    usual = [*SHORT, "--data", photograph_folder, "--start", tiny_weights, *cluster_of_two()]
    runs = [tmp_path / "first" / "run", tmp_path / "second" / "run"]
    processes = [
        started([*usual, number, "--run", run], program=("-c", IMPATIENT))
        for number, run in enumerate(runs)
    ]
    for process, run in zip(processes, runs, strict=True):
        said = ended(process, 1)
        assert "Traceback" not in said
        line = next(line for line in said.splitlines() if line.startswith("train.py:"))
        assert line.startswith(f"train.py: {run}: the hosts of a run must share its folder")
        assert "did not appear within 0.5 seconds on host 1" in line
        assert not run.parent.exists()


def test_what_is_wrong_on_one_host_ends_all_with_a_sentence(
    photograph_folder, tiny_weights, tmp_path
):
    usual = [*SHORT, "--start", tiny_weights, "--run", tmp_path / "run", *cluster_of_two()]
    folders = [photograph_folder, tmp_path / "nothing"]
    processes = [started([*usual, n, "--data", folder]) for n, folder in enumerate(folders)]
    first, second = (ended(process, 1) for process in processes)
    assert f"train.py: {folders[1]}: no such folder" in second
    assert f"train.py: host 1: {folders[1]}: no such folder" in first
    assert "Traceback" not in first + second
    assert not (tmp_path / "run").exists()


def test_a_validation_image_that_is_damaged_on_one_host_ends_both_with_its_name(
    photograph_folder, tiny_weights, tmp_path
):
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        shutil.copytree(photograph_folder, folder)
    damaged = sorted(folders[1].iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:-2000])
    usual = [*SHORT, "--start", tiny_weights, "--data", photograph_folder, *cluster_of_two()]
    processes = [
        started([*usual, n, "--valid", folder, "--run", tmp_path / "run"])
        for n, folder in enumerate(folders)
    ]
    cause = f"validation crops; host 1 has passed over {damaged}"
    for process in processes:
        said = ended(process, 1)
        assert cause in said and "Traceback" not in said
    assert not (tmp_path / "run" / "log.jsonl").exists()
