"""Rate and quality of a model without files: images in batches of fixed shape, on all devices.

The graph is that of training, with rounding in place of noise. The rate is what the integer tables
charge for every symbol; for the factorized priors of baselines, what their continuous density does.
It lacks the header, the partition and the range coder's own losses. No times are measured.

Images are grouped by padded size. A batch that is not full is filled up with black images that code
nothing. So the graph is compiled once for each padded size. Other images, qualities, partitions
and models of the same configuration need no further compilation of it. The metrics are compiled for
each exact size.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rdonet_jax.codec import codec
from rdonet_jax.codec.qualities import stream_quality
from rdonet_jax.core import partition
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.core.partition import Partition
from rdonet_jax.evaluation.measures import Evaluated, EvaluationError, NamedImage
from rdonet_jax.evaluation.results import Row
from rdonet_jax.metrics import distortion
from rdonet_jax.metrics import quality as quality_metrics
from rdonet_jax.models import registry
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import encoder
from rdonet_jax.rdo.encode_options import Plan
from rdonet_jax.runtime import compilation

BATCH_SIZE = 4
"""Images per batch, unless the caller says otherwise."""

AXIS = "images"
"""The axis of batches, along which devices share the work."""


class Estimate(NamedTuple):
    """What an image would cost and look like."""

    bits: float  # information content of all symbols that would be coded
    decoded: np.ndarray  # uint8 [H, W, 3]
    density: np.ndarray  # float32 [H/16, W/16], bits per pixel spent in each 16x16 area


def estimate_all(
    model: Model,
    images: Iterable[NamedImage],
    plan: Plan,
    batch_size: int = BATCH_SIZE,
    quality: float | None = None,
    metrics: Sequence[str] = (),
) -> Iterator[Evaluated]:
    """The estimate of every image, in the order in which batches fill up.

    `metrics` are names of metrics beside the default ones. Raises `EvaluationError` for a rate that
    is no number.
    """
    for batch in batches(images, batch_size):
        pixels = [original.pixels for original in batch]
        partitions = [encoder.choose(model, image, plan, quality) for image in pixels]
        estimates = estimate_images(model, pixels, partitions, batch_size, quality)
        for original, estimate in zip(batch, estimates, strict=True):
            if not math.isfinite(estimate.bits):
                raise EvaluationError(f"{original.name}: its estimated rate is {estimate.bits}")
            bpp = estimate.bits / math.prod(original.pixels.shape[:2])
            seen = quality_metrics.measure(original.pixels, estimate.decoded, metrics)
            yield Evaluated(Row(original.name, bpp, seen), estimate.decoded)


def batches(images: Iterable[NamedImage], size: int) -> Iterator[list[NamedImage]]:
    """Lists of up to `size` images of one padded size; only the last of each size is shorter."""
    waiting: dict[tuple[int, int], list[NamedImage]] = {}
    for image in images:
        grid = partition.block_grid(*image.pixels.shape[:2])
        group = waiting.setdefault(grid, [])
        group.append(image)
        if len(group) == size:
            yield waiting.pop(grid)
    yield from waiting.values()


def estimate_image(
    model: Model, image: np.ndarray, p: Partition, quality: float | None = None
) -> Estimate:
    """The estimate of one image uint8 [H, W, 3] with the partition p.

    Raises `PartitionError` for a partition of another size.
    """
    return estimate_images(model, [image], [p], 1, quality)[0]


def estimate_images(
    model: Model,
    pixels: Sequence[np.ndarray],
    partitions: Sequence[Partition],
    batch_size: int,
    quality: float | None = None,
) -> list[Estimate]:
    """The estimates of up to `batch_size` images uint8 [H, W, 3] of one padded size.

    A batch always has the same shape, and as many images as its devices share evenly.
    Raises `PartitionError` for a partition of another size than its image's.
    """
    sizes = [image.shape[:2] for image in pixels]
    masks = [
        codec.coded_masks(partition.trim(p, *size), *size)
        for p, size in zip(partitions, sizes, strict=True)
    ]
    shared = sharing(batch_size)
    places = -(-batch_size // shared.mesh.size) * shared.mesh.size
    padded = _fill(np.concatenate([partition.pad_image(image) for image in pixels]), places)
    levels = tuple(_fill(np.stack(level), places) for level in zip(*masks, strict=True))
    number = stream_quality(model.config, quality)
    qualities = None if number is None else np.full(places, number, np.int32)
    # Those that fill the batch up have no end: all of them is padding.
    ends = np.array([*sizes, *[padded.shape[1:3]] * (places - len(sizes))], np.int32)
    given = jax.device_put((padded, levels, qualities, ends), shared)
    results = estimate_batch(model.config, model.device_params, *given)
    bits, decoded, density = map(np.asarray, results)
    return [
        Estimate(float(bits[n]), decoded[n, :height, :width], density[n])
        for n, (height, width) in enumerate(sizes)
    ]


@functools.partial(compilation.jit, static_argnums=0)
def estimate_batch(
    config: AnyConfig,
    params: Any,
    pixels: jax.Array,
    masks: tuple[jax.Array, ...],
    quality: jax.Array | None,
    sizes: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Bits [B], decoded pixels uint8 [B, H, W, 3] and bits per pixel [B, H/16, W/16] by area, of
    padded images uint8 [B, H, W, 3].

    quality int32 [B] is on the model's own scale, None for a fixed-rate model. sizes int32 [B, 2]
    are those of the images without their padding.
    masks[l] is bool [B, h, w]: where the latents of level l are coded, inside the image. A
    hyper-latent is counted when any of its latents is, as in the codec.
    """
    x = distortion.from_integers(pixels)
    coded = registry.code(config, params, x, masks, quality, sizes=sizes)
    bits = distortion.total_bits((coded.y_bits, coded.z_bits))
    by_area = partition.bits_by_area(masks, coded.y_bits, coded.z_bits)
    return bits, distortion.to_8_bit(coded.x_hat), by_area / partition.STRIDES[0] ** 2


@functools.cache
def sharing(batch_size: int) -> NamedSharding:
    """How a batch lies on this host's devices: on as many as there are images, at most."""
    devices = jax.local_devices()[:batch_size]
    return NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(AXIS))


def _fill(batch: np.ndarray, size: int) -> np.ndarray:
    """[N, ...] with zeros up to [size, ...]."""
    return np.pad(batch, [(0, size - len(batch))] + [(0, 0)] * (batch.ndim - 1))
