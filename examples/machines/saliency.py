"""Where a detector looks: gains of the quality by 64x64 block, from the detector alone.

Nothing here knows which digits there are. An encoder has the original and the detector, and that is
all that is used.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

import rdonet_jax
from examples.machines.detector import Detector, batch_of
from rdonet_jax.core.partition import BLOCK
from rdonet_jax.metrics import loss
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo.roi import AS_ASKED, GAIN_PER_LEVEL
from rdonet_jax.runtime import compilation

LEAST_GAIN = -50.0
"""Points of quality of blocks that do not matter."""

CANDIDATE_SCORE = 0.1
"""From here on a detection is a candidate, whose blocks matter."""

CANDIDATE_REACH = 8
"""Pixels around the center of a candidate that belong to it."""

PROBE_QUALITY = 15.0
"""Of the decoded image whose errors are traced back to blocks."""

PATH_STEPS = 4
"""Images between the decoded image and the original at which gradients are taken."""


def by_candidates(detector: Detector, pixels: np.ndarray) -> np.ndarray:
    """Gains by block: 0 where the detector sees a candidate, `LEAST_GAIN` elsewhere."""
    height, width = pixels.shape[:2]
    gains = np.full([-(-side // BLOCK) for side in (height, width)], LEAST_GAIN)
    for found in detector.detect(pixels):
        if found.score >= CANDIDATE_SCORE:
            rows, columns = (
                slice(
                    max(0, int(center) - CANDIDATE_REACH) // BLOCK,
                    min(side - 1, int(center) + CANDIDATE_REACH) // BLOCK + 1,
                )
                for center, side in ((found.row, height), (found.column, width))
            )
            gains[rows, columns] = 0.0
    return gains


def by_gradient(detector: Detector, model: Model, path: str, pixels: np.ndarray) -> np.ndarray:
    """Gains by block, from what errors of the codec in each do to the detector.

    J with a weight w for the squared error of each block is least where a block has w times the
    lambda. The weight is what the block adds to the task's loss, by integrated gradients from the
    decoded image to the original (Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365), for
    each unit of its squared error. The quality is a logarithmic scale of lambda. The block of the
    largest weight has the gain 0.

    `path` is the name or file of the model.
    """
    data = rdonet_jax.compress(pixels, PROBE_QUALITY, model=path)
    decoded = rdonet_jax.decompress(data, model=path)
    original, coded = batch_of(pixels), batch_of(decoded)
    blame = np.asarray(_blame(detector, original, coded))
    errors = np.asarray(_block_sums(jnp.square(original - coded)))
    weights = np.maximum(blame, 0) / np.maximum(errors, errors.mean() / 100)
    if not weights.any():
        return np.zeros(weights.shape)
    low, high = (loss.lmbda_of(model.config, at) for at in (0, model.config.steps_of_quality))
    points = 100 / np.log(high / low)  # of quality, for e times the lambda
    with np.errstate(divide="ignore"):
        return np.maximum(points * np.log(weights / weights.max()), LEAST_GAIN)


def mask_of(gains: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask for `rdonet_jax.compress(..., roi=)` of an image of (height, width)."""
    whole = np.kron(gains, np.ones((BLOCK, BLOCK)))[: size[0], : size[1]]
    return AS_ASKED + whole / GAIN_PER_LEVEL


def divergence(detector: Detector, original: jax.Array, other: jax.Array) -> jax.Array:
    """The task's loss by position, [B, H/4, W/4]: how much detections change.

    It is the Kullback-Leibler divergence between the scores of two images [B, H, W, 3] in [0, 1],
    as chances of a digit, summed over the classes, in nats.
    """
    truth, seen = (detector.logits(x) for x in (original, other))
    score = jax.nn.sigmoid(truth)
    there = jax.nn.log_sigmoid(truth) - jax.nn.log_sigmoid(seen)
    not_there = jax.nn.log_sigmoid(-truth) - jax.nn.log_sigmoid(-seen)
    return jnp.sum(score * there + (1 - score) * not_there, axis=-1)


@functools.partial(compilation.jit, static_argnums=0)
def _blame(detector: Detector, original: jax.Array, coded: jax.Array) -> jax.Array:
    """What each block adds to the task's loss of a decoded image; the sum is about that loss."""

    def gradient(share: jax.Array) -> jax.Array:
        x = original + share * (coded - original)
        return jax.grad(lambda x: jnp.sum(divergence(detector, original, x)))(x)

    shares = (jnp.arange(PATH_STEPS) + 0.5) / PATH_STEPS
    return _block_sums(jnp.mean(jax.lax.map(gradient, shares), 0) * (coded - original))


def _block_sums(values: jax.Array) -> jax.Array:
    """Sums of [1, H, W, 3] over blocks, [H/64, W/64]."""
    _, height, width, _ = values.shape
    parts = values.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3)
    return jnp.sum(parts, axis=(1, 3, 4))
