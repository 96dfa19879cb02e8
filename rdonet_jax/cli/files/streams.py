"""Standard input and output in place of files.

What reads and writes image files needs files that it can read twice and replace in one step. So
standard input is written to a file before the work, and the result is sent on once it is whole.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator

from rdonet_jax.cli import console
from rdonet_jax.cli.console import CommandError
from rdonet_jax.cli.files.file_result import FilePath
from rdonet_jax.cli.options.command_parser import STANDARD_STREAM
from rdonet_jax.core import interrupts

INPUT, OUTPUT = "standard input", "standard output"


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
    """The file of this name; for `-`, one that holds all of standard input.

    Raises `CommandError` for a terminal and a closed stream, and OSError.
    """
    if name != STANDARD_STREAM:
        yield name
        return
    if sys.stdin.isatty():
        raise CommandError(f"{INPUT}: is a terminal; send a file to it, as in < FILE")
    if console.is_closed(sys.stdin):
        raise CommandError(f"{INPUT}: is closed")
    with interrupts.temporary_folder() as folder:
        path = os.path.join(folder, "input")
        with open(path, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield Stream(path, INPUT)


@contextlib.contextmanager
def target(name: str, suffix: str) -> Iterator[FilePath]:
    """The file of this name; for `-`, one with the suffix that goes to standard output in the end.

    It does not where the work fails. Raises `CommandError` for a terminal, a closed stream and
    what keeps it from being written, and BrokenPipeError where nobody reads it.
    """
    if name != STANDARD_STREAM:
        yield name
        return
    if sys.stdout.isatty():
        raise CommandError(f"{OUTPUT}: is a terminal; send it to a file or a pipe, as in > FILE")
    if console.is_closed(sys.stdout):
        raise CommandError(f"{OUTPUT}: is closed")
    with interrupts.temporary_folder() as folder:
        path = os.path.join(folder, f"output{suffix}")
        yield Stream(path, OUTPUT)
        with open(path, "rb") as file, console.writing_output():
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
