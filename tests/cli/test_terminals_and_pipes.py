"""Terminals, pipes, signals and talkative libraries around the commands."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys

import pytest

from rdonet_jax.cli import errors, output
from rdonet_jax.cli.errors import CommandError
from tests.conftest import ROOT


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


def test_only_errors_of_the_given_kinds_are_explained():
    with pytest.raises(CommandError, match="^a: b$"), errors.explained(KeyError, ValueError):
        raise ValueError("a: b")
    with pytest.raises(CommandError, match="^a: b$"), errors.explained(ValueError, about="a"):
        raise ValueError("b")
    with pytest.raises(TypeError), errors.explained(ValueError):
        raise TypeError


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_names_print_in_every_encoding(monkeypatch, encoding):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    output.say("\u00e9\u4e2d\udcff")
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
