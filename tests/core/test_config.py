"""Configurations: what is refused, and how long a run is."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdonet_jax.core.config import ConfigError, RDONetConfig, from_dict
from rdonet_jax.core.presets import PRESETS, mini
from rdonet_jax.models import registry
from rdonet_jax.training.config import CHOICES, RunLength, TrainingConfig


@given(st.integers(1, 10_000), st.integers(1, 500), st.floats(0.5, 3000))
def test_an_epoch_has_as_many_crops_as_there_are_images(images, batch_size, epochs):
    config = TrainingConfig(batch_size=batch_size)
    steps = RunLength(epochs=epochs).applied(config, images).steps
    assert (steps - 1) * batch_size < epochs * images <= steps * batch_size + 1e-6


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
    with pytest.raises(ConfigError, match="unknown TrainingConfig fields: color"):
        from_dict(TrainingConfig, {"color": 1})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"hidden": 0}, "channel counts must be positive"),
        ({"residual": (8, 8, 8)}, "residual needs 4 counts"),
        ({"features": (8, 8)}, "features needs 3 counts"),
        ({"latents": (17, 12, 8)}, "more latents .* than features"),
        ({"nonlinearity": "tanh"}, "nonlinearity is .*, not 'tanh'"),
        ({"context": 3}, "1, 2 or 4 steps, not 3"),
        ({"knots": 1, "thresholds": ((1.0, 1.0),)}, "two at least"),
        ({"knots": 7}, "7 knots need as many pairs"),
        ({"thresholds": ((0.0, 1.0),) * 6}, "pairs of positive variances"),
        ({"thresholds": ((1.0,),) * 6}, "pairs of positive variances"),
        ({"lmbdas": (0.1, 0.1)}, "positive and rise"),
        ({"lmbdas": (0.1, float("nan"))}, "positive and rise"),
        ({"distribution": "cauchy"}, "distribution must be one of laplace, gaussian, not 'cauchy'"),
        ({"thresholds": ((1.0, float("nan")),) * 6}, "thresholds"),
        ({"lmbdas": (0.1,)}, "lmbdas"),
        ({"embedded": (17, 0, 0)}, "embedded counts channels of the latents"),
        ({"embedded": (0, 0)}, "embedded needs 3 counts"),
        ({"lmbdas": (0.1, 0.2, 0.3)}, "lmbdas"),
    ],
)
def test_a_portable_network_that_cannot_be_made_is_refused(changes, complaint):
    with pytest.raises(ConfigError, match=complaint):
        registry.family_of(mini(**changes))


@pytest.mark.parametrize("name", PRESETS)
def test_a_models_configuration_survives_json(name):
    preset = PRESETS[name]()
    held = json.loads(json.dumps(registry.to_dict(preset)))
    assert registry.from_stored(held) == preset
    assert type(registry.from_stored(held)) is type(preset)


@pytest.mark.parametrize("name", PRESETS)
def test_a_configuration_stored_without_its_family_is_known_by_its_fields(name):
    preset = PRESETS[name]()
    held = json.loads(json.dumps(dataclasses.asdict(preset)))
    assert registry.from_stored(held) == preset


def test_a_configuration_of_an_unknown_family_is_refused():
    with pytest.raises(ConfigError, match="family 'other' is not registered in this program"):
        registry.from_stored({"family": "other"})


@given(st.integers(2, 20))
def test_the_scale_of_qualities_ends_at_the_last_knot(knots):
    model = mini(knots=knots, thresholds=((1.0, 2.0),) * knots)
    assert model.steps_of_quality == 128 * (knots - 1)


def test_thresholds_come_in_one_pair_or_in_one_for_every_knot():
    assert registry.with_thresholds(RDONetConfig(), [3.0, 4.0]).thresholds == (3.0, 4.0)
    changed = registry.with_thresholds(mini(), range(1, 13))
    assert changed.thresholds == ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12))
    assert dataclasses.replace(changed, thresholds=mini().thresholds) == mini()
    with pytest.raises(ConfigError, match="6 pairs of thresholds"):
        registry.with_thresholds(mini(), [3.0, 4.0])
