"""Does jobs on a Ray cluster, through Ray Data.

Ray Data gives blocks of jobs to workers, each with a core or an accelerator of its own. The block
of a worker that is lost is given to another one; jobs of it that were done are found to be done. A
block whose workers are lost again and again is given up, and its jobs are tried once more one by
one, so that a file that no worker survives costs no other file its result.

Ray is imported inside functions, and what it prints is kept from the command's output.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from rdonet_jax.cli import libraries, output
from rdonet_jax.cli.errors import CommandError
from rdonet_jax.cli.files import batch, remote_files
from rdonet_jax.cli.files.batch import Failed, Outcome, Outcomes, Skipped
from rdonet_jax.cli.files.file_result import FileResult
from rdonet_jax.cli.files.jobs import Job
from rdonet_jax.core import messages
from rdonet_jax.models.library import ModelLibrary
from rdonet_jax.models.step_batches import StepBatches
from rdonet_jax.storage import urls

if TYPE_CHECKING:
    from ray.data import Dataset

    from rdonet_jax.cli.files.file_result import Work

BLOCK = 16
"""Jobs of a block, at most. A lost worker costs this many at most."""

BLOCKS_PER_WORKER = 8
"""At least so many where there are few jobs, so that no worker waits long for the last one."""

RETRIES = 2
"""Of a block, or of a job alone, whose worker is lost."""

ANSWER_S = 10.0
"""Seconds in which a cluster's address has to answer."""

LOST = "every worker that worked on it was lost; it may need more memory than a worker has"

BEGUN_ARE_DROPPED = "workers stop; files that are begun are whole or not there"
"""What happens after the first interrupt."""


class Cluster(NamedTuple):
    """What a cluster has for workers."""

    workers: int
    accelerator: str | None  # "GPU" or "TPU"; None where cores compute


def connect(address: str | None) -> Cluster:
    """Connects this process with the cluster at an address, unless it is connected already.

    "auto" is the cluster that this machine belongs to, "local" one that is started here and ends
    with this process. None is the cluster that Ray itself chooses. Raises `CommandError` without
    Ray, and where no cluster can be reached.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise CommandError(
            f"Ray or a package that it needs is not installed ({error.name}): "
            "pip install 'rdonet-jax[ray]'"
        ) from error
    if not ray.is_initialized():
        try:
            _require_answer(address)
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:  # of many kinds, also for an address that makes no sense
            cause = messages.first_line(error)
            raise CommandError(
                f"{address or 'Ray'}: no Ray cluster can be reached ({cause})"
            ) from error
    resources = ray.cluster_resources()
    for accelerator in ("GPU", "TPU"):
        if count := int(resources.get(accelerator, 0)):
            return Cluster(count, accelerator)
    return Cluster(max(1, int(resources.get("CPU", 1))), None)


def _require_answer(address: str | None) -> None:
    """Raises OSError where nothing answers at a host and port; Ray would try for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()


def outcomes(
    jobs: Sequence[Job], work: Work, force: bool, cluster: Cluster, shares_steps: bool = False
) -> Outcomes:
    """Does jobs on the cluster that this process is connected with.

    `shares_steps`: whether an accelerator may compute steps of several files together.

    `work` is sent there by value. Raises `CommandError` for files that workers could not share, and
    its iterator where the cluster fails.
    """
    for name in (name for job in jobs for name in job):
        if urls.is_url(name) and urls.parts(name)[0] == "memory":
            raise CommandError(f"{name}: is in the memory of this process, which no worker sees")
    together = BLOCK if shares_steps and cluster.accelerator is not None else 1
    return functools.partial(_outcomes, jobs, work, force, cluster, together)


@contextlib.contextmanager
def quiet_ray() -> Iterator[None]:
    """Keeps from standard output and error what Ray says. For a command, before `connect`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    stdout, stderr = sys.stdout, sys.stderr
    with contextlib.ExitStack() as undone:
        undone.callback(setattr, sys, "stdout", stdout)
        sys.stdout = _WithoutRay(stdout)
        if output.is_descriptor(stderr, 2):  # Ray's native code writes to the descriptor
            sys.stderr = undone.enter_context(output.own_descriptor(stderr))
            undone.callback(setattr, sys, "stderr", stderr)
        yield


class _WithoutRay:
    """A stream of text that leaves out what threads of Ray write to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if threading.current_thread().name.startswith("ray_"):
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _outcomes(
    jobs: Sequence[Job],
    work: Work,
    force: bool,
    cluster: Cluster,
    together: int,
    stopping: Callable[[], bool],
) -> Iterator[Outcome]:
    waiting = dict(enumerate(jobs))
    if not force:  # a store is asked once for all of them
        there = remote_files.existing([job.target for job in jobs])
        for number, job in enumerate(jobs):
            if job.target in there:
                yield Skipped(waiting.pop(number))
    per_worker = -(-len(waiting) // (BLOCKS_PER_WORKER * cluster.workers))
    for block in (min(BLOCK, per_worker), 1):
        for row in _rows(waiting, work, force, cluster, min(together, block), block):
            job = waiting.pop(int(row["number"]))
            yield _outcome(job, row["kind"], row["content"])
            if stopping():
                return
    for job in waiting.values():
        yield Failed(job, f"{job.source}: {LOST}")


def _rows(
    jobs: dict[int, Job], work: Work, force: bool, cluster: Cluster, together: int, block: int
) -> Iterator[dict[str, Any]]:
    """The rows of `_Worker` for jobs by their numbers, as they come; none for blocks given up."""
    if not jobs:
        return
    import ray

    try:
        yield from _dataset(jobs, work, force, cluster, together, block).iter_rows()
    except ray.exceptions.RayError as error:
        cause = messages.first_line(error)
        raise CommandError(f"the Ray cluster has failed: {cause}") from error


def _dataset(
    jobs: dict[int, Job], work: Work, force: bool, cluster: Cluster, together: int, block: int
) -> Dataset:
    import ray

    items = [{"number": n, "source": job.source, "target": job.target} for n, job in jobs.items()]
    dataset = ray.data.from_items(items, override_num_blocks=-(-len(items) // block))
    dataset.context.max_errored_blocks = -1
    dataset.context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    needed: dict[str, Any] = {"num_cpus": 1}
    if cluster.accelerator == "GPU":
        needed["num_gpus"] = 1
    elif cluster.accelerator is not None:
        needed["resources"] = {cluster.accelerator: 1}
    with warnings.catch_warnings():
        # Its versions up to 2.63 have no other way to say how often a block is tried.
        warnings.simplefilter("ignore")
        return dataset.map_batches(
            _Worker,
            fn_constructor_args=(
                work,
                force,
                os.getcwd(),
                cluster.accelerator is not None,
                together,
            ),
            batch_size=block,
            compute=ray.data.ActorPoolStrategy(
                min_size=1,
                max_size=min(cluster.workers, -(-len(items) // block)),
                # A block that waits at a worker would lose one of its retries with it.
                max_tasks_in_flight_per_actor=1,
            ),
            **needed,
            max_restarts=-1,
            max_task_retries=RETRIES,
        )


class _Worker:
    """Does blocks of jobs, with models that stay loaded.

    So many files of a block as `together` says are coded at the same time, for an accelerator that
    computes equal steps of them together.
    """

    def __init__(
        self, work: Work, force: bool, folder: str, has_accelerator: bool, together: int
    ) -> None:
        # Names of files, of weights too, may be relative. URLs need no folder.
        with contextlib.suppress(OSError):
            os.chdir(folder)
        if has_accelerator:
            libraries.remember_compilations()
            import jax

            jax.default_backend()  # so that `engine_choice` finds it in use
        self._work, self._force = work, force
        self._together, self._batches = together, StepBatches(together)
        self._library = ModelLibrary(batches=self._batches if together > 1 else None)

    def __call__(self, block: dict[str, Any]) -> dict[str, list]:
        """The outcomes of jobs; columns number, source and target to number, kind and content."""

        def row(source: object, target: object) -> tuple[str, str]:
            return _row(batch.outcome_of(Job(str(source), str(target)), self._do, self._force))

        with ThreadPoolExecutor(self._together) as pool:
            done = list(pool.map(row, block["source"], block["target"]))
        kinds, contents = zip(*done, strict=True)
        return {"number": list(block["number"]), "kind": list(kinds), "content": list(contents)}

    def _do(self, job: Job) -> FileResult:
        local = remote_files.local(job.source, job.target, self._force)
        with local as (source, target), self._batches.member():
            return self._work(source, target, self._library, False)


def _row(outcome: Outcome) -> tuple[str, str]:
    """The kind and the content of an outcome, as texts."""
    if isinstance(outcome, Failed):
        return "failed", outcome.cause
    if isinstance(outcome, Skipped):
        return "there", ""
    return "made", json.dumps(outcome[1]._asdict())


def _outcome(job: Job, kind: str, content: str) -> Outcome:
    if kind == "failed":
        return Failed(job, content)
    if kind == "there":
        return Skipped(job)
    result = FileResult(**json.loads(content))
    return job, result._replace(
        lines=tuple(result.lines),
        step_seconds=tuple((name, seconds) for name, seconds in result.step_seconds),
        warnings=tuple(result.warnings),
    )
