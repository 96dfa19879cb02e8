"""Where a training starts."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from rdonet_jax.core import config, presets
from rdonet_jax.models.portable import integer_format
from rdonet_jax.models.portable import network as portable
from rdonet_jax.nn import integer
from rdonet_jax.training import config as training_config
from rdonet_jax.training.steps import train_state
from tests import hasty_xla
from tests.conftest import quick_key


def test_a_run_can_start_from_a_weights_file(tiny_weights, tiny_model):
    schedule = training_config.TrainingConfig(start=str(tiny_weights))
    state = train_state.create_state(presets.tiny(thresholds=(1.0, 2.0)), schedule)
    assert int(state.step) == 0
    jax.tree_util.tree_map(np.testing.assert_array_equal, dict(state.params), tiny_model.params)
    with pytest.raises(config.ConfigError, match="another configuration"):
        train_state.create_state(presets.tiny(hyper_latents=5), schedule)


def test_hyper_latents_begin_with_something_to_say():
    """Rounded to 0 they would say nothing, and the bits they cost would keep them at that."""
    network_config = presets.standard()
    units = (
        integer.LARGEST / integer_format.UNIT_RANGE / 32
    )  # of a deviation, as the network sees it
    rng = np.random.default_rng(0)
    y = units * rng.laplace(scale=0.5**0.5, size=(1, 16, 16, network_config.latents[1]))
    z, _ = hasty_xla.jit(portable.HyperEncoder(network_config, 1).init_with_output)(quick_key(1), y)
    assert 1.0 < 2**portable.Z_GAIN * float(np.std(z)) < 8.0
