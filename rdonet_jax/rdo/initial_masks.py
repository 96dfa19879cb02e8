"""Masks by name: the partition to encode with, or from which a search starts."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from rdonet_jax.codec import codec
from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import image_regions
from rdonet_jax.rdo.search import regions

STATIC, SOLVED = "static", "uniform"
"""Masks besides `codec.MASKS`: the uniform partition of the finest level, and every quadtree solved
by the costs of the three uniform partitions."""

Mask = Callable[[Model, np.ndarray, float | None], Partition]
"""(model, image uint8 [H, W, 3], quality 0 to 100 or None) -> the partition of the image.

The masks of this package have the `gains` of blocks as a fourth argument."""


def _codec_mask(
    model: Model,
    image: np.ndarray,
    quality: float | None,
    gains: np.ndarray | None = None,
    *,
    kind: str,
) -> Partition:
    return codec.choose_partition(model, image, kind, quality, gains)


def _solved(
    model: Model, image: np.ndarray, quality: float | None, gains: np.ndarray | None = None
) -> Partition:
    grid = partition.block_grid(*image.shape[:2])
    around = partition.uniform(0, grid)
    p = regions.solve(image_regions.of_image(model, image, quality, around, gains=gains), grid)
    return partition.trim(p, *image.shape[:2])


_OWN: dict[str, Callable[..., Partition]] = {
    **{kind: functools.partial(_codec_mask, kind=kind) for kind in codec.MASKS},
    STATIC: functools.partial(_codec_mask, kind="uniform-16"),
    SOLVED: _solved,
}

INITS: dict[str, Mask] = dict(_OWN)
"""Masks by name. `register_mask` adds to it."""


def register_mask(name: str, mask: Mask) -> None:
    """Registers a mask as a value of `Plan.init` and `--init`.

    Splits outside of the image are removed afterwards. Raises ValueError if the name is taken.
    """
    if name in INITS:
        raise ValueError(f"there is a mask {name!r} already")
    INITS[name] = mask


def initial_partition(
    model: Model,
    image: np.ndarray,
    init: str | Partition,
    quality: float | None = None,
    gains: np.ndarray | None = None,
) -> Partition:
    """The partition to encode with, or from which a search starts.

    `init` is a name of `INITS`, or a partition. The masks of this package follow the `gains` of
    blocks, registered ones the quality alone. Raises `PartitionError` for what is no partition of
    the image.
    """
    if not isinstance(init, str):
        return partition.checked(init, *image.shape[:2])
    arguments = (model, image, quality, *([gains] if init in _OWN else []))
    try:
        return partition.checked(INITS[init](*arguments), *image.shape[:2])
    except partition.PartitionError as error:
        raise partition.PartitionError(f"the mask {init!r}: {error}") from error
