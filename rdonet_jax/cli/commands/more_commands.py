"""The commands beside compress and decompress: what each does with its options."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rdonet_jax.cli.commands import info, models
from rdonet_jax.cli.files import streams
from rdonet_jax.cli.options.arguments import whole_parser
from rdonet_jax.cli.output import errors_as_json, say
from rdonet_jax.core.defaults import IMAGE_SUFFIX
from rdonet_jax.models.library import ModelLibrary


def _models(options: argparse.Namespace) -> None:
    with errors_as_json(options.json, {}):
        if not options.json:
            say(models.listing())
            return
        for facts in models.facts():
            say(json.dumps(facts))


def _compare(options: argparse.Namespace) -> None:
    from rdonet_jax.cli.commands import comparison

    compare_options = comparison.CompareOptions(
        options.model,
        options.max_pixels,
        options.difference,
        options.force,
        tuple(dict.fromkeys(options.metric)),
    )
    names = {"a": options.first, "b": options.second}
    with (
        errors_as_json(options.json, {key: {"input": name} for key, name in names.items()}),
        streams.source(options.first) as first,
        streams.source(options.second) as second,
    ):
        result = comparison.compare(first, second, compare_options, ModelLibrary())
    for key, name in names.items():
        result.facts[key]["input"] = name
    say(json.dumps(result.facts) if options.json else "\n".join(result.lines))


def _thumbnail(options: argparse.Namespace) -> None:
    from rdonet_jax.cli.commands import thumbnails

    with (
        streams.target(options.target, IMAGE_SUFFIX) as target,
        streams.source(options.source) as source,
    ):
        thumbnails.make(source, target, options.size, ModelLibrary(), options.force)


def _desktop(options: argparse.Namespace) -> None:
    from rdonet_jax.cli.commands import desktop

    prefix = desktop.default_prefix() if options.prefix is None else Path(options.prefix)
    say("\n".join(desktop.remove(prefix) if options.remove else desktop.install(prefix)))


def _completion(options: argparse.Namespace) -> None:
    from rdonet_jax.cli.commands import completion

    say(completion.script(whole_parser(), options.shell, models.names()).rstrip("\n"))


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
