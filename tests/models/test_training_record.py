"""The record of a training: what is read from it, and that it is stored as it was."""

from __future__ import annotations

import json

import pytest

from rdonet_jax.metrics.loss import Loss
from rdonet_jax.models import zoo
from rdonet_jax.models.training_record import RecordedValidation, RecordError, TrainingRecord

WHOLE = {"training": {"lmbda": 0.01, "metric": "both", "ms_ssim_share": 0.25}, "steps_done": 7}


def priors_after(before: object) -> dict:
    return {"training": {"learn": "priors"}, "origin": {"started_from": before}}


def test_a_record_holds_what_is_stored_unchanged_and_what_is_read_from_it_typed():
    stored = WHOLE | {"of_another_version": [1], "validation": {"bpp": 0.5, "psnr": 30, "loss": 1}}
    record = TrainingRecord.from_json(stored)
    assert record.stored is stored
    assert record.training.loss == Loss(0.01, "both", 0.25) and record.steps_done == 7
    assert record.validation == RecordedValidation(0.5, 30) and record.started_from is None


def test_a_record_of_nothing_knows_nothing():
    record = TrainingRecord.from_json({})
    assert (record.training, record.steps_done, record.validation) == (None, None, None)
    assert record.of_whole_network() is record


def test_the_loss_is_that_of_the_newest_training_of_the_whole_network():
    record = TrainingRecord.from_json(priors_after(priors_after(WHOLE)))
    assert record.of_whole_network().stored == WHOLE
    assert record.started_from.started_from.steps_done == 7
    under_new_transforms = TrainingRecord.from_json(priors_after(None))
    assert under_new_transforms.of_whole_network() is under_new_transforms


@pytest.mark.parametrize(
    ("stored", "cause"),
    [
        ({"steps_done": "7"}, "steps_done in its record is a whole number, not '7'"),
        ({"validation": 3}, "validation in its record is an object"),
        ({"validation": {"bpp": 0.5}}, "validation in its record: has no psnr"),
        ({"validation": {"bpp": "x", "psnr": 3}}, "bpp must be a finite number"),
        ({"origin": {"started_from": 3}}, "its record is an object"),
    ],
)
def test_what_is_no_record_is_refused_in_one_sentence(stored, cause):
    with pytest.raises(RecordError, match=cause):
        TrainingRecord.from_json(stored)


def test_the_record_of_a_run_is_stored_with_the_names_that_weights_files_have():
    stored = json.loads(json.dumps(dict(zoo.load("standard").record.stored)))
    names = ("preset", "training", "steps_done", "parameters", "validation", "jax", "origin")
    assert set(names) <= set(stored)
    assert TrainingRecord.new(**{name: stored[name] for name in names}).stored == {
        name: stored[name] for name in names
    }
