"""Timed training steps, for `training.py` and `training_limits.py`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import jax
import numpy as np

from rdonet_jax.core import config
from rdonet_jax.training import config as training_config
from rdonet_jax.training import sharding
from rdonet_jax.training.batches import crops
from rdonet_jax.training.steps import step as training_step
from rdonet_jax.training.steps import train_state


class Trainer:
    """A network in training. Each call continues from the state after the last one."""

    def __init__(
        self, network_config: config.RDONetConfig, schedule: training_config.TrainingConfig
    ) -> None:
        self.step = training_step.make_step(network_config, schedule)
        self.state = sharding.replicate(train_state.create_state(network_config, schedule))
        self.done = 0

    def compiled(self, batch: crops.Batch) -> jax.stages.Compiled:
        """Compiles the step for batches like this one."""
        return self.step.compiled(self.state, sharding.shard(batch), np.float32(0))

    def run(self, batches: Iterator[crops.Batch], count: int) -> float:
        """Seconds of so many steps. As in a run, the devices are at most one step ahead."""
        start = time.perf_counter()
        before = None
        for batch in itertools.islice(batches, count):
            position = np.float32(self.done)
            self.state, metrics = self.step(self.state, sharding.shard(batch), position)
            self.done += 1
            jax.block_until_ready(before)
            before = metrics
        jax.block_until_ready(before)
        return time.perf_counter() - start
