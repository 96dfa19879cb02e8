"""In which precision a training computes on this machine's devices."""

from __future__ import annotations

import contextlib
from typing import Any

import jax
import jax.numpy as jnp

from rdonet_jax.training.config import TrainingConfig


def compute_dtype(config: TrainingConfig) -> Any:
    """The type in which the transforms are computed on this machine's devices."""
    if config.precision == "auto":
        return jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    return jnp.dtype(config.precision)


def float32_products() -> contextlib.AbstractContextManager[Any]:
    """A context in which traced products and convolutions of float32 numbers are in float32.

    Otherwise accelerators round what is multiplied: TPUs to bfloat16, GPUs to TF32.
    """
    return jax.default_matmul_precision("float32")


def of_step(config: TrainingConfig) -> contextlib.AbstractContextManager[Any]:
    """The context in which a step is traced.

    A step in bfloat16 leaves the few products of float32 numbers to the device's default.
    """
    is_float32 = compute_dtype(config) == jnp.float32
    return float32_products() if is_float32 else contextlib.nullcontext()
