"""Training: the state and the data-parallel step of the two-stage schedule.

The step is a function of one device with the named axis `AXIS`, run under `jax.pmap` or, with
`--parallel shard_map`, under `jax.jit` over a mesh. Every random choice is a function of (seed,
step, number of the crop in the whole batch), so the result does not depend on the number of
devices, up to rounding. Gradients are averaged over all devices in float32 before they are clipped.
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

from rdonet_jax.core import compilation, multihost, partition
from rdonet_jax.core.config import AnyConfig, ConfigError
from rdonet_jax.metrics import distortion, loss
from rdonet_jax.models import registry, zoo
from rdonet_jax.nn import lapped
from rdonet_jax.training import masks, optimizer, precision
from rdonet_jax.training.config import STARTS, TrainingConfig
from rdonet_jax.training.crops import Batch

AXIS = "devices"

MOST_CUT = partition.BLOCK - 1
"""The most pixels of padding that an image can have at its bottom or right."""

ENDS = 0x656E6473
"""Folded into a crop's key to draw where its image ends, apart from the key of the masks.

`fold_in(key, i)` with a small i is what `split(key)[i]` gives, which a schedule of the masks draws
from.
"""

QUALITY = 0x7175616C
"""Folded into a crop's key to draw its quality, for the same reason."""


class TrainState(NamedTuple):
    """Everything that a step changes. The names are part of checkpoints."""

    step: jax.Array  # int32, steps done
    healthy: jax.Array  # bool; once False, steps change nothing
    params: Any
    ema: Any  # exponential moving average of the parameters, which is validated and exported
    optimiser: Any


class StepMetrics(NamedTuple):
    """Means over the whole batch, with estimated rates. A leading device axis of equal entries."""

    loss: jax.Array
    bpp: jax.Array
    mse: jax.Array  # data range 1
    gradient_norm: jax.Array  # before clipping
    learning_rate: jax.Array
    healthy: jax.Array  # bool; False if this or an earlier step had no finite loss and gradient


class CropLosses(NamedTuple):
    """The loss of each crop and its parts, [B]. A step minimizes the mean of `loss`."""

    loss: jax.Array
    bpp: jax.Array
    mse: jax.Array


def create_state(model: AnyConfig, config: TrainingConfig) -> TrainState:
    """The state before the first step.

    Raises `ConfigError` for a start that does not fit the model, `ZooError` for missing weights.
    """
    return state_of(config, starting_params(model, config))


def starting_params(model: AnyConfig, config: TrainingConfig) -> Any:
    """The initial parameters by `config.start`. Raises as `create_state` does."""
    family = registry.family_of(model)
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
    key = jax.random.key(config.seed)
    if config.start not in STARTS:
        params = _params_of(zoo.load(config.start), model, config.start)
        restarts = config.learn != "all" and config.hyperpriors == "restart"
        return family.reinit_priors(params, model, key) if restarts else params
    params = family.init_params(model, key)
    if config.start == "random":
        return params
    if not metric.scaled_as_mse:
        raise ConfigError("the linear start is made for the MSE; use the random start")
    return family.linear_start(params, model, config.lmbda)


def _params_of(weights: zoo.Model, model: AnyConfig, source: str) -> Any:
    """Parameters to continue from. Thresholds and the range of lambdas may differ."""
    family = registry.family_of(model)
    found = None
    if registry.family_of(weights.config) is family:
        found = family.convert_params(weights.params, weights.config, model)
    if found is None:
        raise ConfigError(f"{source}: holds a network of another configuration")
    return found


def state_of(config: TrainingConfig, params: Any) -> TrainState:
    """The state of a run that starts with `params`."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        healthy=jnp.ones((), bool),
        params=params,
        ema=jax.tree_util.tree_map(jnp.array, params),
        optimiser=optimizer.make(config).init(params),
    )


def crop_keys(config: TrainingConfig, step: jax.Array, numbers: jax.Array) -> jax.Array:
    """One key for each crop of a step, by its number in the whole batch."""
    key = jax.random.fold_in(jax.random.key(config.seed), step)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)


def masks_of_step(
    model: AnyConfig,
    config: TrainingConfig,
    position: jax.Array,
    x: jax.Array,
    quality: jax.Array | None,
    keys: jax.Array,
) -> tuple[jax.Array, ...]:
    """Level masks for a batch by the run's schedule, see `rdonet_jax.training.masks`.

    A model without levels has the same masks always.
    """
    if not registry.family_of(model).has_levels(model):
        return partition.level_masks(registry.variance_partition(model, x))
    p = masks.SCHEDULES[config.masks](model, config, position, x, quality, keys)
    return partition.level_masks(partition.obey_parents(p))


def qualities_of_step(model: AnyConfig, keys: jax.Array) -> jax.Array | None:
    """A random quality for each crop, uniform over the scale; None for a fixed-rate model."""
    if not registry.family_of(model).variable_rate:
        return None
    most = model.steps_of_quality
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, QUALITY)
    return jax.vmap(lambda key: jax.random.randint(key, (), 0, most + 1))(keys)


def sizes_of_step(
    config: TrainingConfig, keys: jax.Array, sides: tuple[int, int]
) -> jax.Array | None:
    """Height and width of the image within each crop, int32 [B, 2]; None if all fill their crops.

    A share `cut_share` of the images ends up to `MOST_CUT` pixels before the crop does, uniformly
    drawn for each axis. So the network learns to code images that end within their padding. With
    MS-SSIM in the loss, images stay large enough for its scales.
    """
    if not config.cut_share:
        return None
    terms = loss.named(config.metric).terms(config.ms_ssim_share)
    least = max(term.distortion.smallest_end for term in terms)
    most = np.clip(np.array(sides) - least, 0, MOST_CUT)

    def one(key: jax.Array) -> jax.Array:
        chance, places = jax.random.split(jax.random.fold_in(key, ENDS))
        cut = jax.random.randint(places, (2,), 0, most + 1)
        return np.array(sides) - jnp.where(jax.random.uniform(chance) < config.cut_share, cut, 0)

    return jax.vmap(one)(keys)


def crop_losses(
    model: AnyConfig,
    config: TrainingConfig,
    params: Any,
    step: jax.Array,
    batch: Batch,
    position: jax.Array | None = None,
) -> CropLosses:
    """The loss of every crop of a batch, with the masks and the noise of this step.

    `position` is that in the schedule, by default the number of steps done.
    """
    keys = jax.vmap(jax.random.split)(crop_keys(config, step, batch.numbers))
    crops, sides = batch.crops, batch.crops.shape[1:3]
    sizes = sizes_of_step(config, keys[:, 0], sides)
    if sizes is not None:
        crops = lapped.replicate_beyond(crops, sizes)
    x = distortion.from_integers(crops)
    quality = qualities_of_step(model, keys[:, 0])
    position = step if position is None else position
    levels = masks_of_step(model, config, position, x, quality, keys[:, 0])
    if sizes is not None:
        levels = partition.exclude_padding(levels, sizes)
    dtype = precision.compute_dtype(config)
    noise = keys[:, 1] if config.rate == "noisy" else None
    coded = registry.code(model, params, x, levels, quality, noise, dtype, config.remat, sizes)
    pixels = math.prod(sides) if sizes is None else jnp.prod(sizes, axis=1)
    bpp = distortion.bpp((coded.y_bits, coded.z_bits), pixels)
    cost = crop_loss(model, config, bpp, x, coded.x_hat, quality, sizes)
    return CropLosses(cost, bpp, distortion.mse(x, coded.x_hat, sizes))


def crop_loss(
    model: AnyConfig,
    config: TrainingConfig,
    bpp: jax.Array,
    x: jax.Array,
    x_hat: jax.Array,
    quality: jax.Array | None,
    sizes: jax.Array | None = None,
) -> jax.Array:
    """Rate and distortion [B] weighed by the run's lambda, or by that of each crop's quality.

    The rate alone, where only priors are learned.
    """
    if config.learn == "priors":
        return loss.relative_loss(bpp)
    lmbda = config.lmbda if quality is None else loss.lmbda_of(model, quality)
    cost = loss.rd_loss(bpp, x, x_hat, lmbda, config.metric, config.ms_ssim_share, sizes)
    return cost if quality is None else loss.relative_loss(cost)


def device_step(
    model: AnyConfig, config: TrainingConfig, state: TrainState, batch: Batch, position: jax.Array
) -> tuple[TrainState, StepMetrics]:
    """One step on one device, on its share of the batch, at a position in the schedule.

    A step whose loss or gradient is not finite changes only `healthy`. Later steps change nothing,
    so the state stays the one that led to this loss.
    """
    means, gradients = _mean_gradients(model, config, state, batch, position)
    # As one array: between hosts, many small reductions take far longer than a large one.
    flat, restored = ravel_pytree((means, gradients))
    means, gradients = restored(jax.lax.pmean(flat, AXIS))
    norm = optax.global_norm(gradients)  # its successor `optax.tree.norm` is younger than 0.2.4
    healthy = state.healthy & jnp.isfinite(means.loss) & jnp.isfinite(norm)
    new = _updated(config, state, gradients, position)
    state = jax.tree_util.tree_map(functools.partial(jnp.where, healthy), new, state)
    rate = optimizer.learning_rate(config)(position)
    metrics = StepMetrics(*means, norm, jnp.asarray(rate, jnp.float32), healthy)
    return state._replace(healthy=healthy), metrics


def _mean_gradients(
    model: AnyConfig,
    config: TrainingConfig,
    state: TrainState,
    batch: Batch,
    position: jax.Array | None = None,
) -> tuple[CropLosses, Any]:
    """Means over a device's crops, and the gradient of the mean loss, in `accumulate` parts."""

    def loss_of(params: Any, part: Batch) -> tuple[jax.Array, CropLosses]:
        params = _with_fixed_parts(model, config, params)
        losses = crop_losses(model, config, params, state.step, part, position)
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


def _with_fixed_parts(model: AnyConfig, config: TrainingConfig, params: Any) -> Any:
    """The parameters, with gradients stopped for all except those that are to learn."""
    if config.learn == "all":
        return params

    def partly_fixed(leaf: jax.Array, learns: bool | np.ndarray) -> jax.Array:
        if isinstance(learns, bool):
            return leaf if learns else jax.lax.stop_gradient(leaf)
        return jnp.where(learns, leaf, jax.lax.stop_gradient(leaf))

    learning = optimizer.learning(params, config.learn)
    if config.learn == "added":
        added = registry.family_of(model).added_entries(params, model, config.widened_from)
        learning = jax.tree_util.tree_map(lambda whole, part: whole or part, learning, added)
    return jax.tree_util.tree_map(partly_fixed, params, learning)


def _updated(
    config: TrainingConfig, state: TrainState, gradients: Any, position: jax.Array | None = None
) -> TrainState:
    updates, held = optimizer.make(config).update(
        gradients, state.optimiser, state.params, position=position
    )
    params = optax.apply_updates(state.params, updates)
    # A smaller decay at first, so that the average forgets the initial parameters.
    decay = jnp.minimum(config.ema_decay, (1 + state.step) / (10 + state.step))
    ema = optax.incremental_update(params, state.ema, 1 - decay)
    return TrainState(state.step + 1, state.healthy, params, ema, held)


def make_step(model: AnyConfig, config: TrainingConfig) -> Any:
    """The step over all devices: (replicated state, batch with a device axis, position) -> (state,
    metrics).

    The state is donated. Each host passes the crops of its own devices, see `shard`. The position
    in the schedule is a float32 number, see `training.pace`.
    """

    def step(
        state: TrainState, batch: Batch, position: jax.Array
    ) -> tuple[TrainState, StepMetrics]:
        with precision.of_step(config):
            return device_step(model, config, state, batch, position)

    ready = functools.partial(multihost.wait_for_all, "compiled step")
    return compilation.parallel(
        step, config.parallel, axis_name=AXIS, in_axes=(0, 0, None), donate_argnums=(0,),
        on_compiled=ready,
    )  # fmt: skip


def replicate(state: Any, kind: str = compilation.PARALLEL[0]) -> Any:
    """The state on every local device, with a leading device axis. `kind`: see `parallel`.

    The axis has the same name as in the step. Otherwise the step would be compiled again for its
    own output.
    """
    devices = jax.local_device_count()
    stacked = jax.tree_util.tree_map(
        lambda leaf: np.broadcast_to(np.asarray(leaf), (devices, *np.shape(leaf))), state
    )
    return compilation.parallel(lambda leaf: leaf, kind, axis_name=AXIS)(stacked)


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


def is_finite(state: Any) -> bool:
    """Whether all numbers of an unreplicated state are finite."""
    leaves = jax.tree_util.tree_leaves(state)
    return all(np.isfinite(np.asarray(leaf)).all() for leaf in leaves)
