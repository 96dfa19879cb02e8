"""Files whose latents are refined for the detector: the gradient comes from its network.

What a decoder does stays as it is. The refinement minimizes R + lambda * D as always, with the
task's loss as one more distortion.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from examples.machines import saliency
from examples.machines.detector import STRIDE, Detector
from rdonet_jax.codec import codec, preparation
from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.core import partition
from rdonet_jax.metrics.loss import AREA, Distortion
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import refinement
from rdonet_jax.rdo.cost import make_file_cost

BITS_PER_NAT = 30.0
"""What the task's loss of an image counts in J, in bits."""


class TaskDistortion(Distortion):
    """The task's loss, `saliency.divergence`, by areas of 16x16 pixels."""

    name = "detections"
    words = "divergence of detections"

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def of_batch(self, x: jax.Array, x_hat: jax.Array, sizes: jax.Array | None = None) -> jax.Array:
        values = saliency.divergence(self._detector, x, x_hat)
        if sizes is not None:
            values = values * partition.extent_mask(-(-sizes // STRIDE), values.shape[1:])
        return jnp.sum(values, axis=(1, 2))

    def maps(self, original: jax.Array, decoded: jax.Array, size: jax.Array) -> jax.Array:
        x, x_hat = (v.astype(jnp.float32)[None] / 255.0 for v in (original, decoded))
        values = saliency.divergence(self._detector, x, x_hat)[0]
        values = values * partition.extent_mask(-(-size // STRIDE), values.shape)
        return partition.tile_sums(values, AREA // STRIDE)[None]


def refined(
    task: TaskDistortion,
    model: Model,
    pixels: np.ndarray,
    quality: float,
    gains: np.ndarray,
    iterations: int,
) -> bytes:
    """The file of an image uint8 [H, W, 3] with gains by block, refined for the task."""
    prepared = preparation.prepare(model.config, pixels)
    parsed = parse_quality(model.config, quality, gains, prepared.size)
    p = codec.choose_partition(model, pixels, "variance", quality, gains)
    p = partition.trim(p, *prepared.size)
    start = codec.encode_prepared(model, prepared, p, parsed)
    cost = make_file_cost(model, prepared, parsed)
    weights = cost.weights(start.image)
    problem = refinement.Problem(
        model,
        pixels,
        p,
        parsed,
        (*cost.distortions, task),
        (*weights, np.array([BITS_PER_NAT], np.float32)),
        cost.relative,
    )
    latents = codec.start_latents(model, prepared, p, parsed)
    found = refinement.refine(problem, latents, iterations).latents
    return codec.encode_prepared(model, prepared, p, parsed, latents=found).data
