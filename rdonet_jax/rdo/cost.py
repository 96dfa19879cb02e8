"""The rate-distortion cost of partitions with a model, R + lambda * D: the cost of `search`.

lambda is that of the quality, and D the distortion that the model was trained for, see
`rdonet_jax.metrics.loss`. R are the bits by the integer tables and by the adaptive coding of the
partition; D is that of the 8-bit image.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.codec import codec, memory, partition_coding, preparation
from rdonet_jax.codec.preparation import PreparedImage
from rdonet_jax.core import compilation, partition
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.core.partition import Partition
from rdonet_jax.metrics import distortion, loss
from rdonet_jax.metrics.loss import AREA, Distortion, Loss, Part
from rdonet_jax.models import registry
from rdonet_jax.models.zoo import Model
from rdonet_jax.nn import lapped
from rdonet_jax.rdo.search import Costs

MAX_BATCH = 4
"""The most partitions that one compiled call evaluates."""


class Maps(NamedTuple):
    """The rate and distortion of evaluated partitions by areas of 16x16 pixels, [K, ...]."""

    bits: jax.Array  # [K, H/16, W/16], without those of the partition
    distortions: tuple[jax.Array, ...]  # each [K, M, H/16, W/16], see `Distortion.maps`


def trained_loss(model: Model, quality: float | None = None) -> tuple[Part, ...]:
    """The distortions that the model was trained for, with their weights at a quality.

    A model without a record is taken to be trained with the defaults of `Loss`.

    Raises `EncodeError` as `codec.stream_quality` does, and for a metric that is not registered.
    """
    training = model.record.of_whole_network().training
    trained_for = training.loss if training else Loss()
    number = codec.stream_quality(model.config, quality)
    if number is not None:
        trained_for = trained_for._replace(lmbda=float(distortion.lmbda_of(model.config, number)))
    if trained_for.metric not in loss.DISTORTIONS:
        raise codec.EncodeError(
            f"{model.name}: was trained for the metric {trained_for.metric!r}, which this version "
            f"does not have (it has {', '.join(loss.DISTORTIONS)}), so it cannot search for what "
            "costs least; files can be written without a search"
        )
    return trained_for.parts()


class RDCost:
    """The cost function of one image, for `rdonet_jax.rdo.search`: J times the number of pixels.

    The encoder's features, which depend on no mask, are computed once. Partitions are evaluated one
    at a time, so memory does not grow with their number.
    """

    def __init__(
        self, model: Model, image: PreparedImage | np.ndarray, quality: float | None = None
    ) -> None:
        """For a prepared image, or for pixels uint8 [H, W, 3].

        Raises `EncodeError` for an image that cannot be coded, for one that takes more memory to
        evaluate than there is, and for a quality that the model does not have.
        """
        prepared = preparation.prepare(model.config, image)
        self.size = prepared.size
        if lack := memory.shortage(model.config, partition.block_grid(*self.size), searching=True):
            raise codec.EncodeError(f"the image is too large: {lack}")
        self.parts = tuple(part for part in trained_loss(model, quality) if part.weight > 0)
        self._distortions = tuple(part.distortion for part in self.parts)
        self._model = model
        self._pixels = partition.pad_image(prepared.rgb8)
        number = codec.stream_quality(model.config, quality)
        self._quality = None if number is None else np.array([number], np.int32)
        self._sizes = np.array([self.size], np.int32)
        self._features = _features(model.config, model.device_params, self._pixels, self._sizes)
        self._first: list[np.ndarray] = []  # maps of the partition evaluated first

    def __call__(self, candidates: Sequence[Partition]) -> Costs:
        parts = [
            self._evaluate(candidates[first : first + MAX_BATCH])
            for first in range(0, len(candidates), MAX_BATCH)
        ]
        return Costs(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def _evaluate(self, candidates: Sequence[Partition]) -> Costs:
        masks = [codec.coded_masks(partition.trim(p, *self.size), *self.size) for p in candidates]
        missing = MAX_BATCH - len(masks)
        levels = tuple(
            np.stack([*level, *[level[0]] * missing]) for level in zip(*masks, strict=True)
        )
        maps = _maps(
            self._model.config,
            self._distortions,
            self._model.device_params,
            self._features,
            self._pixels,
            self._sizes,
            levels,
            len(masks),
            self._quality,
        )
        bits = np.asarray(maps.bits, np.float64)[: len(masks)]
        flags = np.stack([self._flag_bits(p) for p in candidates])
        return self._add_distortions(
            bits + flags, [np.asarray(part, np.float64)[: len(masks)] for part in maps.distortions]
        )

    def _add_distortions(self, areas: np.ndarray, maps: Sequence[np.ndarray]) -> Costs:
        """The costs of bits by area, [K, H/16, W/16], plus the weighted distortions."""
        if not self._first:
            self._first = [part[0] for part in maps]
        for (weight, part), values in zip(self.parts, maps, strict=True):
            if part.adds_up:
                areas = areas + weight * values.sum(1)
        totals = areas.sum((1, 2))
        for (weight, part), values, first in zip(self.parts, maps, self._first, strict=True):
            if not part.adds_up:
                weight = weight * self.size[0] * self.size[1]
                local, whole = part.linearized(values, first)
                areas, totals = areas + weight * local, totals + weight * whole
        return Costs(areas, totals)

    def _flag_bits(self, p: Partition) -> np.ndarray:
        """The bits of the partition itself by area. Those of a block are spread over its areas."""
        per_side = partition.BLOCK // AREA
        return np.kron(
            partition_coding.bits(p, *self.size) / per_side**2, np.ones((per_side, per_side))
        )


@functools.partial(compilation.jit, static_argnums=0)
def _features(
    config: AnyConfig, params: Any, pixels: jax.Array, sizes: jax.Array
) -> tuple[jax.Array, ...]:
    return registry.analyze(config, params, distortion.from_integers(pixels), sizes)


@functools.partial(compilation.jit, static_argnums=(0, 1))
def _maps(
    config: AnyConfig,
    distortions: tuple[Distortion, ...],
    params: Any,
    features: tuple[jax.Array, ...],
    pixels: jax.Array,
    sizes: jax.Array,
    masks: tuple[jax.Array, ...],
    count: jax.Array,
    quality: jax.Array | None,
) -> Maps:
    """Maps of the first `count` of K masks [K, h, w], one after the other; the others are zero.

    It is compiled once per padded size of images, for any number of masks. `sizes` int32 [1, 2] is
    that of the image itself.
    """

    def maps_of(number: jax.Array) -> Maps:
        mask = tuple(level[number][None] for level in masks)
        coded = registry.code_features(config, params, features, mask, quality, sizes)
        bits = partition.bits_by_area(mask, coded.y_bits, coded.z_bits)[0]
        # A file's distortion is that of the image, padded as its source is.
        decoded = distortion.to_8_bit(lapped.replicate_beyond(coded.x_hat, sizes))
        maps = tuple(part.maps(pixels[0], decoded[0], sizes[0]) for part in distortions)
        return Maps(bits, maps)

    empty = jax.tree_util.tree_map(
        lambda leaf: jnp.zeros((masks[0].shape[0], *leaf.shape), leaf.dtype),
        jax.eval_shape(maps_of, jnp.zeros((), jnp.int32)),
    )

    def step(number: jax.Array, maps: Maps) -> Maps:
        return jax.tree_util.tree_map(
            lambda all_maps, one: all_maps.at[number].set(one), maps, maps_of(number)
        )

    return jax.lax.fori_loop(0, count, step, empty)
