"""The command `rdonet`: its commands, of which compress, decompress, info and models are here.

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

from rdonet_jax.cli import commands, lazy_commands, more_commands, streams
from rdonet_jax.cli.arguments import STANDARD_STREAM, parse
from rdonet_jax.cli.commands import (
    COMPRESSED_SUFFIX,
    DEFAULT_MODEL,
    PICTURE_SUFFIX,
    Done,
    Models,
    Place,
)
from rdonet_jax.cli.console import (
    CommandError,
    escaped,
    explained,
    failed,
    note,
    open_streams,
    quiet_libraries,
    remember_compilations,
    say,
    say_beside,
    writing_output,
)

if TYPE_CHECKING:
    from rdonet_jax.cli.batch import Found

INTERRUPTED = 130
BROKEN_PIPE = 141
"""As of a process that the signal of a broken pipe ends."""

Work = Callable[[Place, Place, Models, bool], Done]
"""(source, target, models, whether to show progress) -> what was made."""


class Incomplete(Exception):
    """Some of many files could not be done, as has been said."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code: 0, 1 for errors, 2 for wrong usage,
    `INTERRUPTED` or `BROKEN_PIPE`."""
    open_streams()
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if given and given[0] in lazy_commands.COMMANDS:
            return lazy_commands.COMMANDS[given[0]](given[1:])
        return _run(given)
    except Incomplete:
        return 1
    except CommandError as error:
        return failed(str(error))
    except BrokenPipeError:  # whoever read the output has seen enough
        return BROKEN_PIPE
    except OSError as error:
        return failed(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        failed("interrupted")
        return INTERRUPTED


def _run(arguments: Sequence[str]) -> int:
    """Runs the command line; what goes wrong with its files is raised."""
    try:
        options = parse(arguments)
    except SystemExit as stop:
        with writing_output():
            sys.stdout.flush()
        return int(stop.code or 0)
    remember_compilations()
    with quiet_libraries():
        COMMANDS[options.command](options)
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
        preserve=options.preserve,
        measure=options.verbose,
    )

    def work(source: Place, target: Place, models: Models, show: bool) -> Done:
        return commands.compress(source, target, how, models, show)

    if options.out_dir is None:
        _one(options, work, COMPRESSED_SUFFIX, COMPRESSED_SUFFIX)
        return
    from rdonet_jax.cli import batch

    _many(options, work, batch.compressions(options.files, options.out_dir, _listed(options)))


def _decompress(options: argparse.Namespace) -> None:
    how = commands.Decompression(
        options.model, options.max_pixels, options.background, options.force, options.preserve
    )

    def work(source: Place, target: Place, models: Models, show: bool) -> Done:
        return commands.decompress(source, target, how, models, show)

    if options.out_dir is None:
        _one(options, work, PICTURE_SUFFIX, options.suffix or PICTURE_SUFFIX)
        return
    from rdonet_jax.cli import batch

    suffix = options.suffix or PICTURE_SUFFIX
    found = batch.decompressions(options.files, options.out_dir, suffix, _listed(options))
    _many(options, work, found._replace(others=[]))  # a folder may well hold other files


def _one(options: argparse.Namespace, work: Work, suffix: str, stream_suffix: str) -> None:
    """Makes one file of another. The suffixes are for what names none: IN alone, and streams."""
    source, target = [*options.files, None][:2]
    if os.path.isdir(source):
        raise CommandError(f"{source}: is a folder; say with --out-dir where its files are to go")
    if target is None:
        target = STANDARD_STREAM if source == STANDARD_STREAM else source + suffix
    show_progress = not options.quiet and sys.stderr.isatty()
    with streams.target(target, stream_suffix) as made, streams.source(source) as read:
        done = work(read, made, Models(), show_progress)
    done.facts.update(input=source, output=target)
    _tell(options, done, say_beside if target == STANDARD_STREAM else say)
    _warn(options, done)


def _many(options: argparse.Namespace, work: Work, found: Found) -> None:
    """Makes many files of many, and sums up. Raises `Incomplete` if some failed."""
    from tqdm import tqdm

    from rdonet_jax.cli import batch

    if not options.quiet and (words := batch.passed_over(found)):
        note(words)
    models = Models()
    silent = options.quiet or not sys.stderr.isatty()

    def one(job: batch.Job) -> Done:
        return work(job.source, job.target, models, False)

    with tqdm(
        total=len(found.jobs) + len(found.failed), unit="file", disable=silent, leave=False
    ) as bar:

        def tell(outcome: batch.Outcome) -> None:
            bar.update()
            with tqdm.external_write_mode():
                if isinstance(outcome, batch.Failed):
                    failed(outcome.cause)
                    if options.json:
                        say(json.dumps({"input": outcome.job.source, "error": outcome.cause}))
                elif isinstance(outcome, batch.Skipped):
                    if options.verbose:
                        say(f"{outcome.job.target}: was there already")
                else:
                    _, done = outcome
                    if options.verbose or options.json:
                        _tell(options, done)
                    elif not options.quiet and done.facts["notes"]:
                        say(f"{outcome[0].target}: {', '.join(done.facts['notes'])}")
                    _warn(options, done)
                    if done.facts.get("search", {}).get("interrupted"):
                        raise KeyboardInterrupt  # it has ended a search, and is meant for all

        def words(summary: batch.Summary) -> str:
            if options.json:
                return json.dumps({"summary": summary._asdict()})
            return "" if options.quiet else summary.words()

        summary = batch.run(found.jobs, one, options.force, options.jobs, tell, found.failed, words)
    if text := words(summary):
        say(text)
    if summary.interrupted:
        raise KeyboardInterrupt
    if summary.failed:
        raise Incomplete


def _listed(options: argparse.Namespace) -> list[str]:
    """The names in the list, if there is one."""
    from rdonet_jax.cli import places

    if options.list is None:
        return []
    stream = options.list == STANDARD_STREAM
    data = sys.stdin.buffer.read() if stream else Path(options.list).read_bytes()
    with explained(ValueError, about="standard input" if stream else options.list):
        return places.names_of(data, options.null)


def _tell(options: argparse.Namespace, done: Done, speak: Callable[[str], None] = say) -> None:
    if options.json:
        speak(json.dumps(done.facts))
    elif not options.quiet:
        times = ", ".join(f"{step} {seconds:.2f} s" for step, seconds in done.steps)
        lines = [*done.words, *([f"  {times}"] if options.verbose else [])]
        speak("\n".join(map(escaped, lines)))


def _warn(options: argparse.Namespace, done: Done) -> None:
    for warning in done.warnings if not options.quiet else ():
        failed(f"warning: {warning}")


def _info(options: argparse.Namespace) -> None:
    """Describes files. Raises `Incomplete` if some could not be described, as has been said."""
    complete = True
    for source in options.files:
        try:
            with streams.source(source) as place:
                _describe(place, source, options.json)
        except CommandError as error:
            failed(str(error))
            complete = False
        except BrokenPipeError:
            raise
        except OSError as error:
            failed(f"{error.filename or source}: {error.strerror or error}")
            complete = False
    if not complete:
        raise Incomplete


def _describe(source: Place, name: str, as_json: bool) -> None:
    from rdonet_jax.codec import bitstream

    if os.path.isdir(source):
        raise CommandError(f"{source}: is a folder")
    with explained(bitstream.FormatError, about=str(source)), open(source, "rb") as file:
        data = bitstream.read(file)
    from rdonet_jax.cli import describe
    from rdonet_jax.models import zoo

    with explained(bitstream.FormatError, about=str(source)), explained(zoo.ZooError):
        if as_json:
            say(json.dumps({"input": name, **describe.facts_of_file(data)}))
            return
        lines = describe.of_file(data)
    say("\n".join(map(escaped, [f"{source}: {lines[0]}", *lines[1:]])))


def _models(_: argparse.Namespace) -> None:
    from rdonet_jax.cli import describe
    from rdonet_jax.models import zoo

    with explained(zoo.ZooError):
        names = zoo.bundled()
    models = Models()
    lines: list[str] = []
    for name in names:
        title = f"{name} (default)" if name == DEFAULT_MODEL else name
        first, *rest = describe.of_model(models.named(name))
        lines += [f"{title}: {first}", *rest]
    say("\n".join(lines) or "no models are bundled with this installation")


COMMANDS = {
    "compress": _compress,
    "decompress": _decompress,
    "info": _info,
    "models": _models,
    **more_commands.COMMANDS,
}
