"""The numbers that define the integer prior of a portable model, for every engine.

They are part of the file format: docs/format.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rdonet_jax.core.config import ConfigError, PortableConfig
from rdonet_jax.entropy import distributions
from rdonet_jax.nn.integer_format import MAX_INPUTS, OCTAVE

GRID_BITS = 4
GRID = 2**GRID_BITS
"""mu lies on multiples of 1/16."""

LARGEST_SYMBOL = 1000
"""Symbols are clipped to it where networks see them; decoding does not clip."""

Parity = tuple[int, int]
"""Parity of row and of column, which names one of the four planes."""

DECODE_ORDER: Mapping[int, tuple[tuple[Parity, ...], ...]] = {
    1: (((0, 0), (0, 1), (1, 0), (1, 1)),),
    2: (((0, 0), (1, 1)), ((0, 1), (1, 0))),
    4: (((0, 0),), ((1, 1),), ((0, 1),), ((1, 0),)),
}
"""The planes of each step of decoding, by the number of steps."""

PLANES: tuple[Parity, ...] = ((0, 0), (0, 1), (1, 0), (1, 1))

EMBEDDING_BITS, CONTEXT_BITS, HIDDEN_BITS, Z_BITS = 7, 8, 7, 7
MU_BITS, SCALE_BITS = 9, 7
WEIGHT_BITS: Mapping[str, int] = {
    "from_z": Z_BITS,
    "from_coarser": CONTEXT_BITS,
    "embed": EMBEDDING_BITS,
    "first": CONTEXT_BITS,
    "second": HIDDEN_BITS,
    "to_mu": MU_BITS,
    "to_scale": SCALE_BITS,
    "group_first": HIDDEN_BITS,
    "group_to_mu": MU_BITS,
    "group_to_scale": SCALE_BITS,
}
"""By layer: a weight of 1.0 is the integer 2**bits."""

MU_SHIFT = 5  # from sums to 1/16 of the networks' units
SCALE_SHIFT = 5  # from sums to 1/16 of a table entry
LOG_BITS = 8  # of the fraction of gains and units, which are log2
FRACTION_BITS = 4  # of a table entry
INDEX_FRACTION = 2**FRACTION_BITS
Z_UNIT = 8  # integers that the networks see, per step of z
ENCODER_UNIT = 32  # units of the networks, per unit of the input of the hyper-encoder
UNIT_RANGE = 8.0
"""The range of 8-bit activations, in standard deviations that y has at the start of training."""

Z_INDEX_BITS = 7
LARGEST_Z_INDEX = 2**12
"""Of `z_index` as integers, in sixteenths of a table entry."""

Z_INDEX_UNIT = 2**Z_INDEX_BITS / 2**FRACTION_BITS
"""Table entries per unit of `z_index`."""

Z_INDEX = 3.6
"""Initial `z_index`, for deviations of z of two to three steps."""

INDEX_BITS = 12


def index_per_octave(distribution: str) -> int:
    """Sixteenths of a table entry per 1/256 octave, times 4096.

    It is below 2**12, as is what it is multiplied by.
    """
    scales = distributions.scale_table(distribution).astype(np.float64)
    octaves = float(np.log2(scales[-1] / scales[0])) / (distributions.SCALE_COUNT - 1)
    return round(2**INDEX_BITS * INDEX_FRACTION / (OCTAVE * octaves))


def channel_groups(config: PortableConfig, level: int) -> tuple[slice, ...]:
    """The channels of y of each group of a level, in the order of decoding.

    Raises `ConfigError` for networks of groups whose sums could leave the range in which they are
    exact.
    """
    inputs = 2 * config.hidden + config.group_hidden
    if config.channel_groups[level] and inputs > MAX_INPUTS:
        raise ConfigError(
            f"hidden and group_hidden: outputs of a group sum {inputs} products, at most "
            f"{MAX_INPUTS} are exact"
        )
    starts, latents = config.channel_groups[level], config.latents[level]
    return tuple(map(slice, (0, *starts), (*starts, latents)))


def context_channels(config: PortableConfig, level: int) -> int:
    """How many channels of y, the first ones, serve as context of what is decoded later."""
    return config.embedded[level] or config.latents[level]


def group_inputs(config: PortableConfig, level: int, channels: slice) -> int:
    """Inputs of a group's network: hidden features, then y - mu of earlier channels, |y - mu|.

    Of the earlier channels, those that are `context_channels`.
    """
    return 2 * config.hidden + 2 * min(channels.start, context_channels(config, level))


def weight_step(path: str) -> float | None:
    """The value of one integer step of the kernel at `path`; None for a kernel of floats."""
    *_, module, layer, leaf = ("", "", *path.split("/"))
    if (module, leaf) == ("prior", "kernel"):
        # Networks of groups of channels are numbered: group_first_0.
        return 2.0 ** -WEIGHT_BITS[layer.rstrip("_0123456789")]
    return None
