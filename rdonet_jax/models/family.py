"""The interface of a family of networks: all that the package uses of a kind of network.

A new family is one subclass and one call of `registry.register`. Nothing else in the package
depends on the type of a configuration.
"""

from __future__ import annotations

import abc
import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rdonet_jax.core.config import AnyConfig, ConfigError, UnregisteredError
from rdonet_jax.entropy import distributions
from rdonet_jax.entropy.distributions import CdfTables
from rdonet_jax.models import packing

if TYPE_CHECKING:
    import flax.linen as nn
    import jax


class Family(abc.ABC):
    """A kind of network, its parameters and its codec.

    A subclass sets the first four attributes and gives `linear_start`. It overrides what else is
    different from the defaults here.

    Attributes:
      name: stored with every configuration of the family.
      config: the class of its configurations, a frozen dataclass.
      network_class: the class of its Flax modules, constructed from a configuration, `dtype` and
        `remat`. It has the methods `code` (see `registry.code`) and `analyze`. Given as
        "module:attribute", it is imported when it is first used, with Flax and JAX.
      codec: its `rdonet_jax.codec.family_codec.FamilyCodec`, as "module:attribute". It is imported
        when something is coded, so that training loads no codec.
      variable_rate: whether one set of weights serves every quality. Its configurations then have
        `lmbdas`, `knots` and `steps_of_quality`, and its networks take a quality for each image.
      stores_tables: whether a weights file holds the range coder's tables beside the weights.
      has_separate_priors: whether the priors can be trained alone, under fixed transforms. Such a
        family has `is_prior`, `is_after_symbols` and `reinit_priors`.
    """

    name: ClassVar[str]
    config: ClassVar[type]
    network_class: ClassVar[type | str]
    codec: ClassVar[str]
    variable_rate: ClassVar[bool] = False
    stores_tables: ClassVar[bool] = False
    has_separate_priors: ClassVar[bool] = False

    def check(self, config: Any) -> None:
        """Raises `ConfigError` for a configuration whose distribution is not registered.

        A configuration may have no field `distribution`, when its priors use none.
        """
        if not hasattr(config, "distribution"):
            return
        try:
            distributions.named(config.distribution)
        except ValueError as error:
            raise UnregisteredError(str(error)) from error

    def has_levels(self, config: Any) -> bool:
        """Whether a mask chooses among levels. If not, everything is coded at 16x16."""
        return True

    def network(self, config: Any, dtype: Any = "float32", remat: bool = False) -> nn.Module:
        """The Flax module of a configuration, see `modules.build`.

        The same arguments must give equal modules, so that jit finds what it has compiled.
        """
        from rdonet_jax.models import modules

        return modules.build(self._network_class(), config, dtype, remat)

    def init_params(self, config: Any, key: jax.Array) -> Any:
        """Random parameters, a tree of float32 arrays."""
        from rdonet_jax.models import modules

        return modules.init_params(self._network_class(), self.variable_rate, config, key)

    def _network_class(self) -> type[nn.Module]:
        if not isinstance(self.network_class, str):
            return self.network_class
        module, _, attribute = self.network_class.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def param_shapes(self, config: Any) -> Mapping[str, tuple[int, ...]]:
        """The shapes of the parameters by their path, such as "g_a/kernel".

        Raises `PlatformError`.
        """
        import jax

        from rdonet_jax.models import param_tree
        from rdonet_jax.runtime.platform import require_platform

        require_platform()
        tree = jax.eval_shape(lambda key: self.init_params(config, key), jax.random.key(0))
        return {path: leaf.shape for path, leaf in param_tree.flatten(tree).items()}

    @abc.abstractmethod
    def linear_start(self, params: Any, config: Any, lmbda: float) -> Any:
        """Parameters of a linear transform coder, from which training can start.

        Made from random parameters. `lmbda` is the weight of the MSE; variable-rate families use
        those of the configuration instead.
        """

    def convert_params(self, params: Any, source: Any, config: Any) -> Any | None:
        """Converts parameters of the configuration `source` for `config`; None if not possible.

        Both configurations are of this family. Training that starts from weights uses it.
        """
        return params if source == config else None

    def is_prior(self, path: str) -> bool:
        """Whether the parameter at a path, such as "g_a/kernel", predicts probabilities."""
        raise self._no_separate_priors()

    def is_after_symbols(self, path: str) -> bool:
        """Whether the parameter at a path is one of the synthesis that no symbol depends on."""
        raise self._no_separate_priors()

    def reinit_priors(self, params: Any, config: Any, key: jax.Array) -> Any:
        """The parameters with random hyperpriors."""
        raise self._no_separate_priors()

    def _no_separate_priors(self) -> ConfigError:
        return ConfigError(f"the priors of the family {self.name} are not trained alone")

    def added_entries(self, params: Any, config: Any, widened_from: tuple[int, int]) -> Any:
        """A tree of bool arrays: the parameters' entries that widening a network has added."""
        raise ConfigError(f"networks of the family {self.name} are not widened")

    def coder_tables(self, config: Any, params: Any) -> CdfTables:
        """The range coder's cumulative tables, for parameters as rounded in a weights file.

        `params` is None for families without `stores_tables`.
        """
        return distributions.scale_tables(config.distribution)

    def table_count(self, config: Any) -> int:
        """How many tables `coder_tables` gives."""
        return distributions.SCALE_COUNT

    def kernel_steps(self, path: str, kernel: np.ndarray) -> np.ndarray:
        """The quantizer steps of a kernel in a packed file, one or one per output channel."""
        return packing.steps(kernel)

    def thresholds(self, config: Any, quality: jax.Array | np.ndarray | None) -> tuple[Any, Any]:
        """The two thresholds of the variance mask: numbers, or [B] for qualities [B]."""
        return config.thresholds

    def with_thresholds(self, config: Any, numbers: Sequence[float]) -> AnyConfig:
        """The configuration with other thresholds, T64 T32. May raise `ConfigError`."""
        return dataclasses.replace(config, thresholds=tuple(numbers))
