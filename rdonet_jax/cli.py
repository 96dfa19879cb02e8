"""The command `rdonet`: compress, decompress, info, models.

What a user may get wrong ends in one line, `rdonet: FILE: cause`, and exit code 1. Imports of JAX,
and of the rooms that need it, stand inside the functions: help and usage errors answer at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rdonet_jax import commands
from rdonet_jax.arguments import parse
from rdonet_jax.commands import COMPRESSED_SUFFIX, DEFAULT_MODEL, PICTURE_SUFFIX, Done, Models
from rdonet_jax.console import (
    CommandError,
    explained,
    failed,
    quiet_libraries,
    remember_compilations,
    say,
)

if TYPE_CHECKING:
    from rdonet_jax.jobs import Job

INTERRUPTED = 130

Work = Callable[[str, str, Models, bool], Done]
"""(source, target, models, whether to show progress) -> what was made."""


class Incomplete(Exception):
    """Some of many files could not be done, as has been said."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code: 0, 1 for errors, 2 for wrong usage."""
    try:
        options = parse(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    remember_compilations()
    try:
        with quiet_libraries():
            COMMANDS[options.command](options)
    except Incomplete:
        return 1
    except CommandError as error:
        return failed(str(error))
    except OSError as error:
        return failed(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        failed("interrupted")
        return INTERRUPTED
    return 0


def _compress(options: argparse.Namespace) -> None:
    how = commands.Compression(
        model=options.model,
        goal=commands.Goal(
            options.quality, options.target_bpp, options.target_size, options.target_psnr
        ),
        rdo=options.rdo,
        init=options.init,
        coder=options.coder,
        strip=options.strip,
        first_frame=options.first_frame,
        lossless_check=options.lossless_check,
        force=options.force,
    )

    def work(source: str, target: str, models: Models, show_progress: bool) -> Done:
        return commands.compress(source, target, how, models, show_progress)

    if options.out_dir is None:
        _one(options, work, COMPRESSED_SUFFIX)
        return
    from rdonet_jax import jobs

    sources = _sources(options)
    found = jobs.compressions(sources, options.out_dir)
    if not options.quiet and (words := jobs.passed_over(sources, found)):
        print(f"rdonet: {words}", file=sys.stderr)
    _many(options, work, found)


def _decompress(options: argparse.Namespace) -> None:
    how = commands.Decompression(
        options.model, options.max_pixels, options.background, options.force
    )

    def work(source: str, target: str, models: Models, show_progress: bool) -> Done:
        return commands.decompress(source, target, how, models, show_progress)

    if options.out_dir is None:
        _one(options, work, PICTURE_SUFFIX)
        return
    from rdonet_jax import jobs

    sources, suffix = _sources(options), options.suffix or PICTURE_SUFFIX
    _many(options, work, jobs.decompressions(sources, options.out_dir, suffix))


def _one(options: argparse.Namespace, work: Work, suffix: str) -> None:
    """Makes one file of another."""
    source, target = [*options.files, None][:2]
    if os.path.isdir(source):
        raise CommandError(f"{source}: is a folder; say with --out-dir where its files are to go")
    show_progress = not options.quiet and sys.stderr.isatty()
    done = work(source, source + suffix if target is None else target, Models(), show_progress)
    _tell(options, done)


def _many(options: argparse.Namespace, work: Work, found: Sequence[Job]) -> None:
    """Makes many files of many, and sums up. Raises `Incomplete` if some failed."""
    from tqdm import tqdm

    from rdonet_jax import jobs

    models = Models()
    silent = options.quiet or not sys.stderr.isatty()

    def one(job: jobs.Job) -> Done:
        return work(job.source, job.target, models, False)

    with tqdm(total=len(found), unit="file", disable=silent, leave=False) as bar:

        def tell(outcome: jobs.Outcome) -> None:
            bar.update()
            with tqdm.external_write_mode():
                if isinstance(outcome, jobs.Failed):
                    failed(outcome.cause)
                    if options.json:
                        say(json.dumps({"input": outcome.job.source, "error": outcome.cause}))
                elif isinstance(outcome, jobs.Skipped):
                    if options.verbose:
                        say(f"{outcome.job.target}: was there already")
                else:
                    _, done = outcome
                    if options.verbose or options.json:
                        _tell(options, done)
                    if done.facts.get("search", {}).get("interrupted"):
                        raise KeyboardInterrupt  # it has ended a search, and is meant for all

        summary = jobs.run(found, one, options.force, options.jobs, tell)
    if options.json:
        say(json.dumps({"summary": summary._asdict()}))
    elif not options.quiet:
        say(summary.words())
    if summary.failed:
        raise Incomplete


def _sources(options: argparse.Namespace) -> list[str]:
    """The names given as arguments and in a list."""
    if options.list is None:
        return options.files
    # Names are bytes, of whatever encoding.
    data = sys.stdin.buffer.read() if options.list == "-" else Path(options.list).read_bytes()
    lines = (line.removesuffix("\r") for line in os.fsdecode(data).split("\n"))
    return [*options.files, *filter(None, lines)]


def _tell(options: argparse.Namespace, done: Done) -> None:
    if options.json:
        say(json.dumps(done.facts))
    elif not options.quiet:
        times = ", ".join(f"{step} {seconds:.2f} s" for step, seconds in done.steps)
        say("\n".join([*done.words, *([f"  {times}"] if options.verbose else [])]))


def _info(options: argparse.Namespace) -> None:
    """Describes files. Raises `Incomplete` if some could not be described, as has been said."""
    complete = True
    for source in options.files:
        try:
            _describe(source, options.json)
        except CommandError as error:
            failed(str(error))
            complete = False
        except OSError as error:
            failed(f"{error.filename or source}: {error.strerror or error}")
            complete = False
    if not complete:
        raise Incomplete


def _describe(source: str, as_json: bool) -> None:
    from rdonet_jax import bitstream, descriptions, zoo

    if os.path.isdir(source):
        raise CommandError(f"{source}: is a folder")
    data = Path(source).read_bytes()
    with explained(bitstream.FormatError, about=source), explained(zoo.ZooError):
        if as_json:
            say(json.dumps({"input": source, **descriptions.facts_of_file(data)}))
            return
        lines = descriptions.of_file(data)
    say("\n".join([f"{source}: {lines[0]}", *lines[1:]]))


def _models(_: argparse.Namespace) -> None:
    from rdonet_jax import descriptions, zoo

    with explained(zoo.ZooError):
        names = zoo.bundled()
    models = Models()
    lines: list[str] = []
    for name in names:
        title = f"{name} (default)" if name == DEFAULT_MODEL else name
        first, *rest = descriptions.of_model(models.named(name))
        lines += [f"{title}: {first}", *rest]
    say("\n".join(lines) or "no models are bundled with this installation")


COMMANDS = {"compress": _compress, "decompress": _decompress, "info": _info, "models": _models}
