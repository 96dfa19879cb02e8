"""What `rdonet train` says when a run ends, and what it needs to go on with one."""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest

from rdonet_jax.cli.commands import train
from rdonet_jax.core import presets
from rdonet_jax.models import zoo
from rdonet_jax.runtime import multihost
from rdonet_jax.training import run as training_run
from rdonet_jax.training.folder import run_dir
from rdonet_jax.training.loop import Outcome
from tests import portable_params
from tests.conftest import ROOT

pytestmark = pytest.mark.once

NOISY_EXPORT = """
import logging, sys, warnings
from rdonet_jax.cli.commands import train

def export(*_):
    logging.getLogger("absl").warning("from a library")
    warnings.warn("from a library")
    return "weights"

train.training_run.export = export
sys.exit(train.main(["export", "run", "name"]))
"""


@pytest.fixture
def said(monkeypatch, capsys):
    """The exit code of a run, and what is said when it has ended so."""

    def said(stopped_by: str = "", **how: bool) -> tuple[int, str]:
        outcome = Outcome(SimpleNamespace(step=7), stopped_by, **how)
        monkeypatch.setattr(training_run, "train", lambda *_, **__: outcome)
        code = train.main(["--data", "d", "--run", "r"])
        return code, capsys.readouterr().err

    return said


@pytest.mark.slow
def test_an_export_prints_the_path_alone_whatever_libraries_say():
    done = subprocess.run([sys.executable, "-c", NOISY_EXPORT], cwd=ROOT, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"weights\n", b"")


def test_the_name_of_an_export_is_judged_before_its_run(capsys):
    assert train.main(["export", "none", "a/b"]) == 1
    assert "a model name is made of" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_path_that_cannot_be_printed_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(training_run, "export", lambda *_: "weights")
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        assert train.main(["export", "run", "name"]) == 1
    said = capsys.readouterr().err
    assert said == "rdonet train: standard output: No space left on device\n"


def test_a_finished_run_by_the_clock_is_not_asked_to_go_on_with_more_steps(said):
    for how in ({}, {"was_finished": True}):
        code, text = said(by_clock=True, **how)
        assert code == 0 and "a new run can go on from them with --start" in text
        assert "--resume" not in text
        code, text = said(**how)
        assert code == 0 and "--resume with more steps goes on" in text


def test_the_first_host_alone_says_where_the_run_stands(said, monkeypatch):
    sentence = "SIGTERM: stopped after step 7, --resume goes on from there"
    assert said("SIGTERM") == (0, f"rdonet train: {sentence}\n")
    monkeypatch.setattr(multihost, "is_first", lambda: False)
    assert said("SIGTERM") == (0, "")
    assert said("SIGINT") == (130, "")
    assert said() == (0, "")


@pytest.fixture
def fine_tuned(tmp_path):
    """A fine-tuned run in a folder: its settings, its weights, and what resumes it."""
    record = {"training": {"metric": "both", "ms_ssim_share": 0.25, "lmbda": 0.0067}}
    model, folder = presets.mini(hidden=20), tmp_path / "run"
    weights = zoo.save(tmp_path, "own", model, portable_params.start(model), record)
    line = f"--fine-tune {weights} --minutes 20 --data d --run {folder}"
    begun = train.parse(shlex.split(line), "rdonet train")[1]
    run = run_dir.Run(begun.model, begun.training, begun.preset)
    folder.mkdir()
    (folder / run_dir.CONFIG_FILE).write_text(run.to_json())
    return begun, weights, shlex.split(line) + ["--resume"]


@pytest.mark.slow
def test_a_fine_tuned_run_goes_on_without_the_weights_that_it_began_with(fine_tuned):
    begun, weights, line = fine_tuned
    weights.unlink()
    found = train.parse(line, "rdonet train")[1]
    assert found == begun
    changed = train.parse([*line, "--learning-rate", "1e-3"], "rdonet train")[1]
    assert changed.training == dataclasses.replace(begun.training, learning_rate=1e-3)


@pytest.mark.slow
def test_weights_that_a_resumed_run_did_not_begin_with_are_not_passed_over(fine_tuned):
    _, weights, line = fine_tuned
    other = weights.rename(weights.with_name(weights.name.replace("own", "other")))
    line[line.index(str(weights))] = str(other)
    assert train.parse(line, "rdonet train")[1].training.start == str(other)
    other.unlink()
    with pytest.raises(zoo.ZooError, match="other"):
        train.parse(line, "rdonet train")
