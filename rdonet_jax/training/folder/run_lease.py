"""The lock of a run's folder at a URL: an object that one process creates and keeps renewing.

Object stores have no locks that end with their process. The object holds the owner and a counter.
Whoever finds an object that nobody renews for `LEASE_S` seconds takes it over, as after a power
cut; an owner that finds another one in its place stops, and one that could not renew its lock for
so long writes nothing until it has. Where the process is known to be gone, nobody waits: it had its
number in the same process table, since the same start of the machine.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rdonet_jax.storage import urls
from rdonet_jax.training.folder.run_dir import LOCK_FILE, RunError

LEASE_S = 60.0
"""Seconds after which an owner that has not renewed its lock counts as gone."""

RENEWALS = 4
"""Renewals within that time."""

SETTLING_S = 1.0
"""Seconds after taking a lock over until it is looked at again: another one may have done so."""


class Lease:
    """The lock of one run. A context manager; entering it may wait for `LEASE_S` seconds.

    Entering raises `RunError` when another process holds it. `failure` says why the lock is lost,
    and is empty as long as it is held. `now` and `sleep` are the clock, in seconds.
    """

    def __init__(
        self,
        url: str,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._run, self._url = url, urls.join(url, LOCK_FILE)
        self._owner = {
            **_process_table(), "process": os.getpid(), "key": secrets.token_hex(8),
        }  # fmt: skip
        self._now, self._sleep = now, sleep
        self._count = 0
        self._renewed = -math.inf  # when the last renewal that succeeded began
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, daemon=True)
        self.failure = ""

    def __enter__(self) -> Lease:
        began = self._now()
        if not urls.create(self._url, self._content()):
            self._wait_for_owner()
            began = self._now()
            urls.write(self._url, self._content())
            self._sleep(SETTLING_S)
            if not self._is_ours():
                raise self._taken()
        self._renewed = began
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        # Another process may have taken the lock over since the last renewal.
        with contextlib.suppress(OSError):
            if not self.failure and self._is_ours():
                urls.remove(self._url)

    def may_write(self) -> bool:
        """Whether no other process can have taken the lock over."""
        return not self.failure and self._now() - self._renewed < LEASE_S

    def _wait_for_owner(self) -> None:
        """Returns when the owner of the lock is gone. Raises `RunError` when it is not."""
        first = self._held()
        deadline = self._now() + LEASE_S
        while first is not None and not _is_gone(first) and self._now() < deadline:
            self._sleep(min(1.0, LEASE_S / 10))
            now = self._held()
            if now is not None and now != first:
                raise self._taken(now)
            first = now

    def _keep_renewing(self) -> None:
        while not self._ended.wait(LEASE_S / RENEWALS) and not self.failure:
            # A store that is out of reach for a while is no reason to stop.
            with contextlib.suppress(OSError):
                self.renew()

    def renew(self) -> None:
        """Shows others that the lock is held, or finds that it is lost. Raises `UrlError`."""
        began = self._now()
        if not self._is_ours():
            self.failure = f"{self._run}: another process has taken over this run"
            return
        self._count += 1
        urls.write(self._url, self._content())
        self._renewed = began

    def _content(self) -> bytes:
        return json.dumps({**self._owner, "count": self._count}).encode()

    def _held(self) -> dict[str, Any] | None:
        """What the object says; None if there is none."""
        try:
            return dict(json.loads(urls.read(self._url)))
        except urls.UrlError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        except (TypeError, ValueError):
            return {}

    def _is_ours(self) -> bool:
        held = self._held()
        return held is not None and held.get("key") == self._owner["key"]

    def _taken(self, held: dict[str, Any] | None = None) -> RunError:
        held = held or self._held() or {}
        where = f" ({held['host']}, process {held.get('process')})" if "host" in held else ""
        return RunError(f"{self._run}: another process is training this run{where}")


def _process_table() -> dict[str, str]:
    """What tells where and since when a process number means the same process.

    A host name alone does not: containers may share it, and numbers begin anew after a restart.
    """
    boot, numbers = "", ""  # not every system tells them
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        numbers = os.readlink("/proc/self/ns/pid")
    return {"host": socket.gethostname(), "boot": boot, "numbers": numbers}


def _is_gone(held: dict[str, Any]) -> bool:
    """Whether the owner is known to have ended."""
    here = _process_table()
    if not all(here.values()) or any(held.get(name) != here[name] for name in here):
        return False
    if not isinstance(held.get("process"), int):
        return False
    try:
        os.kill(held["process"], 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
