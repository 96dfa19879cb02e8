"""The encoder's latents of one level of a portable model, in host memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rdonet_jax.codec.portable.state import Positions
from rdonet_jax.codec.portable.tiles import Tile
from rdonet_jax.core.partition import HYPER_STRIDE
from rdonet_jax.entropy import dead_zone
from rdonet_jax.models.portable.integer_prior import GRID, Parity

_QUANTIZED_PART = 4096
"""Positions that are quantized at a time, to bound the memory."""


class EncoderLatents:
    """y and z of one level in quantizer steps, not yet rounded. y at coded positions only.

    Attributes:
      z: hyper-latents, float32 [ceil(h/4), ceil(w/4), ·].

    Args:
      planes: the coded positions of each plane.
      grid: (h, w), rows and columns of positions of the level.
      channels: of y and of z.
      zero_bounds: the dead zone by scale index, see `dead_zone.zero_bounds`.
    """

    def __init__(
        self,
        planes: Mapping[Parity, Positions],
        grid: tuple[int, int],
        channels: tuple[int, int],
        zero_bounds: np.ndarray,
    ) -> None:
        y_channels, z_channels = channels
        z_grid = (-(-side // HYPER_STRIDE) for side in grid)
        self.z = np.empty((*z_grid, z_channels), np.float32)
        self._zero_bounds = zero_bounds
        self._y: dict[Parity, np.ndarray] = {}  # [n, L]
        self._indices = np.full(grid, -1)  # of coded positions in the lists of their planes
        for parity, positions in planes.items():
            count = len(positions.rows)
            self._y[parity] = np.empty((count, y_channels), np.float32)
            self._indices[positions.rows, positions.columns] = np.arange(count)

    def store_tile(self, tile: Tile, y: np.ndarray, z: np.ndarray) -> None:
        """Stores the core of a tile of hyper-latents: y [1, 4 h, 4 w, L] and z [1, h, w, ·]."""
        self.z[tile.core_slices()] = tile.crop_core(z)
        indices = self._indices[tile.core_slices(HYPER_STRIDE)]
        y = tile.crop_core(y, HYPER_STRIDE)[: indices.shape[0], : indices.shape[1]]
        for (dy, dx), stored in self._y.items():
            plane = indices[dy::2, dx::2]
            coded = plane >= 0
            stored[plane[coded]] = y[dy::2, dx::2][coded]

    def quantize_plane(self, parity: Parity, mu: np.ndarray, index: np.ndarray) -> np.ndarray:
        """The symbols of a plane: y - mu with dead zone, rounded; float32 [n, L].

        From mu in 1/16 step and the scale indices, [n, L]. It can be called once for each plane,
        because the symbols overwrite y to save memory.
        """
        y = self._y.pop(parity)
        for first in range(0, len(y), _QUANTIZED_PART):
            part = slice(first, first + _QUANTIZED_PART)
            offset = y[part] - mu[part] / np.float32(GRID)
            np.rint(dead_zone.apply(offset, self._zero_bounds[index[part]]), out=y[part])
        return y
