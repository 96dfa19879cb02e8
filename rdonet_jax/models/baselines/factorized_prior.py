"""The factorized prior: a non-parametric univariate density for every channel (Ballé et al. 2018).

A channel's cumulative distribution is sigmoid(f(v) - f(0)), f being a small network of one input
and one output that can only rise: its matrices are positive (softplus), its nonlinearities
v + tanh(a) tanh(v). With f(0) taken away the median lies at 0 for good, so rounding needs no
offset: the layer before the density moves its channels to where that suits. The published form has
a bias behind the last layer in its place, and finds the median by an auxiliary loss or a search.
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
"""Of the layers of f, as published."""

INITIAL_SCALE = 10.0
"""How wide the density is at first."""

LARGEST_SYMBOL = 2047
"""In a table; what lies beyond is sent as an escape."""


class FactorizedPrior(nn.Module):
    """Called on v [..., C], gives the bits of the unit bin around every element, same shape."""

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
            start = np.log(np.expm1(1 / scale / outputs))
            params[f"matrix_{layer}"] = self.param(
                f"matrix_{layer}", nn.initializers.constant(start), (channels, outputs, inputs)
            )
            if layer < len(WIDTHS) - 2:
                for name, init_params in (("bias", _uniform), ("factor", nn.initializers.zeros)):
                    key = f"{name}_{layer}"
                    params[key] = self.param(key, init_params, (channels, outputs))
        return params


def _uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(key, shape, minval=-0.5, maxval=0.5)


def _logits(params: Any, v: Any, library: Any) -> Any:
    """f of v [..., C] without its constant; `library` is JAX's NumPy, or NumPy itself."""
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
    risen = _logits(params, v, np) - _logits(params, np.zeros(v.shape[-1]), np)
    # Where exp would overflow, 0 and 1 are all that float64 could tell.
    return 1 / (1 + np.exp(-np.clip(risen, -700, 700)))


def tables(params: Any) -> CdfTables:
    """An integer table with escape for every channel, from its float64 density. Host.

    A table holds the symbols up to where half a count of probability is left beyond them. Floats
    of different machines could round to different tables, so these are derived once, when weights
    are saved, and stored with them.
    """
    channels = len(params["matrix_0"])
    symbols = np.arange(-LARGEST_SYMBOL, LARGEST_SYMBOL + 1)
    edges = np.append(symbols, LARGEST_SYMBOL + 1) - 0.5
    below = cumulative(params, np.broadcast_to(edges[:, None], (len(edges), channels)))
    cdfs, offsets = [], []
    for channel in below.T:
        # The last edge with half a count below it, the first with half a count above it.
        first = max(int(np.searchsorted(channel, 0.5 / TOTAL)) - 1, 0)
        last = int(np.searchsorted(channel, 1 - 0.5 / TOTAL))
        last = min(max(last, first + 1), len(edges) - 1)
        kept = channel[first : last + 1]
        cdfs.append(_table(kept))
        offsets.append(int(symbols[first]))
    return CdfTables(tuple(cdfs), tuple(offsets), has_escape=True)


def _table(below: np.ndarray) -> np.ndarray:
    """Cumulative counts of the bins between edges with these cumulatives, and of the escape."""
    entries = len(below)  # one bin less than there are edges, and the escape
    spread = np.append(below - below[0], 1.0)
    # One count for each entry, and its share of all others: rises strictly, and adds up exactly.
    counts = np.rint((TOTAL - entries) * spread).astype(np.int64) + np.arange(entries + 1)
    table = counts.astype(np.int32)
    table.setflags(write=False)
    return table
