"""The networks by family, their parameters, and weights files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rdonet_jax.core import lazy

if TYPE_CHECKING:
    from rdonet_jax.core.config import (
        AnyConfig,
        BaselineConfig,
        ConfigError,
        PortableConfig,
        RDONetConfig,
    )
    from rdonet_jax.core.presets import preset
    from rdonet_jax.models.network import Latents, Network, Output, build, compute_latents, forward
    from rdonet_jax.models.registry import init_params, variance_partition
    from rdonet_jax.models.zoo import Model, ZooError
else:
    __getattr__, __dir__ = lazy.exports(
        __name__,
        {
            "AnyConfig": "rdonet_jax.core.config:AnyConfig",
            "BaselineConfig": "rdonet_jax.core.config:BaselineConfig",
            "ConfigError": "rdonet_jax.core.config:ConfigError",
            "PortableConfig": "rdonet_jax.core.config:PortableConfig",
            "RDONetConfig": "rdonet_jax.core.config:RDONetConfig",
            "preset": "rdonet_jax.core.presets:preset",
            "Latents": "rdonet_jax.models.network:Latents",
            "Network": "rdonet_jax.models.network:Network",
            "Output": "rdonet_jax.models.network:Output",
            "build": "rdonet_jax.models.network:build",
            "compute_latents": "rdonet_jax.models.network:compute_latents",
            "forward": "rdonet_jax.models.network:forward",
            "init_params": "rdonet_jax.models.registry:init_params",
            "variance_partition": "rdonet_jax.models.registry:variance_partition",
            "Model": "rdonet_jax.models.zoo:Model",
            "ZooError": "rdonet_jax.models.zoo:ZooError",
        },
    )

__all__ = [
    "AnyConfig",
    "BaselineConfig",
    "ConfigError",
    "Latents",
    "Model",
    "Network",
    "Output",
    "PortableConfig",
    "RDONetConfig",
    "ZooError",
    "build",
    "compute_latents",
    "forward",
    "init_params",
    "preset",
    "variance_partition",
]
