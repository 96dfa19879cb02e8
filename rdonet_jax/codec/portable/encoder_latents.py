"""The latents of a level of a portable model in the encoder, before they are quantized.

They are those of the analysis, or given ones: refined latents of `rdonet_jax.rdo.refinement`.
"""

from __future__ import annotations

import numpy as np

from rdonet_jax.codec.portable.state import LevelState
from rdonet_jax.codec.tiles import Tile
from rdonet_jax.core.config import PortableConfig
from rdonet_jax.core.partition import HYPER_STRIDE
from rdonet_jax.entropy import dead_zone
from rdonet_jax.models.portable.integer_format import GRID, Parity

QUANTIZED_AT_ONCE = 4096
"""Positions whose latents are quantized at a time, to bound the memory."""


class EncoderLatents:
    """The latents of a level before quantization, in steps. Encoder only.

    Attributes:
      z: float32 [·, ·, ·].
    """

    def __init__(self, config: PortableConfig, level: int, state: LevelState) -> None:
        """`state` is that of the level."""
        areas = (-(-side // HYPER_STRIDE) for side in state.mask.shape)
        self.z = np.empty((*areas, config.hyper_latents[level]), np.float32)
        self._bounds = dead_zone.zero_bounds(config.distribution)  # by scale index
        self._mask, self._rows = state.mask, np.zeros(state.mask.shape, np.int64)
        self._y: dict[Parity, np.ndarray] = {}
        for parity, positions in state.planes.items():
            self._y[parity] = np.empty((len(positions.rows), config.latents[level]), np.float32)
            self._rows[positions.rows, positions.columns] = np.arange(len(positions.rows))

    def store(self, tile: Tile, y: np.ndarray, z: np.ndarray) -> None:
        """Stores the core of a tile, which counts hyper-latents."""
        self.z[tile.core_slices()] = tile.crop_core(z)
        core = tile.core_slices(HYPER_STRIDE)
        mask, rows = self._mask[core], self._rows[core]
        y = tile.crop_core(y, HYPER_STRIDE)[: mask.shape[0], : mask.shape[1]]
        for (dy, dx), plane in self._y.items():
            coded = mask[dy::2, dx::2]
            plane[rows[dy::2, dx::2][coded]] = y[dy::2, dx::2][coded]

    def quantize(
        self, parity: Parity, channels: slice, mu: np.ndarray, index: np.ndarray
    ) -> np.ndarray:
        """The symbols of a group of channels of a plane as floats, [n, ·]: y - mu, rounded.

        From mu in 1/16 step and the scale index, [n, ·]. To be called once, y is overwritten.
        """
        y = self._y[parity][:, channels]
        for first in range(0, len(y), QUANTIZED_AT_ONCE):
            part = slice(first, first + QUANTIZED_AT_ONCE)
            offset = y[part] - mu[part] / np.float32(GRID)
            np.rint(dead_zone.apply(offset, self._bounds[index[part]]), out=y[part])
        return y

    def drop_plane(self, parity: Parity) -> None:
        """Frees the latents of a plane."""
        del self._y[parity]


class RecordedLatents(EncoderLatents):
    """Those of the analysis, which also keep what plain rounding would code alike.

    Attributes:
      recorded: y float32 [h, w, L] as in `level_coder.ImageLatents`, complete when the level is
        coded.
    """

    def __init__(self, config: PortableConfig, level: int, state: LevelState) -> None:
        super().__init__(config, level, state)
        self._planes = state.planes
        self.recorded = np.zeros((*state.mask.shape, config.latents[level]), np.float32)

    def quantize(
        self, parity: Parity, channels: slice, mu: np.ndarray, index: np.ndarray
    ) -> np.ndarray:
        y, positions = self._y[parity][:, channels], self._planes[parity]
        for first in range(0, len(y), QUANTIZED_AT_ONCE):
            part = slice(first, first + QUANTIZED_AT_ONCE)
            means = mu[part] / np.float32(GRID)
            bounds = self._bounds[index[part]]
            moved = dead_zone.without_zone(y[part] - means, bounds)
            rows, columns = positions.rows[part], positions.columns[part]
            self.recorded[rows, columns, channels] = means + moved
        return super().quantize(parity, channels, mu, index)


class GivenLatents(EncoderLatents):
    """Given latents of a level, which are rounded without a dead zone."""

    def __init__(
        self, config: PortableConfig, level: int, state: LevelState, y: np.ndarray, z: np.ndarray
    ) -> None:
        super().__init__(config, level, state)
        self._bounds = np.zeros_like(self._bounds)
        self.z[:] = z
        for parity, positions in state.planes.items():
            self._y[parity][:] = y[positions.rows, positions.columns]
