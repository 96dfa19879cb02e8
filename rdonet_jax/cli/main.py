"""The command `rdonet`: runs the command that its arguments name.

A user's mistake ends in one line, `rdonet: FILE: cause`, and exit code 1. Modules that load JAX are
imported inside functions, so that help and usage errors come at once.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence

from rdonet_jax.cli import blas_threads, extensions, lazy_commands
from rdonet_jax.cli.commands import coding_commands, info, models
from rdonet_jax.cli.errors import CommandError, Incomplete
from rdonet_jax.cli.libraries import quiet_libraries, remember_compilations
from rdonet_jax.cli.options.arguments import parse
from rdonet_jax.cli.output import open_streams
from rdonet_jax.cli.program import exit_code
from rdonet_jax.core import optional_packages


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code: 0, 1 for errors, 2 for wrong usage, or
    another one as `program.exit_code` has it."""
    open_streams()
    given = sys.argv[1:] if arguments is None else arguments
    return exit_code(lambda: _run(given), (), "rdonet")


def _run(arguments: Sequence[str]) -> int:
    """Runs the command line; what goes wrong with its files is raised."""
    if arguments and arguments[0] in lazy_commands.COMMANDS:
        return lazy_commands.COMMANDS[arguments[0]](arguments[1:])
    options = parse(arguments)
    remember_compilations()
    if getattr(options, "ray", None) is None:  # Ray shares the cores among its workers
        blas_threads.share(getattr(options, "jobs", 1))
    with (
        optional_packages.missing_as(CommandError),
        quiet_libraries(getattr(options, "quiet", False)),
    ):
        extensions.import_all(getattr(options, "imports", ()))
        try:
            COMMANDS[options.command](options)
        except Incomplete:
            return 1
    return 0


def _lazily(module: str) -> Callable[[argparse.Namespace], None]:
    """The function `run` of a module of `cli.commands`, which is loaded when it is called."""

    def run(options: argparse.Namespace) -> None:
        importlib.import_module(f"rdonet_jax.cli.commands.{module}").run(options)

    return run


COMMANDS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    **coding_commands.COMMANDS,
    "info": info.run,
    "models": models.run,
    "compare": _lazily("comparison"),
    "thumbnail": _lazily("thumbnails"),
    "desktop": _lazily("desktop"),
    "completion": _lazily("completion"),
    "man": _lazily("manual"),
}
