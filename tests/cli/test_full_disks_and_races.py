"""A disk that fills, files that change while they are worked on: one line, nothing half done."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from rdonet_jax.cli import main as cli_main
from rdonet_jax.cli import program
from rdonet_jax.codec import codec
from rdonet_jax.imaging import reader
from tests.cli.conftest import contents

resource = pytest.importorskip("resource", reason="needs the limits of POSIX")


@contextlib.contextmanager
def full_disk(free=100):
    """No file of this process may become larger: what a full disk does, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.fixture
def own(folder, mini_weights, rdonet):
    """A compressed file of a model that NumPy computes, and options for that model."""
    options = ["--model", str(mini_weights)]
    assert rdonet("compress", "a.png", "c.rdo", *options).code == 0
    return options


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["compress", "a.png", "c.rdo", "--force"], "c.rdo"),
        (["compress", "a.png", "new.rdo", "--preserve"], "new.rdo"),
        (["decompress", "c.rdo", "new.png"], "new.png"),
        (["decompress", "c.rdo", "a.png", "--force"], "a.png"),
        (["decompress", "c.rdo", "new.tif"], "new.tif"),
        (["compare", "a.png", "c.rdo", "--difference", "new.png"], "new.png"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_what_was_there(own, refusal, arguments, named):
    with full_disk():
        assert "File too large" in refusal(named, *arguments, *own)


def test_of_many_files_each_that_finds_no_space_is_named(own, rdonet):
    shutil.copy("a.png", "d.png")
    with full_disk():
        done = rdonet("compress", "a.png", "d.png", "--out-dir", "out", "-j", "2", *own)
    assert done.code == 1
    assert sorted(line.split(": ")[1] for line in done.err.splitlines()[:2]) == [
        os.path.join("out", name) for name in ("a.png.rdo", "d.png.rdo")
    ]
    assert "Traceback" not in done.err
    assert contents(Path("out")) == {}


def test_an_output_on_another_file_system_is_written_there(own, rdonet, folder):
    memory = Path("/dev/shm")
    if not memory.is_dir() or os.stat(memory).st_dev == os.stat(folder).st_dev:
        pytest.skip("there is no other file system")
    target = memory / f"rdonet-{os.getpid()}.rdo"
    try:
        assert rdonet("compress", "a.png", target, *own).code == 0
        assert target.read_bytes() == Path("c.rdo").read_bytes()
        os.symlink(target, "link.rdo")
        assert rdonet("compress", "a.png", "link.rdo", "--force", *own).code == 0
        assert Path("link.rdo").is_symlink()
    finally:
        target.unlink(missing_ok=True)


def test_a_result_that_another_process_makes_meanwhile_is_not_overwritten(own, rdonet, monkeypatch):
    encode = codec.encode_prepared

    def slowly(*arguments, **options):
        Path("new.rdo").write_bytes(b"of another process")
        return encode(*arguments, **options)

    monkeypatch.setattr(codec, "encode_prepared", slowly)
    done = rdonet("compress", "a.png", "new.rdo", *own)
    assert done.code == 1 and "exists already" in done.err
    assert Path("new.rdo").read_bytes() == b"of another process"
    assert rdonet("compress", "a.png", "new.rdo", "--force", *own).code == 0
    assert Path("new.rdo").read_bytes() == Path("c.rdo").read_bytes()


def test_a_source_that_is_replaced_meanwhile_is_the_old_or_the_new_one(own, rdonet):
    shutil.copy("a.png", "other.png")
    stop = threading.Event()

    def replace_again_and_again():
        while not stop.is_set():
            shutil.copy("other.png", "copy.png")
            os.replace("copy.png", "a.png")

    thread = threading.Thread(target=replace_again_and_again)
    thread.start()
    try:
        for _ in range(10):
            assert rdonet("compress", "a.png", "c.rdo", "--force", *own).code == 0
    finally:
        stop.set()
        thread.join()


def test_a_source_that_disappears_meanwhile_is_named(own, refusal, monkeypatch):
    load = reader.load

    def vanish(path, *arguments, **options):
        os.replace(path, f"{path}.moved")
        try:
            return load(path, *arguments, **options)
        finally:
            os.replace(f"{path}.moved", path)

    monkeypatch.setattr(reader, "load", vanish)
    assert refusal("a.png", "compress", "a.png", "c.rdo", "--force", *own)


def test_what_ends_in_a_pipe_that_nobody_reads_leaves_no_temporary_folder(own, monkeypatch, folder):
    (folder / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(folder / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    read, write = os.pipe()
    os.close(read)
    kept = os.dup(1)
    os.dup2(write, 1)
    try:
        with open(write, "w") as stream:
            monkeypatch.setattr("sys.stdout", stream)
            assert cli_main.main(["compress", "a.png", "-", *own]) == program.BROKEN_PIPE
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    assert not list((folder / "temporary").iterdir())
