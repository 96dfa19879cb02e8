"""The command `rdonet`: runs the command that its arguments name.

A user's mistake ends in one line, `rdonet: FILE: cause`, and exit code 1. Modules that load JAX are
imported inside functions, so that help and usage errors come at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rdonet_jax.cli import blas_threads, lazy_commands
from rdonet_jax.cli.commands import coding_commands, more_commands
from rdonet_jax.cli.console import (
    CommandError,
    Incomplete,
    explained_missing,
    failed,
    open_streams,
    quiet_libraries,
    remember_compilations,
    writing_output,
)
from rdonet_jax.cli.options.arguments import parse

INTERRUPTED = 130
BROKEN_PIPE = 141
"""As of a process that the signal of a broken pipe ends."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code: 0, 1 for errors, 2 for wrong usage,
    `INTERRUPTED` or `BROKEN_PIPE`."""
    open_streams()
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if given and given[0] in lazy_commands.COMMANDS:
            return lazy_commands.COMMANDS[given[0]](given[1:])
        return _run(given)
    except Incomplete:
        return 1
    except CommandError as error:
        return failed(str(error))
    except BrokenPipeError:  # whoever read the output has seen enough
        return BROKEN_PIPE
    except OSError as error:
        return failed(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        failed("interrupted")
        return INTERRUPTED


def _run(arguments: Sequence[str]) -> int:
    """Runs the command line; what goes wrong with its files is raised."""
    try:
        options = parse(arguments)
    except SystemExit as stop:
        with writing_output():
            sys.stdout.flush()
        return int(stop.code or 0)
    remember_compilations()
    if getattr(options, "ray", None) is None:  # Ray shares the cores among its workers
        blas_threads.share(getattr(options, "jobs", 1))
    with explained_missing(), quiet_libraries(getattr(options, "quiet", False)):
        COMMANDS[options.command](options)
    return 0


COMMANDS = {**coding_commands.COMMANDS, **more_commands.COMMANDS}
