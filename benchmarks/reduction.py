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
import statistics
import time

import virtual_devices


def work(options: argparse.Namespace) -> list[float]:
    """Medians of clock and processor seconds per call, in this process."""
    import jax
    import numpy as np

    from rdonet_jax.runtime import parallel

    virtual_devices.join(options.worker)
    mean = parallel.over_devices(
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--numbers", type=int, default=6_310_416)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--parallel", choices=("pmap", "shard_map"), default="pmap")
    virtual_devices.add_worker(parser)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(work(options)))
        return
    print(f"{4 * options.numbers / 1e6:.1f} MB per device, {options.parallel}")
    print(f"{'processes':>9}{'devices':>9}{'s':>9}{'CPU s':>9}")
    given = ["--numbers", options.numbers, "--calls", options.calls,
             "--parallel", options.parallel]  # fmt: skip
    for processes, devices in virtual_devices.SETTINGS:
        seconds, used = virtual_devices.measured(__file__, given, processes, devices)[0]
        print(f"{processes:>9}{processes * devices:>9}{seconds:>9.4f}{used:>9.4f}", flush=True)


if __name__ == "__main__":
    main()
