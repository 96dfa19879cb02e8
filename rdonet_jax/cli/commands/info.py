"""`rdonet info`: descriptions of compressed files, which need no weights."""

from __future__ import annotations

import argparse
import json
import os

from rdonet_jax.cli.commands import decoding, models
from rdonet_jax.cli.errors import CommandError, Incomplete, OutputClosed, cause_of, explained
from rdonet_jax.cli.files import streams
from rdonet_jax.cli.files.file_result import FilePath
from rdonet_jax.cli.output import escaped, failed, say


def run(options: argparse.Namespace) -> None:
    """Describes files. Raises `Incomplete` if some could not be described, as has been printed."""
    complete = True
    for source in options.files:
        try:
            with streams.source(source) as path:
                _print_file(path, source, options.json)
        except OutputClosed:
            raise
        except (CommandError, OSError) as error:
            cause = cause_of(error, source)
            failed(cause)
            if options.json:
                say(json.dumps({"input": source, "error": cause}))
            complete = False
    if not complete:
        raise Incomplete


def _print_file(source: FilePath, name: str, as_json: bool) -> None:
    if os.path.isdir(source):
        raise CommandError(f"{source}: is a folder")
    file = decoding.read(source)
    from rdonet_jax.cli.commands import describe
    from rdonet_jax.codec import bitstream

    with explained(bitstream.FormatError, about=str(source)), models.explained_models():
        facts = describe.facts_of_file(file)
        if as_json:
            say(json.dumps({"input": name, **facts}))
            return
        lines = describe.of_file(file, facts)
    say("\n".join(map(escaped, [f"{source}: {lines[0]}", *lines[1:]])))
