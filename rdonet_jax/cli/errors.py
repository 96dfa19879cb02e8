"""Errors of the commands that end in one line, and how other errors become such ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rdonet_jax.imaging.errors import ExistingFileError


class CommandError(Exception):
    """Something the user can put right; the message is `FILE: cause`."""


class TargetExists(CommandError):
    """The result is there already and is not to be overwritten."""


class OutputClosed(BrokenPipeError):
    """Nobody reads standard output any more."""


class Incomplete(Exception):
    """Some of many files could not be done, as has been printed."""


def cause_of(error: Exception, about: str | None = None) -> str:
    """The sentence about an error; `about` is the file where one of the system names none."""
    if not isinstance(error, OSError):
        return str(error)
    name = error.filename or about
    return f"{name}: {error.strerror or error}" if name else str(error)


@contextlib.contextmanager
def explained(*kinds: type[Exception], about: str | None = None) -> Iterator[None]:
    """Errors of these kinds become `CommandError`s; `about` is the file they do not name."""
    try:
        yield
    except kinds as error:
        kind = TargetExists if isinstance(error, ExistingFileError) else CommandError
        raise kind(f"{about}: {error}" if about else str(error)) from error
