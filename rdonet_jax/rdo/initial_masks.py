"""Masks by name: the partition to encode with, or from which a search starts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

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

Mask = Callable[..., Partition]
"""(model, image uint8 [H, W, 3], quality 0 to 100 or None) -> the partition of the image."""


class RegisteredMask(NamedTuple):
    """A mask by its name.

    Attributes:
      choose: the mask.
      follows_gains: whether `choose` has a fourth argument, the `gains` of blocks or None.
    """

    choose: Mask
    follows_gains: bool = False


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


INITS: dict[str, RegisteredMask] = {
    **{
        name: RegisteredMask(functools.partial(_codec_mask, kind=kind), follows_gains=True)
        for name, kind in {**{kind: kind for kind in codec.MASKS}, STATIC: "uniform-16"}.items()
    },
    SOLVED: RegisteredMask(_solved, follows_gains=True),
}
"""Masks by name. `register_mask` adds to it."""


def register_mask(name: str, mask: Mask, follows_gains: bool = False) -> None:
    """Registers a mask as a value of `Plan.init` and `--init`.

    With `follows_gains` it gets the gains of blocks, points of quality [rows, columns] or None, as
    a fourth argument. Splits outside of the image are removed afterwards. Raises ValueError if the
    name is taken.
    """
    if name in INITS:
        raise ValueError(f"there is a mask {name!r} already")
    INITS[name] = RegisteredMask(mask, follows_gains)


def initial_partition(
    model: Model,
    image: np.ndarray,
    init: str | Partition,
    quality: float | None = None,
    gains: np.ndarray | None = None,
) -> Partition:
    """The partition to encode with, or from which a search starts.

    `init` is a name of `INITS`, or a partition. Masks that do not follow the `gains` of blocks have
    the quality alone. Raises `PartitionError` for what is no partition of the image.
    """
    if not isinstance(init, str):
        return partition.checked(init, *image.shape[:2])
    mask = INITS[init]
    arguments = (model, image, quality, *([gains] if mask.follows_gains else []))
    try:
        return partition.checked(mask.choose(*arguments), *image.shape[:2])
    except partition.PartitionError as error:
        raise partition.PartitionError(f"the mask {init!r}: {error}") from error
