"""Distributions of latents, and the integer tables of the range coder.

The codec replaces every scale by the nearest entry of a fixed logarithmic table. Every entry has a
cumulative table of 16-bit integers, so that encoder and decoder agree on any machine. The
differentiable bits of training and estimates are in `entropy.likelihoods`. Importing this module
loads no JAX.
"""

import abc
import functools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

PRECISION = 16
TOTAL = 1 << PRECISION
SCALE_COUNT = 64
BINARY_COUNT = 64

MIN_SCALE_RATIO = 16.0
"""The least ratio of the largest to the smallest scale. Integer priors assume it."""

_BINARY_LOGIT = 8.0


class Distribution(abc.ABC):
    """A family of distributions of latents, symmetric around 0, with a scale.

    A new one is one subclass, which sets the attributes and gives `bits` and `tail`, and one call
    of `register`. Configurations name it in their field `distribution`.

    Attributes:
      name: stored with configurations.
      scales: the smallest and the largest scale of the table. Below the smallest, 16-bit counts
        should have no use. Above the largest, escapes get frequent.
      deviation: the standard deviation at scale 1.
    """

    name: ClassVar[str]
    scales: ClassVar[tuple[float, float]]
    deviation: ClassVar[float]

    @abc.abstractmethod
    def bits(self, v: Any, scale: Any) -> Any:
        """Bits of the unit bin [v - 1/2, v + 1/2], for training.

        Elementwise, any shapes that broadcast, float32. Value and gradients must be finite for |v|
        up to 1e6 and every scale of the table's range.
        """

    @abc.abstractmethod
    def tail(self, t: float) -> float:
        """P(X > t) at scale 1, t >= 0, in double precision. The range coder's tables follow."""


class Laplace(Distribution):
    """The Laplace distribution of scale b."""

    name = "laplace"
    # Measured for symbols of continuous scale b: 64 entries over this range cost 0.4 % more than
    # the information content at b = 0.1 (0.0003 bits per symbol), 0.1 % at 0.3, below 0.05 % from
    # 1 on. Below the smallest b, 16 bits cannot express smaller costs (0.00007 bits remain); above
    # the largest, escapes cost 2 % at b = 400.
    scales = (0.05, 256.0)
    deviation = math.sqrt(2)

    def bits(self, v: Any, scale: Any) -> Any:
        from rdonet_jax.entropy import bin_bits

        return bin_bits.laplace_bits(v, scale)

    def tail(self, t: float) -> float:
        return 0.5 * math.exp(-t)


class Gaussian(Distribution):
    """The normal distribution of deviation sigma."""

    name = "gaussian"
    scales = (0.11, 256.0)
    deviation = 1.0

    def bits(self, v: Any, scale: Any) -> Any:
        from rdonet_jax.entropy import bin_bits

        return bin_bits.gaussian_bits(v, scale)

    def tail(self, t: float) -> float:
        return 0.5 * math.erfc(t * math.sqrt(0.5))


DISTRIBUTIONS: dict[str, Distribution] = {}
"""By name. `register` adds to it."""


def register(distribution: Distribution) -> None:
    """Registers a distribution.

    Raises ValueError if its name is taken, for a range of scales that is too narrow, and for a tail
    that is none.
    """
    if distribution.name in DISTRIBUTIONS:
        raise ValueError(f"there is a distribution {distribution.name!r} already")
    low, high = distribution.scales
    if not 0 < MIN_SCALE_RATIO * low <= high < math.inf:
        raise ValueError(
            f"{distribution.name}: the largest scale must be at least {MIN_SCALE_RATIO:g} times "
            f"the smallest, not {low} and {high}"
        )
    tails = np.array([distribution.tail(t) for t in (0.0, *np.geomspace(1e-3, 30, 61).tolist())])
    if abs(tails[0] - 0.5) > 1e-9 or not np.all(np.diff(tails) <= 0):  # NaN does not fall either
        raise ValueError(f"{distribution.name}: the tail must fall from 0.5 at t = 0")
    DISTRIBUTIONS[distribution.name] = distribution


for _distribution in (Laplace(), Gaussian()):
    register(_distribution)


def named(name: str) -> Distribution:
    """The distribution of this name. Raises ValueError when there is none."""
    if not isinstance(name, str) or name not in DISTRIBUTIONS:
        raise ValueError(f"distribution must be one of {', '.join(DISTRIBUTIONS)}, not {name!r}")
    return DISTRIBUTIONS[name]


@functools.cache
def scale_table(distribution: str) -> np.ndarray:
    """The fixed scales, float32 [64], logarithmically spaced; read-only."""
    low, high = named(distribution).scales
    exponents = np.arange(SCALE_COUNT) / (SCALE_COUNT - 1)
    return _read_only((low * (high / low) ** exponents).astype(np.float32))


@functools.cache
def scale_thresholds(distribution: str) -> np.ndarray:
    """Geometric means of successive scales of the table, float32 [63]; read-only."""
    scales = scale_table(distribution).astype(np.float64)
    return _read_only(np.sqrt(scales[:-1] * scales[1:]).astype(np.float32))


def _read_only(a: np.ndarray) -> np.ndarray:
    a.setflags(write=False)
    return a


@dataclass(frozen=True, eq=False)
class CdfTables:
    """Integer cumulative tables, as a range coder uses them.

    cdfs: int32 [n + 1] per table, rising strictly from 0 to 2**16. Entry i is the symbol
    offsets[table] + i. With has_escape, the last entry of every table is for all other symbols.
    Compared and hashed by identity, so that coders can cache what they derive from it.
    """

    cdfs: tuple[np.ndarray, ...]
    offsets: tuple[int, ...]
    has_escape: bool


@functools.cache
def scale_tables(distribution: str) -> CdfTables:
    """One table with escape per entry of scale_table; symmetric around 0, every count >= 1."""
    tables = [_scale_cdf(float(b), distribution) for b in scale_table(distribution)]
    return CdfTables(tuple(tables), tuple(1 - len(c) // 2 for c in tables), True)


def _scale_cdf(scale: float, distribution: str) -> np.ndarray:
    """Cumulative counts of -k .. k and the escape; k is the last symbol with a count of one.

    The probabilities beyond each symbol are rounded, not the symbols' counts. So the sum is exact,
    and a symbol with an expected count of one gets at least one.
    """
    tails = tail_counts(scale, distribution)
    half = np.rint(tails).astype(np.int64)
    counts = half[:-1] - half[1:]
    escape = max(1, 2 * half[-1])
    zero = TOTAL - 2 * counts.sum() - escape
    return _cdf_of_counts([*counts[::-1], zero, *counts, escape])


def tail_counts(scale: float, distribution: str) -> np.ndarray:
    """Expected count, before rounding, of the symbols >= 1, >= 2, ... >= k + 1; float64 [k + 1]."""
    tail = named(distribution).tail
    tails = [TOTAL * tail(0.5 / scale)]
    while True:
        tails.append(TOTAL * tail((len(tails) + 0.5) / scale))
        # At most TOTAL steps are that large, since their sum is at most TOTAL / 2.
        if tails[-2] - tails[-1] < 1:
            return np.array(tails[:-1])


def _cdf_of_counts(counts) -> np.ndarray:
    return _read_only(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))


@functools.cache
def binary_tables() -> CdfTables:
    """Tables over the symbols 0 and 1, P(1) = 1 / (1 + exp(-x)) for 64 x evenly in [-8, 8]."""
    cdfs = tuple(_cdf_of_counts([TOTAL - n, n]) for n in binary_counts(0))
    return CdfTables(cdfs, (0,) * BINARY_COUNT, False)


def binary_index(ones, total) -> np.ndarray:
    """Index of the binary table for adaptive counts: `ones` ones among `total` flags so far.

    Integer arrays of equal shape, total < 2**40; int32. Picks the table nearest in the logistic
    domain to the estimate (ones + 1/2) / (total + 1) by integer comparisons alone.
    """
    ones, total = np.asarray(ones, np.int64), np.asarray(total, np.int64)
    # The number of counts c between two tables with c < estimate / (2 total + 2).
    estimate = (2 * ones + 1) * TOTAL
    below = (estimate - 1) // (2 * total + 2)
    return np.searchsorted(binary_counts(0.5)[:-1], below, side="right").astype(np.int32)


@functools.cache
def binary_counts(shift: float) -> np.ndarray:
    """Counts out of 2**16 of P(1), at the logits of the tables plus `shift` steps; int64 [64]."""
    x = _BINARY_LOGIT * (2 * (np.arange(BINARY_COUNT) + shift) / (BINARY_COUNT - 1) - 1)
    return _read_only(np.rint(TOTAL / (1 + np.exp(-x))).astype(np.int64))
