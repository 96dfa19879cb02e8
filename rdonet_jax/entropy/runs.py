"""Runs of symbols or table entries, as the range coders take them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Run = tuple[np.ndarray, np.ndarray]
"""Symbols and their table indices, or entries and theirs: 1-D integer arrays of equal length."""

_CHUNK = 2**18


class CoderError(ValueError):
    """The bytes are not what a range coder writes."""


def chunks(count: int) -> Iterator[slice]:
    """Splits a run into chunks, which bounds the memory of wide integers."""
    for first in range(0, count, _CHUNK):
        yield slice(first, min(first + _CHUNK, count))
