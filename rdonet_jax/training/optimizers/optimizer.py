"""The optimizer of a run and its learning rate over the two stages.

With switch "carry" one schedule spans both stages, and the optimizer keeps its moments. Only the
way in which masks are drawn changes. With "restart" each stage has its own schedule, with warm-up,
and the optimizer starts stage 2 with moments of zero, as in a separate fine-tuning.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rdonet_jax.core.config import AnyConfig
from rdonet_jax.models import registry
from rdonet_jax.training.config import TrainingConfig
from rdonet_jax.training.optimizers import kernels, muon, soap


class Restarting(NamedTuple):
    """State of `restarted_at`."""

    count: jax.Array  # type: ignore[assignment] # int32, updates done
    inner: Any


def learning_rate(config: TrainingConfig) -> optax.Schedule:
    """The learning rate as a function of the position in the schedule.

    See `training.schedule_tracker`.
    """
    first, second = config.learning_rate, config.learning_rate * config.stage2_rate
    if config.switch == "carry" or not config.stage2_steps:
        return _curve(config, first, config.steps)
    if not config.stage1_steps:
        return _curve(config, second, config.steps)
    curves = [
        _curve(config, first, config.stage1_steps),
        _curve(config, second, config.stage2_steps),
    ]
    return optax.join_schedules(curves, [config.stage1_steps])


def _curve(config: TrainingConfig, peak: float, steps: int) -> optax.Schedule:
    """Linear warm-up to the peak, then the decay of `config.schedule` over the remaining steps.

    A warm-up that would leave no step for the decay is a tenth of them.
    """
    warmup = config.warmup_steps if config.warmup_steps < steps else steps // 10
    left = steps - warmup
    decays = {
        "cosine": lambda: optax.cosine_decay_schedule(peak, left, config.final_rate),
        "linear": lambda: optax.linear_schedule(peak, peak * config.final_rate, left),
        "exponential": lambda: optax.exponential_decay(peak, left, config.final_rate),
        "constant": lambda: optax.constant_schedule(peak),
    }
    decay = decays[config.schedule]()
    if not warmup:
        return decay
    rise = optax.linear_schedule(peak / warmup, peak, warmup)
    return optax.join_schedules([rise, decay], [warmup])


def restarted_at(inner: optax.GradientTransformation, step: int) -> optax.GradientTransformation:
    """`inner`, with its state reset after `step` updates."""

    def init(params):
        return Restarting(jnp.zeros((), jnp.int32), inner.init(params))

    def update(updates, state, params=None):
        fresh = inner.init(updates)
        held = jax.tree_util.tree_map(
            lambda new, old: jnp.where(state.count == step, new, old), fresh, state.inner
        )
        updates, held = inner.update(updates, held, params)
        return updates, Restarting(state.count + 1, held)

    return optax.GradientTransformation(init, update)


def prior_mask(network_config: AnyConfig, params: Any) -> Any:
    """A tree of bool: which leaves belong to the prior, whose learning rate is scaled."""
    return _mask(params, registry.family_of(network_config).is_prior)


def trainable_mask(network_config: AnyConfig, params: Any, learn: str) -> Any:
    """A tree of bool: which leaves a training with `TrainingConfig.learn` changes as a whole."""
    family = registry.family_of(network_config)
    changes: dict[str, Callable[[str], bool]] = {
        "all": lambda path: True,
        "priors": family.is_prior,
        "added": family.is_after_symbols,
        "decoder": lambda path: family.is_prior(path) or family.is_after_symbols(path),
    }
    return _mask(params, changes[learn])


def _mask(params: Any, belongs: Callable[[str], bool]) -> Any:
    """A tree of bool: what `belongs` says of the path of each leaf, its names joined by "/"."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: belongs("/".join(key.key for key in path)), params
    )


def scale_by_position(config: TrainingConfig) -> optax.GradientTransformationExtraArgs:
    """Scales by the learning rate at the extra argument `position` of an update.

    Without it, the position is the number of updates. The state is that of
    `optax.scale_by_learning_rate`, so checkpoints of earlier versions fit.
    """
    rate = learning_rate(config)

    def init(params):
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, *, position=None, **_):
        step_size = -rate(state.count if position is None else position)
        updates = jax.tree_util.tree_map(lambda g: jnp.array(step_size, g.dtype) * g, updates)
        return updates, optax.ScaleByScheduleState(state.count + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def make(
    network_config: AnyConfig, config: TrainingConfig
) -> optax.GradientTransformationExtraArgs:
    """Clipping of the gradient by its global norm, then Adam, Muon or SOAP.

    Updates take a `position`.

    Raises `ConfigError` if the installed optax has no such optimizer.
    """
    moments = optax.scale_by_adam()
    if config.optimizer == "muon":
        moments = kernels.separate(muon.scale_by_muon(), moments)
    elif config.optimizer == "soap":
        moments = kernels.separate(soap.scale_by_soap(), moments)
    if config.switch == "restart":
        moments = restarted_at(moments, config.stage1_steps)
    steps = [
        optax.clip_by_global_norm(config.clip_norm),
        moments,
        scale_by_position(config),
    ]
    if config.prior_rate != 1:
        mask = functools.partial(prior_mask, network_config)
        steps.append(optax.masked(optax.scale(config.prior_rate), mask))
    return optax.chain(*steps)
