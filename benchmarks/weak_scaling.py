"""Whole steps of training with equally many crops per device, on more and more virtual devices.

    python benchmarks/weak_scaling.py [--preset compact] [--crops 2] [--crop 128] [--steps 6]
        [--parallel pmap|shard_map]

The devices of all processes share the processors of one machine. So the seconds of a step grow with
the devices, and what scaling costs shows in processor seconds per crop, of all processes together.
Where they stay as with one device, a device each would take as long as one device alone, but for
what the network takes. The median over the steps is given, without the first two.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import virtual_devices


def work(options: argparse.Namespace) -> list[list[float]]:
    """Clock and processor seconds of every step, in this process."""
    import jax
    import numpy as np

    from rdonet_jax.core import presets
    from rdonet_jax.training import config as training_config
    from rdonet_jax.training.batches import crops

    virtual_devices.join(options.worker)
    from training_steps import Trainer  # here, since importing it may start the devices

    own = options.crops * jax.local_device_count()
    schedule = training_config.TrainingConfig(
        crop=options.crop, batch_size=options.crops * jax.device_count(), metric="mse",
        parallel=options.parallel, stage1_steps=options.steps, stage2_steps=0,
    )  # fmt: skip
    trainer = Trainer(presets.preset(options.preset), schedule)
    rng = np.random.default_rng(jax.process_index())
    pixels = rng.integers(0, 256, (own, options.crop, options.crop, 3)).astype(np.uint8)
    numbers = np.arange(own, dtype=np.int32) + own * jax.process_index()
    steps = []
    for _ in range(options.steps):
        used = time.process_time()
        seconds = trainer.run(iter([crops.Batch(numbers, pixels)]), 1)
        steps.append([seconds, time.process_time() - used])
    return steps[2:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", default="compact")
    parser.add_argument("--crops", type=int, default=2, help="per device")
    parser.add_argument("--crop", type=int, default=128, help="side in pixels")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--parallel", choices=("pmap", "shard_map"), default="pmap")
    virtual_devices.add_worker(parser)
    options = parser.parse_args()
    if options.steps < 3:
        parser.error("at least 3 steps: the first two are left out")
    if options.worker:
        print(json.dumps(work(options)))
        return
    print(f"{options.preset}, {options.crops} crops of {options.crop} pixels per device, "
          f"{options.parallel}")  # fmt: skip
    print(f"{'processes':>9}{'devices':>9}{'s/step':>9}{'CPU s/crop':>12}{'of one':>8}")
    given = ["--preset", options.preset, "--crops", options.crops, "--crop", options.crop,
             "--steps", options.steps, "--parallel", options.parallel]  # fmt: skip
    one = None
    for processes, devices in virtual_devices.SETTINGS:
        found = virtual_devices.measured(__file__, given, processes, devices)
        clock = statistics.median(step[0] for step in found[0])
        used = [sum(step[1] for step in steps) for steps in zip(*found, strict=True)]
        per_crop = statistics.median(used) / (processes * devices * options.crops)
        one = one or per_crop
        print(f"{processes:>9}{processes * devices:>9}{clock:>9.3f}{per_crop:>12.4f}"
              f"{per_crop / one:>8.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
