"""What a weights file records of the training that made it, as a typed value.

`TrainingRecord.of` is the one place that reads the stored JSON, and `TrainingRecord.new` the one
that makes it. A record holds the JSON unchanged, since it is part of the file and of its hash.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rdonet_jax.core import config, json_values
from rdonet_jax.core.json_values import shown
from rdonet_jax.metrics.loss import Loss


class RecordError(ValueError):
    """JSON that is no record of a training."""


@dataclasses.dataclass(frozen=True)
class RecordedTraining:
    """The fields of a training configuration that are read from a weights file again.

    Attributes:
      lmbda, metric, ms_ssim_share: of the loss, see `rdonet_jax.metrics.loss`. The metric may
        be one that this version does not have: only a search needs it.
      learn: "all", or "priors" where the transforms were not trained.
      crop: side of the crops in pixels.
      batch_size: crops per step.
    """

    lmbda: float = 0.0067
    metric: str = "mse"
    ms_ssim_share: float = 0.0
    learn: str = "all"
    crop: int = 256
    batch_size: int = 8

    @property
    def loss(self) -> Loss:
        """What the network was trained for."""
        return Loss(self.lmbda, self.metric, self.ms_ssim_share)


@dataclasses.dataclass(frozen=True)
class RecordedValidation:
    """The last validation of a training: estimated bits per pixel, and PSNR in dB."""

    bpp: float
    psnr: float


@dataclasses.dataclass(frozen=True)
class TrainingRecord:
    """How the weights of a file were trained.

    Attributes:
      stored: the JSON values in the file. It holds more than is read again: the images, the
        command, the versions of packages.
      training: None where the training is not on record.
      steps_done: optimizer steps; None where they are not on record.
      validation: None where there was none.
      started_from: the record of the weights that the training went on from. None where it began
        with new ones, or where that is not on record.
    """

    stored: Mapping[str, Any]
    training: RecordedTraining | None = None
    steps_done: int | None = None
    validation: RecordedValidation | None = None
    started_from: TrainingRecord | None = None

    @classmethod
    def of(cls, stored: Any) -> TrainingRecord:
        """The record with these JSON values.

        Raises `RecordError` for values that are no record, and for a training of priors alone that
        does not say what it started from.
        """
        values = _object(stored, "its record")
        training = None
        if "training" in values:
            training = _training(_object(values["training"], "training in its record"))
        steps, validation = values.get("steps_done"), values.get("validation")
        if steps is not None and type(steps) is not int:
            raise RecordError(f"steps_done in its record is a whole number, not {shown(steps)}")
        return cls(
            stored=stored,
            training=training,
            steps_done=steps,
            validation=None if validation is None else _validation(validation),
            started_from=_started_from(values, training),
        )

    @classmethod
    def new(
        cls,
        *,
        preset: str,
        training: Mapping[str, Any],
        steps_done: int,
        parameters: int,
        validation: Mapping[str, Any] | None,
        jax: str,
        origin: Mapping[str, Any] | None,
    ) -> TrainingRecord:
        """The record of a run: its configuration, what it came to, and the version of JAX.

        `parameters` counts the scalars of the network. `origin` is where the run comes from, None
        if it did not record it.
        """
        return cls.of(
            {
                "preset": preset,
                "training": training,
                "steps_done": steps_done,
                "parameters": parameters,
                "validation": validation,
                "jax": jax,
                "origin": origin,
            }
        )

    def of_whole_network(self) -> TrainingRecord:
        """The record of the newest training of the whole network, which made it for its loss.

        That is the record itself, or an earlier one where priors alone were trained since.
        """
        record = self
        while record.training and record.training.learn == "priors" and record.started_from:
            record = record.started_from
        return record


def _object(values: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise RecordError(f"{what} is an object with named values, not {shown(values)}")
    return values


def _known(cls: type, values: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    """The values of a dataclass's fields. Other versions may have recorded other fields."""
    names = {field.name for field in dataclasses.fields(cls)}
    known = {name: value for name, value in values.items() if name in names}
    if complaint := json_values.complaint(cls, known):
        raise RecordError(f"{what}: {complaint}")
    return known


def _training(values: Mapping[str, Any]) -> RecordedTraining:
    training = RecordedTraining(**_known(RecordedTraining, values, "training in its record"))
    if not config.SMALLEST_NUMBER <= training.lmbda <= config.LARGEST_NUMBER:
        raise RecordError(f"training in its record: lmbda is {shown(training.lmbda)}")
    if not 0 <= training.ms_ssim_share <= 1:
        share = shown(training.ms_ssim_share)
        raise RecordError(f"training in its record: ms_ssim_share is {share}")
    return training


def _validation(values: Any) -> RecordedValidation:
    what = "validation in its record"
    known = _known(RecordedValidation, _object(values, what), what)
    if missing := [f.name for f in dataclasses.fields(RecordedValidation) if f.name not in known]:
        raise RecordError(f"{what}: has no {missing[0]}")
    return RecordedValidation(**known)


def _started_from(
    values: Mapping[str, Any], training: RecordedTraining | None
) -> TrainingRecord | None:
    origin = values.get("origin")
    if isinstance(origin, Mapping) and "started_from" in origin:
        before = origin["started_from"]
        return None if before is None else TrainingRecord.of(before)
    if training and training.learn == "priors":
        raise RecordError("its record does not say what the training started from")
    return None
