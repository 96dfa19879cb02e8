"""Standard input and output as files: what goes through them, and what is refused."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from rdonet_jax.cli import main as cli_main
from rdonet_jax.cli import output, program
from rdonet_jax.cli.commands import data, train
from rdonet_jax.cli.commands import eval as eval_command
from tests.cli.conftest import LEVELS_OF_A_SPLIT_BLOCK
from tests.conftest import ROOT


class Terminal(io.TextIOWrapper):
    def __init__(self):
        super().__init__(io.BytesIO())

    def isatty(self):
        return True


@pytest.fixture
def temporary(tmp_path_factory, monkeypatch):
    """Where temporary files go."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def piped(folder, bundle, temporary, monkeypatch, capsys):
    """Runs `rdonet` on bytes; gives its exit code, the bytes it writes, and what it says."""

    def run(data, *arguments):
        out = io.BytesIO()
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))
            patch.setattr("sys.stdout", io.TextIOWrapper(out, "utf-8", write_through=True))
            code = cli_main.main([str(argument) for argument in arguments])
            written = out.getvalue()
        assert list(temporary.iterdir()) == []
        return code, written, capsys.readouterr().err

    return run


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["-", "-"], ["-"], ["-", "-o", "-"]])
def test_an_image_goes_through_as_it_does_from_file_to_file(piped, rdonet, arguments):
    assert rdonet("compress", "a.png", "c.rdo").code == 0
    code, out, err = piped(Path("a.png").read_bytes(), "compress", *arguments)
    assert (code, out) == (0, Path("c.rdo").read_bytes())
    assert err.startswith(f"standard output: {len(out)} bytes, ")
    assert not Path("-").exists()


def test_either_side_may_be_a_file(piped, rdonet):
    assert rdonet("compress", "a.png", "c.rdo").code == 0
    code, out, _ = piped(b"", "compress", "a.png", "-")
    assert (code, out) == (0, Path("c.rdo").read_bytes())
    code, out, err = piped(Path("a.png").read_bytes(), "compress", "-", "d.rdo")
    assert (code, err, Path("d.rdo").read_bytes()) == (0, "", Path("c.rdo").read_bytes())
    assert out.startswith(b"d.rdo: ")


@pytest.mark.parametrize(
    ("options", "name"),
    [([], "PNG"), (["--format", "png"], "PNG"), (["--format", ".WebP"], "WEBP"),
     (["--suffix", "tif"], "TIFF")],
)  # fmt: skip
def test_images_are_written_in_the_format_that_is_asked_for(piped, rdonet, options, name):
    assert rdonet("decompress", "b.rdo", "expected.png").code == 0
    for arguments in (["-", "-"], ["-"], ["b.rdo", "-"]):
        data = Path("b.rdo").read_bytes()
        code, out, err = piped(data, "decompress", *arguments, *options)
        assert code == 0 and err.startswith("standard output: 90x100 pixels, ")
        with Image.open(io.BytesIO(out)) as image, Image.open("expected.png") as expected:
            assert image.format == name
            np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


def test_messages_for_programs_go_to_standard_error_where_the_file_goes_out(piped):
    code, out, err = piped(Path("a.png").read_bytes(), "compress", "-", "-", "--json")
    facts = json.loads(err)
    assert (code, facts["input"], facts["output"], facts["bytes"]) == (0, "-", "-", len(out))
    assert piped(Path("a.png").read_bytes(), "compress", "-", "--quiet")[2] == ""


def test_a_check_of_the_file_is_made_before_it_goes_out(piped):
    assert piped(Path("a.png").read_bytes(), "compress", "-", "--lossless-check")[0] == 0


def test_a_full_folder_for_temporary_files_is_named(piped, temporary, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    code, out, err = piped(Path("a.png").read_bytes(), "compress", "-", "-")
    assert (code, out) == (1, b"")
    assert err == (
        f"rdonet: standard input: cannot be kept in {temporary} (No space left on device): set "
        "TMPDIR to another folder\n"
    )


def test_an_input_that_cannot_be_read_is_no_fault_of_that_folder(piped, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(shutil, "copyfileobj", broken)
    code, out, err = piped(Path("a.png").read_bytes(), "compress", "-", "-")
    assert (code, out) == (1, b"") and "Input/output error" in err and "TMPDIR" not in err


def test_a_thumbnail_goes_through(piped):
    code, out, err = piped(Path("b.rdo").read_bytes(), "thumbnail", "-", "-", "--size", "30")
    assert (code, err) == (0, "")
    assert Image.open(io.BytesIO(out)).size == (27, 30)


def test_what_comes_in_is_compared(piped, rdonet):
    code, out, err = piped(Path("a.png").read_bytes(), "compare", "a.png", "-", "--json")
    facts = json.loads(out)
    assert (code, err, facts["largest_difference"]) == (0, "", 0)
    assert (facts["a"]["input"], facts["b"]["input"]) == ("a.png", "-")
    assert rdonet("compare", "-", "-") == (
        2, "", "rdonet compare: A and B cannot both be - (see --help)\n"
    )  # fmt: skip


def test_info_describes_what_comes_in(piped, rdonet):
    described = rdonet("info", "b.rdo").out
    code, out, err = piped(Path("b.rdo").read_bytes(), "info", "-")
    assert (code, err) == (0, "")
    assert out.decode() == described.replace("b.rdo:", "standard input:", 1)
    _, out, _ = piped(Path("b.rdo").read_bytes(), "info", "-", "--json")
    assert json.loads(out)["input"] == "-"


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["compress", "-"], "standard input: is damaged or no image"),
        (["decompress", "-"], "standard input: this is no RDONet file"),
        (["info", "-"], "standard input: this is no RDONet file"),
        (["decompress", "b.rdo", "-", "--model", "none"], "no model 'none': "),
    ],
)
def test_what_fails_writes_nothing_and_is_one_line(piped, arguments, cause):
    code, out, err = piped(b"something else", *arguments)
    assert (code, out) == (1, b"")
    assert err.startswith(f"rdonet: {cause}") and err.count("\n") == 1


@pytest.fixture
def pipe():
    """Gives the name of a pipe that holds the bytes of a file, as a shell makes it of <(...)."""
    if not os.path.exists("/dev/fd"):
        pytest.skip("pipes have no names here")
    with contextlib.ExitStack() as opened:

        def holding(path):
            read, write = os.pipe()
            opened.callback(os.close, read)
            os.write(write, Path(path).read_bytes())
            os.close(write)
            return f"/dev/fd/{read}"

        yield holding


def test_a_pipe_is_read_like_a_file(piped, rdonet, pipe):
    assert rdonet("compress", "a.png", "c.rdo").code == 0
    assert rdonet("compress", pipe("a.png"), "d.rdo").code == 0
    assert Path("d.rdo").read_bytes() == Path("c.rdo").read_bytes()
    assert rdonet("decompress", pipe("c.rdo"), "e.png").code == 0
    assert (
        rdonet("info", pipe("c.rdo")).out.splitlines()[1:]
        == (rdonet("info", "c.rdo").out.splitlines()[1:])
    )


def test_a_pipe_lends_its_result_neither_a_name_nor_times(refusal, bundle, pipe):
    name = pipe("a.png")
    assert refusal(name, "compress", name).startswith("is a pipe; name the result too")
    assert refusal(name, "compress", name, "c.rdo", "--preserve").startswith("is a pipe, which")


@pytest.mark.parametrize("option", ["--roi", "--mask"])
def test_what_has_to_be_a_file_is_no_pipe(refusal, bundle, folder, option):
    os.mkfifo("pipe")
    assert refusal("pipe", "compress", "a.png", "c.rdo", option, "pipe") == (
        "is a pipe, and not a file"
    )


def test_of_many_files_a_pipe_is_refused_and_stops_nothing(rdonet, bundle):
    os.mkfifo("pipe")
    code, out, err = rdonet("compress", "pipe", "a.png", "--out-dir", "out")
    assert (code, err) == (1, "rdonet: pipe: is a pipe, and not a file\n")
    assert out.startswith("1 file, 1 failed, ")


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="needs a device")
def test_a_device_is_no_file(refusal, bundle):
    assert refusal("/dev/null", "compress", "/dev/null", "c.rdo") == "is a device, and not a file"


def test_a_result_without_a_name_has_the_suffix_of_its_format(rdonet, bundle):
    assert rdonet("decompress", "b.rdo", "--format", "WebP").out.startswith("b.rdo.webp: ")
    with Image.open("b.rdo.webp") as image:
        assert image.format == "WEBP"


def test_nothing_at_all_is_no_image(piped):
    assert "standard input: the file is empty" in piped(b"", "decompress", "-")[2]
    assert piped(b"", "compress", "-")[0] == 1


@pytest.mark.parametrize("arguments", [["compress", "a.png", "-"], ["decompress", "b.rdo", "-"]])
def test_no_file_is_written_to_a_terminal(rdonet, bundle, monkeypatch, capsys, arguments):
    with monkeypatch.context() as patch:
        screen = Terminal()
        patch.setattr("sys.stdout", screen)
        assert cli_main.main(arguments) == 1
        assert screen.buffer.getvalue() == b""
    assert capsys.readouterr().err.startswith("rdonet: standard output: is a terminal")


def test_no_file_is_read_from_a_terminal(refusal, bundle, monkeypatch):
    monkeypatch.setattr("sys.stdin", Terminal())
    assert refusal("standard input", "compress", "-", "c.rdo").startswith("is a terminal")


@pytest.mark.parametrize(
    "arguments",
    [
        ["compress", "-", "--out-dir", "out"], ["compress", "a.png", "b.rdo", "-o", "c.rdo"],
        ["compress", "-o", "c.rdo"], ["compress", "a.png", "-o", "c", "--out-dir", "out"],
        ["compress", "-", "b.rdo", "--preserve"], ["decompress", "b.rdo", "-", "--preserve"],
        ["decompress", "b.rdo", "c.png", "--format", "png"], ["compress", "a.png", "-o", ""],
        ["decompress", "-", "c.png", "--format", "png"], ["compress", "a.png", "--null"],
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_wrong_usage(rdonet, arguments):
    code, out, err = rdonet(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("rdonet ") and err.endswith(" (see --help)\n")


def test_the_output_may_be_named_by_an_option(rdonet, bundle):
    assert rdonet("compress", "-o", "c.rdo", "a.png").code == 0
    assert rdonet("decompress", "c.rdo", "--output", "d.png").code == 0
    assert Image.open("d.png").size == (90, 100)


# Processes


ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
RDONET = [sys.executable, "-m", "rdonet_jax"]


def in_shell(arguments):
    command = f"'{sys.executable}' -m rdonet_jax {arguments}"
    return subprocess.run(command, shell=True, env=ENVIRONMENT, capture_output=True, text=True)


def test_nobody_who_reads_on_is_a_quiet_end(folder):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*RDONET, "info", "b.rdo"], env=ENVIRONMENT, **pipes) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", program.BROKEN_PIPE)


def test_nobody_who_reads_the_file_is_a_quiet_end(piped, monkeypatch):
    class Pipe(io.RawIOBase):
        def writable(self):
            return True

        def write(self, _):
            raise BrokenPipeError(32, "Broken pipe")

        def fileno(self):
            return unread

    with open(os.devnull, "w") as nothing:
        unread = os.dup(nothing.fileno())
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BufferedWriter(Pipe()), "utf-8"))
    assert cli_main.main(["compress", "a.png", "-"]) == program.BROKEN_PIPE
    os.close(unread)


@contextlib.contextmanager
def unread_output():
    """A pipe in place of standard output, from which nobody reads."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as stream, contextlib.redirect_stdout(stream):
        yield


@pytest.mark.parametrize("command", [cli_main, data, eval_command, train])
def test_help_that_nobody_reads_is_a_quiet_end(command, capsys):
    with unread_output():
        assert command.main(["--help"]) == program.BROKEN_PIPE
    assert capsys.readouterr().err == ""


def test_results_that_nobody_reads_are_a_quiet_end(monkeypatch, capsys):
    index = SimpleNamespace(names=(), files=(), kind="tar")
    monkeypatch.setattr(data.shard_writer, "index_tars", lambda _: index)
    monkeypatch.setattr(eval_command, "evaluate", lambda _: output.say("a table"))
    compared = ["--results", "a.json", "--bd-rate", "a"]
    for command, line in ((data, ["index", "images"]), (eval_command, compared)):
        with unread_output():
            assert command.main(line) == program.BROKEN_PIPE
    assert capsys.readouterr().err == ""


CARELESS = """
import os, sys
from rdonet_jax.cli import main as cli_main
from rdonet_jax.cli.commands import data, train
from rdonet_jax.cli.commands import eval as eval_command
from rdonet_jax.cli.commands import compress as cli_compress
from rdonet_jax.cli.files.file_result import FileResult

def compress(source, target, *others):
    with open(target, "w") as file:
        os.write(1, b"from a library")
        os.write(2, b"from a library")
        print(file.fileno(), file=file)
    return FileResult(("words",), {}, 1, 1, ())

cli_compress.compress_file = compress
sys.exit(cli_main.main(["compress", "a.png", "c.rdo"]))
"""
"""Work during which somebody writes to the numbers of standard output and error."""


@pytest.mark.parametrize("redirected", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_with_closed_streams_no_file_gets_what_is_meant_for_them(folder, redirected):
    Path("careless.py").write_text(CARELESS)
    command = f"'{sys.executable}' careless.py {redirected}"
    assert subprocess.run(command, shell=True, env=ENVIRONMENT).returncode == 0
    assert int(Path("c.rdo").read_text()) > 2


@pytest.mark.slow
def test_closed_streams_keep_no_file_from_being_made(folder, tiny_weights, compressed):
    np.save("mask.npy", LEVELS_OF_A_SPLIT_BLOCK)
    options = f"--mask mask.npy --model '{tiny_weights}'"
    done = in_shell(f"compress a.png c.rdo {options} <&- >&- 2>&-")
    assert (done.returncode, done.stderr) == (0, "")
    assert Path("c.rdo").read_bytes() == compressed


def test_a_closed_output_is_no_place_for_a_file(folder):
    done = in_shell("compress a.png - >&-")
    assert (done.returncode, done.stderr) == (1, "rdonet: standard output: is closed\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_an_error_that_cannot_be_said_is_still_one(folder):
    with open("/dev/full", "w") as full:
        command = [*RDONET, "info", "none.rdo"]
        assert subprocess.run(command, env=ENVIRONMENT, stderr=full).returncode == 1


def test_streams_that_are_open_are_left_as_they_are():
    before = sys.stdin, sys.stdout, sys.stderr
    output.open_streams()
    assert (sys.stdin, sys.stdout, sys.stderr) == before
