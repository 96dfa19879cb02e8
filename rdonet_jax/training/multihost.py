"""Several hosts as one run: joining them, who speaks, and stopping together.

Every host runs the same program on its own devices. `jax.distributed` connects them; collectives
of the step do the rest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import sys
import threading
import traceback
import zlib
from collections.abc import Callable, Iterator
from types import FrameType

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from rdonet_jax.core.config import ConfigError

PATIENCE_MS = 30 * 60 * 1000
"""How long a host waits for the others, in milliseconds."""

FAREWELL_MS = 5 * 1000
"""How long a host that ends with an error waits for others that end with one, in milliseconds.

A host that loses the others is ended by `jax.distributed` before it can say what was wrong."""

LONGEST_TEXT = 1000
"""Bytes of a text that hosts tell each other; of longer ones the rest is left out."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """How a host finds the others.

    With `coordinator` (address:port of the first host's service) the other two are needed as well;
    without, `jax.distributed` asks the environment: SLURM, Open MPI, Cloud TPU, Kubernetes.
    """

    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None


def join(cluster: Cluster) -> None:
    """Connects this host; to be called before anything touches a device.

    Raises `ConfigError` when the others cannot be found or do not answer.
    """
    given = dataclasses.astuple(cluster)
    if None in given and any(value is not None for value in given):
        raise ConfigError("name the coordinator, the number of processes and this process's number")
    # CPUs have no collectives of their own between hosts.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(*given)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"the hosts cannot be joined: {error}") from error


def is_first() -> bool:
    """Whether this host writes logs and descriptions."""
    return jax.process_index() == 0


def wait_for_all(name: str, patience_ms: int = PATIENCE_MS) -> None:
    """Returns when every host has come here; `name` tells such places apart.

    Devices are not involved: their collectives give up on a host that comes much later.
    """
    ocp.multihost.get_barrier_sync_fn()(key=name, timeout_ms=patience_ms)


def told_by_all(name: str, text: str) -> list[str]:
    """What every host says here, in their order; `name` is as in `wait_for_all`."""
    if jax.process_count() == 1:
        return [text]
    wait_for_all(name)
    own = np.zeros(LONGEST_TEXT, np.uint8)
    letters = np.frombuffer(text.encode()[:LONGEST_TEXT], np.uint8)
    own[: len(letters)] = letters
    rows = np.asarray(multihost_utils.process_allgather(own))
    return [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in rows]


@contextlib.contextmanager
def failing_alike(name: str) -> Iterator[None]:
    """For what every host does by itself: where it fails on one host, it fails on all.

    The others would wait for that one. They raise `ConfigError` with its complaint. `name` is as in
    `wait_for_all`; nothing within may wait for other hosts.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    complaints = told_by_all(name, _complaint(failure) if failure else "")
    if failure:
        raise failure
    for host, complaint in enumerate(complaints):
        if complaint:
            raise ConfigError(f"host {host}: {complaint}")


def _complaint(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def processes_here() -> int:
    """How many of a run's processes share this machine, and so its memory."""
    if jax.process_count() == 1:
        return 1
    name = np.asarray(zlib.crc32(socket.gethostname().encode()), np.uint32)
    return int(np.sum(multihost_utils.process_allgather(name) == name))


@contextlib.contextmanager
def failing_together() -> Iterator[None]:
    """Where one of several hosts ends with an error, the others end as well.

    Python would have it wait for the others first, which wait for it.
    """
    try:
        yield
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) else 1
        if code and jax.distributed.is_initialized() and jax.process_count() > 1:
            if not isinstance(error, SystemExit):
                traceback.print_exc()
            sys.stderr.flush()
            with contextlib.suppress(Exception):
                wait_for_all("ended with an error", FAREWELL_MS)
            os._exit(code)
        raise


def require_equal(text: str, what: str) -> None:
    """Raises `ConfigError` on every host unless all have the same text; `what` names it."""
    if jax.process_count() == 1:
        return
    sums = multihost_utils.process_allgather(np.asarray(zlib.crc32(text.encode()), np.uint32))
    if np.any(sums != sums[0]):
        raise ConfigError(f"the hosts of this run differ in their {what}")


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[int], str]]:
    """Gives a function of the number of steps done: the signal to stop for, or an empty string.

    All hosts hear it at the same step, whichever was told. One host alone also heeds Ctrl-C; a
    second one interrupts as usual. Further SIGTERMs change nothing.
    """
    if jax.process_count() > 1:
        # jax.distributed has its own handler of SIGTERM, and lets the hosts agree on a step.
        yield lambda step: "SIGTERM" if multihost_utils.reached_preemption_sync_point(step) else ""
        return
    if threading.current_thread() is not threading.main_thread():
        yield lambda step: ""  # signals reach the main thread only
        return
    received: list[str] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        if number == signal.SIGINT:
            signal.signal(number, held[number])

    held = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    # A job in the background is not to hear Ctrl-C.
    heeded = [number for number, handler in held.items() if handler != signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, note)
    try:
        yield lambda step: received[0] if received else ""
    finally:
        for number in heeded:
            signal.signal(number, held[number])
