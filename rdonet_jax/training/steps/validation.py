"""Validation during training: rate and quality on crops that are not trained on, on all devices.

As in use, it has the averaged parameters, variance masks, rounded latents and float32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core import partition
from rdonet_jax.core.config import QUALITY_SEGMENT, AnyConfig
from rdonet_jax.metrics import distortion
from rdonet_jax.models import hierarchy, registry
from rdonet_jax.runtime import compilation, multihost, parallel
from rdonet_jax.training import precision, sharding
from rdonet_jax.training.config import TrainingConfig
from rdonet_jax.training.steps.step import weighted_loss


class Validation(NamedTuple):
    """Means over the validation crops. The rate is an estimate."""

    loss: float
    bpp: float
    psnr: float  # of 8-bit images
    shares: tuple[float, float, float]  # of the area, by level


class Preview(NamedTuple):
    """Validation crops, decoded crops and maps, for TensorBoard."""

    x: np.ndarray  # uint8 [N, H, W, 3]
    x_hat: np.ndarray  # uint8 [N, H, W, 3]
    levels: np.ndarray  # uint8 [N, H/16, W/16], the level that codes each 16x16 pixels
    density: np.ndarray  # float32 [N, H/16, W/16], bits per pixel spent there (estimate)


class _Coded(NamedTuple):
    """Crops [N, H, W, 3] in [0, 1], and the results of the network."""

    x: jax.Array
    quality: jax.Array | None
    partition: partition.Partition
    coded: hierarchy.Coded


def _code(network_config: AnyConfig, params: Any, crops: jax.Array, numbers: jax.Array) -> _Coded:
    x = distortion.from_integers(crops)
    quality = _qualities(network_config, numbers)
    chosen = registry.variance_partition(network_config, x, quality)
    coded = registry.code(network_config, params, x, partition.level_masks(chosen), quality)
    return _Coded(x, quality, chosen, coded)


def _qualities(network_config: AnyConfig, numbers: jax.Array) -> jax.Array | None:
    """The quality of each coding for a variable-rate model: the knots in turn; None for others."""
    if not registry.family_of(network_config).variable_rate:
        return None
    return (numbers % network_config.knots) * QUALITY_SEGMENT


def _codings(network_config: AnyConfig, crops: int) -> int:
    """How many times a crop is coded in a validation with so many crops.

    Every crop once, and the first ones again until each knot of a variable-rate model has the same
    number. Otherwise some qualities would count less for the best checkpoint, or not at all.
    """
    knots = network_config.knots if registry.family_of(network_config).variable_rate else 1
    return crops + -crops % knots


def make(
    network_config: AnyConfig, config: TrainingConfig, crops: np.ndarray
) -> Callable[[Any], Validation]:
    """A function that validates replicated averaged parameters on the crops uint8 [N, ...].

    Every host holds all crops and computes a share of them. All hosts get the same result. The last
    batch is filled up to the size of the others, so that there is one compilation. What fills it up
    does not count.
    """

    def batch_sums(params: Any, crops: jax.Array, numbers: jax.Array) -> jax.Array:
        with precision.float32_products():
            values = _values(network_config, config, params, crops, numbers)
        return jax.lax.psum(jnp.sum(jnp.where(numbers < count, values, 0.0), axis=1), sharding.AXIS)

    count = _codings(network_config, len(crops))
    ready = functools.partial(multihost.wait_for_all, "compiled validation")
    summed = parallel.over_devices(
        batch_sums, config.parallel, axis_name=sharding.AXIS, on_compiled=ready
    )
    batches = [sharding.shard(batch) for batch in _batches(crops, count, config.batch_size)]

    def validate(params: Any) -> Validation:
        # Started all together, so that the devices do not wait for the host between batches.
        found = np.array(jax.device_get([summed(params, *batch) for batch in batches]), np.float64)
        sums = found.sum(axis=0)
        loss, bpp, psnr, *shares = (sums[0] / count).tolist()
        return Validation(loss, bpp, psnr, tuple(shares))

    return validate


def _values(
    network_config: AnyConfig,
    config: TrainingConfig,
    params: Any,
    crops: jax.Array,
    numbers: jax.Array,
) -> jax.Array:
    """The numbers of a `Validation` for each crop, [6, N]."""
    x, quality, chosen, coded = _code(network_config, params, crops, numbers)
    bpp = distortion.bpp((coded.y_bits, coded.z_bits), x.shape[1] * x.shape[2])
    x_hat = distortion.round_to_8_bit(coded.x_hat)
    loss = weighted_loss(network_config, config, bpp, x, x_hat, quality)
    shares = [jnp.mean(mask, axis=(1, 2)) for mask in partition.level_masks(chosen)]
    return jnp.stack([loss, bpp, distortion.psnr(x, x_hat), *shares])


def _batches(crops: np.ndarray, count: int, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """This host's share of `count` codings of the crops in turn, in batches, with their numbers.

    What fills up the last batch has numbers from `count` on.
    """
    numbers = np.arange(count + -count % size, dtype=np.int32)
    share = size // jax.process_count()
    starts = range(jax.process_index() * share, len(numbers), size)
    shares = [numbers[start : start + share] for start in starts]
    return [(crops[own % len(crops)], own) for own in shares]


@functools.partial(compilation.jit, static_argnums=0)
def _previewed(network_config: AnyConfig, params: Any, crops: jax.Array) -> tuple[jax.Array, ...]:
    with precision.float32_products():
        _, _, chosen, coded = _code(network_config, params, crops, jnp.arange(len(crops)))
    masks = partition.level_masks(chosen)
    bits = partition.bits_by_area(masks, coded.y_bits, coded.z_bits)
    density = bits / partition.STRIDES[0] ** 2
    return distortion.to_8_bit(coded.x_hat), partition.level_map(chosen), density


def preview(network_config: AnyConfig, params: Any, crops: np.ndarray) -> Preview:
    """The crops, uint8 [N, H, W, 3], coded with unreplicated parameters."""
    return Preview(crops, *map(np.asarray, _previewed(network_config, params, crops)))
