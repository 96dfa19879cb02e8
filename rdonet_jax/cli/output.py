"""What the commands print, to streams that may be closed, full, or read by nobody any more."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from rdonet_jax.cli.errors import CommandError, OutputClosed, cause_of
from rdonet_jax.core import optional_packages

_JOINERS = "\u200c\u200d"
"""Invisible characters that words and emoji are written with."""


def open_streams() -> None:
    """Puts the null device in place of standard input, output and error where they are closed.

    Otherwise the next file that is opened would take the number of a closed one, and would get what
    libraries print.
    """
    with contextlib.ExitStack() as surplus:
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(number, True)
        surplus.callback(os.close, number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Open as long as the process runs, as the others are.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def is_closed(stream: TextIO) -> bool:
    """Whether a stream was closed when `open_streams` was called."""
    return getattr(stream, "name", None) == os.devnull


def is_descriptor(stream: TextIO, number: int) -> bool:
    """Whether a stream writes to the file descriptor of this number."""
    try:
        return stream.fileno() == number
    except (OSError, ValueError, AttributeError):
        return False


@contextlib.contextmanager
def own_descriptor(stream: TextIO) -> Iterator[TextIO]:
    """A stream to where `stream` goes, whose own descriptor is the null device meanwhile.

    So native code that writes to the descriptor is not heard.
    """
    number = stream.fileno()
    stream.flush()
    with contextlib.ExitStack() as undone:
        kept = os.dup(number)
        undone.callback(os.close, kept)
        undone.callback(os.dup2, kept, number)
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), number)
        yield undone.enter_context(
            open(os.dup(kept), "w", encoding=stream.encoding, errors=stream.errors)
        )


@contextlib.contextmanager
def writing_output() -> Iterator[None]:
    """For writing to standard output. Raises `OutputClosed` where nobody reads it any more, and
    `CommandError` for what else keeps it from being written."""
    try:
        yield
    except OSError as error:
        _give_up(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise OutputClosed(*error.args) from error
        raise CommandError(f"standard output: {error.strerror}") from error


def _give_up(stream: TextIO) -> None:
    """Sends what a stream could not write to the null device.

    Otherwise the interpreter tries again when it ends, and complains.
    """
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), stream.fileno())


def escaped(text: str) -> str:
    """A text for a line of a terminal, in which nothing is left that could command it.

    File names and what files say of themselves may hold characters that move the cursor, hide what
    stands before them or turn the direction of writing. They appear as Python would write them.
    """
    return "".join(
        character.encode("unicode_escape").decode() if _is_command(character) else character
        for character in text
    )


def _is_command(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind in ("Cc", "Cf", "Zl", "Zp") and character not in _JOINERS


def say(text: str) -> None:
    """Prints lines to standard output, whatever its encoding, and `escaped` but for their ends."""
    encoding = sys.stdout.encoding or "utf-8"
    text = "\n".join(map(escaped, text.split("\n")))
    with writing_output():
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def say_beside(text: str) -> None:
    """Prints lines to standard error, `escaped` but for their ends, if that can be written to.

    Otherwise nothing is said: exit codes speak for themselves.
    """
    text = "\n".join(map(escaped, text.split("\n")))
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _give_up(sys.stderr)


def note(message: str, program: str = "rdonet") -> None:
    """Prints one line to standard error, as `say_beside` does."""
    say_beside(f"{program}: {' '.join(message.splitlines())}")


def show_warnings(program: str) -> None:
    """Lets Python's warnings appear as one line each, without the place in the code."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        note(f"warning: {' '.join(str(message).split())}", program)

    warnings.showwarning = show


def failed(message: str) -> int:
    """Prints the one line of an error; returns its exit code."""
    note(message)
    return 1


@contextlib.contextmanager
def errors_as_json(
    is_asked: bool, about: Mapping[str, Any], write: Callable[[str], None] | None = None
) -> Iterator[None]:
    """With --json, an error is a line of JSON too, with what it is `about`. It is raised again.

    A missing package is one, see `optional_packages`. `write` prints lines, to standard output
    where it is None.
    """
    try:
        with optional_packages.missing_as(CommandError):
            yield
    except OutputClosed:
        raise
    except (CommandError, OSError) as error:
        if is_asked:
            (write or say)(json.dumps({**about, "error": cause_of(error)}))
        raise
