"""The record of a training in a weights file, as a typed value.

Only `TrainingRecord.from_json` reads the stored JSON, and only `TrainingRecord.new` makes it. A
record keeps the JSON unchanged, since it is part of the file and of its hash.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rdonet_jax.core import config, json_values
from rdonet_jax.core.json_values import short_repr

if TYPE_CHECKING:
    from rdonet_jax.metrics.loss import Loss


class RecordError(ValueError):
    """JSON that is not a record of a training."""


@dataclasses.dataclass(frozen=True)
class RecordedTraining:
    """The fields of a training configuration that are read back from a weights file.

    Attributes:
      lmbda, metric, ms_ssim_share: of the loss, see `rdonet_jax.metrics.loss`. The metric need not
        be registered: only a search uses it.
      learn: "all", or the part that was trained, "decoder", "added" or "priors".
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
        """The loss of the training."""
        from rdonet_jax.metrics.loss import Loss

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
      stored: the JSON values in the file. They include more than the other attributes: the images,
        the command, the versions of packages.
      training: None if not recorded.
      steps_done: number of optimizer steps; None if not recorded.
      validation: None if there was none.
      started_from: the record of the weights that the training started from. None if it started
        from random ones, or if not recorded.
    """

    stored: Mapping[str, Any]
    training: RecordedTraining | None = None
    steps_done: int | None = None
    validation: RecordedValidation | None = None
    started_from: TrainingRecord | None = None

    @classmethod
    def from_json(cls, stored: Any) -> TrainingRecord:
        """The record with these JSON values.

        Raises `RecordError` for invalid values, and for a training of a part without the
        record of the weights that it started from.
        """
        values = _object(stored, "its record")
        training = None
        if "training" in values:
            training = _training(_object(values["training"], "training in its record"))
        steps, validation = values.get("steps_done"), values.get("validation")
        if steps is not None and type(steps) is not int:
            raise RecordError(
                f"steps_done in its record is a whole number, not {short_repr(steps)}"
            )
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
        """The record of a run, which is stored in its weights file.

        `parameters` is the number of scalars of the network, `jax` the version of JAX. `origin`
        describes the run's images, command and starting weights; None if it was not recorded.
        """
        return cls.from_json(
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
        """The record of the last training of the whole network, whose loss the network is for.

        It is this record, or an earlier one if only a part was trained since.
        """
        record = self
        while record.training and record.training.learn != "all" and record.started_from:
            record = record.started_from
        return record


def _object(values: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise RecordError(f"{what} is an object with named values, not {short_repr(values)}")
    return values


def _select_fields(cls: type, values: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    """The values of a dataclass's fields. Other versions may have recorded other fields.

    `what` names the values in the message of a `RecordError`.
    """
    names = {field.name for field in dataclasses.fields(cls)}
    selected = {name: value for name, value in values.items() if name in names}
    if error := json_values.find_error(cls, selected):
        raise RecordError(f"{what}: {error}")
    return selected


def _training(values: Mapping[str, Any]) -> RecordedTraining:
    fields = _select_fields(RecordedTraining, values, "training in its record")
    training = RecordedTraining(**fields)
    if not config.MIN_NUMBER <= training.lmbda <= config.MAX_NUMBER:
        raise RecordError(f"training in its record: lmbda is {short_repr(training.lmbda)}")
    if not 0 <= training.ms_ssim_share <= 1:
        share = short_repr(training.ms_ssim_share)
        raise RecordError(f"training in its record: ms_ssim_share is {share}")
    return training


def _validation(values: Any) -> RecordedValidation:
    what = "validation in its record"
    fields = _select_fields(RecordedValidation, _object(values, what), what)
    if missing := [f.name for f in dataclasses.fields(RecordedValidation) if f.name not in fields]:
        raise RecordError(f"{what}: has no {missing[0]}")
    return RecordedValidation(**fields)


def _started_from(
    values: Mapping[str, Any], training: RecordedTraining | None
) -> TrainingRecord | None:
    origin = values.get("origin")
    if isinstance(origin, Mapping) and "started_from" in origin:
        stored = origin["started_from"]
        return None if stored is None else TrainingRecord.from_json(stored)
    if training and training.learn != "all":
        raise RecordError("its record does not say what the training started from")
    return None
