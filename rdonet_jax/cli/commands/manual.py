"""The manual page, made from the help of the command line."""

from __future__ import annotations

import argparse

from rdonet_jax.cli.options import grammar
from rdonet_jax.cli.options.arguments import whole_parser
from rdonet_jax.cli.options.grammar import Command, Option
from rdonet_jax.cli.output import say

SECTION = "1"


def run(_: argparse.Namespace) -> None:
    """Prints the page."""
    say(page(whole_parser()).rstrip("\n"))


def page(parser: argparse.ArgumentParser) -> str:
    """The page as roff source, for `man`."""
    program, commands = grammar.program(parser), grammar.commands(parser)
    lines = [
        f'.TH {program.name.upper()} {SECTION} "" "RDONet" "User Commands"',
        ".SH NAME",
        f"{program.name} \\- {_text(program.description[0].lower() + program.description[1:-1])}",
        ".SH SYNOPSIS",
        *_synopsis(commands),
        ".SH DESCRIPTION",
        _text(program.description),
        *_options(program.options),
        ".SH COMMANDS",
    ]
    for command in commands:
        lines += [f".SS {_text(command.name)}", _text(command.description)]
        lines += _options(command.arguments)
    lines += [".SH EXIT STATUS", _text(program.epilog.removeprefix("Exit codes: "))]
    return "\n".join(lines) + "\n"


def _synopsis(commands: tuple[Command, ...]) -> list[str]:
    lines = [".nf"]
    for command in commands:
        for usage in command.usage.split("\n"):
            program, name, *rest = usage.split(" ")
            lines.append(f"\\fB{_text(f'{program} {name}')}\\fR {_text(' '.join(rest))}".rstrip())
    return [*lines, ".fi"]


def _options(arguments: tuple[Option, ...]) -> list[str]:
    lines: list[str] = []
    for argument in arguments:
        lines += [".TP", _heading(argument), _text(argument.help)]
    return lines


def _heading(argument: Option) -> str:
    value = f"\\fI{_text(argument.metavar)}\\fR" if argument.metavar else ""
    flags = ", ".join(f"\\fB{_text(flag)}\\fR" for flag in argument.flags)
    return " ".join(filter(None, [flags, value]))


def _text(text: str) -> str:
    """Words as roff takes them: nothing in them is a request, and every hyphen can be copied."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
