"""Training: the state, the data-parallel step of the two-stage schedule, checkpoints.

The step is a per-device function with the named axis `AXIS`, run under `jax.pmap`. Every random
choice hangs on (seed, step, number of the crop in the whole batch), so one device and eight do the
same up to rounding. Gradients are averaged over devices before they are clipped.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp

from rdonet_jax import objective, partition, zoo
from rdonet_jax.config import ConfigError, ModelConfig, TrainingConfig
from rdonet_jax.models import linear, rdonet

AXIS = "devices"


class TrainState(NamedTuple):
    """Everything that a step changes."""

    step: jax.Array  # int32, steps done
    params: Any
    ema: Any  # averaged parameters, what is validated and shipped
    optimiser: Any


class StepMetrics(NamedTuple):
    """Means over the whole batch; estimated rates."""

    loss: jax.Array
    bpp: jax.Array
    mse: jax.Array  # data range 1
    gradient_norm: jax.Array  # before clipping


class Validation(NamedTuple):
    """Means over the validation crops with variance masks and rounded latents."""

    loss: float
    bpp: float
    psnr: float
    shares: tuple[float, float, float]  # of the area, by level


def make_optimiser(config: TrainingConfig) -> optax.GradientTransformation:
    """Adam with a warm-up and cosine decay, behind clipping by the global norm."""
    warmup = min(config.warmup_steps, config.steps - 1)
    rate = optax.warmup_cosine_decay_schedule(
        init_value=config.learning_rate / max(warmup, 1),
        peak_value=config.learning_rate,
        warmup_steps=warmup,
        decay_steps=config.steps,
        end_value=config.learning_rate * config.final_rate,
    )
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optax.adam(rate))


def create_state(model: ModelConfig, config: TrainingConfig) -> TrainState:
    """The state before the first step.

    Raises `ConfigError` for a start that cannot be made, `ZooError` for weights that are not there.
    """
    return state_of(config, starting_params(model, config))


def starting_params(model: ModelConfig, config: TrainingConfig) -> Any:
    """Parameters by `config.start`; raises as `create_state` does."""
    if config.start not in ("linear", "random"):
        weights = zoo.load(config.start)
        if dataclasses.replace(weights.config, thresholds=model.thresholds) != model:
            raise ConfigError(f"{config.start}: holds a network of another configuration")
        return jax.tree_util.tree_map(jnp.asarray, weights.params)
    params = rdonet.initialise(model, jax.random.key(config.seed))
    if config.start == "random":
        return params
    if config.metric != "mse":
        raise ConfigError("the linear start is made for the MSE; use the random start")
    return linear.initialise(params, model, config.lmbda)


def state_of(config: TrainingConfig, params: Any) -> TrainState:
    """The state of a run that begins with `params`."""
    ema = jax.tree_util.tree_map(jnp.array, params)
    optimiser = make_optimiser(config).init(params)
    return TrainState(jnp.zeros((), jnp.int32), params, ema, optimiser)


def crop_keys(config: TrainingConfig, step: jax.Array, indices: jax.Array) -> jax.Array:
    """One key for each crop of a step, by its number in the whole batch."""
    key = jax.random.fold_in(jax.random.key(config.seed), step)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, indices)


def masks_of_step(
    model: ModelConfig, config: TrainingConfig, step: jax.Array, x: jax.Array, keys: jax.Array
) -> tuple[jax.Array, ...]:
    """Level masks for a batch: random in stage 1, in stage 2 for `random_share` of the crops.

    All others are variance-based.
    """
    grid = partition.grid_of(*x.shape[1:3])
    keys = jax.vmap(jax.random.split)(keys)
    drawn = jax.vmap(lambda key: partition.random(key, grid))(keys[:, 0])
    seen = partition.variance(x, model.thresholds)
    chance = jax.vmap(jax.random.uniform)(keys[:, 1])
    by_chance = (step < config.stage1_steps) | (chance < config.random_share)
    by_chance = by_chance[:, None, None]
    chosen = (jnp.where(by_chance, a, b) for a, b in zip(drawn, seen, strict=True))
    return partition.level_masks(partition.Partition(*chosen))


def device_step(
    model: ModelConfig, config: TrainingConfig, state: TrainState, crops: jax.Array
) -> tuple[TrainState, StepMetrics]:
    """One step on one device: crops uint8 [B, crop, crop, 3] of this device's share."""
    x = crops.astype(jnp.float32) / 255.0
    indices = jax.lax.axis_index(AXIS) * len(x) + jnp.arange(len(x))
    keys = jax.vmap(functools.partial(jax.random.split, num=2))(
        crop_keys(config, state.step, indices)
    )
    masks = masks_of_step(model, config, state.step, x, keys[:, 0])

    def loss_of(params):
        coded = rdonet.network(model).apply({"params": params}, x, masks, keys[:, 1], method="code")
        bpp = objective.bpp((coded.y_bits, coded.z_bits), x.shape[1] * x.shape[2])
        loss = objective.rd_loss(bpp, x, coded.x_hat, config.lmbda, config.metric)
        return jnp.mean(loss), (jnp.mean(bpp), jnp.mean(objective.mse(x, coded.x_hat)))

    (loss, (bpp, mse)), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    loss, bpp, mse, gradients = jax.lax.pmean((loss, bpp, mse, gradients), AXIS)
    metrics = StepMetrics(loss, bpp, mse, optax.global_norm(gradients))
    return _updated(config, state, gradients), metrics


def _updated(config: TrainingConfig, state: TrainState, gradients: Any) -> TrainState:
    updates, optimiser = make_optimiser(config).update(gradients, state.optimiser, state.params)
    params = optax.apply_updates(state.params, updates)
    # A short memory at first, so that the average does not hang on the starting point.
    decay = jnp.minimum(config.ema_decay, (1 + state.step) / (10 + state.step))
    ema = optax.incremental_update(params, state.ema, 1 - decay)
    return TrainState(state.step + 1, params, ema, optimiser)


def make_step(model: ModelConfig, config: TrainingConfig) -> Any:
    """The step over all local devices: (replicated state, [devices, B, ...]) -> the same.

    The state is donated.
    """
    step = functools.partial(device_step, model, config)
    return jax.pmap(step, axis_name=AXIS, donate_argnums=(0,))


def replicate(state: TrainState) -> TrainState:
    """The state on every local device, with a leading device axis.

    The axis has the step's name: the step would be compiled anew for its own output otherwise.
    """
    devices = jax.local_device_count()
    stacked = jax.tree_util.tree_map(
        lambda leaf: np.broadcast_to(np.asarray(leaf), (devices, *np.shape(leaf))), state
    )
    return jax.pmap(lambda leaf: leaf, axis_name=AXIS)(stacked)


def unreplicate(state: Any) -> Any:
    """The first device's copy, without the device axis."""
    return jax.tree_util.tree_map(lambda leaf: leaf[0], state)


def shard(crops: np.ndarray) -> np.ndarray:
    """[N, ...] -> [devices, N / devices, ...]. Raises `ConfigError` when N does not divide."""
    devices = jax.local_device_count()
    if len(crops) % devices:
        raise ConfigError(f"a batch of {len(crops)} does not divide over {devices} devices")
    return crops.reshape(devices, -1, *crops.shape[1:])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _validate_batch(
    model: ModelConfig, config: TrainingConfig, params: Any, crops: jax.Array
) -> tuple[jax.Array, ...]:
    x = crops.astype(jnp.float32) / 255.0
    masks = partition.level_masks(partition.variance(x, model.thresholds))
    coded = rdonet.network(model).apply({"params": params}, x, masks, method="code")
    bpp = objective.bpp((coded.y_bits, coded.z_bits), x.shape[1] * x.shape[2])
    x_hat = objective.round_to_8_bit(coded.x_hat)
    loss = objective.rd_loss(bpp, x, x_hat, config.lmbda, config.metric)
    shares = jnp.stack([jnp.mean(m, axis=(1, 2)) for m in masks], axis=-1)
    return loss, bpp, objective.psnr(x, x_hat), shares


def validate(
    model: ModelConfig, config: TrainingConfig, params: Any, crops: np.ndarray
) -> Validation:
    """Estimated rate and 8-bit PSNR on crops uint8 [N, ...]; one batch size, so one compilation."""
    size = config.batch_size
    padded = np.concatenate([crops, np.repeat(crops[-1:], -len(crops) % size, axis=0)])
    starts = range(0, len(padded), size)
    parts = [_validate_batch(model, config, params, padded[s : s + size]) for s in starts]
    loss, bpp, psnr, shares = (
        np.concatenate(part)[: len(crops)] for part in zip(*parts, strict=True)
    )
    return Validation(
        float(loss.mean()), float(bpp.mean()), float(psnr.mean()), tuple(shares.mean(0).tolist())
    )


def is_finite(state: TrainState) -> bool:
    """Whether all numbers of an unreplicated state are finite."""
    leaves = jax.tree_util.tree_leaves(state)
    return all(np.isfinite(np.asarray(leaf)).all() for leaf in leaves)


def open_checkpoints(directory: Path, keep: int = 2) -> ocp.CheckpointManager:
    """The checkpoints of a run, by step; the newest `keep` stay."""
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
    return ocp.CheckpointManager(directory.absolute(), options=options)


def save_state(checkpoints: ocp.CheckpointManager, state: TrainState) -> None:
    """Writes a checkpoint of an unreplicated state, in the background."""
    checkpoints.save(int(state.step), args=ocp.args.StandardSave(state._asdict()))


def restore_state(
    checkpoints: ocp.CheckpointManager, model: ModelConfig, config: TrainingConfig
) -> TrainState:
    """The newest checkpoint. Raises `FileNotFoundError` when there is none."""
    step = checkpoints.latest_step()
    if step is None:
        raise FileNotFoundError(f"{checkpoints.directory}: there is no checkpoint to resume from")
    template = jax.eval_shape(
        lambda: state_of(config, rdonet.initialise(model, jax.random.key(0)))
    )._asdict()
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    template = jax.tree_util.tree_map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), template
    )
    return TrainState(**checkpoints.restore(step, args=ocp.args.StandardRestore(template)))
