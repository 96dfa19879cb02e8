"""The portable networks as a family: variable-rate models with integer priors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rdonet_jax.core.config import AnyConfig, ConfigError, PortableConfig
from rdonet_jax.models.family import Family
from rdonet_jax.models.portable import kernel_packing, param_groups, param_shapes, thresholds

if TYPE_CHECKING:
    import jax


class PortableFamily(Family):
    """One set of weights for every quality, and the same symbols on every device."""

    name = "portable"
    network_class = "rdonet_jax.models.portable.network:PortableRDONet"
    config = PortableConfig
    codec = "rdonet_jax.codec.portable.family_codec:CODEC"
    variable_rate = True
    stores_tables = True
    has_separate_priors = True

    def has_levels(self, config: PortableConfig) -> bool:
        return config.levels > 1

    def linear_start(self, params: Any, config: PortableConfig, lmbda: float) -> Any:
        from rdonet_jax.models.portable import init

        return init.linear_start(params, config)

    def convert_params(
        self, params: Any, source: PortableConfig, config: PortableConfig
    ) -> Any | None:
        """The thresholds and the range of lambdas may differ, and groups may be added."""
        import jax

        from rdonet_jax.models.portable import groups, quality_range

        if quality_range.is_same_network(source, config):
            return quality_range.resample_knots(params, source, config)
        without = groups.without_groups(config)
        if not quality_range.is_same_network(source, without):
            return None
        params = quality_range.resample_knots(params, source, without)
        return groups.add_groups(params, config, jax.random.key(0))

    def is_prior(self, path: str) -> bool:
        return param_groups.is_prior(path)

    def is_after_symbols(self, path: str) -> bool:
        return param_groups.is_after_symbols(path)

    def reinit_priors(self, params: Any, config: PortableConfig, key: jax.Array) -> Any:
        from rdonet_jax.models.portable import hyperpriors

        return hyperpriors.reinit_priors(params, config, key)

    def added_entries(
        self, params: Any, config: PortableConfig, widened_from: tuple[int, int]
    ) -> Any:
        """See `widening.added`; the old network had this trunk, and so many knots."""
        from rdonet_jax.models.portable import widening

        return widening.added(params, config, widening.narrowed(config, *widened_from))

    def param_shapes(self, config: PortableConfig) -> Mapping[str, tuple[int, ...]]:
        return param_shapes.param_shapes(config)

    def kernel_steps(self, path: str, kernel: np.ndarray) -> np.ndarray:
        return kernel_packing.kernel_steps(path, kernel)

    def thresholds(
        self, config: PortableConfig, quality: jax.Array | np.ndarray | None
    ) -> tuple[jax.Array, jax.Array]:
        """At qualities [B], or at those of 64x64 blocks, [B, rows, columns]."""
        first, second = thresholds.thresholds_at(config, quality)
        if first.ndim == 1:
            return first[:, None, None], second[:, None, None]
        return first, second.repeat(2, axis=-2).repeat(2, axis=-1)

    def with_thresholds(self, config: PortableConfig, numbers: Sequence[float]) -> AnyConfig:
        """T64 T32 for every knot. Raises `ConfigError` for another number of them."""
        if len(numbers) != 2 * config.knots:
            raise ConfigError(f"a portable model has {config.knots} pairs of thresholds")
        pairs = tuple(zip(numbers[::2], numbers[1::2], strict=True))
        return dataclasses.replace(config, thresholds=pairs)
