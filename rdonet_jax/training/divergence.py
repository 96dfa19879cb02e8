"""Stores what is needed to examine a run whose loss stopped being finite.

`diverged-STEP/` holds `state/` (the state before the step, an Orbax checkpoint as in
`checkpoints/`), `batch-HOST.npz` (the crops, uint8, and their numbers) and `crops-HOST.json` (the
image and the losses of each crop).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from rdonet_jax.core import compilation, files, multihost
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.training import checkpoints, precision, train_state
from rdonet_jax.training import crops as training_crops
from rdonet_jax.training import step as training_step
from rdonet_jax.training.config import TrainingConfig

KEPT = "the last checkpoint is kept"


class DivergenceError(RuntimeError):
    """The loss or the state of a run is not finite."""


def examined(
    folder: Path,
    network_config: AnyConfig,
    config: TrainingConfig,
    state: train_state.TrainState,
    batch: training_crops.Batch,
    source: Callable[[int, int], Path],
    position: float,
    shared: bool = True,
) -> DivergenceError:
    """Stores the inputs of the step after `state` below the run's folder.

    `position` is that of the step in the schedule.
    `source` maps the number of steps done and the number of a crop in the batch to the crop's file.
    `shared`: whether all hosts have the same folder. Returns the error to raise.
    """
    done = int(state.step)
    diverged = folder / f"diverged-{done + 1}"
    try:
        with multihost.raise_on_all_hosts("folder of the diverged step"):
            if multihost.is_first() or not shared:
                shutil.rmtree(diverged, ignore_errors=True)
                diverged.mkdir()
        checkpoints.save_alone(diverged / "state", state, shared)
        _write_crops(diverged, network_config, config, state, batch, source, position)
        kept = f"the state before it and the crops are in {diverged}"
    except Exception as error:  # whatever it is, the divergence is the error to report
        cause = checkpoints.cause(error)
        kept = f"the state before it and the crops could not be kept ({cause})"
    multihost.wait_for_all("what diverged is written")
    return DivergenceError(
        f"the loss or its gradient is not finite at step {done + 1}; {kept}; {KEPT}"
    )


def _write_crops(
    diverged: Path,
    network_config: AnyConfig,
    config: TrainingConfig,
    state: train_state.TrainState,
    batch: training_crops.Batch,
    source: Callable[[int, int], Path],
    position: float,
) -> None:
    host = jax.process_index()
    files.replace(diverged / f"batch-{host}.npz", lambda file: np.savez(file, **batch._asdict()))
    crops = []
    found = _losses(network_config, config, state, batch, position)
    for number, losses in zip(batch.numbers, found, strict=True):
        image = source(int(state.step), int(number))
        values = {name: str(value) for name, value in losses._asdict().items()}
        crops.append({"number": int(number), "picture": str(image), **values})
    files.replace(
        diverged / f"crops-{host}.json",
        lambda file: file.write(json.dumps(crops, indent=1).encode()),
    )


def _losses(
    network_config: AnyConfig,
    config: TrainingConfig,
    state: train_state.TrainState,
    batch: training_crops.Batch,
    position: float,
) -> list[training_step.CropLosses]:
    """The losses of each crop, as in the step, computed one by one to save memory."""
    one = compilation.jit(training_step.crop_losses, static_argnums=(0, 1))
    found = []
    for number in range(len(batch.numbers)):
        crop = jax.tree_util.tree_map(lambda leaf, n=number: leaf[n : n + 1], batch)
        with precision.of_step(config):
            losses = one(
                network_config, config, state.params, state.step, crop, np.float32(position)
            )
        found.append(training_step.CropLosses(*(value.item() for value in losses)))
    return found
