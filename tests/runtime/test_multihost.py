"""What hosts exchange, among two processes of several devices each."""

from __future__ import annotations

import io
import socket
import sys
import time

import jax
import numpy as np
import pytest

from rdonet_jax.core.config import ConfigError
from rdonet_jax.runtime import multihost
from rdonet_jax.runtime.multihost import Cluster
from tests.training.whole_runs.conftest import LIMIT, all_ended, cluster_of_two, ended, started

EXCHANGES = 200

PROGRAM = f"""
import sys
from rdonet_jax.runtime import multihost

host = int(sys.argv[-1])
multihost.join(multihost.Cluster(sys.argv[2], int(sys.argv[4]), host))
assert multihost.processes_here() == 2
for count in range({EXCHANGES}):
    both = multihost.gather_json(f"names {{count}}", ["x" * count, host])
    assert both == [["x" * count, 0], ["x" * count, 1]]
    multihost.require_equal(str(count), "count")
    assert multihost.gather_texts(f"texts {{count}}", "b" * host) == ["", "b"]
"""

FAILING = """
import sys, time
from rdonet_jax.runtime import multihost

host = int(sys.argv[-1])
multihost.join(multihost.Cluster(sys.argv[2], int(sys.argv[4]), host))
wait_for_all = multihost.wait_for_all

def wait_and_be_late(*arguments):
    wait_for_all(*arguments)
    time.sleep(host / 2)

multihost.wait_for_all = wait_and_be_late
with multihost.failing_together():
    sys.exit(3)
"""
"""Two hosts that fail together. The second is half a second late after they have met."""

WAITING = """
import sys
from rdonet_jax.runtime import multihost

host = int(sys.argv[-1])
multihost.join(multihost.Cluster(sys.argv[2], int(sys.argv[4]), host))
with multihost.failing_together():
    multihost.wait_for_all("both are there")
    if host == 0:
        sys.exit(3)
    multihost.wait_for_all("everything is written", multihost.A_DAY_MS)
"""
"""The first host fails while the second waits a day for it."""


@pytest.fixture
def two_hosts(monkeypatch) -> list[str]:
    """This process is one of two hosts that do the same. What they do together, in order."""
    done: list[str] = []

    def rows(own):
        done.append("exchange")
        return np.stack([own, own])

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost, "wait_for_all", lambda *_: done.append("wait"))
    monkeypatch.setattr(multihost, "_rows_of_hosts", rows)
    return done


def test_hosts_wait_for_each_other_before_they_exchange(two_hosts):
    """An exchange fails if one of them is half a minute late."""
    multihost.require_equal("a", "names")
    assert multihost.processes_here() == 2
    assert multihost.gather_texts("texts", "a") == ["a", "a"]
    assert two_hosts == ["wait", "exchange"] * 3
    multihost.gather_json("values", "a")
    assert two_hosts[6:] == ["wait", "exchange", "exchange"]


def test_texts_with_names_that_are_no_unicode_and_long_ones_are_exchanged(two_hosts):
    assert multihost.gather_texts("texts", "caf\udce9.png") == ["caf\\udce9.png"] * 2
    multihost.require_equal("caf\udce9.png", "names")
    found = multihost.gather_texts("texts", "x" + "é" * multihost.LONGEST_TEXT)
    assert found == ["x" + "é" * (multihost.LONGEST_TEXT // 2 - 1)] * 2


@pytest.fixture
def joining(monkeypatch) -> list[tuple]:
    """What `jax.distributed` is asked for; nobody waits long, and settings stay as they are."""
    asked: list[tuple] = []
    for name in ("JOIN_S", "PAUSE_S"):
        monkeypatch.setattr(multihost, name, 0.01)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given: asked.append(given))
    monkeypatch.setattr(multihost.jax.config, "update", lambda *_: None)
    return asked


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_a_host_that_finds_no_first_one_says_where_it_has_looked(joining, monkeypatch):
    address = f"localhost:{free_port()}"
    with pytest.raises(ConfigError, match=rf"no host answers at {address} \(Connection refused\)"):
        multihost.join(Cluster(address, 2, 1))

    def unknown(*_):
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "create_connection", unknown)
    with pytest.raises(ConfigError, match=r"no host answers at nowhere:1234 \(no such name\)"):
        multihost.join(Cluster("nowhere:1234", 2, 1))
    assert joining == []


def test_hosts_join_a_first_one_that_answers(joining):
    with socket.create_server(("localhost", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
        multihost.join(Cluster(address, 2, 1))
    multihost.join(Cluster(address, 2, 0))  # which is the one that answers
    multihost.join(Cluster())
    assert joining == [(address, 2, 1), (address, 2, 0), (None, None, None)]


@pytest.mark.parametrize("address", ["localhost", "localhost:", ":1234", "a:b", "a:0", "a:65536"])
def test_a_coordinator_without_address_or_port_is_refused(joining, address):
    with pytest.raises(ConfigError, match=f"an address and a port, as HOST:1234: {address}$"):
        multihost.join(Cluster(address, 2, 0))
    assert joining == []


def test_a_first_host_says_once_for_whom_it_waits(joining, monkeypatch):
    said = io.StringIO()

    def initialize(*_):
        limit = time.monotonic() + 60
        while not said.getvalue().endswith("\n") and time.monotonic() < limit:
            time.sleep(0.01)

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.setattr(multihost, "SILENCE_S", 0.01)
    monkeypatch.setattr(sys, "stderr", said)
    multihost.join(Cluster("localhost:1234", 3, 0))
    assert said.getvalue() == "waiting for 3 hosts at localhost:1234\n"


@pytest.mark.slow
def test_a_host_that_waits_for_one_which_fails_ends_too():
    cluster = cluster_of_two()
    first, second = (started([*cluster, host], 1, ("-c", WAITING)) for host in range(2))
    ended(first, 3)
    second.wait(LIMIT)
    assert second.returncode


@pytest.mark.slow
def test_hosts_of_many_devices_exchange_texts_of_many_sizes_one_after_the_other():
    cluster = cluster_of_two()
    all_ended([started([*cluster, host], 4, program=("-c", PROGRAM)) for host in range(2)])


@pytest.mark.slow
def test_hosts_that_fail_together_end_with_their_own_code_though_one_is_slow():
    cluster = cluster_of_two()
    processes = [started([*cluster, host], 1, program=("-c", FAILING)) for host in range(2)]
    for process in processes:
        assert "JAX distributed service" not in ended(process, 3)
