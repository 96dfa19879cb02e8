"""The latents of one level as training and estimates code them: rounded or noisy, and their bits.

All positions of a level are computed at once, plane by plane. The level coder of the codec makes
the same predictions for the coded positions alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rdonet_jax.entropy import bit_cost, dead_zone, likelihoods, soft_rounding
from rdonet_jax.models import latents, quality_maps
from rdonet_jax.models.portable import integer_format, integer_prior
from rdonet_jax.models.portable.integer_format import Parity
from rdonet_jax.models.portable.integer_prior import LevelContext, LevelPrior, Quality
from rdonet_jax.nn import integer, ops


class Plane(NamedTuple):
    """What coding a plane gives, [B, h/2, w/2, L]."""

    mu: jax.Array  # in 1/16 of a quantizer step
    index: jax.Array  # type: ignore[assignment] # of the scale table
    offset: jax.Array  # y - mu in steps
    symbols: jax.Array  # the offset rounded; 0 where not coded
    steps: jax.Array  # y_hat in steps; 0 where not coded


class RoundingNoise(NamedTuple):
    """What latents of a level are rounded softly with, see `soft_rounding`."""

    draws: jax.Array  # [B, h, w, L]
    variable: jax.Array  # bool [B, h, w, 1], where they are; the others are rounded


Quantize = Callable[[jax.Array, jax.Array, Parity, slice], jax.Array]
"""(y - mu in steps, scale index, plane, channels) -> symbols, also where nothing is coded."""


def code_hyper_latents(
    prior: LevelPrior,
    z: jax.Array,
    mask: jax.Array,
    quality: Quality,
    keys: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """z_hat, and the bits of z per position. mask is bool [B, ceil(h/4), ceil(w/4)]."""
    z_hat = jnp.where(mask[..., None], ops.straight_through_round(z), 0.0)
    index = integer_prior.at_positions(prior.z_scale_index(quality_maps.of_level(quality).areas))
    distribution = prior.config.distribution
    if keys is None:
        bits = bit_cost.entry_bits(z_hat, index, distribution)
    else:
        noisy = latents.noisy_or_rounded(z, keys)
        bits = likelihoods.bits(noisy, likelihoods.scale_at(index, distribution), distribution)
    return z_hat, latents.masked_sum(bits, mask)


def code_latents(
    prior: LevelPrior,
    y: jax.Array,
    context: LevelContext,
    mask: jax.Array,
    keys: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """y_hat in units of y, its embedding, and the bits of y per position. Plane by plane."""

    def quantize(offset: jax.Array, index: jax.Array, *_: Any) -> jax.Array:
        kept = _apply_dead_zone(offset, index, prior) if keys is None else offset
        return ops.straight_through_round(kept)

    steps_per_unit = integer.powers(integer_prior.at_positions(context.gains))
    whole, embedded = _code_planes(prior, y * steps_per_unit, context, mask, quantize)
    y_bits = latents.masked_sum(_latent_bits(prior, whole, keys), mask)
    return whole.steps / steps_per_unit, embedded, y_bits


def code_given_latents(
    prior: LevelPrior,
    y: jax.Array,
    context: LevelContext,
    mask: jax.Array,
    noise: RoundingNoise | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """As `code_latents`, for y in steps, which are rounded to the nearest without a dead zone.

    With `noise`, they are rounded softly where they are variable, and the bits are those of the
    likelihood.
    """
    split: Any = () if noise is None else map(integer_prior.split_planes, noise)
    planes = None if noise is None else RoundingNoise(*split)

    def quantize(offset: jax.Array, index: jax.Array, parity: Parity, channels: slice) -> jax.Array:
        rounded = ops.straight_through_round(offset)
        if planes is None:
            return rounded
        soft = soft_rounding.soft_round(offset, planes.draws[parity][..., channels])
        return jnp.where(planes.variable[parity], soft, rounded)

    whole, embedded = _code_planes(prior, y, context, mask, quantize)
    distribution = prior.config.distribution
    if noise is None:
        bits = bit_cost.entry_bits(whole.symbols, whole.index, distribution)
    else:
        scale = likelihoods.scale_at(whole.index, distribution)
        bits = likelihoods.bits(whole.symbols, scale, distribution)
    y_hat = whole.steps / integer.powers(integer_prior.at_positions(context.gains))
    return y_hat, embedded, latents.masked_sum(bits, mask)


def _code_planes(
    prior: LevelPrior, y: jax.Array, context: LevelContext, mask: jax.Array, quantize: Quantize
) -> tuple[Plane, jax.Array]:
    """All planes of a level joined, [B, h, w, L], and their embedding. y is in steps."""
    targets = integer_prior.split_planes(y)
    coded = integer_prior.split_planes(mask[..., None].astype(jnp.float32))
    planes: dict[Parity, Plane] = {}
    embedded: dict[Parity, jax.Array] = {}
    for step in integer_format.DECODE_ORDER[prior.config.context]:
        earlier = dict(embedded)
        for parity in step:
            hidden = prior.hidden_features(parity, context, earlier)
            gains = context.of_plane(parity).gains
            plane = _code_plane(
                prior, parity, targets[parity], hidden, coded[parity], gains, quantize
            )
            planes[parity] = plane
            v = integer_prior.latent_integers(plane.mu, plane.symbols)
            embedded[parity] = prior.embed_latents(v, coded[parity][..., 0], gains)
    whole = Plane(*(
        integer_prior.join_planes(dict(zip(planes, values, strict=True)), mask.shape[1:3])
        for values in zip(*planes.values(), strict=True)
    ))  # fmt: skip
    return whole, integer_prior.join_planes(embedded, mask.shape[1:3])


def _code_plane(
    prior: LevelPrior,
    parity: Parity,
    target: jax.Array,
    hidden: jax.Array,
    coded: jax.Array,
    gains: jax.Array,
    quantize: Quantize,
) -> Plane:
    """A plane, group by group of its channels. target is y in steps [B, h/2, w/2, L]."""
    parts: list[Plane] = []
    symbols = target[..., :0]
    for group, channels in enumerate(prior.groups):
        mu, index = prior.predict(group, hidden, symbols, gains)
        offset = target[..., channels] - mu / integer_format.GRID
        rounded = quantize(offset, index, parity, channels) * coded
        parts.append(
            Plane(mu, index, offset, rounded, integer_prior.dequantize(mu, rounded, coded))
        )
        symbols = jnp.concatenate([symbols, rounded], axis=-1)
    return Plane(*(jnp.concatenate(values, axis=-1) for values in zip(*parts, strict=True)))


def _apply_dead_zone(offset: jax.Array, index: jax.Array, prior: LevelPrior) -> jax.Array:
    """The offset from mu, zero in the dead zone; not yet rounded.

    The gradient passes as if there were no dead zone, as it does through rounding. Otherwise
    latents in the dead zone would get no gradient.
    """
    bounds = jnp.asarray(dead_zone.zero_bounds(prior.config.distribution))
    kept = dead_zone.apply(offset, bounds[index.astype(jnp.int32)])
    return ops.straight_through(kept, offset)


def _latent_bits(prior: LevelPrior, plane: Plane, keys: jax.Array | None) -> jax.Array:
    """Bits of y: what the integer tables charge for symbols, or -log2 P of noisy latents."""
    distribution = prior.config.distribution
    if keys is None:
        return bit_cost.quantized_bits(plane.offset, plane.symbols, plane.index, distribution)
    noisy = latents.noisy_or_rounded(plane.offset, keys)
    return likelihoods.bits(noisy, likelihoods.scale_at(plane.index, distribution), distribution)
