"""The commands beside compress and decompress: what each does with its options."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rdonet_jax.cli.commands import info, models
from rdonet_jax.cli.console import say
from rdonet_jax.cli.options.arguments import whole_parser
from rdonet_jax.models.library import ModelLibrary


def _models(_: argparse.Namespace) -> None:
    say(models.listing())


def _compare(options: argparse.Namespace) -> None:
    from rdonet_jax.cli.commands import comparison

    compare_options = comparison.CompareOptions(
        options.model,
        options.max_pixels,
        options.difference,
        options.force,
        tuple(dict.fromkeys(options.metric)),
    )
    result = comparison.compare(options.first, options.second, compare_options, ModelLibrary())
    say(json.dumps(result.facts) if options.json else "\n".join(result.lines))


def _thumbnail(options: argparse.Namespace) -> None:
    from rdonet_jax.cli.commands import thumbnails

    thumbnails.make(options.source, options.target, options.size, ModelLibrary())


def _desktop(options: argparse.Namespace) -> None:
    from rdonet_jax.cli.commands import desktop

    prefix = desktop.default_prefix() if options.prefix is None else Path(options.prefix)
    say("\n".join(desktop.remove(prefix) if options.remove else desktop.install(prefix)))


def _completion(options: argparse.Namespace) -> None:
    from rdonet_jax.cli.commands import completion

    say(completion.script(whole_parser(), options.shell).rstrip("\n"))


def _man(_: argparse.Namespace) -> None:
    from rdonet_jax.cli.commands import manual

    say(manual.page(whole_parser()).rstrip("\n"))


COMMANDS = {
    "info": info.run_info,
    "models": _models,
    "compare": _compare,
    "thumbnail": _thumbnail,
    "desktop": _desktop,
    "completion": _completion,
    "man": _man,
}
