"""The float layers of the portable networks in NumPy, as matrix products over one tile.

They compute what `rdonet_jax.nn.lapped` computes, up to rounding: arrays are [h, w, C], in float32,
and an `extent`, int32 [2], is how many rows and columns of an array the image has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rdonet_jax.core.cached import cached_property

Weights = Mapping[str, Any]


def space_to_depth(x: np.ndarray) -> np.ndarray:
    """[h, w, C] -> [h/2, w/2, 4 C]; the channel is (row phase, column phase, C)."""
    h, w, c = x.shape
    x = x.reshape(h // 2, 2, w // 2, 2, c).transpose(0, 2, 1, 3, 4)
    return x.reshape(h // 2, w // 2, 4 * c)


def depth_to_space(x: np.ndarray) -> np.ndarray:
    """[..., h, w, 4 C] -> [..., 2 h, 2 w, C]; the inverse of `space_to_depth`."""
    *batch, h, w, c = x.shape
    x = np.swapaxes(x.reshape(*batch, h, w, 2, 2, c // 4), -4, -3)
    return x.reshape(*batch, 2 * h, 2 * w, c // 4)


def pad_borders(x: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """x with one more row and column on each side, replicated from the end of its extent."""
    rows, columns = map(int, extent)
    after = [(1, 1 + side - end) for side, end in zip(x.shape[:2], (rows, columns), strict=True)]
    return np.pad(x[:rows, :columns], (*after, (0, 0)), mode="edge")


def convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The valid convolution of stride 1: [h, w, I] by [s, s, I, O] -> [h - s + 1, w - s + 1, O]."""
    side, _, inputs, outputs = kernel.shape
    h, w = (length - side + 1 for length in x.shape[:2])
    taps = np.empty((h, w, side, side, inputs), np.float32)
    for dy in range(side):
        for dx in range(side):
            taps[:, :, dy, dx] = x[dy : dy + h, dx : dx + w]
    flat = taps.reshape(h * w, -1) @ kernel.reshape(-1, outputs)
    return flat.reshape(h, w, outputs)


class Stage:
    """A lapped stage in either direction. Its kernel is arranged when it is first used."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def down(self, x: np.ndarray, extent: np.ndarray) -> np.ndarray:
        """The stage of 4×4 taps and stride 2: [h, w, I] -> [h/2, w/2, O]."""
        y = convolve(space_to_depth(pad_borders(x, extent)), self._down_kernel)
        y += self._weights["bias"]
        return y

    def up(self, x: np.ndarray, extent: np.ndarray) -> np.ndarray:
        """The transpose of `down` away from the borders: [h, w, I] -> [2 h, 2 w, O]."""
        corners = convolve(pad_borders(x, extent), self._up_kernel)
        return depth_to_space(corners)[1:-1, 1:-1] + self._weights["bias"]

    @cached_property
    def _down_kernel(self) -> np.ndarray:
        blocks = self._blocks().transpose(0, 2, 1, 3, 4, 5)
        return blocks.reshape(2, 2, -1, blocks.shape[-1])

    @cached_property
    def _up_kernel(self) -> np.ndarray:
        blocks = self._blocks()[::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5)
        return blocks.reshape(2, 2, blocks.shape[2], -1)

    def _blocks(self) -> np.ndarray:
        """The kernel [4, 4, I, O] as [2, 2, 2, 2, I, O], where 2 · block + phase is the tap."""
        kernel = self._weights["kernel"]
        return kernel.reshape(2, 2, 2, 2, *kernel.shape[2:])


def pointwise(x: np.ndarray, weights: Weights) -> np.ndarray:
    """A linear map of the channels of every position."""
    return x @ weights["kernel"] + weights["bias"]


def nonlinearity(
    kind: str, x: np.ndarray, weights: Weights, extent: np.ndarray, inverse: bool
) -> np.ndarray:
    """The nonlinearity after a linear stage, by the configuration's name for it."""
    if kind == "residual":
        return residual(x, weights, extent)
    if kind == "gdn":
        return gdn(x, weights, inverse)
    return x


def residual(x: np.ndarray, weights: Weights, extent: np.ndarray) -> np.ndarray:
    """x + W ReLU(3×3 convolution of x)."""
    hidden = convolve(pad_borders(x, extent), weights["kernel"])
    hidden += weights["bias"]
    np.maximum(hidden, 0, out=hidden)
    return x + pointwise(hidden, weights["out"])


def gdn(x: np.ndarray, weights: Weights, inverse: bool) -> np.ndarray:
    """GDN (Ballé et al. 2016, https://arxiv.org/abs/1511.06281), or its inverse."""
    norm = np.sqrt(1 + np.square(x) @ np.square(weights["gamma"]))
    return x * norm if inverse else x / norm


def zero_beyond(x: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """x within its extent; 0 elsewhere."""
    rows, columns = map(int, extent)
    kept = np.zeros_like(x)
    kept[:rows, :columns] = x[:rows, :columns]
    return kept
