"""The coders of the literature that RDONet is compared with, on the same layers and entropy models.

One latent y with 16×16 pixels per position, no levels and no masks. Its prior, by
`BaselineConfig.kind`:

    context      mean and scale from z and from the causal 5×5 neighborhood (Minnen et al. 2018)
    hyperprior   mean and scale from z alone ("mean-scale hyperprior")
    factorized   one density per channel, no z (Ballé et al. 2017; 2018)

z has 64×64 pixels per position and a factorized prior. The scale is a softplus, as in RDONet.

Shapes: an image x is [B, H, W, 3] in [0, 1], H and W multiples of 64; y is [B, h, w, M] with
h = H / 16, w = W / 16, and z [B, h / 4, w / 4, N].
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rdonet_jax.core import compilation, partition
from rdonet_jax.core.config import BaselineConfig
from rdonet_jax.entropy import bit_cost, distributions
from rdonet_jax.models.baselines import context
from rdonet_jax.models.baselines.factorized_prior import FactorizedPrior
from rdonet_jax.models.hierarchy import Coded
from rdonet_jax.models.rdonet.network import Prior, min_scale
from rdonet_jax.nn import layers, ops

SLOPE = 0.01
"""Of the leaky ReLUs for negative inputs."""

_leaky = functools.partial(nn.leaky_relu, negative_slope=SLOPE)


def _small(features: int, dtype: Any, gain: float, name: str | None = None) -> nn.Conv:
    """A 3×3 convolution."""
    start = layers.scaled_normal(gain, 9)
    return nn.Conv(features, (3, 3), dtype=dtype, kernel_init=start, name=name)


class Analysis(nn.Module):
    """g_a: x [B, H, W, 3] -> y [B, h, w, M]."""

    config: BaselineConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        widths = (*self.config.trunk, self.config.latents)
        wide = len(widths) == 3
        x = x - 0.5
        for stage, width in enumerate(widths):
            name = f"stage_{stage}"
            if wide and stage == 0:
                x = layers.WideConv(width, "down", dtype=self.dtype, name=name)(x)
            else:
                x = layers.Conv(width, "down", dtype=self.dtype, name=name)(x)
            if wide or stage < len(widths) - 1:
                x = layers.GDN(name=f"gdn_{stage}")(x)
        return x.astype(jnp.float32)


class Synthesis(nn.Module):
    """g_s: y_hat [B, h, w, M] -> x_hat [B, H, W, 3], not clipped; the stages of g_a mirrored."""

    config: BaselineConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, y_hat: jax.Array) -> jax.Array:
        widths = (*reversed(self.config.trunk), 3)
        wide = len(widths) == 3
        x = y_hat
        for stage, width in enumerate(widths):
            name = f"stage_{stage}"
            if wide or stage > 0:
                x = layers.GDN(inverse=True, name=f"gdn_{stage}")(x)
            if wide and width == 3 and stage == len(widths) - 1:
                x = layers.WideConv(width, "up", dtype=self.dtype, name=name)(x)
            else:
                x = layers.Conv(width, "up", dtype=self.dtype, name=name)(x)
        return x.astype(jnp.float32) + 0.5


class HyperAnalysis(nn.Module):
    """h_a: y [B, h, w, M] -> z [B, h/4, w/4, N]."""

    config: BaselineConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, y: jax.Array) -> jax.Array:
        width = self.config.hyper
        x = _leaky(_small(width, self.dtype, 2.0, "first")(y))
        x = _leaky(layers.Conv(width, "down", gain=2.0, dtype=self.dtype, name="second")(x))
        x = layers.Conv(width, "down", dtype=self.dtype, name="third")(x)
        return x.astype(jnp.float32)


class HyperSynthesis(nn.Module):
    """h_s: z_hat -> what it tells of y, [B, h, w, 2 M]: mean and raw scale without a context."""

    config: BaselineConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z_hat: jax.Array) -> jax.Array:
        latents = self.config.latents
        gain = 0.1 if self.config.kind == "hyperprior" else 1.0
        x = layers.Conv(latents, "up", gain=2.0, dtype=self.dtype, name="first")(z_hat)
        x = layers.Conv(3 * latents // 2, "up", gain=2.0, dtype=self.dtype, name="second")(
            _leaky(x)
        )
        return _small(2 * latents, self.dtype, gain, "third")(_leaky(x)).astype(jnp.float32)


class EntropyParameters(nn.Module):
    """Context and hyperprior, [..., 4 M], to mean and raw scale, [..., 2 M], in 1×1 layers."""

    latents: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        widths = (10 * self.latents // 3, 8 * self.latents // 3, 2 * self.latents)
        for layer, (width, gain) in enumerate(zip(widths, (2.0, 2.0, 0.1), strict=True)):
            start = layers.scaled_normal(gain, 1)
            x = _leaky(x) if layer else x
            x = nn.Dense(width, dtype=self.dtype, kernel_init=start, name=f"layer_{layer}")(x)
        return x.astype(jnp.float32)


class BaselineNetwork(nn.Module):
    """The network. Every public method is a step, to be used through `apply`.

    `dtype` and `remat` are as in `rdonet.RDONet`.
    """

    config: BaselineConfig
    dtype: Any = jnp.float32
    remat: bool = False

    def setup(self) -> None:
        config = self.config
        again = nn.remat if self.remat else lambda module: module
        self.g_a = again(Analysis)(config, self.dtype)
        self.g_s = again(Synthesis)(config, self.dtype)
        self.factorised_prior = FactorizedPrior()
        if config.kind != "factorised":
            self.hyper_encoder = again(HyperAnalysis)(config, self.dtype)
            self.hyper_decoder = again(HyperSynthesis)(config, self.dtype)
        if config.kind == "context":
            self.context = context.Context(2 * config.latents, self.dtype)
            self.entropy_parameters = EntropyParameters(config.latents, self.dtype)

    def analyze(self, x: jax.Array) -> tuple[jax.Array, None, None]:
        """x [B, H, W, 3] -> y at level 0; there is nothing at the others."""
        return self.g_a(x), None, None

    def hyper_analyze(self, y: jax.Array) -> jax.Array:
        """Encoder only: z of y."""
        return self.hyper_encoder(y)

    def conditions(self, z_hat: jax.Array) -> jax.Array:
        """What z_hat tells of y, [B, h, w, 2 M]."""
        return self.hyper_decoder(z_hat)

    def prior(self, conditions: jax.Array, neighbours: jax.Array | None = None) -> Prior:
        """The distribution of y [..., M]; with a context, from the neighbors [..., 12 M] too.

        The positions may be a grid or those of a wavefront.
        """
        if self.config.kind == "context":
            seen = self.context(neighbours).astype(jnp.float32)
            conditions = self.entropy_parameters(jnp.concatenate([conditions, seen], axis=-1))
        mu, raw = jnp.split(conditions, 2, axis=-1)
        scale = ops.lower_bound(nn.softplus(raw), min_scale(self.config.distribution))
        return Prior(mu, scale)

    def synthesize(self, y_hat: jax.Array) -> jax.Array:
        """y_hat [B, h, w, M] -> x_hat [B, H, W, 3], not clipped."""
        return self.g_s(y_hat)

    def code(
        self, x: jax.Array, masks: tuple[jax.Array, ...], keys: jax.Array | None = None
    ) -> Coded:
        """All of it, with noise (keys [B]) or rounding (keys None), as `hierarchy.code` has it.

        masks[0] says which positions count: those inside the image.
        """
        return self.code_features(self.analyze(x), masks, keys)

    def code_features(
        self,
        features: tuple[jax.Array, None, None],
        masks: tuple[jax.Array, ...],
        keys: jax.Array | None = None,
    ) -> Coded:
        """The rest of `code`, from y."""
        y, mask = features[0], masks[0]
        y_noise, z_noise = (None, None) if keys is None else _split(keys)
        hyper_mask = partition.hyper_mask(mask)
        z_bits = jnp.zeros(hyper_mask.shape)
        if self.config.kind == "factorised":
            y_hat = jnp.where(mask[..., None], ops.straight_through_round(y), 0.0)
            y_bits = self.factorised_prior(_observed(y, y_noise))
        else:
            z = self.hyper_analyze(y)
            z_bits = _summed(self.factorised_prior(_observed(z, z_noise)), hyper_mask)
            z_hat = jnp.where(hyper_mask[..., None], ops.straight_through_round(z), 0.0)
            y_hat, y_bits = self._conditional(y, self.conditions(z_hat), mask, y_noise)
        return Coded(
            self.synthesize(y_hat),
            (_summed(y_bits, mask), *(jnp.zeros(m.shape) for m in masks[1:])),
            (z_bits, *(jnp.zeros(partition.hyper_mask(m).shape) for m in masks[1:])),
        )

    def _conditional(
        self, y: jax.Array, conditions: jax.Array, mask: jax.Array, noise: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """y_hat and the bits of every element of y.

        In training the context sees y with the rate's noise, which can be had at once. Otherwise
        it sees what a decoder has decoded, front by front; the gradient passes as if that were y.
        """
        neighbours = None
        if self.config.kind == "context":
            if noise is None:
                seen = ops.straight_through(self._decoded(y, conditions, mask), y)
            else:
                seen = _observed(y, noise)
            neighbours = context.gather_taps(context.pad_frame(seen))
        prior = self.prior(conditions, neighbours)
        symbols = ops.straight_through_round(y - prior.mu)
        if noise is None:
            bits = bit_cost.symbol_bits(symbols, prior.scale, self.config.distribution)
        else:
            noisy = _observed(y, noise) - prior.mu
            bits = distributions.bits(noisy, prior.scale, self.config.distribution)
        return prior.mu + jnp.where(mask[..., None], symbols, 0.0), bits

    def _decoded(self, y: jax.Array, conditions: jax.Array, mask: jax.Array) -> jax.Array:
        """y_hat as a decoder with a context finds it, wavefront by wavefront; without gradient."""
        grid = y.shape[1:3]
        y, conditions, variables = jax.lax.stop_gradient((y, conditions, self.variables))
        # A module that is bound cannot be called in a loop.
        predict = functools.partial(self.clone().apply, variables)

        def step(number: jax.Array, frame: jax.Array) -> jax.Array:
            at = context.wavefront(number, grid)
            here = context.gather_at(conditions, at)
            mu = predict(here, context.gather_taps_at(frame, at), method="prior").mu
            symbols = jnp.round(context.gather_at(y, at) - mu)
            coded = context.gather_at(mask[..., None], at)
            return context.scatter_at(frame, at, mu + jnp.where(coded, symbols, 0.0))

        frame = context.empty_frame(y.shape[0], grid, y.shape[-1])
        return context.crop_frame(jax.lax.fori_loop(0, context.wavefront_count(grid), step, frame))


def _split(keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Independent keys [B] for the noise on y and on z."""
    y_keys, z_keys = (jax.vmap(jax.random.fold_in, (0, None))(keys, part) for part in range(2))
    return y_keys, z_keys


def _observed(v: jax.Array, keys: jax.Array | None) -> jax.Array:
    """What the rate is counted for: v with noise, or rounded when there are no keys."""
    if keys is None:
        return ops.straight_through_round(v)
    return v + ops.uniform_noise(keys, v.shape[1:])


def _summed(bits: jax.Array, mask: jax.Array) -> jax.Array:
    """Bits per position [B, h, w] of bits per element, where the mask counts them."""
    return jnp.sum(jnp.where(mask[..., None], bits, 0.0), axis=-1)


@functools.cache
def network(
    config: BaselineConfig, dtype: Any = jnp.float32, remat: bool = False
) -> BaselineNetwork:
    """The module for a configuration; one object per configuration, so that jit caches hold."""
    return BaselineNetwork(config, dtype, remat)


@functools.partial(compilation.jit, static_argnums=0)
def init_params(config: BaselineConfig, key: jax.Array) -> Any:
    """Fresh parameters, drawn from `key`."""
    x = jnp.zeros((1, partition.BLOCK, partition.BLOCK, 3))
    masks = partition.level_masks(partition.uniform(0, (1, 1), (1,)))
    keys = jax.random.split(key, 2)
    return network(config).init(keys[0], x, masks, keys[1:], method="code")["params"]
