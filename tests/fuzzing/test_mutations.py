"""Bytes from strangers: files changed in all kinds of ways are read or are refused, soon.

The short form of `python -m tests.fuzzing`.
"""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rdonet_jax.models import zoo
from tests.conftest import ROOT
from tests.fuzzing import __main__ as long_runs
from tests.fuzzing import (
    compressed_files,
    image_bases,
    image_files,
    subjects,
    weights_files,
    worker,
)
from tests.fuzzing.state import State

SIZES = ((1, 1), (64, 64), (70, 130))
COUNTS = [300, pytest.param(5000, marks=pytest.mark.long)]
CORPUS = Path(__file__).parent / "corpus"


@pytest.fixture(scope="module")
def mini():
    return zoo.load(subjects.mini_weights())


@pytest.fixture(scope="module", params=["numpy", pytest.param("jax", marks=pytest.mark.long)])
def small_files(request, mini, tmp_path_factory):
    """Compressed files of a small model, for either engine."""
    folder = tmp_path_factory.mktemp("files")
    return compressed_files.CompressedFiles(mini, request.param, folder, SIZES)


@pytest.fixture(scope="module", params=COUNTS)
def found(request, small_files):
    """What came of so many inputs."""
    return tried(small_files, request.param)


class Recorder:
    """Keeps only the faults. Inputs kept here would count as memory of what is tested."""

    def __init__(self):
        self.faults = []

    def begins(self, number, data):
        pass

    def is_fault(self, number, reason, data):
        self.faults.append((number, reason, data))


def tried(subject, count):
    recorder = Recorder()
    return worker.tried(subject, range(count), recorder) | {"faults": recorder.faults}


def require_no_faults(found):
    assert not found["faults"]
    assert found["memory"] < worker.MOST_BYTES


@pytest.mark.slow
def test_mutated_files_give_an_image_or_the_one_exception(found):
    require_no_faults(found)


@pytest.mark.slow
def test_mutations_reach_every_part_of_the_decoder(found):
    """Else the test above would say little."""
    count = found["count"]
    decoded = sum(n for words, n in found["outcomes"].items() if words.startswith("decoded"))
    assert 0 < decoded < count / 4
    assert max(found["outcomes"].values()) < count / 2
    assert len(found["outcomes"]) > 15


@pytest.mark.once
@pytest.mark.parametrize("count", COUNTS)
def test_mutated_files_are_described_or_refused(mini, count):
    found = tried(compressed_files.Descriptions([mini], SIZES), count)
    require_no_faults(found)
    assert 0 < found["outcomes"]["described"] < count / 2
    assert len(found["outcomes"]) > 10


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("count", COUNTS)
def test_mutated_weights_files_are_models_or_refused(tmp_path, count):
    bases = weights_files.bases(tmp_path, subjects.mini_weights())
    found = tried(weights_files.WeightsFiles(bases, tmp_path), count)
    require_no_faults(found)
    assert found["outcomes"]["loaded and coded"] and len(found["outcomes"]) > 15


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
def test_mutated_image_files_are_images_or_refused(tmp_path, count, capfd):
    found = tried(image_files.ImageFiles(image_bases.all_bases(), tmp_path), count)
    require_no_faults(found)
    assert len(found["outcomes"]) > 50


@pytest.mark.slow
def test_an_input_is_a_pure_function_of_its_number(small_files, tmp_path):
    for made in (
        small_files,
        *(subjects.SUBJECTS[name].subject(tmp_path) for name in ("weights", "images")),
    ):
        assert made.mutated(3) == made.mutated(3) != made.mutated(4)


@pytest.mark.slow
def test_inputs_that_reached_new_code_are_read_or_refused(mini):
    paths = sorted(CORPUS.iterdir())
    assert len(paths) > 50
    for path in paths:
        for data in (path.read_bytes(), compressed_files.sealed(path.read_bytes())):
            compressed_files.outcome(mini, data, "numpy")


# The command that runs for as long as one likes


def long_run(folder, *options):
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzzing", folder, *options],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.once
def test_a_long_run_goes_on_where_it_stopped(tmp_path):
    options = ["--subjects", "mini-numpy", "--part", "10", "--until"]
    for until in (20, 30):
        done = long_run(tmp_path, *options, str(until))
        assert done.returncode == 0, done.stderr
        state = json.loads((tmp_path / "state.json").read_text())["mini-numpy"]
        assert state["next"] == until == sum(state["outcomes"].values())
    assert "| mini-numpy | 30 |" in done.stdout
    assert "| mini-numpy | 30 |" in long_run(tmp_path, "--report").stdout


@pytest.mark.slow
@pytest.mark.once
def test_processes_side_by_side_share_the_subjects_and_try_no_more_than_was_asked_for(tmp_path):
    options = ["--subjects", "images", "mini-numpy", "--jobs", "2", "--part", "10"]
    done = long_run(tmp_path, *options, "--until", "40")
    assert done.returncode == 0, done.stderr
    state = json.loads((tmp_path / "state.json").read_text())
    assert sum(found["next"] for found in state.values()) == 40
    assert state["images"]["next"] > 0 and state["mini-numpy"]["next"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.once
def test_a_signal_ends_a_long_run_with_its_table(tmp_path):
    options = ["--subjects", "images", "--part", "10"]
    command = [sys.executable, "-m", "tests.fuzzing", tmp_path, *options]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    while not (tmp_path / "state.json").exists():
        assert run.poll() is None
        time.sleep(0.1)
    run.send_signal(signal.SIGTERM)
    out, _ = run.communicate()
    assert run.returncode == 0
    state = json.loads((tmp_path / "state.json").read_text())["images"]
    assert f"| images | {state['next']} |" in out and state["next"] > 0


def worker_of(outcome: str) -> str:
    """A worker of inputs that are their number, but the seventh, which cannot be made."""
    return f"""
import os, pathlib, signal
from tests.fuzzing import subjects, worker

class Broken:
    def mutated(self, number):
        if number == 7:
            raise RuntimeError("it cannot be made")
        return bytes([number])

    def outcome(self, number, data):
        {outcome}
        return "decoded"

subjects.SUBJECTS["images"] = subjects.Kind(lambda folder: Broken(), 1)
worker.main()
"""


@pytest.mark.slow
def test_faults_and_ended_processes_are_saved_and_every_input_is_counted_once(
    tmp_path, monkeypatch
):
    script = worker_of("""
        if number in (13, 22):
            raise RuntimeError("a fault")
        if number == 25:
            os._exit(3)""")

    def command(*arguments):
        return [sys.executable, "-c", script, *map(str, arguments)]

    monkeypatch.setattr(long_runs, "_command", command)
    run = long_runs.Run(tmp_path, {"images": 1}, part=10, until=40, seconds=math.inf)
    run.go(jobs=2)
    found = run.state.subjects["images"]
    assert found["faults"] == [7, 13, 22, 25] and found["ended"] == [25]
    assert found["next"] == 40
    assert found["outcomes"] == {"decoded": 36, "a fault": 3, "ended the process": 1}
    saved = {path.name: path.read_bytes() for path in (tmp_path / "faults").iterdir()}
    assert sorted(saved) == sorted(
        f"images-{number}.{suffix}" for number in (7, 13, 22, 25) for suffix in ("input", "txt")
    )
    assert [saved[f"images-{n}.input"] for n in (7, 13, 25)] == [b"", b"\x0d", b"\x19"]
    assert b"exit code 3" in saved["images-25.txt"] and b"a fault" in saved["images-13.txt"]


@pytest.mark.slow
def test_a_process_that_somebody_ends_is_no_fault_and_its_inputs_are_tried_again(
    tmp_path, monkeypatch
):
    mark = tmp_path / "ended"
    script = worker_of(f"""
        mark = pathlib.Path({str(mark)!r})
        if number == 22 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGTERM)""")

    def command(*arguments):
        return [sys.executable, "-c", script, *map(str, arguments)]

    monkeypatch.setattr(long_runs, "_command", command)
    run = long_runs.Run(tmp_path, {"images": 1}, part=10, until=40, seconds=math.inf)
    run.go(jobs=1)
    assert mark.exists()
    assert run.state.subjects["images"]["outcomes"] == {"decoded": 39, "a fault": 1}
    assert run.state.subjects["images"]["faults"] == [7]


def test_a_worker_that_cannot_begin_ends_the_run_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(long_runs, "_command", lambda *_: [sys.executable, "-c", "exit(4)"])
    run = long_runs.Run(tmp_path, {"images": 1, "weights": 1}, part=10, until=40, seconds=math.inf)
    with pytest.raises(SystemExit, match="the code 4 before the first input"):
        run.go(jobs=2)


def part(count):
    return {
        "count": count, "outcomes": {"decoded": count}, "slowest": [0.1, 0], "memory": 0,
        "seconds": 1.0,
    }  # fmt: skip


def test_turns_side_by_side_have_different_subjects_and_share_what_is_left(tmp_path):
    state = State(tmp_path)
    state.add("images", part(10))
    with state.turn({"images": 1, "weights": 1}, 50, 100) as one:
        assert one == ("weights", 0, 50)
        state.add("weights", part(20))
        with state.turn({"images": 1, "weights": 1}, 50, 100) as two:
            assert two == ("images", 10, 40)
            with state.turn({"fixed-rate": 1}, 50, 100) as three:
                assert three is None
    with state.turn({"weights": 1}, 50, 100) as again:
        assert again == ("weights", 20, 50) and not state.is_finished(30)
    assert State(tmp_path).tried() == 30
    assert state.is_finished(30) and not state.is_finished(31)


def test_a_subject_with_three_shares_has_three_times_the_time(tmp_path):
    state, shares = State(tmp_path), {"images": 3, "weights": 1}
    for _ in range(40):
        with state.turn(shares, 5, 1000) as turn:
            state.add(turn.name, part(turn.count))
    seconds = [state.subjects[name]["seconds"] for name in shares]
    assert seconds == [30, 10]


def test_an_input_that_ended_its_process_is_a_fault_and_those_before_it_are_tried_again(tmp_path):
    state = State(tmp_path)
    state.add("weights", part(20))
    state.add_fault("weights", 22)
    state.add_end("weights", 24, 600.0)
    with State(tmp_path).turn({"weights": 1}, 50, 100) as turn:
        assert turn == ("weights", 20, 4)
    state.add_fault("weights", 22)  # the same one again
    state.add("weights", part(4))
    assert state.next("weights") == 25 and state.faults("weights") == state.faults() == 2
    assert state.subjects["weights"]["seconds"] == 602
    assert sum(state.subjects["weights"]["outcomes"].values()) == 25
    assert "| weights | 25 |" in State(tmp_path).text()
