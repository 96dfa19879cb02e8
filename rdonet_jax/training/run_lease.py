"""The lock of a run's folder at a URL: an object that one process creates and keeps renewing.

Object stores have no locks that end with their process. The object holds the owner and a counter.
Whoever finds an object that nobody renews for `LEASE_S` seconds takes it over, as after a power
cut; an owner that finds another one in its place stops. Where the process is known to be gone, on
the same machine, nobody waits.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import socket
import threading
import time
from typing import Any

from rdonet_jax.core import urls
from rdonet_jax.training.run_dir import LOCK_FILE, RunError

LEASE_S = 60.0
"""Seconds after which an owner that has not renewed its lock counts as gone."""

RENEWALS = 4
"""Renewals within that time."""

SETTLING_S = 1.0
"""Seconds after taking a lock over until it is looked at again: another one may have done so."""


class Lease:
    """The lock of one run. A context manager; entering it may wait for `LEASE_S` seconds.

    Entering raises `RunError` when another process holds it. `failure` says why the lock is lost,
    and is empty as long as it is held.
    """

    def __init__(self, url: str) -> None:
        self._run, self._url = url, urls.join(url, LOCK_FILE)
        self._owner = {
            "host": socket.gethostname(), "process": os.getpid(), "key": secrets.token_hex(8),
        }  # fmt: skip
        self._count = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self.failure = ""

    def __enter__(self) -> Lease:
        if not urls.create(self._url, self._content()):
            self._wait_for_owner()
            urls.write(self._url, self._content())
            time.sleep(SETTLING_S)
            if not self._is_ours():
                raise self._taken()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if not self.failure:
            with contextlib.suppress(OSError):
                urls.remove(self._url)

    def _wait_for_owner(self) -> None:
        """Returns when the owner of the lock is gone. Raises `RunError` when it is not."""
        first = self._held()
        deadline = time.monotonic() + LEASE_S
        while first is not None and not _is_gone(first) and time.monotonic() < deadline:
            time.sleep(min(1.0, LEASE_S / 10))
            now = self._held()
            if now is not None and now != first:
                raise self._taken(now)
            first = now

    def _renew(self) -> None:
        while not self._ended.wait(LEASE_S / RENEWALS):
            # A store that is out of reach for a while is no reason to stop.
            with contextlib.suppress(OSError):
                if not self._is_ours():
                    self.failure = f"{self._run}: another process has taken over this run"
                    return
                self._count += 1
                urls.write(self._url, self._content())

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


def _is_gone(held: dict[str, Any]) -> bool:
    """Whether the owner is a process of this machine that has ended."""
    if held.get("host") != socket.gethostname() or not isinstance(held.get("process"), int):
        return False
    try:
        os.kill(held["process"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
