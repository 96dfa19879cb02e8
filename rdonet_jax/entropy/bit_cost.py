"""The bits of symbols in the bitstream: of their entry in an integer table, or of an escape.

The information content of an improbable symbol grows without bound. In the bitstream it costs an
entry with the smallest count, or an escape, whose cost grows with the logarithm of the symbol.
Estimates of the rate include this.

A table has no derivative. The gradient of these bits is that of `distributions.bits`, the
differentiable likelihood, at the same symbols and scales. Its growth for improbable symbols is what
trains the model. The likelihood is computed only where a gradient is.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.entropy import distributions, range_coder


class _Costs(NamedTuple):
    """The costs of the integer table of every entry of the scale table."""

    last: np.ndarray  # [64] the largest symbol in the table
    bits: np.ndarray  # [64, largest of all + 2] bits of |symbol|; of the escape at last + 1
    order: np.ndarray  # [64] the order of the escape code


@functools.cache
def _costs(distribution: str) -> _Costs:
    tables = distributions.scale_tables(distribution)
    last = -np.array(tables.offsets)
    bits = np.zeros((len(last), last.max() + 2), np.float32)
    for row, end, cdf in zip(bits, last, tables.cdfs, strict=True):
        row[: end + 2] = distributions.PRECISION - np.log2(np.diff(cdf)[end:])
    return _Costs(last, bits, range_coder.escape_orders(tables))


def bits_of_small(distribution: str) -> np.ndarray:
    """The bits of the symbols 0 and ±1 by entry of the scale table, float32 [64, 2]."""
    return _costs(distribution).bits[:, :2]


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def symbol_bits(v: jax.Array, scale: jax.Array, distribution: str) -> jax.Array:
    """Bits of integer-valued symbols v with these scales; float32, elementwise.

    NaN where v is not finite. The derivatives are those of `distributions.bits`.
    """
    return _table_bits(v, distributions.scale_index(scale, distribution), distribution)


@symbol_bits.defjvp
def _symbol_bits_jvp(distribution, primals, tangents):
    likelihood = functools.partial(distributions.bits, distribution=distribution)
    _, slope = jax.jvp(likelihood, primals, tangents)
    return symbol_bits(*primals, distribution), slope


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def entry_bits(v: jax.Array, index: jax.Array, distribution: str) -> jax.Array:
    """`symbol_bits` for indices of the scale table: integers held in float32.

    The derivative by index is that by the scale, which grows geometrically with it.
    """
    return _table_bits(v, index.astype(jnp.int32), distribution)


@entry_bits.defjvp
def _entry_bits_jvp(distribution, primals, tangents):
    def likelihood(v: jax.Array, index: jax.Array) -> jax.Array:
        return distributions.bits(v, distributions.scale_at(index, distribution), distribution)

    _, slope = jax.jvp(likelihood, primals, tangents)
    return entry_bits(*primals, distribution), slope


def _table_bits(v: jax.Array, index: jax.Array, distribution: str) -> jax.Array:
    """Bits of symbols v by the integer tables of these indices."""
    costs = _costs(distribution)
    last, order = jnp.asarray(costs.last)[index], jnp.asarray(costs.order)[index]
    size = jnp.abs(v)
    entry = jnp.minimum(size, last + 1).astype(jnp.int32)
    value = jnp.maximum(size - last - 1, 0) + jnp.exp2(order.astype(jnp.float32))
    width = jnp.frexp(value)[1] - 1
    excess = jnp.asarray(range_coder.ESCAPE_CLASS_BITS)[width - order] + width + 1
    bits = jnp.asarray(costs.bits)[index, entry] + jnp.where(size > last, excess, 0)
    return jnp.where(jnp.isfinite(v), bits, jnp.nan)
