"""The baselines as a family: fixed-rate models without levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rdonet_jax.core.config import AnyConfig, BaselineConfig, ConfigError
from rdonet_jax.entropy import distributions
from rdonet_jax.entropy.distributions import CdfTables
from rdonet_jax.models.family import Family


class BaselineFamily(Family):
    """The models of Minnen et al. 2018 and of Ballé et al. 2018 and 2017."""

    name = "baseline"
    network_class = "rdonet_jax.models.baselines.network:BaselineNetwork"
    config = BaselineConfig
    codec = "rdonet_jax.codec.baselines:CODEC"
    stores_tables = True

    def has_levels(self, config: BaselineConfig) -> bool:
        return False

    def linear_start(self, params: Any, config: BaselineConfig, lmbda: float) -> Any:
        from rdonet_jax.models.baselines import init

        return init.linear_start(params, config, lmbda)

    def coder_tables(self, config: BaselineConfig, params: Any) -> CdfTables:
        """The tables of the scales, followed by those of the factorized prior's channels.

        Where y has a factorized prior, the scales have no use and no tables.
        """
        from rdonet_jax.models.baselines import factorized_prior

        channels = factorized_prior.tables(params["factorised_prior"])
        if config.kind == "factorised":
            return channels
        scales = distributions.scale_tables(config.distribution)
        offsets = scales.offsets + channels.offsets
        return CdfTables(scales.cdfs + channels.cdfs, offsets, has_escape=True)

    def table_count(self, config: BaselineConfig) -> int:
        if config.kind == "factorised":
            return config.latents
        return distributions.SCALE_COUNT + config.hyper

    def with_thresholds(self, config: BaselineConfig, numbers: Sequence[float]) -> AnyConfig:
        raise ConfigError("a baseline has no masks, so no thresholds either")
