"""Which metrics a training takes: their lambdas have to be those that it uses."""

from __future__ import annotations

from unittest import mock

import pytest

from rdonet_jax.core import config, presets
from rdonet_jax.metrics import loss
from rdonet_jax.training import config as training_config
from rdonet_jax.training.steps import train_state
from tests.metrics.test_loss import AbsoluteError


def test_a_portable_network_is_not_trained_for_ms_ssim_alone():
    schedule = training_config.TrainingConfig(metric="ms-ssim", lmbda=8.0)
    with pytest.raises(config.ConfigError, match="use the metric 'both'"):
        train_state.create_state(presets.mini(), schedule)


class Mixed(loss.Mixture):
    name = "mixed"

    def terms(self, share):
        return loss.Term(1.0, loss.SquaredError()), loss.Term(1.0, AbsoluteError())


@pytest.mark.parametrize("metric", [AbsoluteError(), Mixed()])
@pytest.mark.parametrize("preset", ["mini", "tiny"])
def test_lambdas_of_the_mse_are_refused_for_another_metric(metric, preset):
    advice = {"mini": "lambda weighs as it weighs the MSE", "tiny": "use the random start"}
    with mock.patch.dict(loss.DISTORTIONS):
        loss.register(metric)
        schedule = training_config.TrainingConfig(metric=metric.name)
        with pytest.raises(config.ConfigError, match=advice[preset]):
            train_state.create_state(presets.PRESETS[preset](), schedule)


def test_the_default_lambda_is_refused_with_one_that_fits():
    class Weighed(AbsoluteError):
        name = "weighed"
        least_lmbda = 0.01
        usual_lmbda = 0.17

    with mock.patch.dict(loss.DISTORTIONS):
        loss.register(Weighed())
        with pytest.raises(config.ConfigError, match=r"0\.0067 is next to nothing, 0\.17 a usual"):
            training_config.TrainingConfig(metric="weighed")
