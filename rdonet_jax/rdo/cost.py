"""What partitions of an image cost with a model: R + lambda * D, the cost function of `search`.

In the model's own units: lambda is that of the quality asked for, and D what the model was trained
for, see `rdonet_jax.metrics.distortion`. R is what the integer tables and the adaptive coding of
the partition charge, D that of the 8-bit image. MS-SSIM is evaluated locally, on the padded image,
with as many of its scales as fit in that.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.codec import codec, memory, partition_coding
from rdonet_jax.core import compilation, partition
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.core.partition import Partition
from rdonet_jax.imaging import pixel_format
from rdonet_jax.metrics import distortion
from rdonet_jax.metrics.distortion import Loss, Weights
from rdonet_jax.models import registry, zoo
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo.search import Costs

AREA = partition.STRIDES[0]
"""Pixels on the side of the areas by which costs are told apart."""

MOST_AT_ONCE = 4
"""Partitions that one compiled call prices."""


class Maps(NamedTuple):
    """What codings of an image come to by areas of 16x16 pixels, [K, ...]."""

    bits: jax.Array  # [K, H/16, W/16], without the partition's
    squares: jax.Array  # [K, H/16, W/16], squared gray levels: means of RGB, sums over pixels
    dissimilarity: jax.Array  # [K, scales, H/16, W/16]: means of 1 - similarity


def weights_of(model: Model, quality: float | None = None) -> Weights:
    """What the model was trained for, at a quality.

    A model without a record counts as trained with the defaults of `Loss`.

    Raises `EncodeError` as `codec.stream_quality` does, and for a loss that this version does not
    have.
    """
    known = zoo.loss_record(model.record).get("training", {})
    loss = Loss(**{field: known[field] for field in Loss._fields if field in known})
    number = codec.stream_quality(model.config, quality)
    if number is not None:
        loss = loss._replace(lmbda=float(distortion.lmbda_of(model.config, number)))
    if loss.metric not in distortion.METRICS:
        raise codec.EncodeError(
            f"{model.name}: was trained for the metric {loss.metric!r}, which this version does "
            f"not have (it has {', '.join(distortion.METRICS)}), so it cannot search for what "
            "costs least; files can be written without a search"
        )
    return loss.weights()


class RDCost:
    """The cost function of one image, for `rdonet_jax.rdo.search`: J times the number of pixels.

    What depends on no mask is computed once. Memory is taken for one partition at a time, however
    many are priced.
    """

    def __init__(self, model: Model, image: np.ndarray, quality: float | None = None) -> None:
        """For an image uint8 [H, W, 3]. Raises `EncodeError` for one that no file can hold, or
        memory not price, or a quality that the model does not have."""
        self.size = codec.checked_size(model.config, image)
        if lack := memory.shortage(model.config, partition.grid_of(*self.size), searching=True):
            raise codec.EncodeError(f"the image is too large: {lack}")
        self.weights = weights_of(model, quality)
        self._with_similarity = self.weights.dissimilarity > 0
        self._model = model
        self._pixels = partition.pad_picture(pixel_format.as_rgb8(image))
        number = codec.stream_quality(model.config, quality)
        self._quality = None if number is None else np.array([number], np.int32)
        self._sizes = np.array([self.size], np.int32)
        self._features = _features(model.config, model.params, self._pixels, self._sizes)
        self._slopes: np.ndarray | None = None

    def __call__(self, candidates: Sequence[Partition]) -> Costs:
        parts = [
            self._priced(candidates[first : first + MOST_AT_ONCE])
            for first in range(0, len(candidates), MOST_AT_ONCE)
        ]
        return Costs(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def of_file(self, size: int, decoded: np.ndarray) -> float:
        """J per pixel of a file of `size` bytes that decodes to uint8 [H, W, 3]: real bits."""
        squares, dissimilarity = _distortion(
            self._with_similarity, self._pixels, partition.pad_picture(decoded), np.array(self.size)
        )
        total = 8.0 * size + self.weights.squares * np.asarray(squares, np.float64).sum()
        if self._with_similarity:
            total += self._dissimilar(np.asarray(dissimilarity, np.float64)[None])[1][0]
        return float(total) / (self.size[0] * self.size[1])

    def _priced(self, candidates: Sequence[Partition]) -> Costs:
        masks = [codec.coded_masks(partition.trim(p, *self.size), *self.size) for p in candidates]
        missing = MOST_AT_ONCE - len(masks)
        levels = tuple(
            np.stack([*level, *[level[0]] * missing]) for level in zip(*masks, strict=True)
        )
        maps = _maps(
            self._model.config,
            self._with_similarity,
            self._model.params,
            self._features,
            self._pixels,
            self._sizes,
            levels,
            len(masks),
            self._quality,
        )
        bits, squares, dissimilarity = (np.asarray(part, np.float64)[: len(masks)] for part in maps)
        flags = np.stack([self._flag_bits(p) for p in candidates])
        areas = bits + flags + self.weights.squares * squares
        totals = areas.sum((1, 2))
        if self._with_similarity:
            local, whole = self._dissimilar(dissimilarity)
            areas, totals = areas + local, totals + whole
        return Costs(areas, totals)

    def _flag_bits(self, p: Partition) -> np.ndarray:
        """The bits of the partition itself, those of a block spread over its areas."""
        per_side = partition.BLOCK // AREA
        return np.kron(
            partition_coding.bits(p, *self.size) / per_side**2, np.ones((per_side, per_side))
        )

    def _dissimilar(self, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The price of 1 - MS-SSIM by areas, and of the whole image.

        MS-SSIM is a product over the scales of powers of means, which has no parts that add up.
        The areas have those of its tangent where the first partition that was priced lies.
        """
        exponents = np.array(distortion.scale_weights(maps.shape[1]))
        means = np.maximum(1.0 - maps.mean((2, 3)), distortion.SMALLEST_TERM)
        product = np.prod(means**exponents, axis=1)
        if self._slopes is None:
            self._slopes = exponents * product[0] / means[0]
        weight = self.weights.dissimilarity * self.size[0] * self.size[1]
        local = np.einsum("s,ksij->kij", self._slopes, maps) / maps[0, 0].size
        return weight * local, weight * (1.0 - product)


@functools.partial(compilation.jit, static_argnums=0)
def _features(
    config: AnyConfig, params: Any, pixels: jax.Array, sizes: jax.Array
) -> tuple[jax.Array, ...]:
    return registry.analyze(config, params, distortion.from_integers(pixels), sizes)


@functools.partial(compilation.jit, static_argnums=(0, 1))
def _maps(
    config: AnyConfig,
    with_similarity: bool,
    params: Any,
    features: tuple[jax.Array, ...],
    pixels: jax.Array,
    sizes: jax.Array,
    masks: tuple[jax.Array, ...],
    count: jax.Array,
    quality: jax.Array | None,
) -> Maps:
    """The first `count` of the K masks [K, h, w], one after the other; the other maps are zero.

    One compilation for every number of masks and for every image of one padded size. `sizes`
    int32 [1, 2] is that of the image itself.
    """

    def maps_of(number: jax.Array) -> Maps:
        mask = tuple(level[number][None] for level in masks)
        coded = registry.code_features(config, params, features, mask, quality, sizes)
        bits = partition.bits_by_area(mask, coded.y_bits, coded.z_bits)[0]
        decoded = distortion.to_8_bit(coded.x_hat)
        return Maps(bits, *_distortion(with_similarity, pixels, decoded, sizes[0]))

    empty = jax.tree_util.tree_map(
        lambda leaf: jnp.zeros((masks[0].shape[0], *leaf.shape), leaf.dtype),
        jax.eval_shape(maps_of, jnp.zeros((), jnp.int32)),
    )

    def step(number: jax.Array, maps: Maps) -> Maps:
        return jax.tree_util.tree_map(
            lambda all_maps, one: all_maps.at[number].set(one), maps, maps_of(number)
        )

    return jax.lax.fori_loop(0, count, step, empty)


@functools.partial(compilation.jit, static_argnums=0)
def _distortion(
    with_similarity: bool, pixels: jax.Array, decoded: jax.Array, size: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The maps of `Maps` without their first axis, for padded images uint8 [1, H, W, 3].

    `size` = (height, width) of the image itself: squares outside are not counted.
    """
    x, x_hat = (v.astype(jnp.float32) for v in (pixels, decoded))
    rows, cols = (
        jnp.arange(padded) < own for padded, own in zip(pixels.shape[1:3], size, strict=True)
    )
    squares = jnp.mean(jnp.square(x - x_hat), axis=-1)[0] * rows[:, None] * cols
    scales = _scales_of(min(pixels.shape[1:3])) if with_similarity else 0
    return partition.tile_sums(squares, AREA), _dissimilarity(x / 255.0, x_hat / 255.0, scales)


def _scales_of(side: int) -> int:
    """How many scales of MS-SSIM fit in an image with so many pixels on its short side."""
    fitting = range(1, len(distortion.SCALE_WEIGHTS) + 1)
    return sum(distortion.smallest_side(scales) <= side for scales in fitting)


def _dissimilarity(x: jax.Array, x_hat: jax.Array, scales: int) -> jax.Array:
    """[scales, H/16, W/16] of images [1, H, W, 3]: means of 1 - similarity over RGB and areas."""
    grid = x.shape[1] // AREA, x.shape[2] // AREA
    if not scales:
        return jnp.zeros((0, *grid))
    parts = []
    for scale, similarity in enumerate(distortion.similarity_maps(x, x_hat, scales)):
        side = AREA >> scale
        dissimilar = jnp.mean(1.0 - similarity, axis=(0, 1))
        margins = [
            ((missing := n * side - have) // 2, missing - missing // 2)
            for n, have in zip(grid, dissimilar.shape, strict=True)
        ]
        parts.append(partition.tile_sums(jnp.pad(dissimilar, margins, mode="edge"), side) / side**2)
    return jnp.stack(parts)
