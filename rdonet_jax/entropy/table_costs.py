"""What the integer tables charge for symbols, in bits."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from rdonet_jax.entropy import distributions, range_coder


class Costs(NamedTuple):
    """The costs of the integer table of every entry of the scale table."""

    last: np.ndarray  # [64] the largest symbol in the table
    bits: np.ndarray  # [64, largest of all + 2] bits of |symbol|; of the escape at last + 1
    order: np.ndarray  # [64] the order of the escape code


@functools.cache
def costs(distribution: str) -> Costs:
    """The costs of the tables of a distribution."""
    tables = distributions.scale_tables(distribution)
    last = -np.array(tables.offsets)
    bits = np.zeros((len(last), last.max() + 2), np.float32)
    for row, end, cdf in zip(bits, last, tables.cdfs, strict=True):
        row[: end + 2] = distributions.PRECISION - np.log2(np.diff(cdf)[end:])
    return Costs(last, bits, range_coder.escape_orders(tables))


def bits_of_small(distribution: str) -> np.ndarray:
    """The bits of the symbols 0 and ±1 by entry of the scale table, float32 [64, 2]."""
    return costs(distribution).bits[:, :2]
