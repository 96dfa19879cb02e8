"""The integer prior of one level in NumPy: the numbers of `models.portable.integer_prior`.

All values are integers held in float32. Every sum is below 2**24 in magnitude, so any BLAS gives
the exact value, in any order of summation (see `rdonet_jax.nn.integer`).
"""

from __future__ import annotations

import copy
from typing import Any, cast

import numpy as np

from rdonet_jax.codec.portable.numpy_layers import depth_to_space
from rdonet_jax.core.config import QUALITY_SEGMENT, PortableConfig
from rdonet_jax.entropy import distributions
from rdonet_jax.models.portable import integer_format as fmt
from rdonet_jax.models.portable.integer_format import (
    CONTEXT_BITS,
    EMBEDDING_BITS,
    HIDDEN_BITS,
    MU_SHIFT,
    PLANES,
    SCALE_SHIFT,
    WEIGHT_BITS,
    Z_BITS,
    Z_UNIT,
)
from rdonet_jax.nn.integer_format import (
    BIAS_BITS,
    LARGEST,
    LARGEST_BIAS,
    LARGEST_WIDE,
    MANTISSA_BITS,
    MANTISSAS,
    OCTAVE,
    OCTAVES,
)


def clip(x: np.ndarray, largest: int = LARGEST) -> np.ndarray:
    """x clipped to [-largest, largest]."""
    return np.clip(x, np.float32(-largest), np.float32(largest))


def shift_right(x: np.ndarray, bits: int) -> np.ndarray:
    """x / 2**bits, rounded half to even."""
    return np.rint(x * np.float32(2.0**-bits))


def powers(exponents: np.ndarray) -> np.ndarray:
    """2 ** (exponents / 256) to 11 bits: m · 2**k, exact."""
    exponents = clip(exponents, OCTAVES * OCTAVE).astype(np.int32)
    octaves = exponents // OCTAVE
    return np.ldexp(MANTISSAS[exponents - OCTAVE * octaves], octaves - MANTISSA_BITS)


def scale(x: np.ndarray, factors: np.ndarray, bits: int = 0) -> np.ndarray:
    """x times factors of `powers` / 2**bits, x clipped to 13 bits, rounded half to even."""
    return np.rint(clip(x, LARGEST_WIDE) * factors * np.float32(2.0**-bits))


def to_integers(values: Any, bits: int, largest: int) -> np.ndarray:
    """Parameters as integers: values · 2**bits, rounded half to even, clipped to ± largest."""
    return clip(np.rint(np.asarray(values, np.float32) * np.float32(2.0**bits)), largest)


def hat_functions(qualities: np.ndarray, knots: int) -> np.ndarray:
    """The weights of the knots at qualities [Q] times `QUALITY_SEGMENT`, [Q, knots]."""
    distance = np.abs(qualities[:, None] - QUALITY_SEGMENT * np.arange(knots))
    return np.maximum(QUALITY_SEGMENT - distance, 0).astype(np.float32)


def interpolate(knots: np.ndarray, qualities: np.ndarray) -> np.ndarray:
    """Knots [K, C] interpolated linearly at qualities [Q], not rounded: [Q, C]."""
    below = qualities // QUALITY_SEGMENT
    above = np.minimum(below + 1, len(knots) - 1)
    weight = (qualities - QUALITY_SEGMENT * below)[:, None].astype(np.float32)
    sums = (np.float32(QUALITY_SEGMENT) - weight) * knots[below] + weight * knots[above]
    return sums / np.float32(QUALITY_SEGMENT)


def activation(sums: np.ndarray, bits: int) -> np.ndarray:
    """Sums / 2**bits as 8-bit activations: linear in the first half of the channels, else ReLU."""
    x = clip(shift_right(sums, bits))
    half = x.shape[-1] // 2
    np.maximum(x[..., half:], 0, out=x[..., half:])
    return x


class Layer:
    """An integer layer: its weights [n, features] and bias [features], integers in float32."""

    def __init__(self, weights: Any, bits: int) -> None:
        self.kernel = to_integers(weights["kernel"], bits, LARGEST)
        self.bias = np.zeros(self.kernel.shape[1], np.float32)
        if "bias" in weights:
            self.bias = to_integers(weights["bias"], bits + BIAS_BITS, LARGEST_BIAS)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return x @ self.kernel + self.bias

    def columns(self, channels: slice) -> Layer:
        """The layer of some of the features."""
        part = copy.copy(self)
        # Contiguous, for the matrix products.
        part.kernel = np.ascontiguousarray(self.kernel[:, channels])
        part.bias = self.bias[channels]
        return part

    def split(self, rows: int, constants: np.ndarray) -> Layer:
        """The layer of the first `rows` inputs, where those behind are always `constants`.

        Its bias is [Q, features] for constants [Q, ·].
        """
        part = copy.copy(self)
        part.kernel = self.kernel[:rows]
        part.bias = self.bias + constants.astype(np.float32) @ self.kernel[rows:]
        return part


class Group:
    """The layers that predict a group of channels of y.

    Attributes:
      channels: of y.
    """

    def __init__(
        self, channels: slice, to_mu: Layer, to_scale: Layer, number: int, weights: Any
    ) -> None:
        """`weights` are those of the whole prior; groups count from 0."""
        self.channels = channels
        self._to_mu, self._to_scale = to_mu, to_scale
        # The first group has no earlier channels as context.
        self._context_layers = [
            Layer(weights[f"{name}_{number - 1}"], WEIGHT_BITS[name])
            for name in ("group_first", "group_to_mu", "group_to_scale")
            if number
        ]

    def __call__(self, hidden: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums for mu and for the scale index, from hidden features and offsets [N, ·]."""
        mu, index = self._to_mu(hidden), self._to_scale(hidden)
        if self._context_layers:
            first, to_mu, to_scale = self._context_layers
            inputs = np.concatenate([hidden, offsets, np.abs(offsets)], axis=-1)
            h = activation(first(inputs), HIDDEN_BITS)
            mu += to_mu(h)
            index += to_scale(h)
        return mu, index


At = int | np.ndarray
"""Which of the qualities of a `LevelPrior`: one of them, or one for each of N positions, [N]."""


class PriorLayers:
    """The integer networks of one level, without a quality.

    Attributes:
      gains: log2 of the quantizer steps per unit of y at the knots, in 1/256, [K, L].
      units: log2 of the networks' units in units of y, in 1/256, [L].
      z_index: the scale index of every channel of z at the knots, [K, ·].
      from_z, from_coarser, embed, first, second: layers; `from_coarser` is None at the coarsest
        level.
      groups: those of channels of y.
    """

    def __init__(self, config: PortableConfig, level: int, weights: Any) -> None:
        octaves = OCTAVES * OCTAVE
        self.gains = to_integers(weights["gain"], fmt.LOG_BITS, octaves)
        self.units = to_integers(weights["unit"], fmt.LOG_BITS, octaves)
        self.z_index = to_integers(weights["z_index"], fmt.Z_INDEX_BITS, fmt.LARGEST_Z_INDEX)

        def layer(name: str) -> Layer:
            return Layer(weights[name], WEIGHT_BITS[name])

        self.from_z, self.embed = layer("from_z"), layer("embed")
        self.first, self.second = layer("first"), layer("second")
        self.from_coarser = layer("from_coarser") if "from_coarser" in weights else None
        to_mu, to_scale = layer("to_mu"), layer("to_scale")
        self.groups = [
            Group(channels, to_mu.columns(channels), to_scale.columns(channels), number, weights)
            for number, channels in enumerate(fmt.channel_groups(config, level))
        ]


class LevelPrior:
    """The integer networks of one level at Q qualities.

    Attributes:
      steps: the quantizer steps per unit of y, [Q, L].
      units: log2 of the networks' units in units of y, in 1/256, [L].
      z_index: the scale index of every channel of z, int32 [Q, ·].
    """

    def __init__(
        self, config: PortableConfig, level: int, layers: PriorLayers, qualities: np.ndarray
    ) -> None:
        self._layers, self._embedding = layers, config.embedding
        self._context_channels = fmt.context_channels(config, level)
        gains = np.rint(interpolate(layers.gains, qualities))
        self.steps, self.units = powers(gains), layers.units
        self._from_units, self._to_units = powers(gains + self.units), powers(-gains - self.units)
        z_index = shift_right(np.rint(interpolate(layers.z_index, qualities)), fmt.FRACTION_BITS)
        largest = distributions.SCALE_COUNT - 1
        self.z_index = np.clip(z_index, 0, largest).astype(np.int32)
        quality_basis = clip(hat_functions(qualities, config.knots))
        inputs = len(layers.from_z.kernel) - config.knots
        self._from_z = layers.from_z.split(inputs, quality_basis)
        planes = LARGEST * np.eye(len(PLANES)).repeat(len(qualities), axis=0)
        self._first_of_plane = [
            layers.first.split(
                9 * config.embedding + 2 * config.conditioning,
                np.concatenate([quality_basis, one_hot], axis=1),
            )
            for one_hot in np.split(planes, len(PLANES))
        ]
        per_octave = fmt.index_per_octave(config.distribution)
        self._index_offset = shift_right(gains * np.float32(per_octave), fmt.INDEX_BITS)

    def context_features(self, z: np.ndarray, coarser: np.ndarray | None, at: At = 0) -> np.ndarray:
        """The context features of N areas of 4×4 positions, [N, 4, 4, ·].

        From the 3×3 neighborhoods of their hyper-latents, [N, 9 ·], and the context that the
        coarser level gives for their 2×2 positions, [N, 2, 2, ·].
        """
        sums = clip(z * Z_UNIT) @ self._from_z.kernel + self._from_z.bias[at]
        sums = sums.reshape(len(z), 1, 1, -1)
        from_z = activation(depth_to_space(depth_to_space(sums)), Z_BITS)
        if coarser is None:
            from_coarser = np.zeros_like(from_z)
        else:
            layer = cast(Layer, self._layers.from_coarser)  # all levels but the coarsest have it
            from_coarser = activation(depth_to_space(layer(coarser)), CONTEXT_BITS)
        return np.concatenate([from_z, from_coarser], axis=-1)

    def hidden_features(
        self, plane: int, neighbors: np.ndarray, context_features: np.ndarray, at: At = 0
    ) -> np.ndarray:
        """The hidden features of N positions of a plane, [N, ·].

        `plane` counts as in `PLANES`; neighbors [N, 8 E], context_features [N, ·].
        """
        layer = self._first_of_plane[plane]
        size = self._embedding
        # The rows of the position itself, the fifth of nine, have no input.
        sums = neighbors[:, : 4 * size] @ layer.kernel[: 4 * size]
        sums += neighbors[:, 4 * size :] @ layer.kernel[5 * size : 9 * size]
        sums += context_features @ layer.kernel[9 * size :]
        first = activation(sums + layer.bias[at], CONTEXT_BITS)
        second = activation(self._layers.second(first), HIDDEN_BITS)
        return np.concatenate([first, second], axis=-1)

    def predict(
        self, group: int, hidden: np.ndarray, symbols: np.ndarray, at: At = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """mu in 1/16 of a step and scale index of a group of channels at N positions, [N, ·].

        From the hidden features [N, ·] and the symbols [N, ·] of the earlier groups.
        """
        offsets = self._offset_inputs(symbols, at) if group else symbols
        mu, index = self._layers.groups[group](hidden, offsets)
        channels = self._layers.groups[group].channels
        mu = scale(shift_right(mu, MU_SHIFT), self._from_units[at][..., channels])
        index = shift_right(index, SCALE_SHIFT) + self._index_offset[at][..., channels]
        largest = distributions.SCALE_COUNT - 1
        return clip(mu, LARGEST_WIDE), np.clip(shift_right(index, fmt.FRACTION_BITS), 0, largest)

    def _offset_inputs(self, symbols: np.ndarray, at: At) -> np.ndarray:
        """y - mu of the first channels as 8-bit inputs, from their symbols [N, n]."""
        count = min(symbols.shape[1], self._context_channels)
        offsets = fmt.GRID * clip(symbols[:, :count], fmt.LARGEST_SYMBOL)
        return clip(scale(offsets, self._to_units[at][..., :count], fmt.GRID_BITS))

    def embed_latents(self, v: np.ndarray, at: At = 0) -> np.ndarray:
        """Decoded v [N, L] in 1/16 of a step as 8-bit inputs [N, E]."""
        count = self._context_channels
        y = clip(scale(v[:, :count], self._to_units[at][..., :count], fmt.GRID_BITS))
        sums = self._layers.embed(np.concatenate([y, np.abs(y)], axis=-1))
        return clip(shift_right(sums, EMBEDDING_BITS))


def latent_integers(mu: np.ndarray, symbols: np.ndarray) -> np.ndarray:
    """The integers v = mu + 16 · symbol that the networks see."""
    return clip(mu + fmt.GRID * clip(symbols, fmt.LARGEST_SYMBOL), LARGEST_WIDE)
