"""The rate-distortion cost of partitions with a model, R + lambda * D: the cost of `search`.

lambda is that of the quality, and D the distortion that the model was trained for, see
`rdonet_jax.metrics.loss`. R are the bits by the integer tables and by the adaptive coding of the
partition; D is that of the 8-bit image.

`RDCost` is the cost of a whole image. `TileCost` is that of a tile of it, an array of one of a few
shapes, so that nothing is compiled for the size of an image.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rdonet_jax.codec import codec, memory, partition_coding, preparation
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.codec.image_quality import ImageQuality
from rdonet_jax.codec.preparation import PreparedImage
from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.core import partition
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.core.partition import Partition
from rdonet_jax.metrics import distortion, loss
from rdonet_jax.metrics.loss import AREA, Distortion, Loss, Term
from rdonet_jax.models import registry
from rdonet_jax.models.quality_maps import QualityMaps
from rdonet_jax.models.zoo import Model
from rdonet_jax.nn import lapped
from rdonet_jax.rdo import file_cost
from rdonet_jax.rdo.file_cost import FileCost
from rdonet_jax.rdo.search.costs import Costs
from rdonet_jax.runtime import compilation


class PartitionMaps(NamedTuple):
    """The rate and distortion of a partition by areas of 16x16 pixels."""

    bits: np.ndarray  # [H/16, W/16], with those of the partition
    distortions: tuple[np.ndarray, ...]  # each [M, H/16, W/16], see `Distortion.maps`


def trained_loss(model: Model, quality: ImageQuality) -> tuple[Term, ...]:
    """The distortions that the model was trained for, with their weights at a quality.

    A model without a record is taken to be trained with the defaults of `Loss`.

    Raises `EncodeError` for a metric that is not registered.
    """
    training = model.record.of_whole_network().training
    trained_for = training.loss if training else Loss()
    if quality.number is not None:
        lmbda = float(loss.lmbda_of(model.config, quality.number))
        trained_for = trained_for._replace(lmbda=lmbda)
    if trained_for.metric not in loss.DISTORTIONS:
        raise EncodeError(
            f"{model.name}: was trained for the metric {trained_for.metric!r}, which this version "
            f"does not have (it has {', '.join(loss.DISTORTIONS)}), so it cannot search for what "
            "costs least; files can be written without a search"
        )
    return trained_for.terms()


def emphasis(quality: ImageQuality) -> np.ndarray | None:
    """The lambda of every area of 16x16 pixels in relation to that of the image, [H/16, W/16].

    None where all blocks have the same quality.
    """
    if (blocks := quality.blocks) is None:
        return None
    config, per_side = quality.config, partition.BLOCK // AREA
    relative = loss.lmbda_of(config, blocks) / loss.lmbda_of(config, quality.number)
    return np.kron(relative, np.ones((per_side, per_side)))


def make_file_cost(model: Model, image: PreparedImage, quality: ImageQuality) -> FileCost:
    """J of files of an image, for the quality's lambda.

    Where blocks have other qualities, areas count by their `emphasis`. Raises `EncodeError` as
    `trained_loss` does.
    """
    return FileCost(trained_loss(model, quality), image.rgb8, emphasis(quality))


class RDCost:
    """The cost function of one image, for `rdonet_jax.rdo.search`: J times the number of pixels.

    It evaluates the whole image at once, so it is compiled for its padded size. A distortion that
    is no sum over areas is linearized around the partition that is evaluated first.
    """

    def __init__(
        self, model: Model, image: PreparedImage | np.ndarray, quality: float | None = None
    ) -> None:
        """For a prepared image, or for pixels uint8 [H, W, 3].

        Raises `EncodeError` for an image that cannot be coded, for one that takes more memory to
        evaluate than there is, and for a quality that the model does not have.
        """
        prepared = preparation.prepare(model.config, image)
        parsed = parse_quality(model.config, quality)
        self.size = prepared.size
        grid = partition.block_grid(*self.size)
        if lack := memory.searching_shortage(model.config, grid, grid):
            raise EncodeError(f"the image is too large: {lack}")
        self.terms = tuple(term for term in trained_loss(model, parsed) if term.weight > 0)
        distortions = tuple(term.distortion for term in self.terms)
        pixels = partition.pad_image(prepared.rgb8)
        self._evaluation = _Evaluation(model, distortions, parsed, pixels, self.size)
        self._first: tuple[np.ndarray, ...] = ()  # maps of the partition evaluated first

    def __call__(self, candidates: Sequence[Partition]) -> Costs:
        maps = [self._evaluation.maps(p) for p in candidates]
        if not self._first:
            self._first = maps[0].distortions
        bits = np.stack([of.bits for of in maps])
        by_distortion = zip(*(of.distortions for of in maps), strict=True)
        return self._add_distortions(bits, [np.stack(values) for values in by_distortion])

    def _add_distortions(self, areas: np.ndarray, maps: Sequence[np.ndarray]) -> Costs:
        """The costs of bits by area, [K, H/16, W/16], plus the weighted distortions."""
        for term, values in zip(self.terms, maps, strict=True):
            if term.distortion.adds_up:
                areas = areas + term.weight * values.sum(1)
        totals = areas.sum((1, 2))
        for term, values, first in zip(self.terms, maps, self._first, strict=True):
            if not term.distortion.adds_up:
                weight = term.weight * self.size[0] * self.size[1]
                local, whole = term.distortion.linearized(values, first)
                areas, totals = areas + weight * local, totals + weight * whole
        return Costs(areas, totals)


class TileCost:
    """The cost function of a tile of an image: what the costs of its areas add up to.

    Args:
      model: of a variable-rate family, whose networks know where in an array an image ends.
      distortions: those of the cost.
      weights: by distortion, what each of its maps weighs, see `FileCost.weights`.
      quality: of the tile.
      pixels: uint8 [1, H, W, 3], H and W multiples of 64; continued beyond the end of the image.
      size: rows and columns of `pixels` that are the image.
      relative: what areas count, [H/16, W/16] of `pixels`, see `FileCost.relative`.
    """

    def __init__(
        self,
        model: Model,
        distortions: tuple[Distortion, ...],
        weights: Sequence[np.ndarray],
        quality: ImageQuality,
        pixels: np.ndarray,
        size: tuple[int, int],
        relative: np.ndarray | None = None,
    ) -> None:
        self._evaluation = _Evaluation(model, distortions, quality, pixels, size)
        self._weights, self._relative = weights, relative

    def __call__(self, candidates: Sequence[Partition]) -> Costs:
        """The costs of partitions of the tile, `size`."""
        areas = np.stack([self._areas(self._evaluation.maps(p)) for p in candidates])
        return Costs(areas, areas.sum((1, 2)))

    def _areas(self, maps: PartitionMaps) -> np.ndarray:
        areas = maps.bits
        for weights, values in zip(self._weights, maps.distortions, strict=True):
            cost = np.sum(np.asarray(weights, np.float64)[:, None, None] * values, axis=0)
            if self._relative is not None:
                cost = cost * self._relative[: cost.shape[0], : cost.shape[1]]
            areas = areas + cost
        return areas


class _Evaluation:
    """The maps of partitions of an image at the top left of an array.

    The encoder's features, which depend on no mask, are computed once. Partitions are evaluated one
    at a time, so memory does not grow with their number.
    """

    def __init__(
        self,
        model: Model,
        distortions: tuple[Distortion, ...],
        quality: ImageQuality,
        pixels: np.ndarray,
        size: tuple[int, int],
    ) -> None:
        self._model, self._distortions, self._pixels, self._size = model, distortions, pixels, size
        self._quality: np.ndarray | QualityMaps | None = None
        if (maps := quality.maps) is not None:
            self._quality = jax.tree_util.tree_map(lambda values: values[None], maps)
        elif quality.number is not None:
            self._quality = np.array([quality.number], np.int32)
        self._sizes = np.array([size], np.int32)
        self._features = _features(model.config, model.device_params, pixels, self._sizes)
        self._originals = file_cost.originals(distortions, pixels)

    def maps(self, p: Partition) -> PartitionMaps:
        """Those of a partition, float64, of the areas of its blocks; with the bits of its flags.

        Raises `PartitionError` for what is none of the image.
        """
        p = partition.check_and_trim(p, *self._size)
        masks = codec.coded_masks(p, *self._size)
        bits, decoded = _code(
            self._model.config,
            self._model.device_params,
            self._features,
            self._sizes,
            tuple(map(self._in_array, masks, partition.STRIDES)),
            self._quality,
        )
        # Not in one compiled function with `_code`: compilers for CPUs would compute parts of the
        # synthesis again for every tap of the Gaussian filter of MS-SSIM.
        found = file_cost.maps_of(self._distortions, self._originals, decoded, self._sizes[0])
        flag_bits = self._flag_bits(p)  # while the device computes
        rows, cols = masks[0].shape
        bits, distortions = jax.tree_util.tree_map(
            lambda values: np.asarray(values, np.float64)[..., :rows, :cols], (bits, found)
        )
        return PartitionMaps(bits + flag_bits, distortions)

    def _in_array(self, mask: np.ndarray, stride: int) -> np.ndarray:
        """A mask [h, w] of the blocks of the image as one of the array, [1, h, w]."""
        sides = (side // stride for side in self._pixels.shape[1:3])
        missing = [(0, side - have) for side, have in zip(sides, mask.shape, strict=True)]
        return np.pad(mask, missing)[None]

    def _flag_bits(self, p: Partition) -> np.ndarray:
        """The bits of the partition itself by area. Those of a block are spread over its areas."""
        per_side = partition.BLOCK // AREA
        return np.kron(
            partition_coding.bits(p, *self._size) / per_side**2, np.ones((per_side, per_side))
        )


@functools.partial(compilation.jit, static_argnums=0, quick=True)
def _features(
    config: AnyConfig, params: Any, pixels: jax.Array, sizes: jax.Array
) -> tuple[jax.Array, ...]:
    return registry.analyze(config, params, distortion.from_integers(pixels), sizes)


@functools.partial(compilation.jit, static_argnums=0, quick=True)
def _code(
    config: AnyConfig,
    params: Any,
    features: tuple[jax.Array, ...],
    sizes: jax.Array,
    masks: tuple[jax.Array, ...],
    quality: jax.Array | QualityMaps | None,
) -> tuple[jax.Array, jax.Array]:
    """The bits by area of one partition, whose masks are [1, h, w], and the decoded uint8 image.

    `sizes` int32 [1, 2] are as in `code`. It is compiled once for each shape of arrays. Compilers
    for CPUs make convolutions slower inside of a loop, so there is no loop over partitions.
    """
    coded = registry.code_features(config, params, features, masks, quality, sizes)
    bits = partition.bits_by_area(masks, coded.y_bits, coded.z_bits)[0]
    # A file's distortion is that of the image, padded as its source is.
    return bits, distortion.to_8_bit(lapped.replicate_beyond(coded.x_hat, sizes))[0]
