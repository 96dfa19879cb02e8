"""What a training step draws for each of its crops: masks, quality, and where the image ends.

Each draw is a function of (seed, step, number of the crop in the whole batch). So it does not
depend on the number of devices.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core import partition
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.metrics import loss
from rdonet_jax.models import registry
from rdonet_jax.training import masks
from rdonet_jax.training.config import TrainingConfig

MOST_CUT = partition.BLOCK - 1
"""The most pixels of padding that an image can have at its bottom or right."""

ENDS = 0x656E6473
"""Folded into a crop's key to draw where its image ends, apart from the key of the masks.

`fold_in(key, i)` with a small i is what `split(key)[i]` gives, which a schedule of the masks draws
from.
"""

QUALITY = 0x7175616C
"""Folded into a crop's key to draw its quality, for the same reason."""


def crop_keys(config: TrainingConfig, step: jax.Array, numbers: jax.Array) -> jax.Array:
    """One key for each crop of a step, by its number in the whole batch."""
    key = jax.random.fold_in(jax.random.key(config.seed), step)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)


def masks_of_step(
    network_config: AnyConfig,
    config: TrainingConfig,
    position: jax.Array,
    x: jax.Array,
    quality: jax.Array | None,
    keys: jax.Array,
) -> tuple[jax.Array, ...]:
    """Level masks for a batch by the run's schedule, see `rdonet_jax.training.masks`.

    A model without levels has the same masks always.
    """
    if not registry.family_of(network_config).has_levels(network_config):
        return partition.level_masks(registry.variance_partition(network_config, x))
    p = masks.SCHEDULES[config.masks](network_config, config, position, x, quality, keys)
    return partition.level_masks(partition.obey_parents(p))


def qualities_of_step(network_config: AnyConfig, keys: jax.Array) -> jax.Array | None:
    """A random quality for each crop, uniform over the scale; None for a fixed-rate model."""
    if not registry.family_of(network_config).variable_rate:
        return None
    most = network_config.steps_of_quality
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
        chance, amounts = jax.random.split(jax.random.fold_in(key, ENDS))
        cut = jax.random.randint(amounts, (2,), 0, most + 1)
        return jnp.array(sides) - jnp.where(jax.random.uniform(chance) < config.cut_share, cut, 0)

    return jax.vmap(one)(keys)
