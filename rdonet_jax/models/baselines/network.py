"""The baselines: published codecs that RDONet is compared with, with the same layers.

They have one latent y with 16×16 pixels per position, no levels and no masks. The prior of y
depends on `BaselineConfig.kind`:

    context      mean and scale from z and from the causal 5×5 neighborhood (Minnen et al. 2018,
                 https://arxiv.org/abs/1809.02736)
    hyperprior   mean and scale from z alone (the "mean & scale hyperprior" of the same paper)
    factorised   one density per channel, no z (Ballé et al. 2017, https://arxiv.org/abs/1611.01704,
                 and 2018, https://arxiv.org/abs/1802.01436)

z has 64×64 pixels per position and a factorized prior. The scale is a softplus, as in RDONet.

Shapes: an image x is [B, H, W, 3] in [0, 1], H and W multiples of 64; y is [B, h, w, M] with
h = H / 16, w = W / 16, and z [B, h / 4, w / 4, N].
"""

from __future__ import annotations

import functools
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from rdonet_jax.core import partition
from rdonet_jax.core.config import BaselineConfig
from rdonet_jax.entropy import bit_cost, likelihoods
from rdonet_jax.models import hierarchy, latents, modules
from rdonet_jax.models.baselines import context
from rdonet_jax.models.baselines.factorized_prior import FactorizedPrior
from rdonet_jax.models.hierarchy import Coded
from rdonet_jax.models.latents import Prior
from rdonet_jax.nn import layers, ops

SLOPE = 0.01
"""Slope of the leaky ReLUs for negative inputs."""

_leaky = functools.partial(nn.leaky_relu, negative_slope=SLOPE)


def _conv3x3(features: int, dtype: Any, gain: float, name: str | None = None) -> nn.Conv:
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
        x = _leaky(_conv3x3(width, self.dtype, 2.0, "first")(y))
        x = _leaky(layers.Conv(width, "down", gain=2.0, dtype=self.dtype, name="second")(x))
        x = layers.Conv(width, "down", dtype=self.dtype, name="third")(x)
        return x.astype(jnp.float32)


class HyperSynthesis(nn.Module):
    """h_s: z_hat -> features for the prior of y, [B, h, w, 2 M].

    Without a context, they are the mean and the raw scale.
    """

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
        return _conv3x3(2 * latents, self.dtype, gain, "third")(_leaky(x)).astype(jnp.float32)


class EntropyParameters(nn.Module):
    """1×1 layers: hyperprior and context features [..., 4 M] to mean and raw scale [..., 2 M]."""

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
    """The network. Its public methods are steps, to be called through `apply`.

    `dtype` and `remat` are as in `rdonet.network.RDONet`.
    """

    config: BaselineConfig
    dtype: Any = jnp.float32
    remat: bool = False

    def setup(self) -> None:
        config = self.config
        rematerialized = nn.remat if self.remat else lambda module: module
        self.g_a = rematerialized(Analysis)(config, self.dtype)
        self.g_s = rematerialized(Synthesis)(config, self.dtype)
        self.factorised_prior = FactorizedPrior()
        if config.kind != "factorised":
            self.hyper_encoder = rematerialized(HyperAnalysis)(config, self.dtype)
            self.hyper_decoder = rematerialized(HyperSynthesis)(config, self.dtype)
        if config.kind == "context":
            self.context = context.Context(2 * config.latents, self.dtype)
            self.entropy_parameters = EntropyParameters(config.latents, self.dtype)

    def analyze(self, x: jax.Array) -> tuple[jax.Array, None, None]:
        """x [B, H, W, 3] -> y as the feature of level 0; the other levels have none."""
        return self.g_a(x), None, None

    def hyper_analyze(self, y: jax.Array) -> jax.Array:
        """Encoder only: z of y."""
        return self.hyper_encoder(y)

    def hyper_synthesize(self, z_hat: jax.Array) -> jax.Array:
        """The hyperprior features of y, [B, h, w, 2 M]."""
        return self.hyper_decoder(z_hat)

    def predict_y(self, hyper_features: jax.Array, taps: jax.Array | None = None) -> Prior:
        """The distribution of y [..., M], at a grid of positions or at those of a wavefront.

        `hyper_features` are [..., 2 M]; with a context, `taps` the causal neighbors [..., 12 M].
        """
        parameters = hyper_features
        if self.config.kind == "context":
            context_features = self.context(cast(jax.Array, taps)).astype(jnp.float32)
            joined = jnp.concatenate([hyper_features, context_features], axis=-1)
            parameters = self.entropy_parameters(joined)
        mu, raw = jnp.split(parameters, 2, axis=-1)
        return Prior(mu, latents.bounded_scale(raw, self.config.distribution))

    def synthesize(self, y_hat: jax.Array) -> jax.Array:
        """y_hat [B, h, w, M] -> x_hat [B, H, W, 3], not clipped."""
        return self.g_s(y_hat)

    def code(
        self, x: jax.Array, masks: tuple[jax.Array, ...], keys: jax.Array | None = None
    ) -> Coded:
        """The network from images to reconstructions and bits, as `hierarchy.code`.

        masks[0] is True at the positions that are coded: those inside the image.
        """
        return self.code_features(self.analyze(x), masks, keys)

    def code_features(
        self,
        features: tuple[jax.Array, None, None],
        masks: tuple[jax.Array, ...],
        keys: jax.Array | None = None,
    ) -> Coded:
        """The part of `code` after `analyze`."""
        y, mask = features[0], masks[0]
        y_key, z_key = hierarchy.level_keys(keys, 0)
        hyper_mask = partition.hyper_mask(mask)
        z_bits = jnp.zeros(hyper_mask.shape)
        if self.config.kind == "factorised":
            y_hat = jnp.where(mask[..., None], ops.straight_through_round(y), 0.0)
            y_bits = self.factorised_prior(latents.noisy_or_rounded(y, y_key))
        else:
            z = self.hyper_analyze(y)
            z_bits = self.factorised_prior(latents.noisy_or_rounded(z, z_key))
            z_bits = latents.masked_sum(z_bits, hyper_mask)
            z_hat = jnp.where(hyper_mask[..., None], ops.straight_through_round(z), 0.0)
            y_hat, y_bits = self._code_y(y, self.hyper_synthesize(z_hat), mask, y_key)
        return Coded(
            self.synthesize(y_hat),
            (latents.masked_sum(y_bits, mask), *(jnp.zeros(m.shape) for m in masks[1:])),
            (z_bits, *(jnp.zeros(partition.hyper_mask(m).shape) for m in masks[1:])),
        )

    def _code_y(
        self, y: jax.Array, hyper_features: jax.Array, mask: jax.Array, keys: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """y_hat and the bits of every element of y.

        In training the context sees noisy y, at all positions at once. Otherwise it sees y_hat as
        a decoder gets it, wavefront by wavefront. The gradient is then as if it saw y.
        """
        taps = None
        if self.config.kind == "context":
            if keys is None:
                visible = ops.straight_through(self._decode_y(y, hyper_features, mask), y)
            else:
                visible = latents.noisy_or_rounded(y, keys)
            taps = context.gather_taps(context.pad_frame(visible))
        prior = self.predict_y(hyper_features, taps)
        symbols = ops.straight_through_round(y - prior.mu)
        if keys is None:
            bits = bit_cost.symbol_bits(symbols, prior.scale, self.config.distribution)
        else:
            noisy = latents.noisy_or_rounded(y, keys) - prior.mu
            bits = likelihoods.bits(noisy, prior.scale, self.config.distribution)
        return prior.mu + jnp.where(mask[..., None], symbols, 0.0), bits

    def _decode_y(self, y: jax.Array, hyper_features: jax.Array, mask: jax.Array) -> jax.Array:
        """y_hat as a decoder with a context gets it, wavefront by wavefront; without gradient."""
        grid = y.shape[1:3]
        y, hyper_features, variables = jax.lax.stop_gradient((y, hyper_features, self.variables))
        # Flax does not allow calls of a bound module in a JAX loop.
        predict = functools.partial(self.clone().apply, variables)

        def step(number: jax.Array, frame: jax.Array) -> jax.Array:
            at = context.wavefront(number, grid)
            features = context.gather_at(hyper_features, at)
            mu = predict(features, context.gather_taps_at(frame, at), method="predict_y").mu
            symbols = jnp.round(context.gather_at(y, at) - mu)
            coded = context.gather_at(mask[..., None], at)
            return context.scatter_at(frame, at, mu + jnp.where(coded, symbols, 0.0))

        frame = context.empty_frame(y.shape[0], grid, y.shape[-1])
        return context.crop_frame(jax.lax.fori_loop(0, context.wavefront_count(grid), step, frame))


network = functools.partial(modules.build, BaselineNetwork)
init_params = functools.partial(modules.init_params, BaselineNetwork, False)
