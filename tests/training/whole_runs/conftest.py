"""Training runs by the script, as its users start them: on one device, on eight, on two hosts."""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.training import sharding
from rdonet_jax.training.folder import checkpoints, run_dir, run_log
from rdonet_jax.training.steps import step as training_step
from rdonet_jax.training.steps import train_state, validation
from tests import hasty_xla
from tests.conftest import ROOT

STEPS = 30
SHORT = ["--preset", "tiny", "--crop", "64", "--batch-size", "8", "--steps", str(STEPS),
         "--log-every", "1", "--validation-every", "10", "--checkpoint-every", "4",
         "--preview-every", "1000"]  # fmt: skip

LIMIT = 900
"""Seconds after which a run that should have ended, or come to a step, counts as stuck."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first: one worker takes them while others do the rest."""
    here = Path(__file__).parent
    items.sort(key=lambda item: here not in item.path.parents)


class Process(subprocess.Popen):
    """A process whose messages go to a file: a pipe that is full would stop it."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self.messages = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as this
        super().__init__(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=self.messages
        )

    def said(self) -> str:
        """What it has written to its error stream so far."""
        self.messages.seek(0)
        return self.messages.read()


def started(
    arguments: Sequence[object],
    devices: int = 1,
    program: Sequence[str] = ("train.py",),
) -> Process:
    """`train.py` at work, on so many virtual devices; `program` is what Python is to run."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {hasty_xla.flags()}",
        # XLA reports every compiled program that it takes from the cache on some processors.
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    return Process([sys.executable, *program, *map(str, arguments)], environment)


def ended(process: Process, code: int = 0) -> str:
    """What a process wrote to its error stream, once it has ended with this exit code."""
    try:
        process.wait(timeout=LIMIT)
    finally:
        process.kill()
    assert process.returncode == code, process.said()
    return process.said()


def all_ended(processes: Sequence[Process]) -> list[str]:
    """What each of them wrote to its error stream; none is left when one has failed."""
    try:
        return [ended(process) for process in processes]
    finally:
        for process in processes:
            process.kill()


def on_two_hosts(arguments: Sequence[object], devices: int) -> list[Process]:
    """Two processes with so many devices each, as two hosts of one run."""
    cluster = cluster_of_two()
    return [started([*arguments, *cluster, number], devices) for number in range(2)]


def cluster_of_two() -> list[object]:
    """The options of two hosts on this machine, but for the number of the host."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    return ["--coordinator", f"localhost:{port}", "--processes", 2, "--process"]


def wait_for_step(run: Path, step: int, processes: Sequence[Process]) -> None:
    """Returns as soon as a run at work has logged a step."""
    log = run / run_log.LOG_FILE
    limit = time.monotonic() + LIMIT
    while not log.exists() or step not in logged(run, "loss"):
        for process in processes:
            assert process.poll() is None, f"ended too early: {process.said()}"
        assert time.monotonic() < limit, f"step {step} was not reached in {LIMIT} s"
        time.sleep(0.01)


def logged(run: Path, name: str) -> dict:
    """What the log says of `name`, by step."""
    return {e["step"]: e[name] for e in run_log.read(run / run_log.LOG_FILE) if name in e}


def curve(run: Path) -> dict:
    """All that a run's log says of its steps and validations, but for how fast it went."""
    entries = run_log.read(run / run_log.LOG_FILE)
    return {
        (entry["step"], "validation" in entry): {
            name: value for name, value in entry.items() if name != "crops_per_second"
        }
        for entry in entries
        if "event" not in entry
    }


def newest_state(run: Path) -> train_state.TrainState:
    held = run_dir.Run.load(run)
    with checkpoints.Checkpoints(run) as kept:
        return kept.restore(held.model, held.training)[0]


def assert_close(
    ours: train_state.TrainState, theirs: train_state.TrainState, tolerance: float
) -> None:
    """The parts of two states are equal to rounding, each measured by its norm."""
    for part, other in zip(ours, theirs, strict=True):
        flat, other = (
            np.concatenate([np.ravel(x) for x in jax.tree_util.tree_leaves(tree)]).astype(float)
            for tree in (part, other)
        )
        assert np.linalg.norm(flat - other) <= tolerance * np.linalg.norm(flat)


@pytest.fixture(scope="session")
def interrupts() -> Iterator[None]:
    """Lets the script hear Ctrl-C though the tests run in the background of a shell.

    What this process ignores, its children ignore as well; they inherit no other handler.
    """
    held = signal.getsignal(signal.SIGINT)
    if held == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, held)


@pytest.fixture(scope="session")
def start(interrupts, photograph_folder, tiny_weights) -> Callable[..., Any]:
    """Starts the script on the photographs; runs of equal shape share what they compile."""

    def start(run: Path, *more: object, devices: int = 1, hosts: int = 1) -> Any:
        images = ["--data", photograph_folder, "--start", tiny_weights]
        arguments = [*SHORT, *images, "--run", run, *more]
        if hosts == 2:
            return on_two_hosts(arguments, devices)
        return started(arguments, devices)

    return start


@pytest.fixture(scope="session")
def finished(start, tmp_path_factory) -> Path:
    """A run of both stages on one device, from its first step to its last."""
    run = tmp_path_factory.mktemp("runs") / "one"
    ended(start(run))
    return run


@pytest.fixture
def light_steps(monkeypatch):
    """Steps with the optimizer, the schedule and the crops of a run, but a gradient that costs
    nothing: it depends on the parameters and on the crops."""

    def make_step(network_config, schedule):
        @functools.partial(jax.jit, compiler_options=dict(hasty_xla.options()))
        def updated(state, mean, position):
            gradients = jax.tree_util.tree_map(lambda leaf: leaf * mean + mean, state.params)
            return training_step.apply_update(network_config, schedule, state, gradients, position)

        def step(state, batch, position):
            one = jax.tree_util.tree_map(lambda leaf: leaf[0], state)
            new = updated(one, np.float32(np.mean(batch.crops)), position)
            values = training_step.StepValues(1.0, 0.5, 0.01, 2.0, 1e-4)
            metrics = training_step.StepMetrics(values, True)
            metrics = jax.tree_util.tree_map(lambda value: jnp.full(1, value), metrics)
            return jax.tree_util.tree_map(lambda leaf: leaf[None], new), metrics

        return step

    monkeypatch.setattr(training_step, "make_step", make_step)
    monkeypatch.setattr(
        sharding,
        "unreplicate",
        lambda tree: jax.tree_util.tree_map(lambda x: np.asarray(x[0]), tree),
    )
    result = validation.Validation(1.0, 0.5, 30.0, (1.0, 0.0, 0.0))
    monkeypatch.setattr(validation, "make", lambda *_: lambda _: result)
    monkeypatch.setattr(validation, "preview", lambda *_: validation.Preview(*[np.zeros(0)] * 4))
