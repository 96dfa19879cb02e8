"""The prior of a portable RDONet: mu and scale index of y from decoded integers, exactly.

All of it is integer arithmetic on symbols that were decoded before, with the same result on every
device (`rdonet_jax.nn.integer`). The steps of a level, by its `LevelPrior`:

    compute_context(...)       context features of every position, from z and the coarser level
    hidden_features(...)       hidden features of a plane, from these and the planes before it
    predict(group, ...)        mu and scale index of a group of channels of the plane
    embed_latents(v, ...)      the decoded latents of a plane as 8-bit inputs for later planes

The positions of a level are four planes, by the parity of row and column. They are decoded in one,
two (checkerboard, He et al. 2021, https://arxiv.org/abs/2103.15306) or four steps. Each step sees
the planes of earlier steps in the 3×3 neighborhood of a position.

Within a plane, the channels of y may be decoded in groups, each with the earlier ones of the same
position as context (channel-conditional models, Minnen and Singh 2020,
https://arxiv.org/abs/2007.08739). A small network per group gets the hidden features and y - mu of
the earlier groups, and is added to what the hidden features alone give.

The quality is one number per image, [B], or one per position, [B, h, w], and per hyper-latent. What
follows from it, such as gains and the quality basis, is then [B, C] or [B, h, w, C].

Units: the integers v are y_hat in 1/16 of a quantizer step, and so is mu. The networks see y_hat in
units that are fixed per channel and do not depend on the quality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rdonet_jax.core import partition
from rdonet_jax.core.config import QUALITY_SEGMENT, PortableConfig
from rdonet_jax.entropy import distributions
from rdonet_jax.models import quality_maps
from rdonet_jax.models.portable.integer_format import (
    CONTEXT_BITS,
    DECODE_ORDER,
    EMBEDDING_BITS,
    FRACTION_BITS,
    GRID,
    GRID_BITS,
    HIDDEN_BITS,
    INDEX_BITS,
    LARGEST_SYMBOL,
    LARGEST_Z_INDEX,
    LOG_BITS,
    MU_SHIFT,
    PLANES,
    SCALE_SHIFT,
    WEIGHT_BITS,
    Z_BITS,
    Z_INDEX,
    Z_INDEX_BITS,
    Z_UNIT,
    Parity,
    channel_groups,
    context_channels,
    group_inputs,
    index_per_octave,
)
from rdonet_jax.models.quality_maps import LevelQuality
from rdonet_jax.nn import integer, ops

Quality = jax.Array | LevelQuality
"""The quality of a level: one per image, int32 [B], or that of every position and hyper-latent."""


class Prediction(NamedTuple):
    """The prior of a group of channels of a plane, [B, h/2, w/2, ·]; integers in float32."""

    mu: jax.Array  # in 1/16 of a quantizer step
    index: jax.Array  # type: ignore[assignment] # of the scale table


class LevelContext(NamedTuple):
    """What the prior of a level uses besides decoded planes; fixed before the first plane."""

    context_features: jax.Array  # [B, h, w, 2 · conditioning], from z and the coarser level
    gains: jax.Array  # [B, L] or [B, h, w, L], log2 of steps per unit of y, in 1/256
    quality_basis: jax.Array  # [B, knots] or [B, h, w, knots], the quality as inputs

    def of_plane(self, parity: Parity) -> LevelContext:
        """The context of the positions of a plane."""
        return LevelContext(*(x if x.ndim == 2 else split_planes(x)[parity] for x in self))


def at_positions(values: jax.Array) -> jax.Array:
    """Values per image [B, C] as [B, 1, 1, C]; those per position [B, h, w, C] as they are."""
    return values[:, None, None] if values.ndim == 2 else values


def split_planes(x: jax.Array) -> dict[Parity, jax.Array]:
    """[B, h, w, C], padded to even sides with zeros, as its four planes [B, h/2, w/2, C]."""
    x = ops.pad_to_multiple(x, 2)
    return {(dy, dx): x[:, dy::2, dx::2] for dy, dx in PLANES}


def join_planes(planes: Mapping[Parity, jax.Array], grid: tuple[int, ...]) -> jax.Array:
    """The inverse of `split_planes`, cropped to `grid`."""
    x = ops.depth_to_space(jnp.concatenate([planes[parity] for parity in PLANES], axis=-1))
    return x[:, : grid[0], : grid[1]]


def planes_before(context: int, parity: Parity) -> tuple[Parity, ...]:
    """The planes that are decoded before the step of `parity`."""
    earlier: list[Parity] = []
    for group in DECODE_ORDER[context]:
        if parity in group:
            return tuple(earlier)
        earlier.extend(group)
    raise ValueError(f"no plane {parity}")


class LevelPrior(nn.Module):
    """The integer networks of one level."""

    config: PortableConfig
    level: int

    def setup(self) -> None:
        config, level = self.config, self.level
        latents, knots = config.latents[level], config.knots
        context, embedding = config.conditioning, config.embedding
        positions = partition.HYPER_STRIDE**2
        bits = WEIGHT_BITS
        z_inputs = 9 * config.hyper_latents[level] + knots
        self.from_z = integer.Dense(z_inputs, positions * context, bits["from_z"])
        if level < config.levels - 1:
            coarse_inputs = 9 * embedding + context
            self.from_coarser = integer.Dense(coarse_inputs, 4 * context, bits["from_coarser"])
        self.context_channels = context_channels(config, level)
        self.embed = integer.Dense(2 * self.context_channels, embedding, bits["embed"])
        inputs = 9 * embedding + 2 * context + knots + len(PLANES)
        self.first = integer.Dense(inputs, config.hidden, bits["first"])
        self.second = integer.Dense(config.hidden, config.hidden, bits["second"])
        self.to_mu = integer.Dense(2 * config.hidden, latents, bits["to_mu"], spread=0.0)
        self.to_scale = integer.Dense(2 * config.hidden, latents, bits["to_scale"], spread=0.0)
        self.groups = channel_groups(config, level)
        later = self.groups[1:]
        # Names are stored in weights files, numbered: group_first_0 is of the second group.
        self.group_first = [
            integer.Dense(group_inputs(config, level, g), config.group_hidden, bits["group_first"])
            for g in later
        ]
        self.group_to_mu = [self._group_output("group_to_mu", g) for g in later]
        self.group_to_scale = [self._group_output("group_to_scale", g) for g in later]
        zeros = nn.initializers.zeros
        self.gain = self.param("gain", zeros, (knots, latents))
        self.unit = self.param("unit", zeros, (latents,))
        self.z_index = self.param(
            "z_index", nn.initializers.constant(Z_INDEX), (knots, config.hyper_latents[level])
        )

    def _group_output(self, name: str, channels: slice) -> integer.Dense:
        """Outputs of a group, which are added to sums of `to_mu` or `to_scale`; at first 0."""
        features = channels.stop - channels.start
        inputs, bits = self.config.group_hidden, WEIGHT_BITS[name]
        return integer.Dense(inputs, features, bits, spread=0.0, has_bias=False)

    def gains(self, quality: jax.Array) -> jax.Array:
        """log2 of the quantizer steps per unit of y, in 1/256, at qualities [...]: [..., L].

        Gain vectors of Cui et al. 2020 (https://arxiv.org/abs/2003.02012), interpolated in log
        lambda.
        """
        knots = integer.to_integers(self.gain, LOG_BITS, integer.OCTAVES * integer.OCTAVE)
        return integer.interpolate(knots, quality, QUALITY_SEGMENT)

    def units(self) -> jax.Array:
        """log2 of the networks' units in units of y, in 1/256; not trained."""
        return jax.lax.stop_gradient(
            integer.to_integers(self.unit, LOG_BITS, integer.OCTAVES * integer.OCTAVE)
        )

    def z_scale_index(self, quality: jax.Array) -> jax.Array:
        """The scale index of every channel of z, [..., ·]. The mean of z is 0."""
        knots = integer.to_integers(self.z_index, Z_INDEX_BITS, LARGEST_Z_INDEX)
        index = integer.interpolate(knots, quality, QUALITY_SEGMENT)
        index = integer.shift_right(index, FRACTION_BITS)
        return integer.clamp(index, 0, distributions.SCALE_COUNT - 1)

    def compute_context(
        self, z_hat: jax.Array, coarser: jax.Array | None, quality: Quality, grid: tuple[int, ...]
    ) -> LevelContext:
        """The context of a level with `grid` = (h, w) positions.

        From integers z_hat [B, ceil(h/4), ceil(w/4), ·], the `coarse_context` of the coarser level
        (None at the coarsest) and the quality.
        """
        positions, areas = quality_maps.of_level(quality)
        context_features = self.context_features(
            integer.gather_3x3(z_hat), coarser, self.quality_basis(areas), grid
        )
        return LevelContext(context_features, self.gains(positions), self.quality_basis(positions))

    def quality_basis(self, quality: jax.Array) -> jax.Array:
        """The qualities [...] as 8-bit inputs, [..., knots]."""
        return integer.quality_basis(quality, self.config.knots, QUALITY_SEGMENT)

    def context_features(
        self,
        z_neighborhood: jax.Array,
        coarser: jax.Array | None,
        quality_basis: jax.Array,
        grid: tuple[int, ...],
    ) -> jax.Array:
        """`LevelContext.context_features` at `grid` = (h, w) positions: 8-bit integers.

        From the 3×3 neighborhood of every hyper-latent, [B, ceil(h/4), ceil(w/4), 9 ·], the
        `coarse_context` of the coarser level, [B, ceil(h/2), ceil(w/2), ·], and the quality basis,
        [B or 1, knots], or that of every hyper-latent.
        """
        z = integer.clip(z_neighborhood * Z_UNIT)
        inputs = jnp.concatenate([z, _at_every_position(quality_basis, z.shape[:3])], axis=-1)
        sums = ops.depth_to_space(ops.depth_to_space(self.from_z(inputs)))
        from_z = integer.activation(sums[:, : grid[0], : grid[1]], Z_BITS)
        if coarser is None:
            coarser = jnp.zeros_like(from_z)
        else:
            sums = ops.depth_to_space(self.from_coarser(coarser))
            coarser = integer.activation(sums[:, : grid[0], : grid[1]], CONTEXT_BITS)
        return jnp.concatenate([from_z, coarser], axis=-1)

    def embed_latents(self, v: jax.Array, coded: jax.Array, gains: jax.Array) -> jax.Array:
        """Decoded v [B, h, w, L] as 8-bit inputs [B, h, w, E], 0 where not `coded` [B, h, w].

        Channels beyond `context_channels` do not count.
        """
        count = self.context_channels
        exponents = -at_positions(gains + self.units())[..., :count]
        y = integer.clip(integer.scale(v[..., :count], exponents, GRID_BITS))
        sums = self.embed(jnp.concatenate([y, jnp.abs(y)], axis=-1))
        return integer.clip(integer.shift_right(sums, EMBEDDING_BITS)) * coded[..., None]

    def hidden_features(
        self, parity: Parity, context: LevelContext, planes: Mapping[Parity, jax.Array]
    ) -> jax.Array:
        """The hidden features of a plane, [B, h/2, w/2, ·]: 8-bit integers.

        From the embeddings of the planes decoded before it.
        """
        size = self.config.embedding
        rows: list[int] = []
        inputs: list[jax.Array] = []
        for tap in range(9):
            row, column = parity[0] + tap // 3 - 1, parity[1] + tap % 3 - 1
            plane = planes.get((row % 2, column % 2))
            if plane is not None:
                inputs.append(integer.shift(plane, row // 2, column // 2))
                rows.extend(range(size * tap, size * (tap + 1)))
        of_plane = context.of_plane(parity)
        shape = of_plane.context_features.shape[:3]
        one_hot = jnp.full((1, 1), float(integer.LARGEST))
        inputs += [
            of_plane.context_features,
            _at_every_position(of_plane.quality_basis, shape),
            _at_every_position(one_hot, shape),
        ]
        first_of_context = 9 * size
        first_of_parity = first_of_context + 2 * self.config.conditioning + self.config.knots
        rows += range(first_of_context, first_of_parity)
        rows.append(first_of_parity + PLANES.index(parity))
        return self._hidden(jnp.concatenate(inputs, axis=-1), rows)

    def hidden_features_at(
        self,
        parity: jax.Array,
        neighbors: jax.Array,
        context_features: jax.Array,
        quality_basis: jax.Array,
    ) -> jax.Array:
        """`hidden_features` of any positions of any one plane, which need not lie side by side.

        neighbors [1, 1, n, 8 E] are the embeddings around each position in raster order, zeros
        where not decoded before. context_features [1, 1, n, ·] are those of `LevelContext`.
        `parity` [1, 4] is 1 for the plane, in the order of `PLANES`, and 0 for the others.
        """
        size, shape = self.config.embedding, context_features.shape[:3]
        one_hot = parity * float(integer.LARGEST)
        inputs = [
            neighbors,
            context_features,
            _at_every_position(quality_basis, shape),
            _at_every_position(one_hot, shape),
        ]
        # All rows but those of the position itself, the fifth of nine.
        rows = [*range(4 * size), *range(5 * size, self.first.inputs)]
        return self._hidden(jnp.concatenate(inputs, axis=-1), rows)

    def _hidden(self, inputs: jax.Array, rows: Sequence[int]) -> jax.Array:
        """Both hidden layers, from those inputs that belong to `rows` of the first kernel."""
        first = integer.activation(self.first(inputs, rows), CONTEXT_BITS)
        second = integer.activation(self.second(first), HIDDEN_BITS)
        return jnp.concatenate([first, second], axis=-1)

    def predict(
        self, group: int, hidden: jax.Array, symbols: jax.Array, gains: jax.Array
    ) -> Prediction:
        """The prior of a group of channels at positions with these hidden features.

        `symbols` are those of the earlier groups of the same positions, [B, h, w, ·].
        """
        channels = self.groups[group]
        mu = self.to_mu(hidden, columns=channels)
        index = self.to_scale(hidden, columns=channels)
        if group:
            offsets = self._offset_inputs(symbols, gains)
            inputs = jnp.concatenate([hidden, offsets, jnp.abs(offsets)], axis=-1)
            h = integer.activation(self.group_first[group - 1](inputs), HIDDEN_BITS)
            mu += self.group_to_mu[group - 1](h)
            index += self.group_to_scale[group - 1](h)
        gains = at_positions(gains)[..., channels]
        mu = integer.scale(integer.shift_right(mu, MU_SHIFT), gains + self.units()[channels])
        index = self._scale_index(integer.shift_right(index, SCALE_SHIFT), gains)
        return Prediction(integer.clip(mu, integer.LARGEST_WIDE), index)

    def _offset_inputs(self, symbols: jax.Array, gains: jax.Array) -> jax.Array:
        """y - mu of the first channels as 8-bit inputs, from their symbols [B, h, w, n].

        Channels beyond `context_channels` do not count.
        """
        count = min(symbols.shape[-1], self.context_channels)
        exponents = -(at_positions(gains)[..., :count] + self.units()[:count])
        offsets = GRID * integer.clip(symbols[..., :count], LARGEST_SYMBOL)
        return integer.clip(integer.scale(offsets, exponents, GRID_BITS))

    def _scale_index(self, fraction: jax.Array, gains: jax.Array) -> jax.Array:
        """The scale index of y in steps, from that of y itself in 1/16 and the gains."""
        per_octave = index_per_octave(self.config.distribution)
        offset = integer.shift_right(gains * per_octave, INDEX_BITS)
        index = integer.shift_right(fraction + offset, FRACTION_BITS)
        return integer.clamp(index, 0, distributions.SCALE_COUNT - 1)

    def coarse_context(self, embedded: jax.Array, context: LevelContext) -> jax.Array:
        """Input of the finer level's context: the embedded 3×3 neighborhood, and features of z."""
        context_features = context.context_features[..., : self.config.conditioning]
        return jnp.concatenate([integer.gather_3x3(embedded), context_features], axis=-1)


def _at_every_position(values: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """[B, C], [1, C] or [B, h, w, C] at every position of `shape` = (B, h, w), [B, h, w, C]."""
    return jnp.broadcast_to(at_positions(values), (*shape, values.shape[-1]))


def dequantize(mu: jax.Array, symbols: jax.Array, coded: jax.Array) -> jax.Array:
    """y_hat in steps: mu + symbol where `coded` [B, h, w, 1], 0 elsewhere.

    A level adds y_hat to the prediction from the coarser levels, so 0 leaves that unchanged.
    """
    return jnp.where(coded > 0, mu / GRID + symbols, 0.0)


def latent_integers(mu: jax.Array, symbols: jax.Array) -> jax.Array:
    """v = mu + 16 · symbol, as the networks see decoded latents; integers in float32."""
    return integer.clip(mu + GRID * integer.clip(symbols, LARGEST_SYMBOL), integer.LARGEST_WIDE)
