"""Timed training steps, for `training.py` and `training_limits.py`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import jax

from rdonet_jax import config, data, training, training_config


class Trainer:
    """A network in training; each call goes on from where the last one has stopped."""

    def __init__(self, model: config.ModelConfig, schedule: training_config.TrainingConfig) -> None:
        self.step = training.make_step(model, schedule)
        self.state = training.replicate(training.create_state(model, schedule))

    def compiled(self, batch: data.Batch) -> jax.stages.Compiled:
        """The step for batches like this one."""
        return self.step.compiled(self.state, training.shard(batch))

    def run(self, batches: Iterator[data.Batch], count: int) -> float:
        """Seconds that so many steps take; as in a run, the devices are one step ahead at most."""
        start = time.perf_counter()
        before = None
        for batch in itertools.islice(batches, count):
            self.state, metrics = self.step(self.state, training.shard(batch))
            jax.block_until_ready(before)
            before = metrics
        jax.block_until_ready(before)
        return time.perf_counter() - start
