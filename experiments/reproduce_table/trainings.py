"""The trainings of a study. Finished ones are not repeated, interrupted ones are continued."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from experiments.reproduce_table.budgets import Part
from rdonet_jax.imaging import srgb
from rdonet_jax.models import registry, zoo
from rdonet_jax.rdo import fit_thresholds
from rdonet_jax.training import run as training_run
from rdonet_jax.training.folder import run_dir
from rdonet_jax.training.loop import Intervals
from rdonet_jax.training.run import Sources

CHECKPOINT_STEPS = 100
"""Steps between checkpoints. A killed training repeats at most so many."""


FITTED = "_fitted"
"""Ends the name of weights with other thresholds than those of the training."""


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
        run_dir.Run(part.network_config, schedule, part.preset),
        sources,
        resume=training_run.AUTO,
        intervals=Intervals(50, max(schedule.steps // 10, 1), CHECKPOINT_STEPS, schedule.steps),
        command="python -m experiments.reproduce_table",
    )
    if outcome.stopped_by:
        raise InterruptedStudy(f"{part.name}: {outcome.stopped_by}; the same command goes on")
    return training_run.export(run, part.name, folder / "weights")


def fit(folder: Path, name: str, paths: Iterable[Path]) -> Path:
    """The weights of a variable-rate model with thresholds that fit these images.

    Fits them if the file is missing.
    """
    if done := finished(folder, name + FITTED):
        return done
    model = zoo.load(str(finished(folder, name)))
    images = [srgb.load(path) for path in paths]
    numbers = [
        fitted.threshold
        for quality in np.linspace(0, 100, model.config.knots)
        for fitted in fit_thresholds.fit(model, images, quality)
    ]
    config = registry.with_thresholds(model.config, numbers)
    record = model.record.stored
    return zoo.save(folder / "weights", name + FITTED, config, model.params, record)


def evaluated_weights(folder: Path, name: str) -> Path:
    """The weights of a contestant to evaluate: with fitted thresholds where there are such."""
    return finished(folder, name + FITTED) or finished(folder, name)
