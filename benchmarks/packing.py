"""The cost of packed weights: size of the file, and estimated J of photographs.

    python benchmarks/packing.py FOLDER [--model NAME] [--layers]

On the center of each photograph, 256 × 256, at the knots of the quality scale in turn: mean of
log J and PSNR with unpacked weights, and with weights packed in more or fewer steps. `--layers`
packs one layer at a time, in 8 steps per deviation, and lists its cost: few layers matter.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from rdonet_jax.imaging import dataset
from rdonet_jax.models import packing, zoo
from rdonet_jax.models.portable import kernel_packing
from rdonet_jax.training import config as training_config
from rdonet_jax.training import sharding
from rdonet_jax.training.batches import crops as training_crops
from rdonet_jax.training.steps import validation

CROP = 256
TRIED = ((256, 64), (128, 32), (96, 32), (64, 64), (64, 16), (32, 32))
"""Steps per deviation, of layers near the image and of all others."""
COARSE = 8

Judge = Callable[[Any], validation.Validation]


def packed_as(model: zoo.Model, near: int, far: int) -> tuple[int, Any]:
    """Bytes of the packed file, and the parameters that it holds."""
    steps = mock.patch.multiple(kernel_packing, NEAR_STEPS=near, FAR_STEPS=far)
    with tempfile.TemporaryDirectory() as folder, steps:
        record = model.record.stored
        path = zoo.save(Path(folder), "trial", model.config, model.params, record, pack=True)
        return path.stat().st_size, zoo.load(str(path)).params


def by_layer(model: zoo.Model, judge: Judge, loss: float) -> None:
    """Prints the cost of packing a single layer coarsely, largest first."""
    flat = {path: np.asarray(v) for path, v in flatten_dict(model.params, sep="/").items()}
    costs = {}
    for path, kernel in flat.items():
        if packing.is_packable(path, kernel) and "/prior/" not in path:
            tensors = packing.pack(path, kernel, packing.steps(kernel, COARSE))
            coarse = {**flat, **packing.unpack(tensors)}
            costs[path] = judge(unflatten_dict(coarse, sep="/")).loss - loss
    for path in sorted(costs, key=costs.get, reverse=True):
        print(f"{path:<40}{flat[path].size:>9}{costs[path]:>9.2%}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of photographs")
    parser.add_argument("--model", default="standard", help="a portable one")
    parser.add_argument("--layers", action="store_true")
    options = parser.parse_args()
    model = zoo.load(options.model)
    found = dataset.usable(dataset.find([options.folder]), CROP)
    crops = training_crops.center_crops(found, CROP)
    run = training_config.TrainingConfig(
        batch_size=8, precision="float32", metric="both", ms_ssim_share=0.5
    )
    validate = validation.make(model.config, run, crops)

    def judge(params: Any) -> validation.Validation:
        return validate(sharding.replicate(params))

    whole = judge(model.params)
    print(f"as it is: log J {whole.loss:.4f}, {whole.psnr:.3f} dB")
    for near, far in TRIED:
        size, params = packed_as(model, near, far)
        result = judge(params)
        change = f"J {result.loss - whole.loss:+.2%}, {result.psnr - whole.psnr:+.3f} dB"
        print(f"{near:>4} and {far:>3} steps: {size / 1e6:.2f} MB, {change}", flush=True)
    if options.layers:
        by_layer(model, judge, whole.loss)


if __name__ == "__main__":
    main()
