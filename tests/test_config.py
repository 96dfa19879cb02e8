"""Configurations: what is refused, and how long a run is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdonet_jax.config import CHOICES, ConfigError, RunLength, TrainingConfig, from_dict


@given(st.integers(1, 10_000), st.integers(1, 500), st.floats(0.5, 3000))
def test_an_epoch_has_as_many_crops_as_there_are_pictures(pictures, batch_size, epochs):
    config = TrainingConfig(batch_size=batch_size)
    steps = RunLength(epochs=epochs).applied(config, pictures).steps
    assert (steps - 1) * batch_size < epochs * pictures <= steps * batch_size + 1e-6


@given(st.integers(1, 100_000))
def test_steps_are_divided_as_in_the_original(steps):
    config = RunLength(steps=steps).applied(TrainingConfig(), 1)
    assert config.steps == steps
    assert config.stage1_steps == pytest.approx(steps * 2000 / 2600, abs=0.5)


def test_the_originals_schedule_in_epochs():
    config = TrainingConfig(batch_size=8)
    run = RunLength(stage1_epochs=2000, stage2_epochs=600).applied(config, 100)
    assert (run.stage1_steps, run.stage2_steps) == (25_000, 7_500)
    assert RunLength(epochs=2600).applied(config, 100) == run
    assert RunLength(stage1_epochs=1, stage2_epochs=0).applied(config, 100).stage2_steps == 0
    assert RunLength().applied(config, 100) == config


@pytest.mark.parametrize(
    "length",
    [
        {"steps": 3, "epochs": 2.0},
        {"epochs": 2.0, "stage1_epochs": 1.0, "stage2_epochs": 1.0},
        {"stage2_epochs": 1.0},
        {"epochs": float("nan")},
        {"steps": -1},
    ],
)
def test_a_length_that_is_none_or_two_is_refused(length):
    with pytest.raises(ConfigError):
        RunLength(**length)


def test_a_run_of_no_steps_is_refused():
    with pytest.raises(ConfigError, match="at least one step"):
        RunLength(epochs=0).applied(TrainingConfig(), 100)


@pytest.mark.parametrize("name", CHOICES)
def test_words_that_mean_nothing_are_refused(name):
    with pytest.raises(ConfigError, match=f"{name} must be one of .*, not 'other'"):
        TrainingConfig(**{name: "other"})


def test_a_configuration_written_before_an_option_existed_has_its_default():
    assert from_dict(TrainingConfig, {"lmbda": 0.1}) == TrainingConfig(lmbda=0.1)
    with pytest.raises(ConfigError, match="unknown TrainingConfig fields: colour"):
        from_dict(TrainingConfig, {"colour": 1})
