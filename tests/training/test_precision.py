"""What is computed in float32 is so on every device, also where that is not the default."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.runtime import parallel
from rdonet_jax.training import config as training_config
from rdonet_jax.training import precision, sharding
from rdonet_jax.training.batches.crops import Batch
from rdonet_jax.training.steps import step as training_step
from rdonet_jax.training.steps import train_state, validation

pytestmark = [pytest.mark.slow, pytest.mark.once]

PRODUCT = re.compile(r"stablehlo\.(?:dot_general|convolution)\b.*")
CROPS = np.zeros((jax.local_device_count(), 64, 64, 3), np.uint8)


def are_exact(lowered: jax.stages.Lowered) -> set[bool]:
    """Whether the products and convolutions of a program use both of their factors as they are."""
    return {found.group().count("HIGHEST") == 2 for found in PRODUCT.finditer(lowered.as_text())}


@pytest.fixture
def lowered(tiny_model):
    """The program of a training step."""

    def lowered(**settings):
        config = training_config.TrainingConfig(
            crop=64, batch_size=len(CROPS), start="random", **settings
        )
        state = sharding.replicate(
            train_state.state_of(tiny_model.config, config, tiny_model.params)
        )
        batch = sharding.shard(Batch(np.arange(len(CROPS), dtype=np.int32), CROPS))
        step = training_step.make_step(tiny_model.config, config)
        return step.function.lower(state, batch, np.float32(0))

    return lowered


def test_a_step_in_float32_rounds_no_factor_of_a_product(lowered):
    assert are_exact(lowered(precision="float32")) == {True}


def test_a_step_in_bfloat16_leaves_its_products_to_the_device(lowered):
    assert are_exact(lowered(precision="bfloat16")) == {False}


@pytest.mark.parametrize("setting", ["float32", "bfloat16"])
def test_validation_rounds_no_factor_of_a_product_whatever_the_step_does(
    tiny_model, setting, monkeypatch
):
    programs = []

    def called(function, *arguments):
        programs.append(function.function.lower(*arguments))
        return np.ones((1, 6))

    config = training_config.TrainingConfig(crop=64, batch_size=len(CROPS), precision=setting)
    params = sharding.replicate(tiny_model.params)
    validate = validation.make(tiny_model.config, config, CROPS)
    monkeypatch.setattr(parallel.FixedShapes, "__call__", called)
    validate(params)
    programs.append(validation._previewed.lower(tiny_model.config, tiny_model.params, CROPS))
    assert [are_exact(program) for program in programs] == [{True}, {True}]


def test_what_is_computed_outside_of_these_is_left_to_the_device():
    with precision.float32_products():
        inside = jax.jit(jnp.matmul).lower(np.ones((2, 2)), np.ones((2, 2)))
    outside = jax.jit(jnp.matmul).lower(np.ones((2, 2)), np.ones((2, 2)))
    assert (are_exact(inside), are_exact(outside)) == ({True}, {False})
