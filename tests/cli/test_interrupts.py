"""Signals that reach a command, at moments that are fixed by what can be seen from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rdonet_jax.cli import main as cli_main
from rdonet_jax.cli.files import batch, jobs
from rdonet_jax.cli.progress import InterruptibleSearch
from rdonet_jax.codec import codec
from rdonet_jax.core import partition
from rdonet_jax.rdo import encoder, image_regions
from rdonet_jax.rdo.encode_options import Plan
from rdonet_jax.rdo.search import costs, regions
from rdonet_jax.runtime import interrupts
from rdonet_jax.storage import files
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs the signals of POSIX"),
]

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
LINES = {
    signal.SIGINT: "interrupted\n",
    signal.SIGTERM: "ended by SIGTERM\n",
    signal.SIGHUP: "ended by SIGHUP\n",
}
GENTLE = "rdonet: interrupted: files that are begun are ended, no others are begun; "

USUAL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""
"""Tests may run in the background, where signals are ignored, and that is inherited."""

COMMAND = "import sys; from rdonet_jax import __main__; sys.exit(__main__.main())"

NATIVE_IMPORT = """
import hashlib, pathlib
pathlib.Path("begun").touch()
hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""
"""Stands for a library whose import is minutes of native code, in which no Python code runs."""

SLOW_IMPORT = """
import pathlib, sys, time

class SlowImport:
    @staticmethod
    def find_spec(name, *_):
        if name == "rdonet_jax.runtime.interrupts":
            pathlib.Path("begun").touch()
            time.sleep(600)

sys.meta_path.insert(0, SlowImport)
"""

WRITER = """
import time
from rdonet_jax.runtime import interrupts
from rdonet_jax.storage import files
interrupts.install_handlers()

def write(file):
    file.write(b"half")
    file.flush()
    print("begun", flush=True)
    time.sleep(600)

files.replace("a", write)
"""

FOLDER = """
import os, time
from rdonet_jax.runtime import interrupts
interrupts.install_handlers()
with interrupts.temporary_folder() as folder:
    for name in ("input", "output"):
        open(os.path.join(folder, name), "w").close()
    print("begun", flush=True)
    time.sleep(600)
"""

BATCH = """
import pathlib, sys, time
from rdonet_jax import __main__
from rdonet_jax.cli.commands import compress as cli_compress
from rdonet_jax.cli.files.file_result import FileResult

def compress(source, target, options, library, show_progress):
    pathlib.Path(f"begun-{source}").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
    return FileResult((), {"output": target}, 100, 10, ())

cli_compress.compress_file = compress
sys.exit(__main__.main())
"""
"""`rdonet` with a compression that waits for a file."""


def start(folder: Path, script: str, *arguments: str, paths=()) -> subprocess.Popen:
    """A script in the folder, with the usual handling of signals."""
    places = os.pathsep.join(map(str, (*paths, ROOT)))
    return subprocess.Popen(
        [sys.executable, "-c", USUAL + script, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": places},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def outcome(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.fixture
def album(tmp_path):
    """A folder with two images of 640x480."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (640, 480), "teal").save(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("number", CODES)
def test_a_signal_before_there_are_handlers_ends_the_command_without_output(tmp_path, number):
    process = start(tmp_path, SLOW_IMPORT + COMMAND)
    wait_for(tmp_path / "begun", process)
    process.send_signal(number)
    assert outcome(process) == (-number, "", "")


@pytest.mark.parametrize("number", CODES)
def test_a_signal_counts_at_once_while_native_code_is_imported(album, tmp_path_factory, number):
    library = tmp_path_factory.mktemp("library")
    (library / "jax").mkdir()
    (library / "jax" / "__init__.py").write_text(NATIVE_IMPORT)
    arguments = ["compress", "a.png", "a.rdo", "--engine", "jax"]
    process = start(album, COMMAND, *arguments, paths=[library])
    wait_for(album / "begun", process)
    process.send_signal(number)
    assert outcome(process) == (CODES[number], "", f"rdonet: {LINES[number]}")
    assert not (album / "a.rdo").exists()


@pytest.mark.parametrize("number", CODES)
def test_a_signal_leaves_no_half_written_file(tmp_path, number):
    (tmp_path / "a").write_bytes(b"old")
    process = start(tmp_path, WRITER)
    assert process.stdout.readline() == "begun\n"
    assert len(list(tmp_path.iterdir())) == 2
    process.send_signal(number)
    assert outcome(process) == (CODES[number], "", f"rdonet: {LINES[number]}")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize("number", CODES)
def test_a_signal_leaves_no_temporary_folder(tmp_path, number, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = start(tmp_path, FOLDER)
    assert process.stdout.readline() == "begun\n"
    assert len(list(tmp_path.rglob("*put"))) == 2
    process.send_signal(number)
    assert outcome(process) == (CODES[number], "", f"rdonet: {LINES[number]}")
    assert not list(tmp_path.iterdir())


def test_a_temporary_folder_goes_away_with_what_is_in_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ZeroDivisionError), interrupts.temporary_folder() as folder:
        (Path(folder) / "a").touch()
        1 / 0  # noqa: B018
    assert not list(tmp_path.iterdir())
    assert not interrupts.temporary_paths()


def test_a_temporary_folder_that_is_to_be_kept_stays(tmp_path):
    with interrupts.temporary_folder("kept-", tmp_path) as folder:
        (Path(folder) / "a").touch()
        interrupts.keep_folder(Path(folder))
        assert folder not in interrupts.temporary_paths()
    assert [path.name[:5] for path in tmp_path.iterdir()] == ["kept-"]
    assert (Path(folder) / "a").exists()


def test_a_signal_that_is_ignored_from_the_start_stays_ignored(tmp_path):
    nohup = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    process = start(tmp_path, nohup + WRITER)
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert outcome(process) == (143, "", "rdonet: ended by SIGTERM\n")


def begun_batch(album: Path, *options: str) -> subprocess.Popen:
    arguments = ["compress", "a.png", "b.png", "--out-dir", "out", "--json", *options]
    process = start(album, BATCH, *arguments)
    wait_for(album / "begun-a.png", process)
    return process


def counts(out: str) -> tuple[int, int, bool]:
    """Of the last line: how many files were done, how many not, and whether it was interrupted."""
    summary = json.loads(out.splitlines()[-1])["summary"]
    return summary["done"], summary["not_done"], summary["interrupted"]


def test_ctrl_c_lets_files_end_that_are_begun_and_sums_up(album):
    process = begun_batch(album)
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == f"{GENTLE}Ctrl-C again ends at once\n"
    (album / "go").touch()
    code, out, err = outcome(process)
    assert (code, err) == (130, "rdonet: interrupted\n")
    assert counts(out) == (1, 1, True)
    assert not (album / "begun-b.png").exists()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_ctrl_c_ends_a_batch_at_once_with_its_summary(album, workers):
    process = begun_batch(album, "-j", workers)
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline().startswith(GENTLE)
    process.send_signal(signal.SIGINT)
    code, out, err = outcome(process)
    assert (code, err) == (130, "rdonet: interrupted\n")
    assert counts(out) == (0, 2, True)


def test_a_request_to_end_ends_a_batch_at_once_with_its_summary(album):
    process = begun_batch(album)
    process.send_signal(signal.SIGTERM)
    code, out, err = outcome(process)
    assert (code, err) == (143, "rdonet: ended by SIGTERM\n")
    assert counts(out) == (0, 2, True)


def test_what_nobody_reads_does_not_keep_a_process_that_is_to_end(tmp_path):
    """Standard output is a full pipe, and its writer waits in it."""
    script = """
import os, pathlib
from rdonet_jax.runtime import interrupts
interrupts.install_handlers()
with interrupts.final_output(lambda: "nothing"):
    os.set_blocking(1, False)
    try:
        while True:
            os.write(1, bytes(2**16))
    except BlockingIOError:
        os.set_blocking(1, True)
    pathlib.Path("begun").touch()
    print("full", flush=True)
"""
    process = start(tmp_path, script)
    wait_for(tmp_path / "begun", process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    process.communicate()


@pytest.fixture
def after_ctrl_c(monkeypatch):
    """As after the first Ctrl-C in a block that asked for gentleness."""
    monkeypatch.setattr(interrupts._state, "interrupted", True)


def test_ctrl_c_ends_a_search_with_the_best_so_far(after_ctrl_c):
    grid = (8, 10)  # of an image of 640x480
    start = partition.uniform(0, grid)
    calls = []

    def cost(candidates):
        calls.append(len(candidates))
        areas = np.zeros((len(candidates), 4 * grid[0], 4 * grid[1]))
        return costs.Costs(areas, areas.sum((1, 2)))

    region = regions.Region(image_regions._whole(grid), lambda: cost)
    with InterruptibleSearch(codec.silent) as report:
        stats = costs.SearchStats()
        found, interrupted = encoder._run_search([region], start, Plan(passes=2), stats, report)
        assert interrupted and not calls
        report("coding")  # what follows the search is not interrupted
    assert all(map(np.array_equal, found, start))
    assert not interrupts._state.graceful_messages


def test_steps_of_a_search_are_told_from_others():
    steps = encoder.steps(Plan(passes=2))
    assert [step for step in steps if not encoder.is_search_step(step)] == ["start", "coding"]


def test_no_job_is_begun_after_ctrl_c(after_ctrl_c):
    outcomes = batch.on_this_machine([jobs.Job("a", "b")], lambda job: 1 / 0, False, 1)
    summary = batch.run(1, outcomes, lambda outcome: None)
    assert (summary.not_done, summary.failed, summary.interrupted) == (1, 0, True)
    assert summary.text().startswith("0 files, 1 not done, ")


def test_the_package_itself_leaves_signals_alone(tmp_path):
    before = [signal.getsignal(number) for number in CODES]
    assert cli_main.main(["--version"]) == 0
    files.replace(tmp_path / "a", lambda file: file.write(b"whole"))
    assert [signal.getsignal(number) for number in CODES] == before
    assert not interrupts.temporary_paths()


def test_a_command_imports_nothing_slow_before_it_can_be_interrupted_without_a_traceback():
    """Without `site`, whose own imports differ from one installation to the next."""
    script = "import sys; from rdonet_jax import __main__; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not {"enum", "signal", "typing"} & set(done.stdout.split())
