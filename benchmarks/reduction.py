"""What the mean of the gradients costs, on virtual devices of one process and between processes.

    python benchmarks/reduction.py [--numbers 6310416] [--calls 20] [--parallel pmap|shard_map]

Every device has a vector of so many float32 numbers, by default as many as `standard` has
parameters, and gets the mean over all devices: what a step of training exchanges, without its other
work. On virtual devices this moves memory, and between processes it goes through loopback; a real
network is not measured. Given are medians of seconds by the clock, and processor seconds of one
process, per call.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SETTINGS = ((1, 1), (1, 2), (1, 4), (1, 8), (2, 1), (2, 4), (4, 1), (4, 2))
"""Processes, and virtual devices of each."""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--numbers", type=int, default=6_310_416)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--parallel", choices=("pmap", "shard_map"), default="pmap")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def measured(options: argparse.Namespace, processes: int, devices: int) -> list[float]:
    """Medians of clock and processor seconds per call, as the first process has them."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(Path(__file__).parent.parent),
    }
    given = [sys.executable, __file__, "--numbers", options.numbers, "--calls", options.calls,
             "--parallel", options.parallel, "--worker", address, processes]  # fmt: skip
    started = [
        subprocess.Popen([*map(str, given), str(n)], env=environment, stdout=subprocess.PIPE)
        for n in range(processes)
    ]
    said = [process.communicate()[0] for process in started]
    return json.loads(said[0].splitlines()[-1])  # the library of the collectives says something


def work(options: argparse.Namespace) -> list[float]:
    """What `measured` returns, as one of its processes."""
    address, processes, process = options.worker
    import jax
    import numpy as np

    from rdonet_jax.core import compilation, multihost

    if int(processes) > 1:
        multihost.join(multihost.Cluster(address, int(processes), int(process)))
    mean = compilation.parallel(
        lambda x: jax.lax.pmean(x, "devices"), options.parallel, donate_argnums=(0,)
    )
    x = np.ones((jax.local_device_count(), options.numbers), np.float32)
    x = mean(x)
    clock, processor = [], []
    for _ in range(options.calls):
        began, used = time.perf_counter(), time.process_time()
        x = jax.block_until_ready(mean(x))
        clock.append(time.perf_counter() - began)
        processor.append(time.process_time() - used)
    return [statistics.median(clock), statistics.median(processor)]


def main(options: argparse.Namespace) -> None:
    print(f"{4 * options.numbers / 1e6:.1f} MB per device, {options.parallel}")
    print(f"{'processes':>9}{'devices':>9}{'s':>9}{'CPU s':>9}")
    for processes, devices in SETTINGS:
        seconds, used = measured(options, processes, devices)
        print(f"{processes:>9}{processes * devices:>9}{seconds:>9.4f}{used:>9.4f}", flush=True)


if __name__ == "__main__":
    chosen = parse()
    if chosen.worker:
        print(json.dumps(work(chosen)))
    else:
        main(chosen)
