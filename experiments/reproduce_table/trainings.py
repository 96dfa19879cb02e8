"""The trainings of a study. Finished ones are not repeated, interrupted ones are continued."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from experiments.reproduce_table.budgets import Part
from rdonet_jax.training import run as training_run
from rdonet_jax.training import run_dir
from rdonet_jax.training.loop import Intervals
from rdonet_jax.training.run import Sources

CHECKPOINT_STEPS = 100
"""Steps between checkpoints. A killed training repeats at most so many."""


class InterruptedStudy(RuntimeError):
    """A signal ended a training before its last step. The message names it."""


def finished(folder: Path, name: str) -> Path | None:
    """The weights file of a part; None if its training is not finished."""
    return next((folder / "weights").glob(f"{name}-*.safetensors"), None)


def train(folder: Path, part: Part, sources: Sources) -> Path:
    """The weights file of a part. Starts or continues the training if the file is missing.

    Raises `InterruptedStudy`, and what `training_run.train` raises.
    """
    if done := finished(folder, part.name):
        return done
    schedule = part.schedule
    if part.after:
        schedule = dataclasses.replace(schedule, start=str(finished(folder, part.after)))
    run = folder / "runs" / part.name
    outcome = training_run.train(
        run,
        run_dir.Run(part.model, schedule, part.preset),
        sources,
        resume=(run / run_dir.CONFIG_FILE).exists(),
        intervals=Intervals(50, schedule.steps, CHECKPOINT_STEPS, schedule.steps),
        command="python -m experiments.reproduce_table",
    )
    if outcome.stopped_by:
        raise InterruptedStudy(f"{part.name}: {outcome.stopped_by}; the same command goes on")
    return training_run.export(run, part.name, folder / "weights")
