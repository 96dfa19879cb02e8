"""Sorts the channels of a portable model's latents by the bits that they take, for groups.

    python benchmarks/channel_order.py FOLDER --model FILE --out FOLDER [--images N]

Groups of channels are decoded one after the other, and those that take the most bits have most to
tell the others. Images are coded at five qualities, with variance masks. Each quality counts alike.
Printed is how many channels of each level take a quarter, half and three quarters of its bits.
Weights with sorted channels are written: the same network, with the same rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import images_of_folder
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from rdonet_jax.codec import codec, family_codec
from rdonet_jax.codec.qualities import stream_quality
from rdonet_jax.core.config import COARSE_TO_FINE, LEVELS, PortableConfig
from rdonet_jax.entropy import table_costs
from rdonet_jax.models import zoo
from rdonet_jax.models.portable import groups

QUALITIES = (10, 30, 50, 70, 90)
SHARES = (0.25, 0.5, 0.75)


def channel_bits(model: zoo.Model, image: np.ndarray, quality: float) -> list[np.ndarray]:
    """Bits of y in the tables of an image's symbols, by level and channel."""
    number = stream_quality(model.config, quality)
    p = codec.choose_partition(model, image, "variance", quality)
    size = image.shape[:2]
    masks = codec.coded_masks(p, *size)
    coder = family_codec.of(model.config).level_coder(model, masks, size, number, "numpy")
    coder.analyze(image)
    costs = table_costs.costs(model.config.distribution)
    bits = [np.zeros(count) for count in model.config.latents]
    for level in COARSE_TO_FINE:
        _, *planes = coder.encode_level(level, continues=True)
        for symbols, index in planes:
            entries = np.minimum(np.abs(symbols.astype(np.int32)), costs.last[index] + 1)
            bits[level] += costs.bits[index, entries].reshape(-1, len(bits[level])).sum(axis=0)
    return bits


def order_of(model: zoo.Model, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """By level, the channels from the most bits to the fewest. Prints shares."""
    shares = [np.zeros(count) for count in model.config.latents]
    for quality in QUALITIES:
        found = [channel_bits(model, image, quality) for image in images]
        sums = [sum(bits[level] for bits in found) for level in range(LEVELS)]
        total = sum(map(np.sum, sums))
        for level in range(LEVELS):
            shares[level] += sums[level] / total / len(QUALITIES)
    for level, share in enumerate(shares):
        sorted_share = np.cumsum(np.sort(share)[::-1]) / share.sum()
        counts = [int(np.searchsorted(sorted_share, part)) + 1 for part in SHARES]
        print(
            f"level {level}: {100 * share.sum():.1f} % of the bits; {counts} channels have", SHARES
        )
    return [np.argsort(-share, kind="stable") for share in shares]


def sort_latents(params: Any, config: PortableConfig, order: Sequence[Sequence[int]]) -> Any:
    """The parameters with the channels of y of each level in another order.

    `order`, by level, lists the old channels. Symbols are the same, in that order. Raises
    `ValueError` for a network that knows its channels by number: one with groups of channels, or
    with a part of them as context.
    """
    if config.channel_groups != groups.NO_GROUPS:
        raise ValueError("the channels of a network with groups have their places")
    if any(config.embedded):
        raise ValueError("some channels are no context of others, so all have their places")
    flat = {path: np.array(leaf) for path, leaf in flatten_dict(params).items()}
    for level, channels in enumerate(order):
        columns = np.asarray(channels)
        if not np.array_equal(np.sort(columns), np.arange(config.latents[level])):
            raise ValueError(f"level {level} needs each of its channels once")
        _sort_level(flat, f"units_{level}", columns)
    return unflatten_dict(flat)


def _sort_level(flat: dict[tuple[str, ...], np.ndarray], unit: str, columns: np.ndarray) -> None:
    """Sorts the channels of a level, in place."""
    outputs = [("to_latent",), ("prior", "to_mu"), ("prior", "to_scale")]
    for path in outputs:
        for leaf in ("kernel", "bias"):
            flat[(unit, *path, leaf)] = flat[(unit, *path, leaf)][..., columns]
    for name in ("gain", "unit"):
        flat[(unit, "prior", name)] = flat[(unit, "prior", name)][..., columns]
    for path in [("from_latent",), ("hyper_encoder", "first")]:
        flat[(unit, *path, "kernel")] = flat[(unit, *path, "kernel")][columns]
    # The inputs of the embedding are the latents and their magnitudes.
    both = np.concatenate([columns, columns + len(columns)])
    flat[(unit, "prior", "embed", "kernel")] = flat[(unit, "prior", "embed", "kernel")][both]


def main() -> None:
    parser = images_of_folder.parser(__doc__, images=10)
    parser.add_argument("--model", required=True, help="weights of a portable network")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    options = parser.parse_args()
    model = zoo.load(options.model)
    order = order_of(model, images_of_folder.load_images(options))
    params = sort_latents(model.params, model.config, order)
    record = dict(model.record.stored)
    print(zoo.save(options.out, model.name, model.config, params, record))


if __name__ == "__main__":
    main()
