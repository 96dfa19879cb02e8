"""Distributions of latents: differentiable bits, and the integer tables of the range coder.

In training and estimates, the rate of an element is the information content of its unit bin, in
float32. The codec replaces every scale by the nearest entry of a fixed logarithmic table. Every
entry has a cumulative table of 16-bit integers, so that encoder and decoder agree on any machine.
"""

import abc
import functools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf

PRECISION = 16
TOTAL = 1 << PRECISION
SCALE_COUNT = 64
BINARY_COUNT = 64

MIN_SCALE_RATIO = 16.0
"""The least ratio of the largest to the smallest scale. Integer priors assume it."""

_BINARY_LOGIT = 8.0

# Polynomial in w = (t - 3) / (t + 3) for (1 + t) * Q(t) / phi(t), t >= 0: a Chebyshev fit, relative
# error below 2e-7 in float32. Q is the upper tail of the normal distribution, phi its density.
_MILLS = (
    1.21836121, -0.241956655, -0.0411904498, 0.113207963, -0.0569617523, 0.00291785002,
    0.00748653986, -0.000915902377, -0.00118815864, 8.96748895e-05, 0.00014969347,
)  # fmt: skip


def laplace_bits(v, scale):
    """Bits of the unit bin [v - 1/2, v + 1/2] of a centered Laplace distribution of scale b.

    Elementwise, any shapes that broadcast, float32. Value and gradients are finite for |v| up to
    1e6 and every scale of the table's range, and grow linearly in the tails.
    """
    a = jnp.abs(v)
    # The bin's mass is that of a bin at m = min(a, 1/2), times exp(-(a - m) / scale). Both terms of
    # the former are positive: no cancellation, and no branch whose gradient could be NaN.
    m = jnp.minimum(a, 0.5)
    near = -jnp.expm1((m - 0.5) / scale) - jnp.expm1((-m - 0.5) / scale)
    return ((a - m) / scale - jnp.log(0.5 * near)) * (1 / math.log(2))


def gaussian_bits(v, scale):
    """Bits of the unit bin [v - 1/2, v + 1/2] of a centered normal distribution of deviation sigma.

    Elementwise, any shapes that broadcast, float32. Value and gradients are finite for |v| up to
    1e6 and every scale of the table's range, and grow quadratically in the tails.
    """
    a = jnp.abs(v)
    inner = a < 0.5
    m = jnp.where(inner, a, 0.5)
    near = erf((0.5 + m) / scale * math.sqrt(0.5)) + erf((0.5 - m) / scale * math.sqrt(0.5))
    u = jnp.where(inner, 0.0, a - 0.5)
    t = u / scale
    decay = jnp.exp(-(u + 0.5) / scale / scale)  # phi(t + 1 / scale) / phi(t)
    far = _mills(t) - decay * _mills(t + 1 / scale)
    far_nats = 0.5 * t * t + 0.5 * math.log(2 * math.pi) - jnp.log(far)
    return jnp.where(inner, -jnp.log(0.5 * near), far_nats) * (1 / math.log(2))


def _mills(t):
    """Q(t) / phi(t) of the normal distribution for t >= 0."""
    w = (t - 3) / (t + 3)
    return functools.reduce(lambda r, c: r * w + c, reversed(_MILLS)) / (1 + t)


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
        return laplace_bits(v, scale)

    def tail(self, t: float) -> float:
        return 0.5 * math.exp(-t)


class Gaussian(Distribution):
    """The normal distribution of deviation sigma."""

    name = "gaussian"
    scales = (0.11, 256.0)
    deviation = 1.0

    def bits(self, v: Any, scale: Any) -> Any:
        return gaussian_bits(v, scale)

    def tail(self, t: float) -> float:
        return 0.5 * math.erfc(t * math.sqrt(0.5))


DISTRIBUTIONS: dict[str, Distribution] = {}
"""By name. `register` adds to it."""


def register(distribution: Distribution) -> None:
    """Registers a distribution.

    Raises ValueError if its name is taken, and for a range of scales that is too narrow.
    """
    if distribution.name in DISTRIBUTIONS:
        raise ValueError(f"there is a distribution {distribution.name!r} already")
    low, high = distribution.scales
    if not 0 < MIN_SCALE_RATIO * low <= high < math.inf:
        raise ValueError(
            f"{distribution.name}: the largest scale must be at least {MIN_SCALE_RATIO:g} times "
            f"the smallest, not {low} and {high}"
        )
    DISTRIBUTIONS[distribution.name] = distribution


for _distribution in (Laplace(), Gaussian()):
    register(_distribution)


def named(name: str) -> Distribution:
    """The distribution of this name. Raises ValueError when there is none."""
    if not isinstance(name, str) or name not in DISTRIBUTIONS:
        raise ValueError(f"distribution must be one of {', '.join(DISTRIBUTIONS)}, not {name!r}")
    return DISTRIBUTIONS[name]


def bits(v, scale, distribution: str):
    """Bits of the unit bin around v. Raises ValueError for an unknown distribution."""
    return named(distribution).bits(v, scale)


@functools.cache
def scale_table(distribution: str) -> np.ndarray:
    """The fixed scales, float32 [64], logarithmically spaced; read-only."""
    low, high = named(distribution).scales
    exponents = np.arange(SCALE_COUNT) / (SCALE_COUNT - 1)
    return _read_only((low * (high / low) ** exponents).astype(np.float32))


def scale_at(index, distribution: str):
    """The scale at indices of the table, which may be fractions: interpolated geometrically."""
    scales = scale_table(distribution).astype(np.float64)
    step = float(np.log(scales[1] / scales[0]))
    return float(scales[0]) * jnp.exp(index * step)


@functools.cache
def scale_thresholds(distribution: str) -> np.ndarray:
    """Geometric means of successive scales of the table, float32 [63]; read-only."""
    scales = scale_table(distribution).astype(np.float64)
    return _read_only(np.sqrt(scales[:-1] * scales[1:]).astype(np.float32))


def _read_only(a: np.ndarray) -> np.ndarray:
    a.setflags(write=False)
    return a


def scale_index(scale, distribution: str):
    """Index of the table entry nearest to each scale in the log domain; int32, the shape of scale.

    By comparisons alone, so equal scales give equal indices on every machine. Scales outside the
    table's range get its first or last entry.
    """
    thresholds = jnp.asarray(scale_thresholds(distribution))
    return jnp.searchsorted(thresholds, scale, method="scan_unrolled").astype(jnp.int32)


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
    estimate = (2 * ones + 1) * TOTAL
    below = (2 * total[..., None] + 2) * binary_counts(0.5)[:-1] < estimate[..., None]
    return np.sum(below, axis=-1, dtype=np.int32)


@functools.cache
def binary_counts(shift: float) -> np.ndarray:
    """Counts out of 2**16 of P(1), at the logits of the tables plus `shift` steps; int64 [64]."""
    x = _BINARY_LOGIT * (2 * (np.arange(BINARY_COUNT) + shift) / (BINARY_COUNT - 1) - 1)
    return _read_only(np.rint(TOTAL / (1 + np.exp(-x))).astype(np.int64))
