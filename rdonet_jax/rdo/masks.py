"""Ways to choose a partition, by name: where a search starts, or what is used without one."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from rdonet_jax.codec import codec
from rdonet_jax.core.partition import Partition
from rdonet_jax.models.zoo import Model

Mask = Callable[[Model, np.ndarray, float | None], Partition]
"""(model, image uint8 [H, W, 3], quality 0 to 100 or None) -> the partition of the image."""

STATIC, SOLVED = "static", "uniform"
"""Names beside `codec.MASKS`: a uniform partition of the finest level, and every quadtree solved by
what its parts cost in the three uniform partitions."""


def _kind(model: Model, image: np.ndarray, quality: float | None, *, kind: str) -> Partition:
    return codec.choose_partition(model, image, kind, quality)


INITS: dict[str, Mask | None] = {
    **{kind: functools.partial(_kind, kind=kind) for kind in codec.MASKS},
    STATIC: functools.partial(_kind, kind="uniform-16"),
    SOLVED: None,
}
"""By name. `register_mask` adds to it. SOLVED needs a cost function, see `encoder.start_of`."""


def register_mask(name: str, mask: Mask) -> None:
    """Makes a way to choose partitions known: a value of `Plan.init`, and so of `--init`.

    Splits outside of the image need no care: they are left out afterwards. Raises ValueError for
    a name that is taken.
    """
    if name in INITS:
        raise ValueError(f"there is a mask {name!r} already")
    INITS[name] = mask
