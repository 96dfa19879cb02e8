"""The commands compress and decompress: one file, or many into a folder."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rdonet_jax.cli import extensions
from rdonet_jax.cli.commands import compress, decompress
from rdonet_jax.cli.commands.compress import CompressOptions
from rdonet_jax.cli.commands.decompress import DecompressOptions
from rdonet_jax.cli.errors import CommandError, Incomplete, explained
from rdonet_jax.cli.files import streams
from rdonet_jax.cli.files.file_result import FilePath, FileResult, Work
from rdonet_jax.cli.options.command_parser import STANDARD_STREAM
from rdonet_jax.cli.output import errors_as_json, escaped, failed, note, say, say_beside
from rdonet_jax.core.defaults import COMPRESSED_SUFFIX, IMAGE_SUFFIX
from rdonet_jax.models.library import ModelLibrary
from rdonet_jax.storage import urls

if TYPE_CHECKING:
    from rdonet_jax.cli.files.batch import Outcome, Outcomes, Summary
    from rdonet_jax.cli.files.jobs import Found, Job


def compression(options: CompressOptions) -> Work:
    """The work of compressing one file."""
    return _with_options(compress.compress_file, options)


def decompression(options: DecompressOptions) -> Work:
    """The work of restoring one image."""
    return _with_options(decompress.decompress_file, options)


def _with_options(function: Callable[..., FileResult], options: object) -> Work:
    def work(
        source: FilePath, target: FilePath, library: ModelLibrary, show_progress: bool
    ) -> FileResult:
        return function(source, target, options, library, show_progress)

    return work


def run_compress(options: argparse.Namespace) -> None:
    """Compresses the files that the options name."""
    named = {field.name for field in dataclasses.fields(CompressOptions)} & vars(options).keys()
    given = {name: getattr(options, name) for name in named}
    compressing = CompressOptions(**given, measure=options.verbose)
    work = compression(compressing)
    if options.out_dir is None:
        _run_one(options, work, COMPRESSED_SUFFIX)
        return
    from rdonet_jax.cli.files import jobs

    found = jobs.compressions(options.files, options.out_dir, _listed(options))
    _run_many(options, work, found, not compressing.searches)


def run_decompress(options: argparse.Namespace) -> None:
    """Restores the images in the files that the options name."""
    work = decompression(
        DecompressOptions(
            options.model,
            options.max_pixels,
            options.background,
            options.force,
            options.preserve,
            options.engine,
        )
    )
    suffix = options.suffix or IMAGE_SUFFIX
    if options.out_dir is None:
        _run_one(options, work, suffix)
        return
    from rdonet_jax.cli.files import jobs

    found = jobs.decompressions(options.files, options.out_dir, suffix, _listed(options))
    # A folder may well hold other files.
    _run_many(options, work, found._replace(others=[]), shares_steps=True)


def _run_one(options: argparse.Namespace, work: Work, suffix: str) -> None:
    """Makes one file of another. The suffix is for an output without a name."""
    source, target = [*options.files, None][:2]
    if target is None:
        target = STANDARD_STREAM if source == STANDARD_STREAM else source + suffix
    write = say_beside if target == STANDARD_STREAM else say
    show_progress = not options.quiet and sys.stderr.isatty()
    with errors_as_json(options.json, {"input": source}, write):
        _require_local(options)
        with (
            streams.target(target, suffix) as output,
            streams.source(source) as input_path,
        ):
            result = work(input_path, output, ModelLibrary(), show_progress)
    result.facts.update(input=source, output=target)
    _print_result(options, result, write)
    _print_warnings(options, result)


def _require_local(options: argparse.Namespace) -> None:
    """Raises `CommandError` for names of one IN and its OUT that go with --out-dir alone, and where
    a pipe would lend its result a name, or its times."""
    source = options.files[0]
    for name in options.files:
        urls.require_no_flattened_url(name)
        if urls.is_url(name):
            raise CommandError(f"{name}: is a URL; say with --out-dir where results are to go")
    if os.path.isdir(source):
        raise CommandError(f"{source}: is a folder; say with --out-dir where its files are to go")
    if streams.is_pipe(source) and len(options.files) == 1:
        raise CommandError(f"{source}: is a pipe; name the result too, or - for standard output")
    if streams.is_pipe(source) and options.preserve:
        raise CommandError(f"{source}: is a pipe, which has no times for --preserve")


def _run_many(options: argparse.Namespace, work: Work, found: Found, shares_steps: bool) -> None:
    """Makes many files of many, and sums up. Raises `Incomplete` if some failed.

    `shares_steps`: whether an accelerator may compute steps of several files together.
    """
    from rdonet_jax.cli.files import jobs

    found = jobs.of_shard(found, options.shard)
    _require_local_to_preserve(options, found)
    if not options.quiet and (text := jobs.passed_over(found)):
        note(text)
    if options.ray is None:
        _run_jobs(options, found, _on_this_machine(options, work, found.jobs, shares_steps))
        return
    from rdonet_jax.cli.files import cluster

    with cluster.quiet_ray():
        connected = cluster.connect(options.ray)
        if options.jobs is not None:
            connected = connected._replace(workers=min(options.jobs, connected.workers))
        sent = extensions.in_workers(options.imports, work)
        outcomes = cluster.outcomes(found.jobs, sent, options.force, connected, shares_steps)
        _run_jobs(options, found, outcomes, cluster.BEGUN_ARE_DROPPED)


def _on_this_machine(
    options: argparse.Namespace, work: Work, todo: Sequence[Job], shares_steps: bool
) -> Outcomes:
    from rdonet_jax.cli.files import batch, remote_files
    from rdonet_jax.models.step_batches import StepBatches

    batches = StepBatches(options.jobs)
    library = ModelLibrary(batches=batches if shares_steps and options.jobs > 1 else None)

    def do_job(job: Job) -> FileResult:
        local = remote_files.local(job.source, job.target, options.force)
        with local as (source, target), batches.member():
            return work(source, target, library, False)

    return batch.on_this_machine(todo, do_job, options.force, options.jobs)


def _require_local_to_preserve(options: argparse.Namespace, found: Found) -> None:
    """Raises `CommandError` where times and permissions would have to be those of a URL."""
    names = (name for job in found.jobs for name in job)
    if options.preserve and (url := next(filter(urls.is_url, names), None)):
        raise CommandError(f"{url}: --preserve goes with local files, not with URLs")


def _run_jobs(
    options: argparse.Namespace, found: Found, outcomes: Outcomes, *after_interrupt: str
) -> None:
    """Lets jobs be done, prints what comes of them, and sums up. Raises `Incomplete`."""
    from tqdm import tqdm

    from rdonet_jax.cli.files import batch

    silent = options.quiet or not sys.stderr.isatty()

    def summary_text(summary: Summary) -> str:
        if options.json:
            return json.dumps({"summary": summary._asdict()})
        return "" if options.quiet else summary.text()

    count = len(found.jobs)
    with tqdm(total=count + len(found.failed), unit="file", disable=silent, leave=False) as bar:

        def on_outcome(outcome: Outcome) -> None:
            bar.update()
            with tqdm.external_write_mode():
                _print_outcome(options, outcome)

        summary = batch.run(
            count, outcomes, on_outcome, found.failed, summary_text, *after_interrupt
        )
    if text := summary_text(summary):
        say(text)
    if summary.interrupted:
        raise KeyboardInterrupt
    if summary.failed:
        raise Incomplete


def _print_outcome(options: argparse.Namespace, outcome: Outcome) -> None:
    """Prints what came of one of many files.

    Raises KeyboardInterrupt where an interrupt has ended the search for this file: it is meant for
    all files.
    """
    from rdonet_jax.cli.files import batch

    if isinstance(outcome, batch.Failed):
        failed(outcome.cause)
        if options.json:
            say(json.dumps({"input": outcome.job.source, "error": outcome.cause}))
        return
    if isinstance(outcome, batch.Skipped):
        if options.verbose:
            say(escaped(f"{outcome.job.target}: was there already"))
        return
    job, result = outcome
    if options.verbose or options.json:
        _print_result(options, result)
    elif not options.quiet and result.facts["notes"]:
        say(escaped(f"{job.target}: {', '.join(result.facts['notes'])}"))
    _print_warnings(options, result)
    if result.facts.get("search", {}).get("interrupted"):
        raise KeyboardInterrupt


def _listed(options: argparse.Namespace) -> list[str]:
    """The names in the file of --list, if there is one."""
    from rdonet_jax.cli.files import file_names

    if options.list is None:
        return []
    stream = options.list == STANDARD_STREAM
    data = sys.stdin.buffer.read() if stream else Path(options.list).read_bytes()
    with explained(ValueError, about="standard input" if stream else options.list):
        return file_names.names_of(data, options.null)


def _print_result(
    options: argparse.Namespace, result: FileResult, write: Callable[[str], None] = say
) -> None:
    if options.json:
        write(json.dumps(result.facts))
    elif not options.quiet:
        times = ", ".join(f"{step} {seconds:.2f} s" for step, seconds in result.step_seconds)
        lines = [*result.lines, *([f"  {times}"] if options.verbose else [])]
        write("\n".join(map(escaped, lines)))


def _print_warnings(options: argparse.Namespace, result: FileResult) -> None:
    for warning in result.warnings if not options.quiet else ():
        failed(f"warning: {warning}")


COMMANDS = {"compress": run_compress, "decompress": run_decompress}
