"""Files that are replaced: whole or not at all."""

from __future__ import annotations

import hashlib
import random
import resource
import signal
import subprocess
import sys
import time

import pytest

from rdonet_jax.storage import files

pytestmark = pytest.mark.once

OVERWRITER = """
import hashlib, itertools, sys
from rdonet_jax.storage import files

for number in itertools.count():
    body = number.to_bytes(4, "big") * 30_000
    content = hashlib.sha256(body).digest() + body
    parts = content[:50_000], content[50_000:]
    files.replace(sys.argv[1], lambda file: [file.write(part) for part in parts])
    if not number:
        print("begun", flush=True)
"""
"""Overwrites a file for ever, with contents that say whether they are whole."""


def test_a_file_is_replaced_by_what_is_written(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    files.replace(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    def write(file):
        file.write(b"half")
        raise error

    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(error):
        files.replace(path, write)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError):
            files.replace(path, lambda file: file.write(bytes(5000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_behind_a_link_is_replaced_and_keeps_its_permissions(tmp_path):
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to("a")
    files.replace(link, lambda file: file.write(b"new"))
    assert link.is_symlink()
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.long)])
def test_a_process_killed_at_any_moment_leaves_a_whole_file(tmp_path, kills):
    path = tmp_path / "a"
    rng = random.Random(0)
    for _ in range(kills):
        command = [sys.executable, "-c", OVERWRITER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"begun\n"
            time.sleep(rng.uniform(0, 0.01))
            process.kill()
        content = path.read_bytes()
        assert hashlib.sha256(content[32:]).digest() == content[:32]
