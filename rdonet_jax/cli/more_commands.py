"""The commands beside compress, decompress, info and models: what each does with its options."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rdonet_jax.cli.arguments import whole_parser
from rdonet_jax.cli.commands import Models
from rdonet_jax.cli.console import say


def _compare(options: argparse.Namespace) -> None:
    from rdonet_jax.cli import comparison

    how = comparison.Comparing(options.model, options.max_pixels, options.difference, options.force)
    compared = comparison.compare(options.first, options.second, how, Models())
    say(json.dumps(compared.facts) if options.json else "\n".join(compared.words))


def _thumbnail(options: argparse.Namespace) -> None:
    from rdonet_jax.cli import thumbnails

    thumbnails.make(options.source, options.target, options.size, Models())


def _desktop(options: argparse.Namespace) -> None:
    from rdonet_jax.cli import desktop

    prefix = desktop.default_prefix() if options.prefix is None else Path(options.prefix)
    say("\n".join(desktop.remove(prefix) if options.remove else desktop.install(prefix)))


def _completion(options: argparse.Namespace) -> None:
    from rdonet_jax.cli import completion

    say(completion.script(whole_parser(), options.shell).rstrip("\n"))


def _man(_: argparse.Namespace) -> None:
    from rdonet_jax.cli import manual

    say(manual.page(whole_parser()).rstrip("\n"))


COMMANDS = {
    "compare": _compare,
    "thumbnail": _thumbnail,
    "desktop": _desktop,
    "completion": _completion,
    "man": _man,
}
