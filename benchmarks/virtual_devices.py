"""Runs a benchmark on virtual devices of one process and of several, for its own script.

The script calls itself once per process, with `--worker ADDRESS PROCESSES PROCESS`.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SETTINGS = ((1, 1), (1, 2), (1, 4), (1, 8), (2, 1), (2, 4), (4, 1), (4, 2))
"""Processes, and virtual devices of each."""


def add_worker(parser: argparse.ArgumentParser) -> None:
    """Adds the option by which a script calls itself."""
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)


def measured(
    script: str, arguments: Sequence[object], processes: int, devices: int
) -> list[list[float]]:
    """What the workers have printed as JSON in their last lines, in the order of the processes."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(Path(__file__).parent.parent),
    }
    command = [sys.executable, script, *map(str, arguments), "--worker", address, str(processes)]
    started = [
        subprocess.Popen([*command, str(n)], env=environment, stdout=subprocess.PIPE)
        for n in range(processes)
    ]
    said = [process.communicate()[0] for process in started]
    # The library of the collectives may print lines before.
    return [json.loads(text.splitlines()[-1]) for text in said]


def join(worker: Sequence[str]) -> None:
    """Connects this process to the others, if there are any. `worker` is the option's value."""
    from rdonet_jax.runtime import multihost

    address, processes, process = worker
    if int(processes) > 1:
        multihost.join(multihost.Cluster(address, int(processes), int(process)))
