"""Runs steps of an engine ahead of the storing of their results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from rdonet_jax.codec.portable.engine import Array

AHEAD = 2
"""Steps that are under way while the result of an earlier one is stored."""

Item = TypeVar("Item")


def compute_ahead(
    items: Iterable[Item], compute: Callable[[Item], Any]
) -> Iterator[tuple[Item, Any]]:
    """What a step gives for each item, as NumPy arrays, while the next ones are being computed."""
    under_way: deque[tuple[Item, Any]] = deque()
    for item in items:
        # Weights may overflow. Symbols that are not finite are refused when they are coded.
        with np.errstate(over="ignore", invalid="ignore"):
            under_way.append((item, compute(item)))
        if len(under_way) > AHEAD:
            yield _as_numpy(*under_way.popleft())
    while under_way:
        yield _as_numpy(*under_way.popleft())


def _as_numpy(item: Item, result: Array | tuple[Array, ...]) -> tuple[Item, Any]:
    is_tuple = isinstance(result, tuple)
    return item, tuple(map(np.asarray, result)) if is_tuple else np.asarray(result)
