"""The baselines as a family: fixed-rate models of the literature, without levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rdonet_jax.core.config import AnyConfig, BaselineConfig, ConfigError
from rdonet_jax.entropy import distributions
from rdonet_jax.entropy.distributions import CdfTables
from rdonet_jax.models.baselines import factorized_prior, init, network
from rdonet_jax.models.family import Family


class BaselineFamily(Family):
    """Minnen et al. 2018, Ballé et al. 2018 and 2017: what RDONet is compared with."""

    name = "baseline"
    config = BaselineConfig
    codec = "rdonet_jax.codec.baselines:CODEC"
    has_levels = False
    stores_tables = True

    def network(
        self, config: BaselineConfig, dtype: Any = jnp.float32, remat: bool = False
    ) -> network.BaselineNetwork:
        return network.network(config, dtype, remat)

    def init_params(self, config: BaselineConfig, key: jax.Array) -> Any:
        return network.init_params(config, key)

    def linear_start(self, params: Any, config: BaselineConfig, lmbda: float) -> Any:
        return init.init_params(params, config, lmbda)

    def coder_tables(self, config: BaselineConfig, params: Any) -> CdfTables:
        """The tables of the scales, and behind them those of the factorized prior.

        The factorized prior's own are all that there is where y has such a prior.
        """
        own = factorized_prior.tables(params["factorised_prior"])
        if config.kind == "factorised":
            return own
        scales = distributions.scale_tables(config.distribution)
        return CdfTables(scales.cdfs + own.cdfs, scales.offsets + own.offsets, has_escape=True)

    def table_count(self, config: BaselineConfig) -> int:
        if config.kind == "factorised":
            return config.latents
        return distributions.SCALE_COUNT + config.hyper

    def with_thresholds(self, config: BaselineConfig, numbers: Sequence[float]) -> AnyConfig:
        raise ConfigError("a baseline has no masks, so no thresholds either")
