"""Which masks a network is trained with: schedules by name, chosen by `TrainingConfig.masks`.

The built-in one is the schedule of the paper in two stages. First random masks, so that every level
learns to code everything; then masks by variance, so that levels specialize.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from rdonet_jax.core import partition
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.core.partition import Partition
from rdonet_jax.models import registry

if TYPE_CHECKING:
    from rdonet_jax.training.config import TrainingConfig

Schedule = Callable[
    [AnyConfig, "TrainingConfig", jax.Array, jax.Array, "jax.Array | None", jax.Array], Partition
]
"""(network_config, config, position, x, quality, keys) -> the partitions of a batch.

Arguments, which are given in this order and without names:
  network_config, config: those of the network and of the training.
  position: [], that in the schedule, from 0 to `config.steps`: the number of steps done, or in a
    run by the clock a float.
  x: float32 [B, H, W, 3] in [0, 1], sides multiples of 64.
  quality: int32 [B], 0 to `network_config.steps_of_quality`, None for a fixed-rate model.
  keys: [B], one for each crop.

The result has a leading axis B. A schedule is compiled: no Python branches on values. One that
draws several times splits each key first and uses every part once: `fold_in(key, i)` may equal
`split(key)[i]`, which `partition.random(key)` draws from. A model without levels needs no masks,
and its schedule is not called.
"""

SCHEDULES: dict[str, Schedule] = {}
"""By name. `register_schedule` adds to it."""

_OF_ANY_LENGTH: set[str] = set()


def register_schedule(name: str, schedule: Schedule, depends_on_length: bool = True) -> None:
    """Adds a schedule. Raises ValueError for a name that there is already.

    depends_on_length: whether its masks at a step may change with the number of steps of the run. A
    run that has done some of its steps can then get no other length. False for a schedule that
    depends on this number only by the stage of the step.
    """
    if name in SCHEDULES:
        raise ValueError(f"there is a mask schedule {name!r} already")
    SCHEDULES[name] = schedule
    if not depends_on_length:
        _OF_ANY_LENGTH.add(name)


def depends_on_length(name: str) -> bool:
    """Whether the masks of a schedule may change with the number of steps of the run."""
    return name not in _OF_ANY_LENGTH


def stage_of(config: TrainingConfig, position: Any) -> Any:
    """The stage, 1 or 2, of the step at a position in the schedule."""
    return 1 + (position >= config.stage1_steps)


def two_stage(
    network_config: AnyConfig,
    config: TrainingConfig,
    position: jax.Array,
    x: jax.Array,
    quality: jax.Array | None,
    keys: jax.Array,
) -> Partition:
    """Random masks in stage 1, in stage 2 for `random_share` of the crops; else by variance."""
    grid = partition.block_grid(*x.shape[1:3])
    keys = jax.vmap(jax.random.split)(keys)
    drawn = jax.vmap(lambda key: partition.random(key, grid))(keys[:, 0])
    seen = registry.variance_partition(network_config, x, quality)
    chance = jax.vmap(jax.random.uniform)(keys[:, 1])
    by_chance = (stage_of(config, position) == 1) | (chance < config.random_share)
    by_chance = by_chance[:, None, None]
    chosen = (jnp.where(by_chance, a, b) for a, b in zip(drawn, seen, strict=True))
    return Partition(*chosen)


register_schedule("two-stage", two_stage, depends_on_length=False)
