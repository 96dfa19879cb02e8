"""What all commands share: a parser that names near options, and exit codes."""

from __future__ import annotations

import argparse
import difflib
import re
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from rdonet_jax.cli import errors, output
from rdonet_jax.cli.errors import CommandError
from rdonet_jax.cli.options.command_parser import STANDARD_STREAM
from rdonet_jax.runtime.platform import PlatformError

INTERRUPTED = 128 + signal.SIGINT
"""The exit code after Ctrl-C."""

BROKEN_PIPE = 141
"""The exit code where nobody reads the output, as of a process that the signal for it ends."""

WRONG_USAGE = 2
"""The exit code for a command line that makes no sense."""

_NEGATIVE_NUMBER = re.compile(r"-\.?[0-9]")

_PLAIN = "\0"
"""Stands before names that look like options and are none; no name on a command line holds it."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line; for an unknown option it names the nearest one."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        if self._subparsers is not None and all(re.match("-+[^-]", word) for word in words):
            # Otherwise the parser would only miss its command.
            known = self._option_string_actions
            self._refuse([word for word in words if word.partition("=")[0] not in known])
        options, unknown = self.parse_known_args(words, namespace)
        self._refuse_unknown(options, words, unknown)
        return options

    def parse_intermixed_args(
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """As `parse_args`, but names may stand before, between and behind the options.

        What stands behind a `--` is a name.
        """
        marked = _without_end_of_options(sys.argv[1:] if args is None else args)
        marked = self._joined_numbers(marked)
        options, unknown = self.parse_known_intermixed_args(marked, namespace)
        self._refuse(unknown)
        for option, value in vars(options).items():
            setattr(options, option, _unmarked(value))
        return options

    def _joined_numbers(self, words: Sequence[str]) -> list[str]:
        """Words in which a negative number behind an option is joined to it.

        A parser that has the option -0 would read every negative number as an option.
        """
        found: list[str] = []
        options = self._option_string_actions
        for word in words:
            action = options.get(found[-1]) if found else None
            is_number = _NEGATIVE_NUMBER.match(word) and word not in options
            if action is not None and action.nargs is None and is_number:
                found[-1] += f"={word}" if found[-1].startswith("--") else word
            else:
                found.append(word)
        return found

    def _refuse_unknown(
        self, options: argparse.Namespace, words: Sequence[str], unknown: Sequence[str]
    ) -> None:
        """Refuses what is unknown to this parser or, behind a command, to that of the command."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                command = getattr(options, action.dest)
                at = words.index(command)
                self._refuse([word for word in unknown if word in words[:at]])
                action.choices[command]._refuse_unknown(options, words[at + 1 :], unknown)
        self._refuse(unknown)

    def _refuse(self, unknown: Sequence[str]) -> None:
        """Ends the process where a command line has what its parser does not have."""
        for word in unknown:
            name = word.partition("=")[0]
            if name.startswith("-"):
                self.error(
                    f"there is no option {name}; {nearest(name, self._option_string_actions)}"
                )
        if unknown:
            self.error(f"unexpected arguments: {' '.join(unknown)}")

    def print_help(self, file: Any = None) -> None:
        """Prints the help. Raises as `output.writing_output` does, where argparse is silent."""
        with output.writing_output():
            print(self.format_help(), end="", file=file, flush=True)

    def error(self, message: str) -> NoReturn:
        message = message.replace(_PLAIN, "").replace(repr(_PLAIN)[1:-1], "")
        output.note(f"{message} (see --help)", self.prog)
        self.exit(WRONG_USAGE)


def _without_end_of_options(arguments: Sequence[str]) -> list[str]:
    """Arguments without the first `--`; those behind it are marked where they look like options.

    Versions of Python differ in what `parse_intermixed_args` makes of `--`, so it gets to see none.
    """
    if "--" not in arguments:
        return list(arguments)
    end = arguments.index("--")
    names = arguments[end + 1 :]
    return [
        *arguments[:end],
        *(_PLAIN + name if name[:1] == "-" and name != STANDARD_STREAM else name for name in names),
    ]


def _unmarked(value: Any) -> Any:
    """The value of an option, or of names, without marks."""
    if isinstance(value, list):
        return [_unmarked(item) for item in value]
    return value.removeprefix(_PLAIN) if isinstance(value, str) else value


def nearest(name: str, known: Iterable[str]) -> str:
    """Words that name the one of the known names that is most like a name."""
    return f"the nearest is {difflib.get_close_matches(name, known, 1, 0.0)[0]}"


def exit_code(work: Callable[[], int], expected: tuple[type[Exception], ...], program: str) -> int:
    """What `work` returns, or another exit code for what it raises.

    1 after one line about an OSError, a `CommandError`, a `PlatformError` or an error of the
    `expected` kinds;
    `INTERRUPTED` after Ctrl-C; `BROKEN_PIPE` where nobody reads standard output. A parser that ends
    the program, for help and for wrong usage, gives its own code.
    """
    explained: tuple[type[Exception], ...] = (CommandError, OSError, PlatformError, *expected)
    try:
        return work()
    except SystemExit as stop:
        return int(stop.code or 0)
    except errors.OutputClosed:  # whoever read the output has seen enough
        return BROKEN_PIPE
    except explained as error:
        output.note(errors.cause_of(error), program)
        return 1
    except KeyboardInterrupt:
        output.note("interrupted", program)
        return INTERRUPTED
