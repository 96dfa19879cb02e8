"""What a command line takes, read from its argparse parser: for the man page and for completion."""

from __future__ import annotations

import argparse
import re
from typing import NamedTuple

FILE, FOLDER, OTHER = "file", "folder", "other"
"""What the value of an option is."""

_STYLES = re.compile(r"\x1b\[[0-9;]*m")
"""What argparse colors its help with on terminals, from Python 3.14 on."""

_FOLDERS = {"FOLDER"}
_FILES = {"FILE", "PATH", "IN", "OUT", "A", "B", "INIT", "NAME", "MODULE"}


class Option(NamedTuple):
    """An option, or a positional argument, whose `flags` are empty."""

    flags: tuple[str, ...]
    metavar: str  # empty where there is no value
    choices: tuple[str, ...]
    help: str
    group: str
    words: tuple[str, ...] = ()  # values that it may have beside files

    @property
    def value(self) -> str | None:
        """The kind of its value; None where there is none."""
        if not self.metavar:
            return None
        return FOLDER if self.metavar in _FOLDERS else FILE if self.metavar in _FILES else OTHER


class Command(NamedTuple):
    """A command, or the whole program, whose `name` is that of the program."""

    name: str
    summary: str
    usage: str  # lines, each beginning with the program's name
    description: str
    epilog: str
    arguments: tuple[Option, ...]

    @property
    def options(self) -> tuple[Option, ...]:
        return tuple(argument for argument in self.arguments if argument.flags)


def program(parser: argparse.ArgumentParser) -> Command:
    """The program itself, with the options that stand before a command."""
    return _command(parser, parser.prog, parser.description or "")


def commands(parser: argparse.ArgumentParser) -> tuple[Command, ...]:
    """All its commands, in order."""
    choices = _subcommands(parser)
    summaries = {action.dest: action.help or "" for action in choices._choices_actions}
    return tuple(
        _command(sub, name, summaries.get(name, "")) for name, sub in choices.choices.items()
    )


def _subcommands(parser: argparse.ArgumentParser) -> argparse._SubParsersAction:
    return next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))


def _command(parser: argparse.ArgumentParser, name: str, summary: str) -> Command:
    plain = _STYLES.sub("", parser.format_usage())
    usage = " ".join(plain.split()).removeprefix("usage: ")
    separator = f" {parser.prog} "
    lines = usage.replace(separator, f"\n{parser.prog} ")
    return Command(
        name,
        summary,
        lines,
        parser.description or "",
        parser.epilog or "",
        tuple(
            _option(action, group.title or "")
            for group in parser._action_groups
            for action in group._group_actions
            if action.help != argparse.SUPPRESS
            and not isinstance(action, argparse._SubParsersAction)
        ),
    )


def _option(action: argparse.Action, group: str) -> Option:
    choices = tuple(map(str, action.choices or ()))
    metavar = action.metavar or ("{" + ",".join(choices) + "}" if choices else action.dest.upper())
    has_value = action.nargs != 0
    return Option(
        tuple(action.option_strings),
        str(metavar) if has_value else "",
        choices,
        (action.help or "") % vars(action),
        group,
    )
