"""The networks of the papers as a family: fixed-rate models with levels."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from rdonet_jax.core.config import RDONetConfig
from rdonet_jax.models.family import Family
from rdonet_jax.models.rdonet import init, network


class RDONetFamily(Family):
    """RDONet as published: a model for each lambda."""

    name = "rdonet"
    config = RDONetConfig
    codec = "rdonet_jax.codec.rdonet:CODEC"

    def network(
        self, config: RDONetConfig, dtype: Any = jnp.float32, remat: bool = False
    ) -> network.RDONet:
        return network.network(config, dtype, remat)

    def init_params(self, config: RDONetConfig, key: jax.Array) -> Any:
        return network.init_params(config, key)

    def linear_start(self, params: Any, config: RDONetConfig, lmbda: float) -> Any:
        return init.init_params(params, config, lmbda)

    def convert_params(
        self, params: Any, source: RDONetConfig, config: RDONetConfig
    ) -> Any | None:
        """The thresholds may differ: they are the encoder's alone."""
        same = dataclasses.replace(source, thresholds=config.thresholds) == config
        return params if same else None
