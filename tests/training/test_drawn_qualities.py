"""The qualities of crops, drawn apart from all else that is random."""

from __future__ import annotations

import functools

import jax
import numpy as np

from rdonet_jax.core import presets
from rdonet_jax.training.steps import draws


def test_the_qualities_of_a_step_cover_the_whole_scale():
    network_config = presets.mini()
    drawn = draws.qualities_of_step(network_config, jax.random.split(jax.random.key(3), 2000))
    assert (drawn.min(), drawn.max()) == (0, network_config.steps_of_quality)
    assert abs(float(drawn.mean()) / network_config.steps_of_quality - 0.5) < 0.03
    assert draws.qualities_of_step(presets.tiny(), None) is None


def test_the_quality_of_a_crop_is_drawn_apart_from_its_masks():
    network_config = presets.mini()
    keys = jax.random.split(jax.random.key(3), 500)
    drawn = draws.qualities_of_step(network_config, keys)
    for parts in range(2, 6):
        of_parts = jax.vmap(functools.partial(jax.random.split, num=parts))(keys)
        for part in range(parts):
            other = jax.vmap(
                lambda key: jax.random.randint(key, (), 0, network_config.steps_of_quality + 1)
            )
            assert np.mean(other(of_parts[:, part]) == drawn) < 0.05
