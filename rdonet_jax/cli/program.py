"""What `rdonet train` and `rdonet eval` share: a parser that names near options; exit codes."""

from __future__ import annotations

import argparse
import difflib
import signal
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from rdonet_jax.cli import console

INTERRUPTED = 128 + signal.SIGINT
"""The exit code after Ctrl-C."""

WRONG_USAGE = 2
"""The exit code for a command line that makes no sense."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line; for an unknown option it names the nearest one."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings
        )

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        options, unknown = self.parse_known_args(args, namespace)
        for word in unknown:
            name = word.partition("=")[0]
            if name.startswith("-"):
                self.error(
                    f"there is no option {name}; {nearest(name, self._option_string_actions)}"
                )
        if unknown:
            self.error(f"unexpected arguments: {' '.join(unknown)}")
        return options

    def error(self, message: str) -> NoReturn:
        console.note(f"{message} (see --help)", self.prog)
        self.exit(WRONG_USAGE)


def nearest(name: str, known: Iterable[str]) -> str:
    """Words that name the one of the known names that is most like a name."""
    return f"the nearest is {difflib.get_close_matches(name, known, 1, 0.0)[0]}"


def exit_code(work: Callable[[], int], expected: tuple[type[Exception], ...], program: str) -> int:
    """What `work` returns, or 1 after one line about an error of these kinds, 130 after Ctrl-C.

    A parser that ends the program, for help and for wrong usage, gives its own code.
    """
    try:
        return work()
    except SystemExit as stop:
        return int(stop.code or 0)
    except expected as error:
        cause = str(error)
    except KeyboardInterrupt:
        console.note("interrupted", program)
        return INTERRUPTED
    except OSError as error:
        cause = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    console.note(" ".join(cause.split()), program)
    return 1
