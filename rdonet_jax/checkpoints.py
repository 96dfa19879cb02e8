"""Checkpoints of a run: the newest ones, and the one that validated best.

A checkpoint holds the state as plain arrays, without a device axis, and the run's progress as
JSON. So it restores onto any number of devices and hosts. With several hosts all must save and
restore together, and the folder must be one that all of them see.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from rdonet_jax.config import ModelConfig, TrainingConfig
from rdonet_jax.models import rdonet
from rdonet_jax.training import TrainState, state_of

LAST = "checkpoints"
BEST = "best"
KEPT = 2
"""Of the newest checkpoints, so many stay: one is whole while the next is written."""


class CheckpointError(RuntimeError):
    """A checkpoint that is not there or cannot be read."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a run stands, beside its state."""

    step: int
    stage: int
    switched_at: int | None  # steps done when stage 2 began; None before
    reader: Mapping[str, Any]  # position in the crops, the reader's own words
    pending: tuple[tuple[float, ...], ...] = ()  # values of the steps since the last log line
    best_loss: float | None = None  # least validation loss so far

    def improved(self, loss: float) -> bool:
        """Whether a validation loss is the least so far."""
        return loss < (math.inf if self.best_loss is None else self.best_loss)


class Checkpoints:
    """The checkpoints below a run's folder; a context manager that waits for the last write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last = _manager(folder / LAST, KEPT)
        self._best = _manager(folder / BEST, 1)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self._last.close()
        self._best.close()

    def latest_step(self) -> int | None:
        return self._last.latest_step()

    def save(self, state: TrainState, progress: Progress) -> None:
        """Writes an unreplicated state, in the background."""
        # Two writes at a time would mix up where the hosts wait for each other.
        self._best.wait_until_finished()
        _save(self._last, state, progress)

    def save_best(self, state: TrainState, progress: Progress) -> None:
        """The same, as the best so far."""
        self._last.wait_until_finished()
        _save(self._best, state, progress)

    def wait(self) -> None:
        """Returns when everything is on disk."""
        self._last.wait_until_finished()
        self._best.wait_until_finished()

    def restore(
        self, model: ModelConfig, config: TrainingConfig, best: bool = False
    ) -> tuple[TrainState, Progress]:
        """The newest checkpoint or the best one, on the host.

        Raises `CheckpointError` when there is none, or none of this form.
        """
        manager = self._best if best else self._last
        step = manager.latest_step()
        if step is None:
            raise CheckpointError(f"{manager.directory}: there is no checkpoint")
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(_template(model, config)),
            progress=ocp.args.JsonRestore(),
        )
        try:
            restored = manager.restore(step, args=args)
            values = dict(restored["progress"])
            values["pending"] = tuple(map(tuple, values["pending"]))
            return TrainState(**restored["state"]), Progress(**values)
        except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
            raise CheckpointError(f"{manager.directory / str(step)}: cannot be read") from error


def save_alone(directory: Path, state: TrainState) -> None:
    """Writes an unreplicated state as a checkpoint of its own."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(directory.absolute(), _arrays(state))


def _manager(directory: Path, keep: int) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
    return ocp.CheckpointManager(directory.absolute(), options=options)


def _save(manager: ocp.CheckpointManager, state: TrainState, progress: Progress) -> None:
    args = ocp.args.Composite(
        state=ocp.args.StandardSave(_arrays(state)),
        progress=ocp.args.JsonSave(dataclasses.asdict(progress)),
    )
    manager.save(progress.step, args=args)


def _arrays(state: TrainState) -> dict[str, Any]:
    return jax.tree_util.tree_map(np.asarray, state._asdict())


def _template(model: ModelConfig, config: TrainingConfig) -> dict[str, Any]:
    """Shapes and types of the state, as NumPy arrays: so it is restored to the host."""
    shapes = jax.eval_shape(lambda: state_of(config, rdonet.initialise(model, jax.random.key(0))))
    return jax.tree_util.tree_map(lambda leaf: np.empty(leaf.shape, leaf.dtype), shapes)._asdict()
