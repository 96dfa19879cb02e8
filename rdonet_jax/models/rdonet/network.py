"""RDONet: a hierarchy of LS-Units with conditional hyperpriors.

Brand, Fischer, Kaup, "Rate-Distortion Optimized Learning-Based Image Compression using an Adaptive
Hierarchical Autoencoder with Conditional Hyperprior", CVPRW 2021, and Brand, Fischer, Kopte, Kaup,
https://arxiv.org/abs/2201.01586. Each position of an image is coded at one of three levels, by the
latent-space unit (LS-Unit) of that level. Training, rate estimation, encoding and decoding share
one pass over the levels, coarse to fine. They differ in where a level's symbols come from: noise,
rounding or a bitstream. `RDONet.code` is the pass with noise or rounding, `rdonet_jax.codec.rdonet`
the one with a range coder.

Shapes: an image x is [B, H, W, 3] in [0, 1], H and W multiples of 64. At level l the latent grid
is h = H / (16 · 2^l) by w = W / (16 · 2^l), the hyper-latent grid ceil(h / 4) by ceil(w / 4).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from rdonet_jax.core import partition
from rdonet_jax.core.config import COARSEST, LEVELS, RDONetConfig
from rdonet_jax.entropy import bit_cost, likelihoods
from rdonet_jax.models import hierarchy, latents, modules
from rdonet_jax.models.hierarchy import Coded, Keys
from rdonet_jax.models.latents import Prior
from rdonet_jax.models.rdonet.causal_prior import CausalPrior
from rdonet_jax.nn import layers, ops


def select(mask: jax.Array, y_hat: jax.Array, mu: jax.Array) -> jax.Array:
    """Masked latent selection: y_hat where coded, its prediction mu elsewhere.

    mask is bool [B, h, w], the others [B, h, w, C].
    """
    return jnp.where(mask[..., None], y_hat, mu)


class HyperEncoder(nn.Module):
    """h_a: concat(y, d) [B, h, w, ·] to z [B, ceil(h/4), ceil(w/4), C]."""

    config: RDONetConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, y: jax.Array, d: jax.Array) -> jax.Array:
        x = ops.pad_to_multiple(jnp.concatenate([y, d], axis=-1), partition.HYPER_STRIDE)
        x = layers.Conv(self.config.hyper[0], "down", dtype=self.dtype, name="first")(x)
        x = layers.GDN(name="gdn")(x)
        return layers.Conv(self.config.hyper_latents, "down", dtype=self.dtype, name="second")(x)


class HyperDecoder(nn.Module):
    """h_s: z_hat and d to the mean and the raw scale of y; d carries the coarser levels."""

    config: RDONetConfig
    latents: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z_hat: jax.Array, d: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = layers.Conv(self.config.hyper[1], "up", dtype=self.dtype, name="first")(z_hat)
        x = layers.GDN(inverse=True, name="first_gdn")(x)
        x = layers.Conv(self.config.hyper[2], "up", dtype=self.dtype, name="second")(x)
        x = layers.GDN(inverse=True, name="second_gdn")(x)
        x = x[:, : d.shape[1], : d.shape[2]]
        x = jnp.concatenate([x, d], axis=-1)
        x = layers.Conv(2 * self.latents, gain=0.1, dtype=self.dtype, name="prior")(x)
        mu, raw = jnp.split(x, 2, axis=-1)
        return mu, raw


class LSUnit(nn.Module):
    """A latent-space unit (LS-Unit of the paper): the networks of one level.

    A subclass may have other classes of hyperpriors, see `docs/extending.md`.
    """

    config: RDONetConfig
    level: int
    dtype: Any = jnp.float32

    hyper_encoder_class: ClassVar[Callable[..., nn.Module]] = HyperEncoder
    hyper_decoder_class: ClassVar[Callable[..., nn.Module]] = HyperDecoder

    def setup(self) -> None:
        config, level = self.config, self.level
        conv = functools.partial(layers.Conv, dtype=self.dtype)
        finer_channels = config.features[level - 1] if level else config.trunk[2]
        self.encoder = conv(config.features[level], "down", config.padding, gain=2.0)
        self.to_latent = conv(config.latents[level])
        self.hyper_encoder = type(self).hyper_encoder_class(config, self.dtype)
        self.hyper_decoder = type(self).hyper_decoder_class(
            config, config.latents[level], self.dtype
        )
        self.hyper_prior = CausalPrior(config.prior_hidden)
        # Upsamples to the next finer level. Attribute names are stored in weights files.
        self.hand_over = conv(finer_channels, "up", gain=2.0)


class RDONet(nn.Module):
    """The network. Its public methods are the steps of the pass, to be called through `apply`.

    `state` is the decoder feature d at the resolution of the next level (after level 0: at 1/8 of
    the image's size), [B, ·, ·, C].

    `dtype` and `remat` are for training. The transforms and hyperpriors may be computed in
    bfloat16. y, z, mu, raw scales and x_hat are float32 in any case, but cast from the output of a
    layer of this type: numbers of bfloat16 from 128 on are integers. With `remat`, the backward
    pass computes activations again.
    """

    config: RDONetConfig
    dtype: Any = jnp.float32
    remat: bool = False

    unit_class: ClassVar[Callable[..., nn.Module]] = LSUnit

    def setup(self) -> None:
        first, second, third = self.config.trunk
        padding = self.config.padding
        conv = functools.partial(layers.Conv, dtype=self.dtype)
        self.g_a = [conv(n, "down", padding, gain=2.0) for n in (first, second, third)]
        self.units = [
            type(self).unit_class(self.config, level, self.dtype) for level in range(LEVELS)
        ]
        self.g_s = [conv(second, "up", gain=2.0), conv(first, "up", gain=2.0), conv(3, "up")]

    def analyze(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """x [B, H, W, 3] -> encoder features e[l] [B, h, w, C], finest to coarsest."""
        h = x - 0.5
        for convolution in self.g_a:
            h = nn.relu(convolution(h))
        features = []
        for unit in self.units:
            h = nn.relu(unit.encoder(h))
            features.append(h)
        return tuple(features)

    def initial_state(self, batch: int, grid: tuple[int, int]) -> jax.Array:
        """The state before the coarsest level: zeros. `grid` counts rows and columns of blocks."""
        return jnp.zeros((batch, *grid, self.config.features[COARSEST]))

    def latent(self, level: int, e: jax.Array, state: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Encoder only: y [B, h, w, C] and z [B, ceil(h/4), ceil(w/4), ·] of a level."""
        unit = self.units[level]
        y = unit.to_latent(jnp.concatenate([e, state], axis=-1))
        y, z = _float32(y, unit.hyper_encoder(y, state))
        return y, z

    def predict_z(self, level: int, z_hat: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The mean of z, rounded (straight-through), and its raw scale, from earlier z_hat."""
        mu, raw = self.units[level].hyper_prior(z_hat)
        return ops.straight_through_round(mu), raw

    def predict_y(self, level: int, z_hat: jax.Array, state: jax.Array) -> Prior:
        """The distribution of y at a level, given z_hat and the coarser levels."""
        mu, raw = _float32(*self.units[level].hyper_decoder(z_hat, state))
        return Prior(mu, self.scale_from_raw(raw))

    def scale_from_raw(self, raw: jax.Array) -> jax.Array:
        """The scale of a prior, from the raw output of its network."""
        return latents.bounded_scale(raw, self.config.distribution)

    def next_state(self, level: int, y_hat: jax.Array, state: jax.Array) -> jax.Array:
        """The state for the next finer level. y_hat must be mu where the level is not coded."""
        h = self.units[level].hand_over(jnp.concatenate([state, y_hat], axis=-1))
        return nn.relu(h)

    def synthesize(self, state: jax.Array) -> jax.Array:
        """The state after level 0 -> x_hat [B, H, W, 3], not clipped."""
        first, second, last = self.g_s
        return last(nn.relu(second(nn.relu(first(state))))).astype(jnp.float32) + 0.5

    def code(
        self, x: jax.Array, masks: tuple[jax.Array, ...], keys: jax.Array | None = None
    ) -> Coded:
        """The network from images to reconstructions and bits, see `hierarchy.code`."""
        return hierarchy.code(self, x, masks, keys)

    def code_level(
        self,
        e: jax.Array,
        state: jax.Array,
        mask: jax.Array,
        keys: Keys,
        level: int,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """One level of `code`: the next state, and the bits of y and of z per position."""
        rate = bit_cost.symbol_bits if keys[0] is None else likelihoods.bits
        bits = functools.partial(rate, distribution=self.config.distribution)
        y, z = self.latent(level, e, state)
        y_key, z_key = keys

        coded_z = partition.hyper_mask(mask)
        z_hat = jnp.where(coded_z[..., None], ops.straight_through_round(z), 0.0)
        mu, raw = self.predict_z(level, z_hat)
        z_bits = bits(latents.noisy_or_rounded(z - mu, z_key), self.scale_from_raw(raw))

        prior = self.predict_y(level, z_hat, state)
        y_bits = bits(latents.noisy_or_rounded(y - prior.mu, y_key), prior.scale)
        y_hat = prior.mu + ops.straight_through_round(y - prior.mu)

        state = self.next_state(level, select(mask, y_hat, prior.mu), state)
        return state, latents.masked_sum(y_bits, mask), latents.masked_sum(z_bits, coded_z)


def _float32(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    return tuple(array.astype(jnp.float32) for array in arrays)


network = functools.partial(modules.build, RDONet)
init_params = functools.partial(modules.init_params, RDONet, False)
