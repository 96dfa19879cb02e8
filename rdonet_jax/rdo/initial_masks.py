"""Ways to choose the partition of an image, by name: masks to encode with or to search from."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from rdonet_jax.codec import codec
from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import search
from rdonet_jax.rdo.cost import RDCost

STATIC, SOLVED = "static", "uniform"
"""Masks beside `codec.MASKS`: a uniform partition of the finest level, and every quadtree solved
by what its parts cost in the three uniform partitions."""

Mask = Callable[[Model, np.ndarray, float | None], Partition]
"""(model, image uint8 [H, W, 3], quality 0 to 100 or None) -> the partition of the image."""


def _kind(model: Model, image: np.ndarray, quality: float | None, *, kind: str) -> Partition:
    return codec.choose_partition(model, image, kind, quality)


def _solved(model: Model, image: np.ndarray, quality: float | None) -> Partition:
    return from_uniform(image, RDCost(model, image, quality))


INITS: dict[str, Mask] = {
    **{kind: functools.partial(_kind, kind=kind) for kind in codec.MASKS},
    STATIC: functools.partial(_kind, kind="uniform-16"),
    SOLVED: _solved,
}
"""By name, where a search starts, or what is used without one. `register_mask` adds to it."""


def register_mask(name: str, mask: Mask) -> None:
    """Makes a way to choose partitions known: a value of `Plan.init`, and so of `--init`.

    Splits outside of the image need no care: they are left out afterwards. Raises ValueError for
    a name that is taken.
    """
    if name in INITS:
        raise ValueError(f"there is a mask {name!r} already")
    INITS[name] = mask


def initial_partition(
    model: Model,
    image: np.ndarray,
    init: str | Partition,
    quality: float | None = None,
    cost: search.Cost | None = None,
) -> Partition:
    """The partition that a search starts from, or that is used without one.

    `init` is one of `INITS`, or a partition. `cost` is for SOLVED, and made where it is missing.
    Raises `PartitionError` for a mask of another size than the image's.
    """
    if not isinstance(init, str):
        return init
    if init == SOLVED and cost is not None:
        return from_uniform(image, cost)
    return partition.trim(INITS[init](model, image, quality), *image.shape[:2])


def from_uniform(image: np.ndarray, cost: search.Cost) -> Partition:
    """Every quadtree solved by what its parts cost in the three uniform partitions."""
    p = search.from_uniform(cost, partition.grid_of(*image.shape[:2]))
    return partition.trim(p, *image.shape[:2])
