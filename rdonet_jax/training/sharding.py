"""The state and the batches of a training over all devices: one copy each, one share each."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from rdonet_jax.core.config import ConfigError
from rdonet_jax.runtime import parallel
from rdonet_jax.training.config import TrainingConfig

AXIS = "devices"
"""The name of the axis over all devices."""


def replicate(state: Any, kind: str = parallel.KINDS[0]) -> Any:
    """The state on every local device, with a leading device axis.

    `kind`: see `parallel.over_devices`. The axis has the same name as in the step. Otherwise the
    step would be compiled again for its own output.
    """
    devices = jax.local_device_count()
    stacked = jax.tree_util.tree_map(
        lambda leaf: np.broadcast_to(np.asarray(leaf), (devices, *np.shape(leaf))), state
    )
    return parallel.over_devices(lambda leaf: leaf, kind, axis_name=AXIS)(stacked)


def unreplicate(state: Any) -> Any:
    """The first local device's copy as NumPy arrays, without the device axis."""
    # Through its buffer, since an index would be compiled for every shape.
    return jax.tree_util.tree_map(
        lambda leaf: np.asarray(leaf.addressable_shards[0].data)[0], state
    )


def require_divisible(config: TrainingConfig) -> None:
    """Raises `ConfigError` unless a batch can be divided equally over the devices and parts."""
    devices, parts = jax.device_count(), config.accumulate
    if config.batch_size % (devices * parts):
        among = f"{devices} devices" + (f" in {parts} parts each" if parts > 1 else "")
        raise ConfigError(f"a batch of {config.batch_size} does not divide over {among}")


def shard(batch: Any) -> Any:
    """Reshapes a tree of this host's arrays, [N, ...] to [local devices, N / devices, ...]."""
    devices = jax.local_device_count()
    return jax.tree_util.tree_map(lambda leaf: leaf.reshape(devices, -1, *leaf.shape[1:]), batch)


def unsharded(batch: Any) -> Any:
    """The inverse of `shard`, on the host."""
    return jax.tree_util.tree_map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]), batch)
