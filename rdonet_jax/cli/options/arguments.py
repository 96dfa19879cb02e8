"""The command line of `rdonet`: its commands, and the options of the smaller ones.

Nothing here loads NumPy or JAX, so that help and usage errors come at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from rdonet_jax.cli.options import argument_types as types
from rdonet_jax.cli.options import coding_arguments
from rdonet_jax.cli.options.command_parser import STANDARD_STREAM, add_command, add_reading_options
from rdonet_jax.cli.output import say
from rdonet_jax.cli.program import Parser


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of a command line, `command` among them. Ends the process on wrong usage."""
    if arguments is None:
        arguments = sys.argv[1:]
    parser, commands = _parser()
    if not arguments or arguments[0] not in commands:
        return parser.parse_args(arguments)  # --help, --version or an error
    command = commands[arguments[0]]
    options = command.parse_intermixed_args(arguments[1:])
    return options.check(options)


def _parser() -> tuple[Parser, dict[str, Parser]]:
    """The parser, and those of the commands by their names."""
    parser = Parser(
        prog="rdonet",
        description="Learned image compression (RDONet).",
        epilog="Exit codes: 0 done, 1 error, 2 wrong usage, 129 hang-up, 130 interrupted, 141 "
        "the reader closed the pipe, 143 ended by SIGTERM.",
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    coding_arguments.add_compress(commands)
    coding_arguments.add_decompress(commands)
    info = add_command(commands, "info", "describe compressed files; needs no weights")
    info.add_argument(
        "files", metavar="FILE", nargs="+", type=types.name,
        help="compressed file; - is standard input",
    )  # fmt: skip
    info.add_argument("--json", action="store_true", help="print a line of JSON per file")
    models = add_command(commands, "models", "list the bundled models")
    models.add_argument("--json", action="store_true", help="print a line of JSON per model")
    _add_compare(commands)
    _add_thumbnail(commands)
    _add_lazy(commands)
    _add_installation(commands)
    return parser, commands.choices


def whole_parser() -> argparse.ArgumentParser:
    """The parser with all its commands, for whatever is made from the help."""
    return _parser()[0]


def _add_compare(commands: Any) -> None:
    parser = add_command(commands, "compare", "say how much two images differ", "[options] A B")
    for name, dest in (("A", "first"), ("B", "second")):
        parser.add_argument(
            dest, metavar=name, type=types.name,
            help="image file, compressed or not; one of both may be -, which is standard input",
        )  # fmt: skip
    parser.add_argument(
        "--difference", metavar="OUT", type=types.name,
        help="write an image of the difference, made as large as fits",
    )  # fmt: skip
    parser.add_argument(
        "--metric", metavar="NAME", action="append", default=[],
        help="measure this too, such as ssimulacra2, butteraugli or psnr-hvs-m; may be repeated",
    )  # fmt: skip
    add_reading_options(parser)
    parser.add_argument("--force", action="store_true", help="overwrite what exists")
    parser.add_argument("--json", action="store_true", help="print a line of JSON")

    def check(options: argparse.Namespace) -> argparse.Namespace:
        if options.first == options.second == STANDARD_STREAM:
            parser.error("A and B cannot both be -")
        return options

    parser.set_defaults(check=check)


def _add_thumbnail(commands: Any) -> None:
    parser = add_command(
        commands, "thumbnail", "write a small PNG for a file manager", "[options] IN OUT"
    )
    parser.add_argument(
        "source", metavar="IN", type=types.name, help="compressed file; - is standard input"
    )
    parser.add_argument(
        "target", metavar="OUT", type=types.name,
        help="PNG; replaces an empty file and a thumbnail; - is standard output",
    )  # fmt: skip
    parser.add_argument(
        "--size", metavar="N", type=types.positive_integer, default=256,
        help="pixels of the longer side, at most (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="overwrite another kind of file too")


def _add_lazy(commands: Any) -> None:
    """The commands of `lazy_commands`, whose own parsers know their options."""
    train = add_command(
        commands, "train", "train a model, or export the weights of a run",
        "[options] --data DIR ... --run RUN", "export [options] RUN NAME",
    )  # fmt: skip
    evaluate = add_command(
        commands, "eval", "evaluate models and conventional codecs on folders of images",
        "[options] --data DIR ... --model NAME ...", "[options] --results FILE ...",
    )  # fmt: skip
    data = add_command(
        commands, "data", "pack images into shards, or make the index of tar files",
        "pack [options] DIR ... OUT", "index DIR",
    )  # fmt: skip
    for parser in (train, evaluate, data):
        parser.description = f"{parser.description} {parser.prog} --help lists the options."


def _add_installation(commands: Any) -> None:
    """Commands for what surrounds this one on a system."""
    desktop = add_command(
        commands, "desktop", "let file managers know compressed files, and show thumbnails"
    )
    desktop.add_argument(
        "--prefix", metavar="FOLDER", type=types.name,
        help="where the entries go (default: $XDG_DATA_HOME or ~/.local/share)",
    )  # fmt: skip
    desktop.add_argument("--remove", action="store_true", help="take the entries away again")
    completion = add_command(commands, "completion", "print a shell's script for completion")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")
    add_command(commands, "man", "print the manual page")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from rdonet_jax.core import version

        say(f"{parser.prog} {version.installed() or '(source checkout)'}")
        parser.exit()
