"""The trainings of a study, each to the end or to a signal; what is finished is not repeated."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from experiments.reproduce_table.budgets import Part
from rdonet_jax.training import run as training_run
from rdonet_jax.training import run_dir
from rdonet_jax.training.loop import Intervals
from rdonet_jax.training.run import Sources

CHECKPOINT_STEPS = 100
"""A stopped training does at most so many steps again."""


class InterruptedStudy(RuntimeError):
    """A signal that ended a training before its last step; the message says which."""


def finished(folder: Path, name: str) -> Path | None:
    """The weights that a part has left, if it came to its end."""
    return next((folder / "weights").glob(f"{name}-*.safetensors"), None)


def train(folder: Path, part: Part, sources: Sources) -> Path:
    """The weights of a part; trains it, or goes on with its training, if they are not there yet.

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
