"""Parameters, gradients and schedules for tests of optimizers that move whole kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.training import config as training_config


def schedule(**changes: Any) -> training_config.TrainingConfig:
    """A constant rate of 0.01, without a bound on gradients that one could notice."""
    given = {"stage1_steps": 6, "stage2_steps": 4, "warmup_steps": 0, "schedule": "constant",
             "learning_rate": 1e-2, "clip_norm": 1e9}  # fmt: skip
    return training_config.TrainingConfig(**(given | changes))


def with_kernels(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Zeros: kernels of these shapes, and parameters that are no kernels."""
    made = {name: {"kernel": jnp.zeros(shape)} for name, shape in shapes.items()}
    return {**made, "prior": {"gain": jnp.zeros((16, 16)), "bias": jnp.zeros(16)}}


def gradients(params: Any, seed: int = 0) -> Any:
    """Noise for every parameter."""
    leaves, tree = jax.tree_util.tree_flatten(params)
    rng = np.random.default_rng(seed)
    drawn = [jnp.asarray(rng.normal(size=leaf.shape), jnp.float32) for leaf in leaves]
    return jax.tree_util.tree_unflatten(tree, drawn)
