"""Whether a run that has done some of its steps can continue with stages of another length.

It can if all steps done would have had the same stage, the same masks and the same learning rate
with the new length. So a run that is made longer equals a run that had this length from the start.
With the constant schedule the length of stage 2 can be changed. With the other schedules the
learning rate decays over the whole run or, with the switch "restart", over each stage.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.training import masks
from rdonet_jax.training.config import TrainingConfig
from rdonet_jax.training.optimizers import optimizer


def with_length_of(config: TrainingConfig, other: TrainingConfig) -> TrainingConfig:
    """The configuration with the numbers of steps of the other."""
    return dataclasses.replace(
        config, stage1_steps=other.stage1_steps, stage2_steps=other.stage2_steps
    )


def objection(held: TrainingConfig, new: TrainingConfig, done: int) -> str | None:
    """Why a run cannot continue with the stages of `new` after `done` steps; None if it can.

    The configurations must differ only in the lengths of their stages.
    """
    change = (
        f"stage1_steps: {held.stage1_steps} then, {new.stage1_steps} now, "
        f"stage2_steps: {held.stage2_steps} then, {new.stage2_steps} now"
    )
    if held.minutes:
        return f"the run goes by the clock and keeps the shares of its stages ({change})"
    if new.steps < done:
        return f"the run has done {done} steps and cannot end after {new.steps} ({change})"
    if not done:
        return None
    steps = np.arange(done, dtype=np.int32)
    if np.any(masks.stage_of(held, steps) != masks.stage_of(new, steps)):
        return (
            f"the run cannot have another length ({change}): of the {done} steps that it has done "
            "some would have belonged to the other stage; give --stage1-steps "
            f"{held.stage1_steps} and change --stage2-steps alone"
        )
    if masks.depends_on_length(held.masks):
        return (
            f"the run cannot have another length ({change}): with the schedule of masks "
            f"{held.masks!r} the {done} steps that it has done could have had other masks; export "
            "its weights and begin a new run with --start"
        )
    if np.any(_rates(held, steps) != _rates(new, steps)):
        return (
            f"the run cannot have another length ({change}): with the {held.schedule} schedule and "
            f"{held.warmup_steps} steps of warm-up the {done} steps that it has done would have "
            "had other learning rates; export its weights and begin a new run with --start"
        )
    return None


def _rates(config: TrainingConfig, steps: np.ndarray) -> np.ndarray:
    rate = optimizer.learning_rate(config)
    return np.asarray(jax.vmap(lambda step: jnp.asarray(rate(step), jnp.float32))(steps))
