"""Compresses and restores any number of files on a Ray cluster, through Ray Data.

Needs the extra `ray`. `rdonet compress --ray` does the same on the command line.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rdonet_jax.cli.commands import coding_commands
from rdonet_jax.cli.commands.compress import CompressOptions
from rdonet_jax.cli.commands.decompress import DecompressOptions
from rdonet_jax.cli.errors import CommandError
from rdonet_jax.cli.files import batch, cluster, jobs
from rdonet_jax.cli.files.batch import Outcome
from rdonet_jax.cli.files.file_result import Work
from rdonet_jax.cli.files.jobs import Found
from rdonet_jax.core import messages
from rdonet_jax.core.defaults import IMAGE_SUFFIX

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = [
    "CommandError",
    "CompressOptions",
    "DecompressOptions",
    "compress_dataset",
    "decompress_dataset",
]

Sources = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""A file or a folder, local or at a URL, or several of them."""


def compress_dataset(
    sources: Sources,
    out_dir: str | os.PathLike[str],
    options: CompressOptions = CompressOptions(),  # noqa: B008 - frozen
    *,
    address: str | None = None,
    workers: int | None = None,
) -> Dataset:
    """Compresses images, and those below folders, into a folder or a URL; returns a row per file.

    A row has the columns of `cluster_row`. Results that are there are left alone, unless
    `options.force`. `address` is that of a cluster, as `rdonet compress --ray` takes it, where
    this process is not connected with one. There are as many workers as accelerators, or as cores
    where there are none, but `workers` at most. Raises `CommandError` where Ray is missing, no
    cluster can be reached, or the cluster fails; and OSError for a URL that cannot be listed.
    """
    found = jobs.compressions(_names(sources), os.fspath(out_dir))
    work = coding_commands.compression(options)
    return _done(found, work, options.force, address, workers, not options.searches)


def decompress_dataset(
    sources: Sources,
    out_dir: str | os.PathLike[str],
    options: DecompressOptions = DecompressOptions(),  # noqa: B008 - frozen
    *,
    suffix: str = IMAGE_SUFFIX,
    address: str | None = None,
    workers: int | None = None,
) -> Dataset:
    """Restores the images in files, and in those below folders, as `compress_dataset` does.

    `suffix` says in which format.
    """
    found = jobs.decompressions(_names(sources), os.fspath(out_dir), suffix)
    work = coding_commands.decompression(options)
    return _done(found, work, options.force, address, workers, shares_steps=True)


def cluster_row(outcome: Outcome) -> dict[str, str | int | float | None]:
    """What came of one file.

    status: "made", "there" if the result was there before, or "failed". error: the sentence about
    a failure. bytes: of the compressed file. None where it does not apply. What is no Unicode in
    the name of a file is escaped, as in `caf\\udce9.png`.
    """
    if isinstance(outcome, batch.Failed):
        return _row(outcome.job, "failed", error=outcome.cause)
    if isinstance(outcome, batch.Skipped):
        return _row(outcome.job, "there")
    job, result = outcome
    facts = result.facts
    return _row(
        job, "made", width=facts["width"], height=facts["height"], bytes=facts["bytes"],
        seconds=facts["seconds"],
    )  # fmt: skip


def _row(
    job: jobs.Job,
    status: str,
    error: str | None = None,
    width: int | None = None,
    height: int | None = None,
    bytes: int | None = None,
    seconds: float | None = None,
) -> dict[str, str | int | float | None]:
    source, target = messages.unicode_text(job.source), messages.unicode_text(job.target)
    error = error and messages.unicode_text(error)
    return {"input": source, "output": target, "status": status, "error": error,
            "width": width, "height": height, "bytes": bytes, "seconds": seconds}  # fmt: skip


def _done(
    found: Found,
    work: Work,
    force: bool,
    address: str | None,
    workers: int | None,
    shares_steps: bool,
) -> Dataset:
    connected = cluster.connect(address)
    if workers is not None:
        connected = connected._replace(workers=min(workers, connected.workers))
    import pyarrow
    import ray

    rows = [cluster_row(failure) for failure in found.failed]
    outcomes = cluster.outcomes(found.jobs, work, force, connected, shares_steps)
    rows += [cluster_row(outcome) for outcome in outcomes(lambda: False)]
    text, integer = pyarrow.string(), pyarrow.int64()
    columns = {"input": text, "output": text, "status": text, "error": text, "width": integer,
               "height": integer, "bytes": integer, "seconds": pyarrow.float64()}  # fmt: skip
    return ray.data.from_arrow(pyarrow.Table.from_pylist(rows, pyarrow.schema(columns)))


def _names(sources: Sources) -> list[str]:
    if isinstance(sources, str | os.PathLike):
        return [os.fspath(sources)]
    return [os.fspath(source) for source in sources]
