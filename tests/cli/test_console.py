"""Terminals, pipes, signals and talkative libraries around the commands."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from rdonet_jax.cli import console
from rdonet_jax.cli.console import CommandError
from tests.conftest import ROOT

STEPS = ("analysis", "level 64", "synthesis")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown_by(monkeypatch, delay, screen, quiet=False):
    """What standard error shows of work in three steps."""
    monkeypatch.setattr(console, "PROGRESS_DELAY", delay)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", screen)
        with console.progress("a.png", STEPS, quiet) as report:
            for step in STEPS:
                report(step)
    return screen.getvalue()


def start(*arguments, **options):
    """Python as a process of its own that finds the package."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, *arguments], env=environment, stderr=subprocess.PIPE, text=True, **options
    )


def finish(process):
    """Exit code and standard error."""
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def test_no_home_is_no_error(monkeypatch):
    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def homeless(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    console.remember_compilations()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


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
        console.progress("a.png", STEPS, True),
    ):
        raise error


def test_any_other_runtime_error_is_a_bug_and_shows_as_one():
    with pytest.raises(RuntimeError, match="else"), console.progress("a.png", STEPS, True):
        raise RuntimeError("something else")


def test_only_errors_of_the_given_kinds_are_explained():
    with pytest.raises(CommandError, match="^a: b$"), console.explained(KeyError, ValueError):
        raise ValueError("a: b")
    with pytest.raises(CommandError, match="^a: b$"), console.explained(ValueError, about="a"):
        raise ValueError("b")
    with pytest.raises(TypeError), console.explained(ValueError):
        raise TypeError


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_names_print_in_every_encoding(monkeypatch, encoding):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    console.say("\u00e9\u4e2d\udcff")
    assert written.getvalue().endswith(b"\\udcff\n")


CHATTY = """
import logging, sys, warnings
from rdonet_jax.cli import main
from rdonet_jax.imaging import errors, reader

def load(path, *_, **__):
    logging.getLogger("jax._src.xla_bridge").warning("a GPU may be present")
    warnings.warn("this picture is large")
    raise errors.ImageError(f"{path}: is bad")

reader.load = load
sys.exit(main.main(["compress", "a.png"]))
"""


def test_what_libraries_log_and_warn_of_does_not_appear(tmp_path):
    (tmp_path / "a.png").touch()
    assert finish(start("-c", CHATTY, cwd=tmp_path)) == (1, "rdonet: a.png: is bad\n")


def test_help_and_usage_errors_do_not_wait_for_jax():
    script = (
        "import sys; from rdonet_jax.cli.main import main; main(['--help']); main(['compress']); "
        "sys.exit(bool({'jax', 'numpy', 'PIL', 'tqdm'} & set(sys.modules)))"
    )
    code, err = finish(start("-c", script, stdout=subprocess.DEVNULL))
    assert (code, err[:17]) == (0, "rdonet compress: ")


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_full_disk_behind_standard_output_is_an_error_of_one_line():
    with open("/dev/full", "w") as full:
        process = start("-m", "rdonet_jax", "models", stdout=full)
        expected = "rdonet: standard output: No space left on device\n"
        assert finish(process) == (1, expected)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe with a name")
def test_ctrl_c_ends_a_process_with_exit_code_130(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    # Tests may run in the background, where interruptions are ignored, and that is inherited.
    script = (
        "import signal, sys; from rdonet_jax.cli.main import main; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        "sys.exit(main(['decompress', 'pipe', 'c.png']))"
    )
    process = start("-c", script, cwd=tmp_path)
    with open(tmp_path / "pipe", "wb"):  # returns once the process reads from it
        process.send_signal(signal.SIGINT)
        assert finish(process) == (130, "rdonet: interrupted\n")
    assert not (tmp_path / "c.png").exists()


CACHE_VARIABLES = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_COMPILATION_CACHE_MAX_SIZE",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES",
)


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    """An environment that says nothing about compiled code, put back afterwards."""
    for name in CACHE_VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_compiled_code_is_kept_below_the_users_folder_for_caches(no_cache):
    console.remember_compilations()
    folder = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    assert folder.is_dir()
    assert folder.parent == no_cache / "rdonet_jax"
    assert int(os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"]) == console.CACHE_BYTES


def test_a_folder_that_the_user_has_chosen_is_left_as_it_is(no_cache, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    console.remember_compilations()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"
    assert "JAX_COMPILATION_CACHE_MAX_SIZE" not in os.environ


def test_nothing_is_kept_where_no_folder_can_be_made(no_cache, monkeypatch):
    (no_cache / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(no_cache / "file"))
    console.remember_compilations()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


@pytest.mark.slow
@pytest.mark.skipif(jax.__version_info__ < (0, 6), reason="JAX before 0.6 keeps no programs")
def test_a_second_process_finds_what_the_first_has_compiled(no_cache):
    program = (
        "from rdonet_jax.cli import console; console.remember_compilations(); import jax; "
        "from rdonet_jax.core import compilation; jax.jit(lambda x: x * 3 + 1)(2.0)"
    )
    counts = []
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
        counts.append(len(list(no_cache.rglob("*-cache"))))
    assert counts[0] > 0
    assert counts[1] == counts[0]


@pytest.mark.skipif(jax.__version_info__ >= (0, 6), reason="for JAX before 0.6")
def test_an_old_jax_whose_kept_programs_round_otherwise_keeps_none(no_cache):
    program = (
        "from rdonet_jax.cli import console; console.remember_compilations(); import jax; "
        "from rdonet_jax.core import compilation; jax.jit(lambda x: x * 3 + 1)(2.0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
    assert not list(no_cache.rglob("*-cache"))
