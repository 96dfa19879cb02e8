"""The factorized prior: a non-parametric univariate density for every channel (Ballé et al. 2018).

https://arxiv.org/abs/1802.01436, appendix 6.1. A channel's cumulative distribution is
sigmoid(f(v) - f(0)). f is a small monotonic network with one input and one output: its matrices are
positive (softplus), its nonlinearities v + tanh(a) tanh(v). The subtraction of f(0) fixes the
median at 0, so rounding needs no offset; the layer before the density shifts its channels
accordingly. The published form has a bias after the last layer instead, and finds the median by an
auxiliary loss or a search.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.entropy.distributions import TOTAL, CdfTables

WIDTHS = (1, 3, 3, 3, 3, 1)
"""Widths of the layers of f, as published."""

INITIAL_SCALE = 10.0
"""The initial width of the density."""

LARGEST_SYMBOL = 2047
"""The largest symbol in a table. Larger ones are coded as escapes."""


class FactorizedPrior(nn.Module):
    """Bits of the unit bin around every element of v [..., C], of the same shape."""

    @nn.compact
    def __call__(self, v: jax.Array) -> jax.Array:
        params = self._params(v.shape[-1])
        at_zero = _logits(params, jnp.zeros(v.shape[-1]), jnp)
        lower = _logits(params, v - 0.5, jnp) - at_zero
        upper = _logits(params, v + 0.5, jnp) - at_zero
        # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)): no cancellation.
        gap = jnp.maximum(upper - lower, 1e-6)
        nats = nn.softplus(-upper) + nn.softplus(lower) - jnp.log(-jnp.expm1(-gap))
        return nats * (1 / np.log(2))

    def _params(self, channels: int) -> dict[str, jax.Array]:
        scale = INITIAL_SCALE ** (1 / (len(WIDTHS) - 1))
        params = {}
        for layer, (inputs, outputs) in enumerate(pairwise(WIDTHS)):
            initial = np.log(np.expm1(1 / scale / outputs))
            params[f"matrix_{layer}"] = self.param(
                f"matrix_{layer}", nn.initializers.constant(initial), (channels, outputs, inputs)
            )
            if layer < len(WIDTHS) - 2:
                for name, initializer in (("bias", _uniform), ("factor", nn.initializers.zeros)):
                    key = f"{name}_{layer}"
                    params[key] = self.param(key, initializer, (channels, outputs))
        return params


def _uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(key, shape, minval=-0.5, maxval=0.5)


def _logits(params: Any, v: Any, library: Any) -> Any:
    """f(v) of v [..., C], without a last bias. `library` is jax.numpy or NumPy."""
    h = v[..., None]
    last = len(WIDTHS) - 2
    for layer in range(last + 1):
        matrix = library.logaddexp(params[f"matrix_{layer}"], 0.0)
        h = (h[..., None, :] * matrix).sum(-1)
        if layer < last:
            h = h + params[f"bias_{layer}"]
            h = h + library.tanh(params[f"factor_{layer}"]) * library.tanh(h)
    return h[..., 0]


def cumulative(params: Any, v: np.ndarray) -> np.ndarray:
    """The distribution of every channel at v [..., C], in float64."""
    params = {name: np.asarray(value, np.float64) for name, value in params.items()}
    v = np.asarray(v, np.float64)
    logits = _logits(params, v, np) - _logits(params, np.zeros(v.shape[-1]), np)
    # Beyond, float64 has only 0 and 1, and exp would overflow.
    return 1 / (1 + np.exp(-np.clip(logits, -700, 700)))


def tables(params: Any) -> CdfTables:
    """An integer table with escape for every channel, from its float64 density. Host.

    A table ends on each side where the probability beyond it is half a count. The floats of
    different machines could round to different tables, so tables are computed once, when weights
    are saved, and stored with them.
    """
    channels = len(params["matrix_0"])
    symbols = np.arange(-LARGEST_SYMBOL, LARGEST_SYMBOL + 1)
    edges = np.append(symbols, LARGEST_SYMBOL + 1) - 0.5
    below = cumulative(params, np.broadcast_to(edges[:, None], (len(edges), channels)))
    cdfs, offsets = [], []
    for channel in below.T:
        # The last edge with less than half a count below it, the first with less above it.
        first = max(int(np.searchsorted(channel, 0.5 / TOTAL)) - 1, 0)
        last = int(np.searchsorted(channel, 1 - 0.5 / TOTAL))
        last = min(max(last, first + 1), len(edges) - 1)
        cdfs.append(_table(channel[first : last + 1]))
        offsets.append(int(symbols[first]))
    return CdfTables(tuple(cdfs), tuple(offsets), has_escape=True)


def _table(below: np.ndarray) -> np.ndarray:
    """Cumulative counts of bins and escape; `below` is the distribution at the bins' edges."""
    entries = len(below)  # len(below) - 1 bins, and the escape
    spread = np.append(below - below[0], 1.0)
    # Every entry gets one count and its share of the others. The sum is exact, no count is zero.
    counts = np.rint((TOTAL - entries) * spread).astype(np.int64) + np.arange(entries + 1)
    table = counts.astype(np.int32)
    table.setflags(write=False)
    return table
