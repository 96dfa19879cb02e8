"""Standard input and output, and pipes, in place of files.

What reads and writes image files needs files that it can read twice and replace in one step. So
an input that is none is written to a file before the work, and the result is sent on once it is
whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from typing import BinaryIO

from rdonet_jax.cli import output
from rdonet_jax.cli.errors import CommandError
from rdonet_jax.cli.files.file_result import FilePath
from rdonet_jax.cli.options.command_parser import STANDARD_STREAM
from rdonet_jax.runtime import interrupts

INPUT, OUTPUT = "standard input", "standard output"
_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", None))
"""Errors of a disk that holds no more."""


class Stream(os.PathLike[str]):
    """A file that holds what comes from or goes to a stream, and is called after it in messages."""

    def __init__(self, path: str, name: str) -> None:
        self._path = path
        self._name = name

    def __fspath__(self) -> str:
        return self._path

    def __str__(self) -> str:
        return self._name


@contextlib.contextmanager
def source(name: str) -> Iterator[FilePath]:
    """The file of this name; for `-` and for a pipe, one that holds all that comes from it.

    Raises `CommandError` for a terminal and a closed stream, for what is neither a file nor a pipe,
    and OSError.
    """
    if name == STANDARD_STREAM:
        if sys.stdin.isatty():
            raise CommandError(f"{INPUT}: is a terminal; send a file to it, as in < FILE")
        if output.is_closed(sys.stdin):
            raise CommandError(f"{INPUT}: is closed")
        with _held(sys.stdin.buffer, INPUT) as held:
            yield held
    elif is_pipe(name):
        with open(name, "rb") as pipe, _held(pipe, name) as held:
            yield held
    else:
        require_file(name)
        yield name


@contextlib.contextmanager
def _held(stream: BinaryIO, name: str) -> Iterator[Stream]:
    """A temporary file that holds what comes from a stream.

    Raises `CommandError` where the folder for such files cannot hold it.
    """
    with interrupts.temporary_folder() as folder:
        path = os.path.join(folder, "input")
        try:
            with open(path, "wb") as file:
                shutil.copyfileobj(stream, file)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise CommandError(
                f"{name}: cannot be kept in {os.path.dirname(folder)} ({error.strerror}): set "
                "TMPDIR to another folder"
            ) from error
        yield Stream(path, name)


def is_pipe(name: str) -> bool:
    """Whether this is the name of a pipe: one that has a name, or that a shell made by <(...)."""
    try:
        return stat.S_ISFIFO(os.stat(name).st_mode)
    except OSError:
        return False


def require_file(name: str) -> None:
    """Raises `CommandError` for a pipe or a device, which cannot be read like a file.

    What is not there, and a folder, is refused by who opens it.
    """
    if os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name):
        kind = "a pipe" if is_pipe(name) else "a device"
        raise CommandError(f"{name}: is {kind}, and not a file")


@contextlib.contextmanager
def target(name: str, suffix: str) -> Iterator[FilePath]:
    """The file of this name; for `-`, one with the suffix that goes to standard output in the end.

    It does not where the work fails. Raises `CommandError` for a terminal, a closed stream and
    what keeps it from being written, and `OutputClosed` where nobody reads it.
    """
    if name != STANDARD_STREAM:
        yield name
        return
    if sys.stdout.isatty():
        raise CommandError(f"{OUTPUT}: is a terminal; send it to a file or a pipe, as in > FILE")
    if output.is_closed(sys.stdout):
        raise CommandError(f"{OUTPUT}: is closed")
    with interrupts.temporary_folder() as folder:
        path = os.path.join(folder, f"output{suffix}")
        yield Stream(path, OUTPUT)
        with open(path, "rb") as file, output.writing_output():
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
