"""What hosts exchange, among two processes of several devices each."""

from __future__ import annotations

import pytest

from tests.training.whole_runs.conftest import all_ended, cluster_of_two, ended, started

EXCHANGES = 200

PROGRAM = f"""
import sys
from rdonet_jax.core import multihost

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
from rdonet_jax.core import multihost

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
