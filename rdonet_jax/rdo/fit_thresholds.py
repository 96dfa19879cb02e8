"""Fits the thresholds of the variance mask to searched partitions, by least regret.

Around a searched partition, the cost of splitting minus that of not splitting is computed for every
block. A threshold splits the blocks of larger variance, some of them wrongly. Its regret is the
total cost of the wrong decisions. Sorting the blocks by variance gives the threshold of least
regret.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.core import partition
from rdonet_jax.metrics import distortion
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import image_regions, initial_masks
from rdonet_jax.rdo.encode_options import MAX_PASSES
from rdonet_jax.rdo.search import regions
from rdonet_jax.runtime import compilation

LARGEST = 16384.0
"""No variance of 8-bit gray levels is larger, so this threshold splits nothing."""

SMALLEST = 0.01
"""The smallest threshold. It splits every block that is not flat."""


class Decisions(NamedTuple):
    """N blocks that can be split, [N] each."""

    variance: np.ndarray  # of the block, in squared gray levels
    split_cost: np.ndarray  # cost of splitting minus not splitting, J per pixel of the image


class Samples(NamedTuple):
    """The blocks of one or more images."""

    split64: Decisions
    split32: Decisions  # of 64x64 blocks that the search has split


class FittedThreshold(NamedTuple):
    """A threshold and its regret: the excess cost over the best decisions, summed over blocks."""

    threshold: float
    regret: float


def collect_samples(
    model: Model, image: np.ndarray, quality: float | None = None, passes: int = MAX_PASSES
) -> Samples:
    """The decisions in an image uint8 [H, W, 3], around the best partition of a search.

    Blocks that lie partly outside the image are left out. Raises `EncodeError` for an image that
    cannot be coded.
    """
    parsed = parse_quality(model.config, quality)
    start = initial_masks.partition_at(model, image, initial_masks.SOLVED, parsed)
    all_regions = image_regions.of_image(model, image, parsed, start)
    *_, best = regions.search(all_regions, start, passes)
    split_costs = regions.splits(all_regions, best)
    height, width = image.shape[:2]
    padded = distortion.from_integers(partition.pad_image(image)[0])
    variances = compilation.jit(partition.block_variances)(padded)
    can_split64 = np.ones_like(best.split64)
    can_split32 = np.kron(best.split64, np.ones((2, 2)))
    decisions = []
    for variance, split_cost, can_split, side in zip(
        variances, split_costs, (can_split64, can_split32), (64, 32), strict=True
    ):
        inside = np.zeros(split_cost.shape, bool)
        inside[: height // side, : width // side] = True
        chosen = inside & (can_split > 0)
        per_pixel = split_cost[chosen] / (height * width)
        decisions.append(Decisions(np.asarray(variance)[chosen], per_pixel))
    return Samples(*decisions)


def join_samples(of_images: Iterable[Samples]) -> Samples:
    """The decisions of several images."""
    by_size = zip(*of_images, strict=True)
    return Samples(*(Decisions(*map(np.concatenate, zip(*size, strict=True))) for size in by_size))


def least_regret(decisions: Decisions) -> FittedThreshold:
    """The threshold of least regret.

    It is the geometric mean of the two variances that it separates.
    """
    best_cost = float(np.minimum(decisions.split_cost, 0).sum())
    textured = decisions.variance > SMALLEST
    variance, split_cost = (v[textured].astype(np.float64) for v in decisions)
    order = np.argsort(variance)
    variance, split_cost = variance[order], split_cost[order]
    # costs[n]: of splitting all but the first n. Equal variances cannot be separated.
    costs = np.append(np.cumsum(split_cost[::-1])[::-1], 0.0)
    costs[1:-1][variance[1:] == variance[:-1]] = np.inf
    bounds = np.concatenate([[SMALLEST], variance, [LARGEST]])
    best = int(np.argmin(costs))
    threshold = float(np.sqrt(bounds[best] * bounds[best + 1]))
    return FittedThreshold(threshold, float(costs[best]) - best_cost)


def fit(
    model: Model, images: Sequence[np.ndarray], quality: float | None = None
) -> list[FittedThreshold]:
    """The thresholds for 64x64 and for 32x32 blocks of least regret on the images at a quality."""
    all_samples = join_samples(collect_samples(model, image, quality) for image in images)
    return [least_regret(decisions) for decisions in all_samples]
