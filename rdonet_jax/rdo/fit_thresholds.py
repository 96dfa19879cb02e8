"""Thresholds of the variance mask, fitted to searched partitions by least regret.

A searched partition tells for every block what splitting it costs more than not splitting, as
things stand around it. A threshold on the block's variance decides some of them against that; the
regret is what all those decisions cost, and the best threshold is found by sorting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from rdonet_jax.core import compilation, partition
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import encoder, search
from rdonet_jax.rdo.cost import RDCost
from rdonet_jax.rdo.masks import SOLVED

LARGEST = 16384.0
"""No variance of 8-bit gray levels is above this: the threshold that splits nothing."""

SMALLEST = 0.01
"""The least threshold: splits whatever is not flat."""


class Decisions(NamedTuple):
    """What is known of N decisions, [N] each."""

    variance: np.ndarray  # of the block, in squared gray levels
    gain: np.ndarray  # what splitting it costs more than not, in J per pixel of its image


class Samples(NamedTuple):
    """The decisions of one or more images."""

    split64: Decisions
    split32: Decisions  # in 64x64 blocks that the search has split


class Fitted(NamedTuple):
    """A threshold, and what its decisions cost more than the best ones, as a sum over samples."""

    threshold: float
    regret: float


def samples(
    model: Model, image: np.ndarray, quality: float | None = None, passes: int = encoder.MOST_PASSES
) -> Samples:
    """The decisions in an image uint8 [H, W, 3], around the best partition of a search.

    Blocks that lie partly outside the image are left out. Raises `EncodeError` for what cannot be
    coded.
    """
    rd_cost = RDCost(model, image, quality)
    start = encoder.start_of(model, image, SOLVED, quality, rd_cost)
    *_, best = search.fast(rd_cost, start, passes)
    gains = search.gains(rd_cost, best)
    height, width = image.shape[:2]
    padded = partition.pad_picture(image)[0].astype(np.float32) / 255.0
    variances = compilation.jit(partition.block_variances)(padded)
    is_open = np.ones_like(best.partition.split64), np.kron(best.partition.split64, np.ones((2, 2)))
    parts = []
    for variance, gain, known, side in zip(variances, gains, is_open, (64, 32), strict=True):
        whole = np.zeros(gain.shape, bool)
        whole[: height // side, : width // side] = True
        chosen = whole & (known > 0)
        parts.append(Decisions(np.asarray(variance)[chosen], gain[chosen] / (height * width)))
    return Samples(*parts)


def joined(parts: Iterable[Samples]) -> Samples:
    """The decisions of several images."""
    by_size = zip(*parts, strict=True)
    return Samples(*(Decisions(*map(np.concatenate, zip(*size, strict=True))) for size in by_size))


def least_regret(decisions: Decisions) -> Fitted:
    """The threshold above which to split, so that the decisions cost least.

    It lies midway, in ratio, between the variances that it divides.
    """
    best_of_all = float(np.minimum(decisions.gain, 0).sum())
    textured = decisions.variance > SMALLEST
    variance, gain = (v[textured].astype(np.float64) for v in decisions)
    order = np.argsort(variance)
    variance, gain = variance[order], gain[order]
    # Of splitting all but the first n; equal variances cannot be divided.
    costs = np.append(np.cumsum(gain[::-1])[::-1], 0.0)
    costs[1:-1][variance[1:] == variance[:-1]] = np.inf
    bounds = np.concatenate([[SMALLEST], variance, [LARGEST]])
    best = int(np.argmin(costs))
    threshold = float(np.sqrt(bounds[best] * bounds[best + 1]))
    return Fitted(threshold, float(costs[best]) - best_of_all)


def fit(model: Model, images: Sequence[np.ndarray], quality: float | None = None) -> list[Fitted]:
    """The two thresholds, for 64x64 and for 32x32 blocks, that suit the images at a quality."""
    all_samples = joined(samples(model, image, quality) for image in images)
    return [least_regret(decisions) for decisions in all_samples]
