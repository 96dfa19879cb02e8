"""RDONet as published, as a family: fixed-rate models with levels."""

from __future__ import annotations

import dataclasses
from typing import Any

from rdonet_jax.core.config import RDONetConfig
from rdonet_jax.models.family import Family


class RDONetFamily(Family):
    """RDONet as published: one model for each lambda."""

    name = "rdonet"
    network_class = "rdonet_jax.models.rdonet.network:RDONet"
    config = RDONetConfig
    codec = "rdonet_jax.codec.rdonet:CODEC"

    def linear_start(self, params: Any, config: RDONetConfig, lmbda: float) -> Any:
        from rdonet_jax.models.rdonet import init

        return init.linear_start(params, config, lmbda)

    def convert_params(self, params: Any, source: RDONetConfig, config: RDONetConfig) -> Any | None:
        """The thresholds may differ: only the encoder uses them."""
        same = dataclasses.replace(source, thresholds=config.thresholds) == config
        return params if same else None
