"""What hosts exchange, among two processes of several devices each."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.conftest import ROOT
from tests.training.whole_runs.conftest import cluster_of_two

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


def test_hosts_of_many_devices_exchange_texts_of_many_sizes_one_after_the_other():
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
    }
    cluster = list(map(str, cluster_of_two()))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *cluster, str(host)],
            cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for host in range(2)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=600)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said
