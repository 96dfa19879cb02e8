"""Parts of a network that learn alone, and what they start from."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from rdonet_jax.core import config, presets
from rdonet_jax.models.portable import network as portable
from rdonet_jax.models.portable import widening
from rdonet_jax.training import config as training_config
from rdonet_jax.training.batches.crops import Batch
from rdonet_jax.training.optimizers import optimizer
from rdonet_jax.training.steps import step as training_step
from rdonet_jax.training.steps import train_state
from rdonet_jax.training.steps.step import CropLosses
from tests import hasty_xla, portable_params

ONE = Batch(np.zeros(1, np.int32), np.zeros((1, 64, 64, 3), np.uint8))
"""A black crop."""


@pytest.fixture
def cost_of_size(monkeypatch):
    """A loss to which every parameter adds its square."""

    def code_crops(network_config, schedule, params, step, batch, position):
        size = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree_util.tree_leaves(params))
        return CropLosses(*jnp.full((3, len(batch.numbers)), size))

    monkeypatch.setattr(training_step, "code_crops", code_crops)


def after_a_step(network_config, schedule, params):
    """The parameters after the first step."""

    def step(params):
        state = train_state.state_of(network_config, schedule, params)
        _, gradients = training_step.mean_gradients(network_config, schedule, state, ONE, 0)
        return training_step.apply_update(network_config, schedule, state, gradients, 0).params

    return hasty_xla.jit(step)(params)


def test_learning_priors_alone_moves_nothing_else_and_minimizes_the_rate(cost_of_size):
    network_config = presets.mini()
    rows = jnp.ones(3)
    params = {"g_a": rows, "units_0": {"encoder": rows, "prior": {"first": rows, "gain": rows}}}
    for learn in ("all", "priors"):
        config = training_config.TrainingConfig(learn=learn, learning_rate=0.1, warmup_steps=0)
        after = flatten_dict(after_a_step(network_config, config, params), sep="/")
        belongs = flatten_dict(optimizer.prior_mask(network_config, params), sep="/")
        for path, before in flatten_dict(params, sep="/").items():
            assert np.any(np.asarray(after[path] != before)) == (learn == "all" or belongs[path])
    rate, x = jnp.array([0.25, 2.0]), jnp.zeros((2, 64, 64, 3))
    loss = training_step.weighted_loss(
        network_config, config, rate, x, x + 0.5, jnp.array([0, 640])
    )
    np.testing.assert_allclose(loss, np.log(rate), rtol=1e-6)


@pytest.mark.slow
def test_learning_what_widening_added_moves_it_and_the_synthesis_and_nothing_else(cost_of_size):
    old = presets.mini()
    network_config = widening.widened(old, 4, 8)
    params = jax.tree_util.tree_map(
        lambda leaf: jnp.ones(leaf.shape), portable_params.shapes(network_config)
    )
    config = training_config.TrainingConfig(
        learn="added", widened_from=(old.trunk, old.knots), warmup_steps=0
    )
    moved = flatten_dict(
        jax.tree_util.tree_map(
            lambda leaf: leaf != 1, after_a_step(network_config, config, params)
        ),
        sep="/",
    )
    added = flatten_dict(widening.added(params, network_config, old), sep="/")
    for path, what in moved.items():
        if path.startswith(("g_s", "units_0/from_latent", "units_0/hand_over", "units_0/restore")):
            assert what.all()
        else:
            np.testing.assert_array_equal(what, added[path], err_msg=path)
    assert 0 < moved["g_a/kernel"].mean() < 1 and not moved["units_2/encoder/kernel"].any()


def test_priors_that_are_learned_alone_begin_with_new_hyper_latents(
    mini_weights, mini_model, monkeypatch
):
    drawn = portable_params.acting(mini_model.config, seed=5)
    monkeypatch.setattr(portable, "init_params", lambda network_config, key: drawn)
    schedule = training_config.TrainingConfig(learn="priors", start=str(mini_weights))
    begun = train_state.starting_params(mini_model.config, schedule)
    before, after = (flatten_dict(params, sep="/") for params in (mini_model.params, begun))
    assert before.keys() == after.keys()
    changed = {path for path in before if np.any(np.asarray(before[path] != after[path]))}
    for path in before:
        is_new = "hyper_encoder" in path and path.endswith("kernel")
        is_new |= path.endswith(("z_gain", "z_index", "from_z/kernel"))
        assert (path in changed) == is_new or "hyper_encoder" in path, path
    # What the priors know of the quality stays.
    rows, knots = "units_1/prior/from_z/kernel", mini_model.config.knots
    np.testing.assert_array_equal(before[rows][-knots:], after[rows][-knots:])
    with pytest.raises(config.ConfigError, match="only a portable network"):
        train_state.starting_params(presets.tiny(), schedule)


@pytest.mark.parametrize("preset", ["tiny", "mbt2018-tiny"])
def test_a_rate_of_the_priors_is_refused_where_no_part_is_a_prior(preset):
    schedule = training_config.TrainingConfig(prior_rate=10.0)
    with pytest.raises(config.ConfigError, match="prior_rate is for portable networks"):
        train_state.create_state(presets.preset(preset), schedule)


def test_a_lambda_is_refused_where_the_network_has_a_range_of_them():
    schedule = training_config.TrainingConfig(lmbda=0.5)
    with pytest.raises(config.ConfigError, match="lmbda is for fixed-rate networks"):
        train_state.starting_params(presets.mini(), schedule)


def test_priors_that_keep_their_hyper_latents_begin_where_the_weights_are(mini_weights, mini_model):
    schedule = training_config.TrainingConfig(
        learn="priors", hyperpriors="keep", start=str(mini_weights)
    )
    begun = train_state.starting_params(mini_model.config, schedule)
    jax.tree_util.tree_map(np.testing.assert_array_equal, begun, mini_model.params)
    with pytest.raises(config.ConfigError, match="a part of the network"):
        training_config.TrainingConfig(hyperpriors="keep")


@pytest.mark.slow
def test_a_start_may_get_groups_of_channels(mini_weights, mini_model):
    grouped = presets.mini(channel_groups=((4,), (4,), ()), group_hidden=8)
    schedule = training_config.TrainingConfig(start=str(mini_weights))
    begun = flatten_dict(train_state.starting_params(grouped, schedule), sep="/")
    before = flatten_dict(mini_model.params, sep="/")
    for path, leaf in begun.items():
        if "group_" not in path:
            np.testing.assert_array_equal(leaf, before[path])
    # What is there cannot be taken away, nor changed.
    with pytest.raises(config.ConfigError, match="another configuration"):
        train_state.starting_params(presets.mini(hidden=20), schedule)
