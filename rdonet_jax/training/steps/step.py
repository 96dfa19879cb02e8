"""The data-parallel step of the two-stage training.

The step is a function of one device with the named axis `sharding.AXIS`, run under `jax.pmap` or,
with `--parallel shard_map`, under `jax.jit` over a mesh. Its random choices do not depend on the
number of devices, see `draws`. So neither does the result, up to rounding. Gradients are averaged
over all devices in float32 before they are clipped.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from rdonet_jax.core import partition
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.metrics import distortion, loss
from rdonet_jax.models import registry
from rdonet_jax.nn import lapped
from rdonet_jax.runtime import multihost, parallel
from rdonet_jax.training import precision, sharding
from rdonet_jax.training.batches.crops import Batch
from rdonet_jax.training.config import TrainingConfig
from rdonet_jax.training.optimizers import optimizer
from rdonet_jax.training.steps import draws
from rdonet_jax.training.steps.train_state import TrainState


class StepValues(NamedTuple):
    """Means over the batch of one step, as arrays or as numbers. The rate is an estimate."""

    loss: Any
    bpp: Any
    mse: Any  # data range 1
    gradient_norm: Any  # before clipping
    learning_rate: Any


class StepMetrics(NamedTuple):
    """What a step returns beside the state. A leading device axis of equal entries."""

    values: StepValues
    healthy: jax.Array  # bool; False if this or an earlier step had no finite loss and gradient


class CropLosses(NamedTuple):
    """The loss of each crop and its parts, [B]. A step minimizes the mean of `loss`."""

    loss: jax.Array
    bpp: jax.Array
    mse: jax.Array


def code_crops(
    network_config: AnyConfig,
    config: TrainingConfig,
    params: Any,
    step: jax.Array,
    batch: Batch,
    position: jax.Array,
) -> CropLosses:
    """Codes every crop of a batch with the masks and the noise of this step.

    `position` is that in the schedule, in steps.
    """
    keys = jax.vmap(jax.random.split)(draws.crop_keys(config, step, batch.numbers))
    crops, sides = batch.crops, batch.crops.shape[1:3]
    sizes = draws.sizes_of_step(config, keys[:, 0], sides)
    if sizes is not None:
        crops = lapped.replicate_beyond(crops, sizes)
    x = distortion.from_integers(crops)
    quality = draws.qualities_of_step(network_config, keys[:, 0])
    levels = draws.masks_of_step(network_config, config, position, x, quality, keys[:, 0])
    if sizes is not None:
        levels = partition.exclude_padding(levels, sizes)
    dtype = precision.compute_dtype(config)
    noise = keys[:, 1] if config.rate == "noisy" else None
    coded = registry.code(
        network_config, params, x, levels, quality, noise, dtype, config.remat, sizes
    )
    pixels = math.prod(sides) if sizes is None else jnp.prod(sizes, axis=1)
    bpp = distortion.bpp((coded.y_bits, coded.z_bits), pixels)
    cost = weighted_loss(network_config, config, bpp, x, coded.x_hat, quality, sizes)
    return CropLosses(cost, bpp, distortion.mse(x, coded.x_hat, sizes))


def weighted_loss(
    network_config: AnyConfig,
    config: TrainingConfig,
    bpp: jax.Array,
    x: jax.Array,
    x_hat: jax.Array,
    quality: jax.Array | None,
    sizes: jax.Array | None = None,
) -> jax.Array:
    """The loss of each crop [B]: rate and distortion, weighted by its lambda.

    That is the run's lambda, or that of the crop's quality. Where only priors are learned, the loss
    is the rate alone.
    """
    if config.learn == "priors":
        return loss.relative_loss(bpp)
    lmbda = config.lmbda if quality is None else loss.lmbda_of(network_config, quality)
    cost = loss.rd_loss(bpp, x, x_hat, lmbda, config.metric, config.ms_ssim_share, sizes)
    return cost if quality is None else loss.relative_loss(cost)


def device_step(
    network_config: AnyConfig,
    config: TrainingConfig,
    state: TrainState,
    batch: Batch,
    position: jax.Array,
) -> tuple[TrainState, StepMetrics]:
    """One step on one device, on its share of the batch, at a position in the schedule.

    A step whose loss or gradient is not finite changes only `healthy`. Later steps change nothing,
    so the state stays the one that led to this loss.
    """
    means, gradients = mean_gradients(network_config, config, state, batch, position)
    # As one array: between hosts, many small reductions take far longer than a large one.
    flat, restored = ravel_pytree((means, gradients))
    means, gradients = restored(jax.lax.pmean(flat, sharding.AXIS))
    norm = optax.global_norm(gradients)  # its successor `optax.tree.norm` is younger than 0.2.4
    healthy = state.healthy & jnp.isfinite(means.loss) & jnp.isfinite(norm)
    new = apply_update(network_config, config, state, gradients, position)
    state = jax.tree_util.tree_map(functools.partial(jnp.where, healthy), new, state)
    rate = optimizer.learning_rate(config)(position)
    values = StepValues(means.loss, means.bpp, means.mse, norm, jnp.asarray(rate, jnp.float32))
    return state._replace(healthy=healthy), StepMetrics(values, healthy)


def mean_gradients(
    network_config: AnyConfig,
    config: TrainingConfig,
    state: TrainState,
    batch: Batch,
    position: jax.Array,
) -> tuple[CropLosses, Any]:
    """Means over a device's crops, and the gradient of the mean loss, in `accumulate` parts.

    `position` is that in the schedule, in steps.
    """

    def loss_of(params: Any, part: Batch) -> tuple[jax.Array, CropLosses]:
        params = _with_fixed_parts(network_config, config, params)
        losses = code_crops(network_config, config, params, state.step, part, position)
        means = CropLosses(*map(jnp.mean, losses))
        return means.loss, means

    def result_of(part: Batch) -> tuple[CropLosses, Any]:
        (_, means), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params, part)
        return means, gradients

    if config.accumulate == 1:
        return result_of(batch)
    parts = jax.tree_util.tree_map(
        lambda leaf: leaf.reshape(config.accumulate, -1, *leaf.shape[1:]), batch
    )
    first = jax.tree_util.tree_map(lambda leaf: leaf[0], parts)
    zeros = jax.tree_util.tree_map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(result_of, first)
    )

    def add(total: Any, part: Batch) -> tuple[Any, None]:
        return jax.tree_util.tree_map(jnp.add, total, result_of(part)), None

    total, _ = jax.lax.scan(add, zeros, parts)
    return jax.tree_util.tree_map(lambda leaf: leaf / config.accumulate, total)


def _with_fixed_parts(network_config: AnyConfig, config: TrainingConfig, params: Any) -> Any:
    """The parameters, with gradients stopped for all except those that are to learn."""
    if config.learn == "all":
        return params

    def partly_fixed(leaf: jax.Array, learns: bool | np.ndarray) -> jax.Array:
        if isinstance(learns, bool):
            return leaf if learns else jax.lax.stop_gradient(leaf)
        return jnp.where(learns, leaf, jax.lax.stop_gradient(leaf))

    mask = optimizer.trainable_mask(network_config, params, config.learn)
    if config.learn == "added":
        added = registry.family_of(network_config).added_entries(
            params, network_config, config.widened_from
        )
        mask = jax.tree_util.tree_map(lambda whole, part: whole or part, mask, added)
    return jax.tree_util.tree_map(partly_fixed, params, mask)


def apply_update(
    network_config: AnyConfig,
    config: TrainingConfig,
    state: TrainState,
    gradients: Any,
    position: jax.Array,
) -> TrainState:
    """The state after a step with these gradients, at a position in the schedule."""
    updates, held = optimizer.make(network_config, config).update(
        gradients, state.optimiser, state.params, position=position
    )
    params = optax.apply_updates(state.params, updates)
    # A smaller decay at first, so that the average forgets the initial parameters.
    decay = jnp.minimum(config.ema_decay, (1 + state.step) / (10 + state.step))
    ema = optax.incremental_update(params, state.ema, 1 - decay)
    return TrainState(state.step + 1, state.healthy, params, ema, held)


def make_step(network_config: AnyConfig, config: TrainingConfig) -> Any:
    """The step over all devices: (replicated state, batch with a device axis, position) -> (state,
    metrics).

    The state is donated. Each host passes the crops of its own devices, see `sharding.shard`. The
    position in the schedule is a float32 number, see `training.schedule_tracker`.
    """

    def step(
        state: TrainState, batch: Batch, position: jax.Array
    ) -> tuple[TrainState, StepMetrics]:
        with precision.of_step(config):
            return device_step(network_config, config, state, batch, position)

    ready = functools.partial(multihost.wait_for_all, "compiled step")
    return parallel.over_devices(
        step, config.parallel, axis_name=sharding.AXIS, in_axes=(0, 0, None), donate_argnums=(0,),
        on_compiled=ready,
    )  # fmt: skip
