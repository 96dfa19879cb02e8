"""Several hosts as one program: connecting them, barriers, common errors and signals.

Every host runs the same program on its own devices. `jax.distributed` connects the hosts. What
they exchange, such as gradients, goes through collectives of their devices.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rdonet_jax.core import messages
from rdonet_jax.core.config import ConfigError
from rdonet_jax.runtime import compilation, interrupts, parallel

PATIENCE_MS = 30 * 60 * 1000
"""Milliseconds that a host waits for the others at a barrier."""

A_DAY_MS = 24 * 60 * 60 * 1000
"""Milliseconds that a host which is done waits for work that others do alone."""

JOIN_S = 300.0
"""Seconds that a host looks for the first one, as long as `jax.distributed` waits for the hosts."""

CONNECT_S, PAUSE_S = 10.0, 0.5
"""Seconds that one attempt to reach the first host may take, and that lie between two of them."""

SILENCE_S = 10.0
"""Seconds after which a host says that it waits for the others."""

FAILURE_WAIT_MS = 5 * 1000
"""Milliseconds that a host which fails waits for others that fail.

Without waiting, `jax.distributed` would end the others before they can report their own error."""

LONGEST_TEXT = 1000
"""Bytes of a text that hosts exchange. Longer texts are cut."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """How a host finds the others.

    `coordinator` is address:port of the first host's service. Either all three values are given or
    none. Without them `jax.distributed` reads the environment of SLURM, Open MPI, Cloud TPU or
    Kubernetes.
    """

    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None


def join(cluster: Cluster) -> None:
    """Connects this host to the others. Must be called before any device is used.

    Raises `ConfigError` for values that cannot be right, and if the first host does not answer at
    the address of the coordinator within `JOIN_S`. A host that does not come later cannot be
    caught: `jax.distributed` then aborts the processes that wait for it. It also does so where it
    has found the address of the first host itself, and nothing answers there.
    """
    given = dataclasses.astuple(cluster)
    if None in given and any(value is not None for value in given):
        raise ConfigError("name the coordinator, the number of processes and this process's number")
    with _saying_who_is_awaited(cluster):
        if cluster.coordinator is not None:
            address = _address(cluster.coordinator)
            if cluster.process:
                _require_answer(cluster.coordinator, address)
        # CPUs have no collectives of their own between hosts.
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        try:
            jax.distributed.initialize(*given)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"the hosts cannot be joined: {error}") from error


@contextlib.contextmanager
def _saying_who_is_awaited(cluster: Cluster) -> Iterator[None]:
    """A context that says once for how many hosts this one waits, if that takes a while."""
    if cluster.coordinator is None:
        yield
        return
    sentence = f"waiting for {cluster.processes} hosts at {cluster.coordinator}"
    timer = threading.Timer(SILENCE_S, print, [sentence], {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _address(coordinator: str) -> tuple[str, int]:
    """Address and port. Raises `ConfigError`."""
    address, _, port = coordinator.rpartition(":")
    if not address or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(f"the coordinator has an address and a port, as HOST:1234: {coordinator}")
    return address.strip("[]"), int(port)


def _require_answer(coordinator: str, address: tuple[str, int]) -> None:
    """Returns when something listens there. Raises `ConfigError` if that takes too long.

    `jax.distributed` would abort this process, and with it lose the cause.
    """
    limit = time.monotonic() + JOIN_S
    while True:
        try:
            socket.create_connection(address, CONNECT_S).close()
            return
        except (OSError, UnicodeError) as error:
            if time.monotonic() >= limit:
                cause = getattr(error, "strerror", None) or error
                raise ConfigError(
                    f"no host answers at {coordinator} ({cause}); that should be the address of "
                    "process 0, which has to run as well"
                ) from error
        time.sleep(PAUSE_S)


def process_count() -> int:
    """The number of hosts, or of processes that count as such."""
    return jax.process_count()


def is_first() -> bool:
    """Whether this host writes logs and descriptions."""
    return jax.process_index() == 0


def wait_for_all(name: str, patience_ms: int = PATIENCE_MS) -> None:
    """A barrier: returns when every host has called it with this name.

    It does not use the devices, whose collectives fail if a host arrives much later.
    """
    if jax.process_count() == 1:
        return
    import orbax.checkpoint as ocp  # here, since only several hosts need it

    ocp.multihost.get_barrier_sync_fn()(key=name, timeout_ms=patience_ms)


def gather_texts(name: str, text: str, patience_ms: int = PATIENCE_MS) -> list[str]:
    """The texts that all hosts pass, in the order of the hosts, cut to `LONGEST_TEXT` bytes.

    What is no Unicode, as in names of files, is escaped. The arguments are as in `wait_for_all`.
    """
    if jax.process_count() == 1:
        return [text]
    wait_for_all(name, patience_ms)
    own = np.zeros(LONGEST_TEXT, np.uint8)
    letters = np.frombuffer(messages.unicode_text(text).encode()[:LONGEST_TEXT], np.uint8)
    own[: len(letters)] = letters
    rows = _rows_of_hosts(own)
    return [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in rows]


def gather_json(name: str, value: Any, patience_ms: int = PATIENCE_MS) -> list[Any]:
    """The JSON values of any size that all hosts pass, in the order of the hosts.

    The arguments are as in `wait_for_all`.
    """
    if jax.process_count() == 1:
        return [value]
    wait_for_all(name, patience_ms)
    own = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = _rows_of_hosts(np.array(len(own), np.int32))
    rows = _rows_of_hosts(np.pad(own, (0, int(lengths.max()) - len(own))))
    return [json.loads(bytes(row[:n])) for row, n in zip(rows, lengths, strict=True)]


def _rows_of_hosts(own: np.ndarray) -> np.ndarray:
    """The arrays of equal shape that all hosts pass, stacked in the order of the hosts.

    Returns when every device of this host is done. `multihost_utils.process_allgather` waits for
    one device only. With JAX 0.5.3 on CPUs another device can then take a message of the next
    exchange for one of this exchange, which ends the process.
    """
    devices = parallel.devices_by_host().reshape(jax.process_count(), -1)
    mesh = Mesh(devices, ("host", "device"))
    rows = multihost_utils.host_local_array_to_global_array(own[None], mesh, PartitionSpec("host"))
    copied = compilation.jit(_same, out_shardings=NamedSharding(mesh, PartitionSpec()))(rows)
    return np.asarray(copied.block_until_ready().addressable_data(0))


def _same(array: jax.Array) -> jax.Array:
    return array


@contextlib.contextmanager
def raise_on_all_hosts(name: str, patience_ms: int = PATIENCE_MS) -> Iterator[None]:
    """A context for work that every host does separately: an error on one host is raised on all.

    Otherwise the other hosts would wait for the failed one. They raise `ConfigError` with its
    message. The arguments are as in `wait_for_all`. Nothing within the context may wait for other
    hosts.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    complaint = _complaint(failure) if failure else ""
    complaints = gather_texts(name, complaint, patience_ms)
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
    """The number of the run's processes on this machine, which share its memory."""
    if jax.process_count() == 1:
        return 1
    wait_for_all("processes here")
    name = np.asarray(zlib.crc32(socket.gethostname().encode()), np.uint32)
    return int(np.sum(_rows_of_hosts(name) == name))


@contextlib.contextmanager
def failing_together() -> Iterator[None]:
    """A context that ends this process after an error, so that the other hosts end too.

    A normal exit would wait for the other hosts, which wait for this one. If all hosts fail, they
    disconnect first: the first host runs the service that connects them, and `jax.distributed`
    aborts every host that still uses the service when it ends.
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
                wait_for_all("ended with an error", FAILURE_WAIT_MS)
                jax.distributed.shutdown()
            os._exit(code if isinstance(code, int) else 1)
        raise


def require_equal(text: str, what: str) -> None:
    """Raises `ConfigError` on every host unless all have the same text; `what` names it."""
    if jax.process_count() == 1:
        return
    wait_for_all(f"compare {what}")
    sums = _rows_of_hosts(np.asarray(zlib.crc32(messages.unicode_text(text).encode()), np.uint32))
    if np.any(sums != sums[0]):
        raise ConfigError(f"the hosts of this run differ in their {what}")


def _agreed_stops() -> Callable[[int], str]:
    """`stop_requests` of several hosts, which all ask after the same steps."""
    first: int | None = None

    def stop_request(step: int) -> str:
        nonlocal first
        first = step if first is None else first
        # jax.distributed has its own handler of SIGTERM. It lets the hosts stop at the number after
        # the largest that any of them has asked for, which is 0 before the first. So steps are
        # counted from the first, or a resumed run would pass over a signal that came before it.
        reached = multihost_utils.reached_preemption_sync_point(step - first)
        return "SIGTERM" if reached else ""

    return stop_request


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[int], str]]:
    """A context that gives a function of the number of steps done.

    The function returns the name of a signal on which the program must stop, or an empty string.
    All hosts stop at the same step, whichever received the signal. On a single host Ctrl-C and
    SIGHUP stop too, and a second Ctrl-C interrupts as usual. Further SIGTERM and SIGHUP are
    ignored.
    """
    if jax.process_count() > 1:
        yield _agreed_stops()
        return
    if threading.current_thread() is not threading.main_thread():
        yield lambda step: ""  # signals reach the main thread only
        return
    received: list[str] = []

    def take(number: int) -> bool:
        again = signal.Signals(number).name in received
        received.append(signal.Signals(number).name)
        return not (again and number == signal.SIGINT)

    if interrupts.are_handled():
        with interrupts.taking_signals(take):
            yield lambda step: received[0] if received else ""
        return

    def note(number: int, _: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        if number == signal.SIGINT:
            signal.signal(number, held[number])

    names = [name for name in interrupts.TERMINATING_SIGNALS if hasattr(signal, name)]
    held = {number: signal.getsignal(number) for number in (getattr(signal, n) for n in names)}
    # A background job ignores Ctrl-C, and must go on doing so.
    handled = [number for number, handler in held.items() if handler != signal.SIG_IGN]
    for number in handled:
        signal.signal(number, note)
    try:
        yield lambda step: received[0] if received else ""
    finally:
        for number in handled:
            signal.signal(number, held[number])
