"""Forms of the portable network, and ways to start it, at equal cost of training.

    python benchmarks/alternatives.py --data photographs/train --valid photographs/valid \
        [--preset standard] [--seconds S] [--form NAME ...] [--out results.json]

Every form is trained for the same processor time, which counts only training steps, over all
threads. So other work on the machine has little influence. All are trained for the MSE, with
variance masks and a share of random ones, on the same crops in memory. The averaged weights are
validated: mean of log J over the knots of the quality scale, estimated bits per pixel, and PSNR of
8-bit images. The complexity of each form in use is listed too.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from training_steps import Trainer

from rdonet_jax.core import presets
from rdonet_jax.core.config import PortableConfig
from rdonet_jax.imaging import dataset
from rdonet_jax.models import macs, registry
from rdonet_jax.training import config as training_config
from rdonet_jax.training import sharding
from rdonet_jax.training.batches import crops
from rdonet_jax.training.config import TrainingConfig
from rdonet_jax.training.steps import validation

MODEL_CHANGES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "gdn": {"nonlinearity": "gdn"},
    "linear": {"nonlinearity": "none"},
    "context 2": {"context": 2},
    "context 1": {"context": 1},
    "gaussian": {"distribution": "gaussian"},
}
TRAINING_CHANGES: dict[str, dict[str, Any]] = {
    "random start": {"start": "random", "learning_rate": 1e-3, "prior_rate": 1.0},
    "crops of 128": {"crop": 128, "batch_size": 32},
}
FORMS = (*MODEL_CHANGES, *TRAINING_CHANGES)

POOL_CROPS = 1024
VALID_CROP = 256

Forms = tuple[PortableConfig, TrainingConfig]


def form(name: str, network_config: PortableConfig, schedule: TrainingConfig) -> Forms:
    """The configurations of network and training with the changes of a form."""
    return (
        dataclasses.replace(network_config, **MODEL_CHANGES.get(name, {})),
        dataclasses.replace(schedule, **TRAINING_CHANGES.get(name, {})),
    )


def pool_of(seen: dataset.ImageDataset, schedule: TrainingConfig) -> list[crops.Batch]:
    """Batches in memory, as many crops of 256x256 or the same area of smaller ones."""
    count = POOL_CROPS * 256**2 // (schedule.crop**2 * schedule.batch_size)
    with crops.closing(crops.batches(seen, schedule)) as reader:
        return list(itertools.islice(reader, count))


def trained(trainer: Trainer, pool: list[crops.Batch], seconds: float) -> tuple[int, float]:
    """Trains for so many seconds of processor time. Returns the steps and their wall-clock time."""
    trainer.compiled(pool[0])
    wall = 0.0
    began = time.process_time()
    for steps in itertools.count(1):
        wall += trainer.run(iter([pool[steps % len(pool)]]), 1)
        if time.process_time() - began >= seconds:
            break
    return steps, wall


def result(
    name: str, forms: Forms, pool: list[crops.Batch], valid: np.ndarray, seconds: float
) -> dict[str, Any]:
    """Trains a form and validates it."""
    network_config, schedule = forms
    trainer = Trainer(network_config, schedule)
    steps, wall = trained(trainer, pool, seconds)
    judged = dataclasses.replace(schedule, crop=VALID_CROP, batch_size=8)
    found = validation.make(network_config, judged, valid)(trainer.state.ema)
    return {
        "form": name,
        "loss": found.loss,
        "bpp": found.bpp,
        "psnr": found.psnr,
        "steps": steps,
        "crops": steps * schedule.batch_size,
        "processor_seconds": seconds,
        "wall_seconds": wall,
        "kmac": sum(macs.per_pixel(network_config).values()) / 1000,
        "parameters": registry.parameter_count(sharding.unreplicate(trainer.state.params)),
    }


def row(found: dict[str, Any]) -> str:
    """A line of the table."""
    return (
        f"{found['form']:<14}{found['loss']:>8.3f}{found['bpp']:>8.3f}{found['psnr']:>8.2f}"
        f"{found['steps']:>7}{found['crops']:>8}{found['wall_seconds']:>7.0f}"
        f"{found['kmac']:>7.1f}{found['parameters'] / 1e6:>7.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--valid", type=Path, nargs="+", required=True)
    parser.add_argument("--preset", default="standard", help="of a portable network")
    parser.add_argument("--seconds", type=float, default=360.0, help="of processor time per form")
    parser.add_argument("--form", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    network_config = presets.preset(options.preset)
    # By time, so the number of steps is unknown: nothing may fall towards an end.
    schedule = training_config.TrainingConfig(
        stage1_steps=0, stage2_steps=100_000, random_share=0.05, learning_rate=1.5e-4,
        prior_rate=8.0, schedule="constant", warmup_steps=50, ema_decay=0.98,
    )  # fmt: skip
    seen = dataset.usable(dataset.find(options.data), VALID_CROP)
    valid = crops.center_crops(dataset.usable(dataset.find(options.valid), VALID_CROP), VALID_CROP)
    print(f"jax {jax.__version__} on {jax.devices()}, {options.seconds:g} s of processor time each")
    print(f"{'form':<14}{'log J':>8}{'bpp':>8}{'PSNR':>8}{'steps':>7}{'crops':>8}{'wall':>7}"
          f"{'kMAC':>7}{'M par':>7}")  # fmt: skip
    results = []
    pools: dict[int, list[crops.Batch]] = {}
    for name in options.form:
        forms = form(name, network_config, schedule)
        crop = forms[1].crop
        pools[crop] = pools.get(crop) or pool_of(seen, forms[1])
        results.append(result(name, forms, pools[crop], valid, options.seconds))
        print(row(results[-1]), flush=True)
        if options.out:
            text = json.dumps({"jax": jax.__version__, "results": results}, indent=1)
            options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
