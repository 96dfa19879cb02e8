"""What a family of networks is: everything that the package has to know about a kind of network.

A new family is one subclass and one call of `registry.register`. Nothing else in the package asks
for the type of a configuration.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core.config import AnyConfig, ConfigError
from rdonet_jax.entropy import distributions
from rdonet_jax.entropy.distributions import CdfTables
from rdonet_jax.models import packing


class Family(abc.ABC):
    """A kind of network, its parameters and where its codec is.

    Attributes:
      name: stored with every configuration of the family.
      config: the class of its configurations, a frozen dataclass.
      codec: its `rdonet_jax.codec.family_codec.FamilyCodec`, as "module:attribute". It is imported
        when something is coded, so that training loads no codec.
      has_levels: whether a mask chooses among levels. Without, everything is coded at 16x16.
      variable_rate: whether one set of weights serves every quality. Its configurations then have
        `lmbdas`, `knots` and `steps_of_quality`, and its networks take a quality for each image.
      stores_tables: whether a weights file holds the range coder's tables beside the weights.
      has_separate_priors: whether the priors can be trained alone, under fixed transforms.
    """

    name: ClassVar[str]
    config: ClassVar[type]
    codec: ClassVar[str]
    has_levels: ClassVar[bool] = True
    variable_rate: ClassVar[bool] = False
    stores_tables: ClassVar[bool] = False
    has_separate_priors: ClassVar[bool] = False

    def check(self, config: Any) -> None:
        """Raises `ConfigError` for a configuration that names what is not registered.

        A family whose latents have another kind of prior has no field `distribution`.
        """
        if not hasattr(config, "distribution"):
            return
        try:
            distributions.named(config.distribution)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    @abc.abstractmethod
    def network(self, config: Any, dtype: Any = jnp.float32, remat: bool = False) -> nn.Module:
        """The Flax module, whose transforms are computed in `dtype`.

        It has the methods `code` (see `registry.code`) and `analyze`. The same arguments must give
        equal modules, so that jit finds what it has compiled.
        """

    @abc.abstractmethod
    def init_params(self, config: Any, key: jax.Array) -> Any:
        """Random parameters, a tree of float32 arrays."""

    @abc.abstractmethod
    def linear_start(self, params: Any, config: Any, lmbda: float) -> Any:
        """Random parameters turned into a linear transform coder, from which training starts.

        `lmbda` weighs the MSE; a variable-rate family has its own.
        """

    def convert_params(self, params: Any, source: Any, config: Any) -> Any | None:
        """Parameters of the configuration `source` for `config`; None if that cannot be.

        Both are of this family. Training goes on from weights this way.
        """
        return params if source == config else None

    def reinit_priors(self, params: Any, config: Any, key: jax.Array) -> Any:
        """The parameters with hyperpriors drawn anew; for families with `has_separate_priors`."""
        raise ConfigError(f"the priors of the family {self.name} are not trained alone")

    def coder_tables(self, config: Any, params: Any) -> CdfTables:
        """The range coder's cumulative tables, for parameters rounded as a weights file has them.

        Without `stores_tables`, `params` is None.
        """
        return distributions.scale_tables(config.distribution)

    def table_count(self, config: Any) -> int:
        """How many tables `coder_tables` gives."""
        return distributions.SCALE_COUNT

    def kernel_steps(self, path: str, kernel: np.ndarray) -> np.ndarray:
        """The steps, for all or for each output channel, in which a packed file holds a kernel."""
        return packing.steps(kernel)

    def thresholds(self, config: Any, quality: jax.Array | None) -> tuple[Any, Any]:
        """The two thresholds of the variance mask: numbers, or [B] for qualities [B]."""
        return config.thresholds

    def with_thresholds(self, config: Any, numbers: Sequence[float]) -> AnyConfig:
        """The configuration with other thresholds: T64 T32. Raises `ConfigError`."""
        return dataclasses.replace(config, thresholds=tuple(numbers))
