"""What hosts exchange, among two processes of several devices each."""

from __future__ import annotations

import pytest

from tests.training.whole_runs.conftest import all_ended, cluster_of_two, started

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


@pytest.mark.slow
def test_hosts_of_many_devices_exchange_texts_of_many_sizes_one_after_the_other():
    cluster = cluster_of_two()
    all_ended([started([*cluster, host], 4, program=("-c", PROGRAM)) for host in range(2)])
