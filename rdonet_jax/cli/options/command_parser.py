"""The parser of one command, and options that several commands have."""

from __future__ import annotations

import argparse
from typing import Any

from rdonet_jax.cli.options import argument_types as types
from rdonet_jax.core.defaults import DEFAULT_ENGINE, ENGINES, MAX_PIXELS

STANDARD_STREAM = "-"
"""As a name, standard input or output."""


def add_command(
    commands: Any,
    name: str,
    summary: str,
    *usages: str,
) -> argparse.ArgumentParser:
    """Adds the parser of a command; `usages` are its forms, argparse's own where there are none.

    Its default `check` returns the options as the command takes them, and ends the process where
    they contradict each other.
    """
    usage = "\n       ".join(f"rdonet {name} {words}" for words in usages) or None
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        usage=usage,
    )
    parser.set_defaults(command=name, check=lambda options: options)
    return parser


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """The options of commands that read compressed files."""
    parser.add_argument(
        "--model", metavar="PATH", type=types.name,
        help="weights file (default: the bundled model that the file names)",
    )  # fmt: skip
    parser.add_argument(
        "--max-pixels", metavar="N", type=types.positive_integer,
        help=f"refuse files that claim more pixels than this (default: {MAX_PIXELS})",
    )  # fmt: skip
    add_import_option(parser)


def add_import_option(parser: Any) -> None:
    """The option for modules that register more than this package has, see `cli.extensions`."""
    parser.add_argument(
        "--import", metavar="MODULE", dest="imports", type=types.name, action="append", default=[],
        help="import this module first, which registers masks, metrics, networks, ... of your own: "
        "its name, or a file that ends with .py; may be given several times",
    )  # fmt: skip


def add_engine_option(parser: Any) -> None:
    """The option that says what computes a model."""
    parser.add_argument(
        "--engine", choices=ENGINES, default=DEFAULT_ENGINE,
        help="what computes the model: numpy, which starts quickly, jax, or auto, which is numpy "
        "unless JAX uses an accelerator (default: %(default)s)",
    )  # fmt: skip
