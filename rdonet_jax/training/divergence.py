"""Stores what is needed to examine a run whose loss stopped being finite.

`diverged-STEP/` holds `state/` (the state before the step, an Orbax checkpoint as in
`checkpoints/`), `batch-HOST.npz` (the crops, uint8, and their numbers) and `crops-HOST.json` (the
image and the losses of each crop).
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from rdonet_jax.core.config import AnyConfig
from rdonet_jax.imaging.dataset import ImageFile
from rdonet_jax.runtime import compilation, multihost
from rdonet_jax.storage import files
from rdonet_jax.training import precision
from rdonet_jax.training.batches import crops as training_crops
from rdonet_jax.training.config import TrainingConfig
from rdonet_jax.training.folder import checkpoints
from rdonet_jax.training.steps import step as training_step
from rdonet_jax.training.steps import train_state

KEPT = "the last checkpoint is kept"


class DivergenceError(RuntimeError):
    """The loss or the state of a run is not finite."""


@dataclasses.dataclass(frozen=True)
class FailedStep:
    """A step whose loss or gradient is not finite, by what it was computed from.

    Attributes:
      network_config, config: those of the network and of the training.
      state: the state before the step, without a device axis.
      batch: this host's part, without a device axis.
      source: gives the file of a crop, for the number of steps done and its number in the batch.
      position: that of the step in the schedule.
    """

    network_config: AnyConfig
    config: TrainingConfig
    state: train_state.TrainState
    batch: training_crops.Batch
    source: Callable[[int, int], ImageFile]
    position: float

    @property
    def number(self) -> int:
        """The number of the step, from 1 on."""
        return int(self.state.step) + 1


def save_and_make_error(folder: Path, failed: FailedStep, shared: bool = True) -> DivergenceError:
    """Saves the inputs of a step below the run's folder, and returns the error to raise.

    All hosts must call it. `shared`: whether they have the same folder. If the inputs cannot be
    saved, the error says so.
    """
    diverged = folder / f"diverged-{failed.number}"
    try:
        with multihost.raise_on_all_hosts("folder of the diverged step"):
            if multihost.is_first() or not shared:
                shutil.rmtree(diverged, ignore_errors=True)
                diverged.mkdir()
        checkpoints.save_alone(diverged / "state", failed.state, shared)
        _write_crops(diverged, failed)
        kept = f"the state before it and the crops are in {diverged}"
    except Exception as error:  # whatever it is, the divergence is the error to report
        cause = checkpoints.cause(error)
        kept = f"the state before it and the crops could not be kept ({cause})"
    multihost.wait_for_all("what diverged is written")
    return DivergenceError(
        f"the loss or its gradient is not finite at step {failed.number}; {kept}; {KEPT}"
    )


def _write_crops(diverged: Path, failed: FailedStep) -> None:
    """Writes this host's crops, and where they come from with their losses."""
    host, batch = jax.process_index(), failed.batch
    files.replace(diverged / f"batch-{host}.npz", lambda file: np.savez(file, **batch._asdict()))
    crops = []
    for number, losses in zip(batch.numbers, _losses(failed), strict=True):
        image = failed.source(failed.number - 1, int(number))
        values = {name: str(value) for name, value in losses._asdict().items()}
        crops.append({"number": int(number), "picture": str(image), **values})
    files.replace(
        diverged / f"crops-{host}.json",
        lambda file: file.write(json.dumps(crops, indent=1).encode()),
    )


def _losses(failed: FailedStep) -> list[training_step.CropLosses]:
    """The losses of each crop, as in the step, computed one by one to save memory."""
    network_config, config, state = failed.network_config, failed.config, failed.state
    code = compilation.jit(training_step.code_crops, static_argnums=(0, 1))
    position = np.float32(failed.position)
    found = []
    for number in range(len(failed.batch.numbers)):
        crop = jax.tree_util.tree_map(lambda leaf, n=number: leaf[n : n + 1], failed.batch)
        with precision.of_step(config):
            losses = code(network_config, config, state.params, state.step, crop, position)
        found.append(training_step.CropLosses(*(value.item() for value in losses)))
    return found
