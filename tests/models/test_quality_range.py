"""The same network over another range of lambdas."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.core import presets
from rdonet_jax.core.config import ConfigError
from rdonet_jax.metrics import loss
from rdonet_jax.models import zoo
from rdonet_jax.models.portable import network as portable
from rdonet_jax.models.portable import quality_range
from rdonet_jax.training import config as training_config
from rdonet_jax.training.steps import train_state
from tests import portable_params

OLD = presets.mini(lmbdas=(0.001, 0.032), knots=6)  # a factor of two per segment
NEW = dataclasses.replace(OLD, lmbdas=(0.0005, 0.016))


@pytest.fixture(scope="module")
def params():
    return portable_params.acting(OLD)


def gains(model, params, quality):
    net = portable.network(model)
    return net.apply({"params": params}, 0, jnp.asarray([quality]), method="gains")[0]


@pytest.mark.slow
@pytest.mark.parametrize("quality", [128, 200, 511, 640])
def test_at_one_lambda_both_ranges_have_the_same_gains_and_priors(params, quality):
    moved = quality_range.resample_knots(params, OLD, NEW)
    earlier = quality - 128
    assert loss.lmbda_of(NEW, quality) == pytest.approx(loss.lmbda_of(OLD, earlier))
    # Knots are whole 1/256 octaves, between which values are rounded once.
    np.testing.assert_allclose(gains(NEW, moved, quality), gains(OLD, params, earlier), atol=1.01)
    for level in range(3):
        found, expected = (
            portable.network(m).apply(
                {"params": p}, level, jnp.asarray([q]), method="z_scale_index"
            )
            for m, p, q in ((NEW, moved, quality), (OLD, params, earlier))
        )
        np.testing.assert_allclose(found, expected, atol=1)


@pytest.mark.slow
def test_beyond_the_old_range_gains_follow_the_square_root_of_lambda(params):
    moved = quality_range.resample_knots(params, OLD, NEW)
    first, second = (gains(NEW, moved, quality) for quality in (0, 128))
    np.testing.assert_allclose(second - first, 128, atol=1.01)  # half an octave


@pytest.mark.slow
def test_the_same_range_changes_nothing(params):
    same = quality_range.resample_knots(params, OLD, OLD)
    for a, b in zip(*map(jax.tree_util.tree_leaves, (params, same)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_training_goes_on_from_weights_of_another_range_but_not_of_another_network(
    params, tmp_path
):
    path = zoo.save(tmp_path, "old", OLD, params, {})
    config = training_config.TrainingConfig(start=str(path))
    started = train_state.starting_params(NEW, config)
    np.testing.assert_allclose(gains(NEW, started, 128), gains(OLD, params, 0), atol=1.01)
    with pytest.raises(ConfigError, match="another configuration"):
        train_state.starting_params(dataclasses.replace(NEW, hidden=16), config)
