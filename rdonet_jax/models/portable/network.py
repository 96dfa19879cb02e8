"""The portable RDONet: every quality with one set of weights, the same symbols on every device.

The walk is RDONet's, from the coarsest level to the finest, each position coded at one level. What
differs from `models.rdonet`:

- every prior comes from decoded integers by exact arithmetic (`models.exact_prior`); floats only
  make images out of symbols and symbols out of images, where a last bit does no harm;
- y is divided into steps of a quantizer of its own per level, channel and quality (gain vectors,
  Cui et al. 2020), interpolated in log lambda;
- the transforms are linear lapped ones, at first orthonormal, with small residual networks;
- within a level, positions are decoded in up to four steps, each seeing the earlier ones.

Shapes: an image x is [B, H, W, 3] in [0, 1], H and W multiples of 64; quality is int32 [B] from 0
to `config.steps_of_quality`. Where a step takes an `extent`, its images lie in arrays of another
size, see `lapped`; it is that of the step's input.

An image whose sides are no multiples of 64 is padded, and positions of padding alone are not coded.
What a decoder would make of them is no continuation of the image, so nothing may depend on it. At
every level the synthesis takes the image to end with the last position that has a pixel of it, and
continues it from there, as it does at the end of an image without padding. The encoder's features
of the finest level are those of an image that ends there, so that both agree. Those of the coarser
levels are of the padded image. Nearly all of what these say is of low frequencies, which the end
matters little to, and replicated pixels cost them fewer bits than replicated positions. Where a
step takes `sizes`, int32 [B, 2], these are the sides of the images themselves in pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core import compilation, partition
from rdonet_jax.core.config import LEVELS, QUALITY_SEGMENT, PortableConfig
from rdonet_jax.entropy import bit_cost, dead_zone, distributions
from rdonet_jax.models import hierarchy, packing
from rdonet_jax.models.hierarchy import COARSEST, Coded, Keys
from rdonet_jax.models.portable import integer_prior
from rdonet_jax.models.portable.integer_prior import Conditions, LevelPrior, Parity, Prediction
from rdonet_jax.nn import integer, lapped, ops

PATCH = 4
"""Pixels on the side of the blocks that the first stage sees as channels."""

Z_GAIN = 2.0
"""log2 of the gain of z at first: z has a deviation of two to three steps then. Hyper-latents that
begin below one step are rounded to 0, say nothing, and are never learnt."""


NEAR_PICTURE = (
    "g_a", "g_s", "g_s_finish", "g_s_restore",
    "units_0/encoder", "units_0/to_latent", "units_0/from_latent", "units_0/hand_over",
)  # fmt: skip
"""Layers whose kernels the image depends on most, see `benchmarks/packing.py`."""

NEAR_STEPS, FAR_STEPS = 96, 32
"""Steps per deviation of packed kernels of these layers and of all others."""


class State(NamedTuple):
    """What the decoder knows before a level."""

    d: jax.Array  # float32 [B, h, w, C], the guess of e from coarser levels
    coarser: jax.Array | None  # integers for the level's prior; None at the coarsest


def nonlinear(config: PortableConfig, hidden: int, dtype: Any, inverse: bool) -> nn.Module:
    """What stands behind a linear stage; the identity at first."""
    if config.nonlinearity == "residual":
        return lapped.Residual(hidden, dtype)
    if config.nonlinearity == "gdn":
        return lapped.GentleGDN(inverse)
    return lapped.Identity()


class HyperEncoder(nn.Module):
    """y in the units of the prior, [B, h, w, L], to z [B, ceil(h/4), ceil(w/4), ·]."""

    config: PortableConfig
    level: int

    @nn.compact
    def __call__(self, y: jax.Array, extent: jax.Array | None = None) -> jax.Array:
        config = self.config
        x = nn.relu(lapped.Pointwise(config.hyper, 2.0, name="first")(y))
        x = ops.pad_to_multiple(x, partition.HYPER_STRIDE)
        if extent is not None:
            x = ops.zero_beyond(x, extent)
            extent = -(-extent // partition.HYPER_STRIDE) * partition.HYPER_STRIDE
        x = nn.relu(lapped.Stage(config.hyper, "down", name="second")(x, extent))
        third = lapped.Stage(config.hyper_latents[self.level], "down", name="third")
        return third(x, lapped.scale_extent(extent, 1, 2))


class LSUnit(nn.Module):
    """One latent-space unit: the networks of one level."""

    config: PortableConfig
    level: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        config, level, dtype = self.config, self.level, self.dtype
        hidden = config.residual[1 + level]
        self.encoder = lapped.Stage(config.features[level], "down", dtype)
        self.refine = nonlinear(config, hidden, dtype, inverse=False)
        self.to_latent = lapped.Pointwise(config.latents[level], dtype=dtype)
        self.from_latent = lapped.Pointwise(config.features[level], dtype=dtype)
        self.restore = nonlinear(config, hidden, dtype, inverse=True)
        self.hyper_encoder = HyperEncoder(config, level)
        self.z_gain = self.param(
            "z_gain",
            nn.initializers.constant(Z_GAIN),
            (config.knots, config.hyper_latents[level]),
        )
        self.prior = LevelPrior(config, level)
        handed_on = config.features[level - 1] if level else config.trunk
        self.hand_over = lapped.Stage(handed_on, "up", dtype)


class PortableRDONet(nn.Module):
    """The network. Every public method is a step of the walk, to be used through `apply`."""

    config: PortableConfig
    dtype: Any = jnp.float32
    remat: bool = False

    def setup(self) -> None:
        config, dtype = self.config, self.dtype
        self.g_a = lapped.Stage(config.trunk, "down", dtype)
        self.g_a_refine = nonlinear(config, config.residual[0], dtype, inverse=False)
        self.units = [LSUnit(config, level, dtype) for level in range(LEVELS)]
        self.g_s_restore = nonlinear(config, config.residual[0], dtype, inverse=True)
        self.g_s = lapped.Stage(3 * PATCH**2, "up", dtype)
        self.g_s_finish = (
            lapped.Residual(config.finish, dtype) if config.finish else lapped.Identity()
        )

    def analyze(self, x: jax.Array, sizes: jax.Array | None = None) -> tuple[jax.Array, ...]:
        """x [B, H, W, 3] -> encoder features e[l] [B, h, w, C], finest to coarsest."""
        features = [self.finest_feature(x)]
        for level in range(1, LEVELS):
            features.append(self.feature(level, features[-1]))
        if sizes is not None:
            features[0] = self._ended(x, features[0], sizes)
        return tuple(features)

    def _ended(self, x: jax.Array, e: jax.Array, sizes: jax.Array) -> jax.Array:
        """e[0] of images that end with their last positions; e is that of x.

        Takes the time of `finest_feature` only where an image has padding.
        """
        extents = partition.STRIDES[0] * partition.reach(sizes, 0)
        return nn.cond(
            jnp.any(extents < np.array(x.shape[1:3])),
            lambda network, x, e, extents: network.finest_feature(x, extents),
            lambda network, x, e, extents: e,
            self, x, e, extents,
        )  # fmt: skip

    def finest_feature(self, x: jax.Array, extent: jax.Array | None = None) -> jax.Array:
        """x [B, H, W, 3] -> e[0] [B, H/16, W/16, C]."""
        h = ops.space_to_depth(ops.space_to_depth(x - 0.5))
        h = self.g_a(h, lapped.scale_extent(extent, 1, PATCH))
        extent = lapped.scale_extent(extent, 1, 2 * PATCH)
        return self.feature(0, self.g_a_refine(h, extent), extent)

    def feature(self, level: int, h: jax.Array, extent: jax.Array | None = None) -> jax.Array:
        """e[level] from the feature before it, of twice its size."""
        unit = self.units[level]
        return unit.refine(unit.encoder(h, extent), lapped.scale_extent(extent, 1, 2))

    def start(self, batch: int, grid: tuple[int, int]) -> State:
        """The state before the first level, for `grid` = (rows, columns) of 64-blocks."""
        return State(jnp.zeros((batch, *grid, self.config.features[COARSEST])), None)

    def latent(
        self,
        level: int,
        e: jax.Array,
        d: jax.Array,
        quality: jax.Array,
        extent: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Encoder only: y [B, h, w, L], not yet in steps, and z in steps."""
        unit = self.units[level]
        y = unit.to_latent(jnp.concatenate([e, d], axis=-1)).astype(jnp.float32)
        in_units = y * (1 / integer.powers(unit.prior.units())) / 32
        log_gain = integer.interpolate_unrounded(unit.z_gain, quality, QUALITY_SEGMENT)
        return y, unit.hyper_encoder(in_units, extent) * jnp.exp2(log_gain)[:, None, None]

    def conditions(
        self, level: int, z_hat: jax.Array, state: State, quality: jax.Array
    ) -> Conditions:
        """What the prior of y knows before the first plane, from integers alone."""
        grid = state.d.shape[1:3]
        return self.units[level].prior.conditions(z_hat, state.coarser, quality, grid)

    def context_features(
        self, level: int, around: jax.Array, coarser: jax.Array | None, quality_basis: jax.Array
    ) -> jax.Array:
        """Context features of areas of 4×4 positions, see `LevelPrior.context_features`."""
        return self.units[level].prior.context_features(
            around, coarser, quality_basis, (partition.HYPER_STRIDE,) * 2
        )

    def z_prior(self, level: int, quality: jax.Array) -> jax.Array:
        """The scale indices of z's channels [B, ·]; its mean is zero."""
        return self.units[level].prior.z_prior(quality)

    def gains(self, level: int, quality: jax.Array) -> jax.Array:
        """log2 of the quantizer steps per unit of y, in 1/256: integers in float32, [B, L]."""
        return self.units[level].prior.gains(quality)

    def predict(
        self,
        level: int,
        parity: Parity,
        conditions: Conditions,
        planes: Mapping[Parity, jax.Array],
    ) -> Prediction:
        """mu and scale index of a plane, given the embedded planes that were decoded before."""
        return self.units[level].prior.predict(parity, conditions, planes)

    def predict_at(
        self,
        level: int,
        parity: jax.Array,
        neighbours: jax.Array,
        context_features: jax.Array,
        gains: jax.Array,
        quality_basis: jax.Array,
    ) -> Prediction:
        """What `predict` gives, of any positions of a plane, see `LevelPrior.predict_at`."""
        return self.units[level].prior.predict_at(
            parity, neighbours, context_features, gains, quality_basis
        )

    def embedding(self, level: int, v: jax.Array, coded: jax.Array, gains: jax.Array) -> jax.Array:
        """A decoded plane as the prior sees it, zero where not coded."""
        return self.units[level].prior.embedding(v, coded, gains)

    def merge(
        self,
        level: int,
        y_hat: jax.Array,
        d: jax.Array,
        embedded: jax.Array,
        conditions: Conditions,
        sizes: jax.Array | None = None,
    ) -> State:
        """The state for the next finer level from y_hat in units of y, 0 where not coded."""
        coarser = None
        if level:
            coarser = self.units[level].prior.hand_over(embedded, conditions)
        extent = None if sizes is None else partition.reach(sizes, level)
        return State(self.upsample(level, self.corrected(level, y_hat, d), extent), coarser)

    def corrected(self, level: int, y_hat: jax.Array, d: jax.Array) -> jax.Array:
        """d with what the level says, position by position."""
        return d + self.units[level].from_latent(y_hat)

    def upsample(self, level: int, d: jax.Array, extent: jax.Array | None = None) -> jax.Array:
        """The corrected d of a level as the guess for the next finer one, or as the trunk."""
        unit = self.units[level]
        d = unit.restore(d, extent)
        return unit.hand_over(d, extent).astype(jnp.float32)

    def synthesize(self, state: State, sizes: jax.Array | None = None) -> jax.Array:
        """The state after level 0 -> x_hat [B, H, W, 3], not clipped."""
        extent = None if sizes is None else 2 * partition.reach(sizes, 0)
        return self.picture(state.d, extent)

    def picture(self, trunk: jax.Array, extent: jax.Array | None = None) -> jax.Array:
        """What level 0 hands on -> x_hat [B, H, W, 3], not clipped."""
        h = self.g_s(self.g_s_restore(trunk, extent), extent)
        h = self.g_s_finish(h, lapped.scale_extent(extent, 2)).astype(jnp.float32)
        return ops.depth_to_space(ops.depth_to_space(h)) + 0.5

    def code(
        self,
        x: jax.Array,
        masks: tuple[jax.Array, ...],
        keys: jax.Array | None,
        quality: jax.Array,
        sizes: jax.Array | None = None,
    ) -> Coded:
        """The whole walk for images of the given quality each, see `hierarchy.code`."""
        return hierarchy.code(self, x, masks, keys, quality, sizes=sizes)

    def code_level(
        self,
        e: jax.Array,
        state: State,
        mask: jax.Array,
        keys: Keys,
        quality: jax.Array,
        sizes: jax.Array | None = None,
        *,
        level: int,
    ) -> tuple[State, jax.Array, jax.Array]:
        """One level of `code`: the state for the next one, and the maps of bits of y and z."""
        y, z = self.latent(level, e, state.d, quality)
        y_key, z_key = keys
        coded_z = partition.hyper_mask(mask)[..., None]
        z_hat = jnp.where(coded_z, ops.straight_through_round(z), 0.0)
        z_index = self.z_prior(level, quality)[:, None, None]
        z_seen = z_hat if z_key is None else z + ops.uniform_noise(z_key, z.shape[1:])
        z_bits = jnp.where(coded_z, self._bits(z_seen, z_index, z_key is None), 0.0)

        conditions = self.conditions(level, z_hat, state, quality)
        gains = conditions.gains[:, None, None]
        grid = mask.shape[1:3]
        targets = integer_prior.split_planes(y * integer.powers(gains))
        coded = integer_prior.split_planes(mask[..., None].astype(jnp.float32))
        steps: dict[Parity, jax.Array] = {}
        embedded: dict[Parity, jax.Array] = {}
        seen: dict[Parity, jax.Array] = {}
        indices: dict[Parity, jax.Array] = {}
        for group in integer_prior.DECODE_ORDER[self.config.context]:
            before = dict(embedded)
            for parity in group:
                mu, indices[parity] = self.predict(level, parity, conditions, before)
                offset = targets[parity] - mu / integer_prior.GRID
                if y_key is None:
                    offset = self._outside_dead_zone(offset, indices[parity])
                symbols = ops.straight_through_round(offset) * coded[parity]
                seen[parity] = symbols if y_key is None else offset
                v = integer_prior.latent_integers(mu, symbols)
                embedded[parity] = self.embedding(level, v, coded[parity][..., 0], conditions.gains)
                steps[parity] = integer_prior.dequantize(mu, symbols, coded[parity])
        joined = functools.partial(integer_prior.join_planes, grid=grid)
        y_seen = joined(seen)
        if y_key is not None:
            y_seen = y_seen + ops.uniform_noise(y_key, y_seen.shape[1:])
        y_bits = self._bits(y_seen, joined(indices), y_key is None)
        y_bits = jnp.where(mask[..., None], y_bits, 0.0)
        y_hat = joined(steps) / integer.powers(gains)
        state = self.merge(level, y_hat, state.d, joined(embedded), conditions, sizes)
        return state, jnp.sum(y_bits, axis=-1), jnp.sum(z_bits, axis=-1)

    def _outside_dead_zone(self, offset: jax.Array, index: jax.Array) -> jax.Array:
        """The offset from mu as the encoder quantizes it, not yet rounded.

        The gradient passes as if there were no dead zone, as it does with rounding: what is sent as
        zero could not learn to be sent otherwise.
        """
        bounds = jnp.asarray(dead_zone.zero_bounds(self.config.distribution))
        kept = dead_zone.apply(offset, bounds[index.astype(jnp.int32)])
        return ops.straight_through(kept, offset)

    def _bits(self, seen: jax.Array, index: jax.Array, rounded: bool) -> jax.Array:
        """Bits by the scale table of symbols, if `rounded`, or of what has noise."""
        distribution = self.config.distribution
        if rounded:
            return bit_cost.entry_bits(seen, index, distribution)
        return distributions.bits(seen, distributions.scale_at(index, distribution), distribution)


def network(
    config: PortableConfig, dtype: Any = jnp.float32, remat: bool = False
) -> PortableRDONet:
    """The module for a configuration; one object per configuration, so that jit caches hold."""
    return _network(config, dtype, remat)


@functools.cache
def _network(config: PortableConfig, dtype: Any, remat: bool) -> PortableRDONet:
    return PortableRDONet(config, dtype, remat)


def kernel_steps(path: str, kernel: np.ndarray) -> np.ndarray:
    """The steps in which a packed file holds a kernel: those of its integers, or by its layer."""
    step = integer_prior.weight_step(path)
    if step is not None:
        return np.full(1, step)
    is_near = path.removesuffix("/kernel") in NEAR_PICTURE
    return packing.steps(kernel, NEAR_STEPS if is_near else FAR_STEPS)


@functools.partial(compilation.jit, static_argnums=0)
def init_params(config: PortableConfig, key: jax.Array) -> Any:
    """Fresh parameters, drawn from `key`."""
    x = jnp.zeros((1, 2 * partition.BLOCK, 2 * partition.BLOCK, 3))
    masks = partition.level_masks(partition.uniform(0, (2, 2), (1,)))
    keys = jax.random.split(key, 2)
    quality = jnp.zeros(1, jnp.int32)
    net = network(config)
    return net.init(keys[0], x, masks, keys[1:], quality, method="code")["params"]
