"""The portable RDONet: one set of weights for every quality, the same symbols on every device.

As in `models.rdonet`, a pass goes over the levels, coarse to fine, and each position is coded at
one level. The differences:

- Every prior is computed from decoded integers by exact arithmetic (`integer_prior`). Floats only
  turn images into symbols and symbols into images, where rounding errors do no harm.
- y is divided by quantizer steps of its own per level, channel and quality (gain vectors, Cui et
  al. 2020, https://arxiv.org/abs/2003.02012), interpolated in log lambda.
- The transforms are linear lapped ones with small residual networks, orthonormal when training
  starts.
- Within a level, positions are decoded in up to four steps, each with the earlier ones as context
  (He et al. 2021, https://arxiv.org/abs/2103.15306, for two steps).

Shapes: an image x is [B, H, W, 3] in [0, 1], H and W multiples of 64. quality is int32 [B] from 0
to `config.steps_of_quality`, or says that of every 64x64 block (`quality_maps`). `sizes`, int32
[B, 2], are rows and columns of the images themselves in pixels. With an `extent`, the images fill
only that part of the arrays, see `nn.lapped`; it is in positions of the step's input.

Images are padded to multiples of 64, and positions with nothing but padding are not coded. A
decoder cannot continue the image there, so nothing may depend on these positions. At every level,
the synthesis takes the image to end with the last position that has a pixel of it, and replicates
from there, as at the border of an image without padding. The encoder's features of the finest level
are those of an image that ends there, so both agree. Features of the coarser levels are those of
the padded image: they are mostly low frequencies, which the border hardly affects, and replicated
pixels cost fewer bits than replicated positions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rdonet_jax.core import partition
from rdonet_jax.core.config import PATCH, QUALITY_SEGMENT, PortableConfig
from rdonet_jax.core.partition import STRIDES
from rdonet_jax.models import hierarchy, modules, quality_maps
from rdonet_jax.models.hierarchy import Coded, Keys
from rdonet_jax.models.portable import integer_prior, level_rate
from rdonet_jax.models.portable.integer_format import ENCODER_UNIT
from rdonet_jax.models.portable.integer_prior import LevelContext, LevelPrior, Prediction, Quality
from rdonet_jax.models.portable.level_rate import RoundingNoise
from rdonet_jax.nn import integer, lapped, ops

Z_GAIN = 2.0
"""Initial log2 of the gain of z, for a deviation of two to three steps. With less than one step,
all hyper-latents would be rounded to 0, and training would not make use of them."""


class State(NamedTuple):
    """The state of the decoder before a level."""

    d: jax.Array  # float32 [B, h, w, C], the prediction of e from coarser levels
    coarser: jax.Array | None  # `LevelPrior.coarse_context`; None at the coarsest level


class LevelLatents(NamedTuple):
    """The latents of a level in steps, not yet rounded."""

    y: Any  # float32 [B, h, w, L], of JAX or NumPy like z
    z: Any  # float32 [B, ceil(h/4), ceil(w/4), ·]


def nonlinear(config: PortableConfig, hidden: int, dtype: Any, inverse: bool) -> nn.Module:
    """The nonlinearity after a linear stage, initialized at or near the identity."""
    if config.nonlinearity == "residual":
        return lapped.Residual(hidden, dtype)
    if config.nonlinearity == "gdn":
        return lapped.NearIdentityGDN(inverse)
    return lapped.Identity()


class HyperEncoder(nn.Module):
    """h_a: y [B, h, w, L] in units of the prior, to z [B, ceil(h/4), ceil(w/4), ·]."""

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
    """A latent-space unit (LS-Unit): the networks of one level."""

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
        finer_channels = config.features[level - 1] if level else config.trunk
        # Upsamples to the next finer level. Attribute names are stored in weights files.
        self.hand_over = lapped.Stage(finer_channels, "up", dtype)


class PortableRDONet(nn.Module):
    """The network. Its public methods are the steps of the pass, to be called through `apply`.

    `dtype` and `remat` are as in `models.rdonet.network.RDONet`.
    """

    config: PortableConfig
    dtype: Any = jnp.float32
    remat: bool = False

    def setup(self) -> None:
        config, dtype = self.config, self.dtype
        self.g_a = lapped.Stage(config.trunk, "down", dtype)
        self.g_a_refine = nonlinear(config, config.residual[0], dtype, inverse=False)
        self.units = [LSUnit(config, level, dtype) for level in range(config.levels)]
        self.g_s_restore = nonlinear(config, config.residual[0], dtype, inverse=True)
        self.g_s = lapped.Stage(3 * PATCH**2, "up", dtype)
        self.g_s_finish = (
            lapped.Residual(config.finish, dtype) if config.finish else lapped.Identity()
        )

    def analyze(self, x: jax.Array, sizes: jax.Array | None = None) -> tuple[jax.Array, ...]:
        """x [B, H, W, 3] -> encoder features e[l] [B, h, w, C], finest to coarsest."""
        features = [self.finest_feature(x)]
        for level in range(1, self.config.levels):
            features.append(self.feature(level, features[-1]))
        if sizes is not None:
            # Computed twice for images without padding too: compilers for CPUs make the gradient
            # of a condition ten times slower than both of its branches.
            features[0] = self.finest_feature(x, STRIDES[0] * partition.latent_size(sizes, 0))
        return tuple(features)

    def finest_feature(self, x: jax.Array, extent: jax.Array | None = None) -> jax.Array:
        """x [B, H, W, 3] -> e[0] [B, H/16, W/16, C]."""
        h = ops.space_to_depth(ops.space_to_depth(x - 0.5))
        h = self.g_a(h, lapped.scale_extent(extent, 1, PATCH))
        extent = lapped.scale_extent(extent, 1, 2 * PATCH)
        return self.feature(0, self.g_a_refine(h, extent), extent)

    def feature(self, level: int, h: jax.Array, extent: jax.Array | None = None) -> jax.Array:
        """e[level] from the next finer feature h, of twice its size."""
        unit = self.units[level]
        return unit.refine(unit.encoder(h, extent), lapped.scale_extent(extent, 1, 2))

    def initial_state(self, batch: int, grid: tuple[int, int]) -> State:
        """The state before the coarsest level, of `grid` = (h, w) positions."""
        features = self.config.features[self.config.levels - 1]
        return State(jnp.zeros((batch, *grid, features)), None)

    def latent(
        self,
        level: int,
        e: jax.Array,
        d: jax.Array,
        quality: Quality,
        extent: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Encoder only: y [B, h, w, L], not yet in steps, and z in steps."""
        unit = self.units[level]
        y = unit.to_latent(jnp.concatenate([e, d], axis=-1)).astype(jnp.float32)
        in_units = y * (1 / integer.powers(unit.prior.units())) / ENCODER_UNIT
        areas = quality_maps.of_level(quality).areas
        log_gain = integer.interpolate_unrounded(unit.z_gain, areas, QUALITY_SEGMENT)
        gain = integer_prior.at_positions(jnp.exp2(log_gain))
        return y, unit.hyper_encoder(in_units, extent) * gain

    def compute_context(
        self, level: int, z_hat: jax.Array, state: State, quality: Quality
    ) -> LevelContext:
        """What the prior of y uses besides decoded planes, see `LevelPrior.compute_context`."""
        grid = state.d.shape[1:3]
        return self.units[level].prior.compute_context(z_hat, state.coarser, quality, grid)

    def context_features(
        self,
        level: int,
        z_neighborhood: jax.Array,
        coarser: jax.Array | None,
        quality_basis: jax.Array,
    ) -> jax.Array:
        """Context features of areas of 4×4 positions, see `LevelPrior.context_features`."""
        return self.units[level].prior.context_features(
            z_neighborhood, coarser, quality_basis, (partition.HYPER_STRIDE,) * 2
        )

    def z_scale_index(self, level: int, quality: jax.Array) -> jax.Array:
        """The scale indices of z's channels, [..., ·]. The mean of z is 0."""
        return self.units[level].prior.z_scale_index(quality)

    def gains(self, level: int, quality: jax.Array) -> jax.Array:
        """log2 of the quantizer steps per unit of y, in 1/256: integers in float32, [..., L]."""
        return self.units[level].prior.gains(quality)

    def hidden_features_at(
        self,
        level: int,
        parity: jax.Array,
        neighbors: jax.Array,
        context_features: jax.Array,
        quality_basis: jax.Array,
    ) -> jax.Array:
        """The hidden features of positions of a plane, see `LevelPrior.hidden_features_at`."""
        return self.units[level].prior.hidden_features_at(
            parity, neighbors, context_features, quality_basis
        )

    def predict(
        self, level: int, group: int, hidden: jax.Array, symbols: jax.Array, gains: jax.Array
    ) -> Prediction:
        """mu and scale index of a group of channels, see `LevelPrior.predict`."""
        return self.units[level].prior.predict(group, hidden, symbols, gains)

    def embed_latents(
        self, level: int, v: jax.Array, coded: jax.Array, gains: jax.Array
    ) -> jax.Array:
        """A decoded plane as inputs of the prior, see `LevelPrior.embed_latents`."""
        return self.units[level].prior.embed_latents(v, coded, gains)

    def next_state(
        self,
        level: int,
        y_hat: jax.Array,
        d: jax.Array,
        embedded: jax.Array,
        context: LevelContext,
        sizes: jax.Array | None = None,
    ) -> State:
        """The state for the next finer level from y_hat in units of y, 0 where not coded."""
        coarser = None
        if level:
            coarser = self.units[level].prior.coarse_context(embedded, context)
        extent = None if sizes is None else partition.latent_size(sizes, level)
        return State(self.upsample(level, self.add_residual(level, y_hat, d), extent), coarser)

    def add_residual(self, level: int, y_hat: jax.Array, d: jax.Array) -> jax.Array:
        """The prediction d plus what the level's latents add to it, position by position."""
        return d + self.units[level].from_latent(y_hat)

    def upsample(self, level: int, d: jax.Array, extent: jax.Array | None = None) -> jax.Array:
        """From the reconstructed d of a level to the prediction for the next finer one.

        From level 0, to the trunk: the input of the synthesis.
        """
        unit = self.units[level]
        d = unit.restore(d, extent)
        return unit.hand_over(d, extent).astype(jnp.float32)

    def synthesize(self, state: State, sizes: jax.Array | None = None) -> jax.Array:
        """The state after level 0 -> x_hat [B, H, W, 3], not clipped."""
        extent = None if sizes is None else 2 * partition.latent_size(sizes, 0)
        return self.reconstruct(state.d, extent)

    def reconstruct(self, trunk: jax.Array, extent: jax.Array | None = None) -> jax.Array:
        """The trunk, `upsample` of level 0 -> x_hat [B, H, W, 3], not clipped."""
        h = self.g_s(self.g_s_restore(trunk, extent), extent)
        h = self.g_s_finish(h, lapped.scale_extent(extent, 2)).astype(jnp.float32)
        return ops.depth_to_space(ops.depth_to_space(h)) + 0.5

    def code(
        self,
        x: jax.Array,
        masks: tuple[jax.Array, ...],
        keys: jax.Array | None,
        quality: hierarchy.PassQuality,
        sizes: jax.Array | None = None,
    ) -> Coded:
        """The network from images to reconstructions and bits, see `hierarchy.code`."""
        return hierarchy.code(self, x, masks, keys, quality, sizes)

    def code_level(
        self,
        e: jax.Array,
        state: State,
        mask: jax.Array,
        keys: Keys,
        quality: hierarchy.PassQuality,
        sizes: jax.Array | None = None,
        *,
        level: int,
    ) -> tuple[State, jax.Array, jax.Array]:
        """One level of `code`: the next state, and the bits of y and of z per position."""
        y, z = self.latent(level, e, state.d, quality_maps.of_pass(quality, level))
        y_key, z_key = keys
        code_y = functools.partial(level_rate.code_latents, y=y, keys=y_key)
        return self._code_latents(level, state, mask, z, z_key, code_y, quality, sizes)

    def code_given(
        self,
        latents: tuple[LevelLatents, ...],
        masks: tuple[jax.Array, ...],
        noise: tuple[RoundingNoise | None, ...],
        quality: hierarchy.PassQuality,
        sizes: jax.Array | None = None,
    ) -> Coded:
        """The pass over given latents, by level, instead of those of the analysis."""
        code_level = PortableRDONet.code_given_level
        return hierarchy.code_levels(self, code_level, latents, masks, noise, quality, sizes)

    def code_given_level(
        self,
        latents: LevelLatents,
        state: State,
        mask: jax.Array,
        noise: RoundingNoise | None,
        quality: hierarchy.PassQuality,
        sizes: jax.Array | None = None,
        *,
        level: int,
    ) -> tuple[State, jax.Array, jax.Array]:
        """One level of `code_given`, see `level_rate.code_given_latents`."""
        code_y = functools.partial(level_rate.code_given_latents, y=latents.y, noise=noise)
        return self._code_latents(level, state, mask, latents.z, None, code_y, quality, sizes)

    def _code_latents(
        self,
        level: int,
        state: State,
        mask: jax.Array,
        z: jax.Array,
        z_key: jax.Array | None,
        code_y: Callable[..., tuple[jax.Array, jax.Array, jax.Array]],
        quality: hierarchy.PassQuality,
        sizes: jax.Array | None,
    ) -> tuple[State, jax.Array, jax.Array]:
        """One level, from z and a function that codes y given the prior and its context."""
        prior, of_level = self.units[level].prior, quality_maps.of_pass(quality, level)
        coded_areas = partition.hyper_mask(mask)
        z_hat, z_bits = level_rate.code_hyper_latents(prior, z, coded_areas, of_level, z_key)
        context = self.compute_context(level, z_hat, state, of_level)
        y_hat, embedded, y_bits = code_y(prior, context=context, mask=mask)
        return self.next_state(level, y_hat, state.d, embedded, context, sizes), y_bits, z_bits


network = functools.partial(modules.build, PortableRDONet)
init_params = functools.partial(modules.init_params, PortableRDONet, True)
