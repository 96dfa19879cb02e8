"""What symbols cost in the stream: their entry in the integer tables, or an escape.

The information content of a symbol that a model holds for all but impossible grows without bound.
The stream pays for such a symbol by an entry with the least count, or by an escape, whose cost
grows with the logarithm. Estimates of rate take this into account.

A table has no derivative. The gradient of these bits is therefore that of `entropy.bits`, the
differentiable likelihood, at the symbols and at the scales as given. Its growth for improbable
symbols is what teaches the model. Where no gradient is taken, the likelihood is not computed.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.entropy import distributions, range_coder


class _Costs(NamedTuple):
    """Per entry of the scale table: what its integer table charges."""

    last: np.ndarray  # [64] the largest symbol that the table holds
    bits: np.ndarray  # [64, largest of all + 2] bits of |symbol|; of the escape at last + 1
    order: np.ndarray  # [64] of the escape's code


@functools.cache
def _costs(distribution: str) -> _Costs:
    tables = distributions.scale_tables(distribution)
    last = -np.array(tables.offsets)
    bits = np.zeros((len(last), last.max() + 2), np.float32)
    for row, end, cdf in zip(bits, last, tables.cdfs, strict=True):
        row[: end + 2] = distributions.PRECISION - np.log2(np.diff(cdf)[end:])
    return _Costs(last, bits, range_coder.escape_orders(tables))


def bits_of_small(distribution: str) -> np.ndarray:
    """By entry of the scale table, the bits of the symbols 0 and ±1, float32 [64, 2]."""
    return _costs(distribution).bits[:, :2]


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def symbol_bits(v: jax.Array, scale: jax.Array, distribution: str) -> jax.Array:
    """Bits that integer-valued symbols v cost given their scales; float32, elementwise.

    NaN where v is not finite. The derivatives by v and by scale are those of `entropy.bits`.
    """
    return _table_bits(v, distributions.scale_index(scale, distribution), distribution)


@symbol_bits.defjvp
def _symbol_bits_jvp(distribution, primals, tangents):
    likelihood = functools.partial(distributions.bits, distribution=distribution)
    _, slope = jax.jvp(likelihood, primals, tangents)
    return symbol_bits(*primals, distribution), slope


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def entry_bits(v: jax.Array, index: jax.Array, distribution: str) -> jax.Array:
    """As `symbol_bits`, given entries of the scale table: integers held in float32.

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
    """What the integer tables of these entries charge."""
    costs = _costs(distribution)
    last, order = jnp.asarray(costs.last)[index], jnp.asarray(costs.order)[index]
    size = jnp.abs(v)
    entry = jnp.minimum(size, last + 1).astype(jnp.int32)
    value = jnp.maximum(size - last - 1, 0) + jnp.exp2(order.astype(jnp.float32))
    width = jnp.frexp(value)[1] - 1
    excess = jnp.asarray(range_coder.ESCAPE_CLASS_BITS)[width - order] + width + 1
    bits = jnp.asarray(costs.bits)[index, entry] + jnp.where(size > last, excess, 0)
    return jnp.where(jnp.isfinite(v), bits, jnp.nan)
