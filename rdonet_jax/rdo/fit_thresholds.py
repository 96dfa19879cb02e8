"""Fits the thresholds of the variance mask to searched partitions, by least regret.

Around a searched partition, the difference in rate-distortion cost between splitting and not
splitting is known for every block. A threshold splits the blocks of larger variance, and some of
these decisions are wrong. The regret of a threshold is the sum of what wrong decisions cost. The
threshold of least regret is found by sorting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from rdonet_jax.core import compilation, partition
from rdonet_jax.metrics import distortion
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import initial_masks, search
from rdonet_jax.rdo.cost import RDCost
from rdonet_jax.rdo.encode_options import MAX_PASSES

LARGEST = 16384.0
"""No variance of 8-bit gray levels is larger, so this threshold splits nothing."""

SMALLEST = 0.01
"""The smallest threshold. It splits every block that is not flat."""


class Decisions(NamedTuple):
    """N decisions whether to split a block, [N] each."""

    variance: np.ndarray  # of the block, in squared gray levels
    gain: np.ndarray  # cost of splitting minus cost of not splitting, J per pixel of the image


class Samples(NamedTuple):
    """The decisions of one or more images."""

    split64: Decisions
    split32: Decisions  # in 64x64 blocks that the search has split


class FittedThreshold(NamedTuple):
    """A threshold and its regret: the excess cost over the best decisions, summed over collect_samples."""

    threshold: float
    regret: float


def collect_samples(
    model: Model, image: np.ndarray, quality: float | None = None, passes: int = MAX_PASSES
) -> Samples:
    """The decisions in an image uint8 [H, W, 3], around the best partition of a search.

    Blocks that lie partly outside the image are left out. Raises `EncodeError` for an image that
    cannot be coded.
    """
    rd_cost = RDCost(model, image, quality)
    start = initial_masks.initial_partition(model, image, initial_masks.SOLVED, quality, rd_cost)
    *_, best = search.fast(rd_cost, start, passes)
    gains = search.split_costs(rd_cost, best)
    height, width = image.shape[:2]
    padded = distortion.from_integers(partition.pad_picture(image)[0])
    variances = compilation.jit(partition.block_variances)(padded)
    is_open = np.ones_like(best.partition.split64), np.kron(best.partition.split64, np.ones((2, 2)))
    parts = []
    for variance, gain, decided, side in zip(variances, gains, is_open, (64, 32), strict=True):
        whole = np.zeros(gain.shape, bool)
        whole[: height // side, : width // side] = True
        chosen = whole & (decided > 0)
        parts.append(Decisions(np.asarray(variance)[chosen], gain[chosen] / (height * width)))
    return Samples(*parts)


def join_samples(parts: Iterable[Samples]) -> Samples:
    """The decisions of several images."""
    by_size = zip(*parts, strict=True)
    return Samples(*(Decisions(*map(np.concatenate, zip(*size, strict=True))) for size in by_size))


def least_regret(decisions: Decisions) -> FittedThreshold:
    """The threshold of least regret.

    It is the geometric mean of the two variances that it separates.
    """
    best_of_all = float(np.minimum(decisions.gain, 0).sum())
    textured = decisions.variance > SMALLEST
    variance, gain = (v[textured].astype(np.float64) for v in decisions)
    order = np.argsort(variance)
    variance, gain = variance[order], gain[order]
    # costs[n]: of splitting all but the first n. Equal variances cannot be separated.
    costs = np.append(np.cumsum(gain[::-1])[::-1], 0.0)
    costs[1:-1][variance[1:] == variance[:-1]] = np.inf
    bounds = np.concatenate([[SMALLEST], variance, [LARGEST]])
    best = int(np.argmin(costs))
    threshold = float(np.sqrt(bounds[best] * bounds[best + 1]))
    return FittedThreshold(threshold, float(costs[best]) - best_of_all)


def fit(model: Model, images: Sequence[np.ndarray], quality: float | None = None) -> list[FittedThreshold]:
    """The thresholds for 64x64 and for 32x32 blocks of least regret on the images at a quality."""
    all_samples = join_samples(collect_samples(model, image, quality) for image in images)
    return [least_regret(decisions) for decisions in all_samples]
