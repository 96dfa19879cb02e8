"""The lock of a run at a URL: one owner at a time, and none after its end, however it ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from rdonet_jax.core import urls
from rdonet_jax.training import run_lease
from rdonet_jax.training.run_dir import LOCK_FILE, RunError
from rdonet_jax.training.run_lease import Lease


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(run_lease, "LEASE_S", 0.4)
    monkeypatch.setattr(run_lease, "SETTLING_S", 0.0)


def leave_lock(url: str, **owner: object) -> None:
    """The object that a process has left which did not end by itself."""
    urls.write(urls.join(url, LOCK_FILE), json.dumps(owner).encode())


def test_the_second_owner_is_refused_and_the_lock_ends_with_the_first(store):
    with Lease(store) as held:
        started = time.monotonic()
        with pytest.raises(RunError, match=f"another process is training.*{os.getpid()}"):
            Lease(store).__enter__()
        assert time.monotonic() - started < 2
        assert not held.failure
    assert urls.listed(store) == {}
    with Lease(store):
        pass


def test_a_lock_that_nobody_renews_is_taken_over(store):
    leave_lock(store, host="another", process=1, key="x", count=3)
    started = time.monotonic()
    with Lease(store):
        assert time.monotonic() - started >= 0.4
    assert urls.listed(store) == {}


def test_nobody_waits_for_a_process_of_this_machine_that_has_ended(store, monkeypatch):
    monkeypatch.setattr(run_lease, "LEASE_S", 30.0)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    leave_lock(store, host=socket.gethostname(), process=ended.pid, key="x", count=3)
    started = time.monotonic()
    with Lease(store):
        assert time.monotonic() - started < 5


def test_an_owner_whose_lock_was_taken_over_stops_and_leaves_the_new_one(store):
    with Lease(store) as held:
        leave_lock(store, host="another", process=1, key="x", count=0)
        limit = time.monotonic() + 10
        while not held.failure and time.monotonic() < limit:
            time.sleep(0.05)
        assert held.failure == f"{store}: another process has taken over this run"
    assert list(urls.listed(store)) == [LOCK_FILE]


def test_a_lock_that_says_nothing_is_one_too(store):
    urls.write(urls.join(store, LOCK_FILE), b"\xff")
    with Lease(store):
        assert urls.exists(urls.join(store, LOCK_FILE))
