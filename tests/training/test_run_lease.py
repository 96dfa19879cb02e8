"""The lock of a run at a URL: one owner at a time, and none after its end, however it ends.

Time is that of a clock that only sleeping moves, so no test depends on how fast the machine is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from rdonet_jax.storage import urls
from rdonet_jax.training.folder import run_lease
from rdonet_jax.training.folder.run_dir import LOCK_FILE, RunError
from rdonet_jax.training.folder.run_lease import LEASE_S, SETTLING_S, Lease

pytestmark = pytest.mark.once


class Clock:
    """Seconds since the start; `passing` is called after every sleep."""

    def __init__(self, passing: Callable[[], None] = lambda: None) -> None:
        self.seconds, self._passing = 0.0, passing

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self._passing()

    def lease(self, url: str) -> Lease:
        return Lease(url, self.now, self.sleep)


def leave_lock(url: str, **owner: object) -> None:
    """The object that a process has left which did not end by itself."""
    urls.write(urls.join(url, LOCK_FILE), json.dumps(owner).encode())


def test_the_second_owner_is_refused_and_the_lock_ends_with_the_first(store):
    with Clock().lease(store) as held:
        clock = Clock(held.renew)
        with pytest.raises(RunError, match=f"another process is training.*{os.getpid()}"):
            clock.lease(store).__enter__()
        assert clock.seconds < LEASE_S
        assert held.may_write() and not held.failure
    assert urls.listed(store) == {}
    clock = Clock()
    with clock.lease(store):
        assert clock.seconds == 0


def test_a_lock_that_nobody_renews_is_taken_over(store):
    leave_lock(store, host="another", process=1, key="x", count=3)
    clock = Clock()
    with clock.lease(store) as held:
        assert LEASE_S + SETTLING_S <= clock.seconds < LEASE_S + 3
        assert held.may_write()
    assert urls.listed(store) == {}


@pytest.fixture
def ended() -> dict[str, object]:
    """The owner of a lock that was a process of this machine and has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return {**run_lease._process_table(), "process": process.pid, "key": "x", "count": 3}


@pytest.mark.skipif(not os.path.exists("/proc/self/ns/pid"), reason="needs Linux")
def test_nobody_waits_for_a_process_of_this_machine_that_has_ended(store, ended):
    leave_lock(store, **ended)
    clock = Clock()
    with clock.lease(store):
        assert clock.seconds == SETTLING_S


@pytest.mark.parametrize("other", ["boot", "numbers", "host"])
@pytest.mark.parametrize("value", ["another", "", None])
def test_a_number_of_another_process_table_says_nothing(store, ended, other, value):
    leave_lock(store, **{**ended, other: value})
    clock = Clock()
    with clock.lease(store):
        assert clock.seconds >= LEASE_S


def test_where_the_system_tells_no_process_table_everybody_waits(store, ended, monkeypatch):
    unknown = {"host": "here", "boot": "", "numbers": ""}
    monkeypatch.setattr(run_lease, "_process_table", lambda: unknown)
    leave_lock(store, **{**ended, **unknown})
    clock = Clock()
    with clock.lease(store):
        assert clock.seconds >= LEASE_S


def test_an_owner_whose_lock_was_taken_over_stops_and_leaves_the_new_one(store):
    with Clock().lease(store) as held:
        leave_lock(store, host="another", process=1, key="x", count=0)
        held.renew()
        assert held.failure == f"{store}: another process has taken over this run"
        assert not held.may_write()
    assert list(urls.listed(store)) == [LOCK_FILE]


def test_an_owner_that_ends_leaves_a_lock_that_was_taken_over_since_its_last_renewal(store):
    with Clock().lease(store) as held:
        leave_lock(store, host="another", process=1, key="x", count=0)
        assert not held.failure
    assert list(urls.listed(store)) == [LOCK_FILE]


def test_an_owner_that_cannot_renew_its_lock_writes_nothing_until_it_has(store, monkeypatch):
    clock = Clock()
    with clock.lease(store) as held:
        clock.seconds += LEASE_S - 1
        assert held.may_write()
        with monkeypatch.context() as patch:
            patch.setattr(urls, "write", lambda url, _: urls.read(url + "-missing"))
            with pytest.raises(urls.UrlError):
                held.renew()
        clock.seconds += 1
        assert not held.may_write()
        held.renew()
        assert held.may_write()


def test_a_lock_that_says_nothing_is_one_too(store):
    urls.write(urls.join(store, LOCK_FILE), b"\xff")
    clock = Clock()
    with clock.lease(store):
        assert urls.exists(urls.join(store, LOCK_FILE))
        assert clock.seconds >= LEASE_S
