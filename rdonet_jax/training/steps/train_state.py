"""The state of a training: where it starts, and what a step changes of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core.config import AnyConfig, ConfigError
from rdonet_jax.metrics import loss
from rdonet_jax.models import registry, zoo
from rdonet_jax.training.config import STARTS, TrainingConfig
from rdonet_jax.training.optimizers import optimizer


class TrainState(NamedTuple):
    """Everything that a step changes. The names are part of checkpoints."""

    step: jax.Array  # int32, steps done
    healthy: jax.Array  # bool; once False, steps change nothing
    params: Any
    ema: Any  # exponential moving average of the parameters, which is validated and exported
    optimiser: Any  # its own state; spelled as checkpoints have it


def create_state(network_config: AnyConfig, config: TrainingConfig) -> TrainState:
    """The state before the first step.

    Raises `ConfigError` for a start that does not fit the network, `ZooError` for missing weights.
    """
    return state_of(network_config, config, starting_params(network_config, config))


def starting_params(network_config: AnyConfig, config: TrainingConfig) -> Any:
    """The initial parameters by `config.start`. Raises as `create_state` does."""
    family = registry.family_of(network_config)
    metric = loss.named(config.metric)
    if family.variable_rate and not metric.scaled_as_mse:
        raise ConfigError(
            f"a portable network has lambdas of its own, which do not suit {config.metric!r}; "
            f"{metric.instead}"
        )
    if config.learn != "all" and not family.has_separate_priors:
        raise ConfigError("only a portable network has parts to be learned alone")
    if config.prior_rate != 1 and not family.has_separate_priors:
        raise ConfigError(
            f"prior_rate is for portable networks, whose priors are apart; a network of the family "
            f"{family.name!r} has none, so leave it at 1"
        )
    if family.variable_rate and config.lmbda != TrainingConfig.lmbda:
        raise ConfigError(
            f"lmbda is for fixed-rate networks; a network of the family {family.name!r} has a "
            "range of lambdas of its own, so leave it out"
        )
    key = jax.random.key(config.seed)
    if config.start not in STARTS:
        params = _params_of(zoo.load(config.start), network_config, config.start)
        restarts = config.learn != "all" and config.hyperpriors == "restart"
        return family.reinit_priors(params, network_config, key) if restarts else params
    params = family.init_params(network_config, key)
    if config.start == "random":
        return params
    if not metric.scaled_as_mse:
        raise ConfigError("the linear start is made for the MSE; use the random start")
    return family.linear_start(params, network_config, config.lmbda)


def _params_of(weights: zoo.Model, network_config: AnyConfig, source: str) -> Any:
    """Parameters to continue from. Thresholds and the range of lambdas may differ."""
    family = registry.family_of(network_config)
    found = None
    if registry.family_of(weights.config) is family:
        found = family.convert_params(weights.params, weights.config, network_config)
    if found is None:
        raise ConfigError(f"{source}: holds a network of another configuration")
    return found


def state_of(network_config: AnyConfig, config: TrainingConfig, params: Any) -> TrainState:
    """The state of a run that starts with `params`."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        healthy=jnp.ones((), bool),
        params=params,
        ema=jax.tree_util.tree_map(jnp.array, params),
        optimiser=optimizer.make(network_config, config).init(params),
    )


def is_finite(state: Any) -> bool:
    """Whether all numbers of an unreplicated state are finite."""
    leaves = jax.tree_util.tree_leaves(state)
    return all(np.isfinite(np.asarray(leaf)).all() for leaf in leaves)
