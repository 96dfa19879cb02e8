"""Masks by name: the partition to encode with, or from which a search starts."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from rdonet_jax.codec import codec
from rdonet_jax.codec.image_quality import ImageQuality
from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import image_regions
from rdonet_jax.rdo.search import regions

STATIC, SOLVED = "static", "uniform"
"""Masks besides `codec.MASKS`: the uniform partition of the finest level, and every quadtree solved
by the costs of the three uniform partitions."""

Mask = Callable[..., Partition]
"""(model, image uint8 [H, W, 3], quality 0 to 100 or None) -> the partition of the image."""


_Mask = Callable[[Model, np.ndarray, ImageQuality], Partition]
"""The same, of a quality that has been parsed."""


def _codec_mask(model: Model, image: np.ndarray, quality: ImageQuality, *, kind: str) -> Partition:
    return codec.partition_at(image, kind, quality)


def _solved(model: Model, image: np.ndarray, quality: ImageQuality) -> Partition:
    size = image.shape[:2]
    grid = partition.block_grid(*size)
    of_image = image_regions.of_image(model, image, quality, partition.uniform(0, grid))
    return partition.trim(regions.solve(of_image, grid), *size)


INITS: dict[str, _Mask] = {
    **{kind: functools.partial(_codec_mask, kind=kind) for kind in codec.MASKS},
    STATIC: functools.partial(_codec_mask, kind="uniform-16"),
    SOLVED: _solved,
}
"""Masks by name. `register_mask` adds to it."""


def register_mask(name: str, mask: Mask, follows_gains: bool = False) -> None:
    """Registers a mask as a value of `Plan.init` and `--init`.

    Its quality is that of the file, or None for a fixed-rate model. With `follows_gains` it gets
    the gains of blocks, points of quality [rows, columns] or None, as a fourth argument. Splits
    outside of the image are removed afterwards. Raises ValueError if the name is taken.
    """
    if name in INITS:
        raise ValueError(f"there is a mask {name!r} already")

    def choose(model: Model, image: np.ndarray, quality: ImageQuality) -> Partition:
        return mask(model, image, quality.quality, *([quality.gains] if follows_gains else []))

    INITS[name] = choose


def initial_partition(
    model: Model,
    image: np.ndarray,
    init: str | Partition,
    quality: float | None = None,
    gains: np.ndarray | None = None,
) -> Partition:
    """The partition to encode with, or from which a search starts.

    `init` is a name of `INITS`, or a partition. Masks that do not follow the `gains` of blocks have
    the quality alone. Raises `PartitionError` for what is no partition of the image, and
    `EncodeError` as `codec.qualities.parse_quality` does.
    """
    parsed = parse_quality(model.config, quality, gains, image.shape[:2])
    return partition_at(model, image, init, parsed)


def partition_at(
    model: Model, image: np.ndarray, init: str | Partition, quality: ImageQuality
) -> Partition:
    """As `initial_partition`, at a quality that has been parsed."""
    if not isinstance(init, str):
        return partition.check_and_trim(init, *image.shape[:2])
    try:
        return partition.check_and_trim(INITS[init](model, image, quality), *image.shape[:2])
    except partition.PartitionError as error:
        raise partition.PartitionError(f"the mask {init!r}: {error}") from error
