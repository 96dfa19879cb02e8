"""The bits of symbols in the bitstream: of their entry in an integer table, or of an escape.

The information content of an improbable symbol grows without bound. In the bitstream it costs an
entry with the smallest count, or an escape, whose cost grows with the logarithm of the symbol.
Estimates of the rate include this.

A table has no derivative. The gradient of these bits is that of `likelihoods.bits`, the
differentiable likelihood, at the same symbols and scales. Its growth for improbable symbols is what
trains the model. The likelihood is computed only where a gradient is.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from rdonet_jax.entropy import likelihoods, range_coder, table_costs


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def symbol_bits(v: jax.Array, scale: jax.Array, distribution: str) -> jax.Array:
    """Bits of integer-valued symbols v with these scales; float32, elementwise.

    NaN where v is not finite. The derivatives are those of `likelihoods.bits`.
    """
    return _table_bits(v, likelihoods.scale_index(scale, distribution), distribution)


@symbol_bits.defjvp
def _symbol_bits_jvp(distribution, primals, tangents):
    likelihood = functools.partial(likelihoods.bits, distribution=distribution)
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
    likelihood = functools.partial(_likelihood_bits, distribution)
    _, slope = jax.jvp(likelihood, primals, tangents)
    return entry_bits(*primals, distribution), slope


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def quantized_bits(
    offset: jax.Array, symbol: jax.Array, index: jax.Array, distribution: str
) -> jax.Array:
    """`entry_bits` of symbols that offsets from the mean were quantized to.

    The derivative by the offset is that of the likelihood at the offset itself. At the symbol it
    would be 0 for all that is quantized to 0, and means would learn from the other symbols alone.
    The derivative by the index is that at the symbol; there is none by the symbol.
    """
    return _table_bits(symbol, index.astype(jnp.int32), distribution)


@quantized_bits.defjvp
def _quantized_bits_jvp(distribution, primals, tangents):
    (offset, symbol, index), (offset_tangent, _, index_tangent) = primals, tangents
    likelihood = functools.partial(_likelihood_bits, distribution)
    _, by_offset = jax.jvp(lambda v: likelihood(v, index), (offset,), (offset_tangent,))
    _, by_index = jax.jvp(lambda i: likelihood(symbol, i), (index,), (index_tangent,))
    return quantized_bits(*primals, distribution), by_offset + by_index


def _likelihood_bits(distribution: str, v: jax.Array, index: jax.Array) -> jax.Array:
    """`likelihoods.bits` by the scales of these indices of the scale table."""
    return likelihoods.bits(v, likelihoods.scale_at(index, distribution), distribution)


def _table_bits(v: jax.Array, index: jax.Array, distribution: str) -> jax.Array:
    """Bits of symbols v by the integer tables of these indices."""
    costs = table_costs.costs(distribution)
    last, order = jnp.asarray(costs.last)[index], jnp.asarray(costs.order)[index]
    size = jnp.abs(v)
    entry = jnp.minimum(size, last + 1).astype(jnp.int32)
    value = jnp.maximum(size - last - 1, 0) + jnp.exp2(order.astype(jnp.float32))
    width = jnp.frexp(value)[1] - 1
    excess = jnp.asarray(range_coder.ESCAPE_CLASS_BITS)[width - order] + width + 1
    bits = jnp.asarray(costs.bits)[index, entry] + jnp.where(size > last, excess, 0)
    return jnp.where(jnp.isfinite(v), bits, jnp.nan)
