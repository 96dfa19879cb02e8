"""Fills unknown areas of an image smoothly, by the push-pull algorithm.

Pull: known samples are averaged over squares of 2×2, and the averages again, until every sample of
the coarsest level is known. Push: from coarse to fine, unknown samples are interpolated from the
next coarser level. Areas far from any known sample become flat, so they take few bits.

Gortler et al., The Lumigraph, 1996 (https://doi.org/10.1145/237170.237200).
"""

from __future__ import annotations

import numpy as np


def fill(samples: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Integer samples [H, W] or [H, W, C] with those filled that are not `known` (bool [H, W]).

    Zeros if no sample is known.
    """
    if known.all():
        return samples
    if not known.any():
        return np.zeros_like(samples)
    if samples.ndim == 2:
        return _filled(samples, known)
    return np.stack([_filled(channel, known) for channel in np.moveaxis(samples, 2, 0)], axis=2)


def _filled(channel: np.ndarray, known: np.ndarray) -> np.ndarray:
    """One channel. One at a time needs a third of the memory of all three."""
    continued = np.rint(_continued(np.where(known, channel, 0).astype(np.float32), known))
    return np.where(known, channel, continued.astype(channel.dtype))


def _continued(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Floats [H, W], zero where unknown, with these samples filled."""
    if known.all():
        return values
    counts = _sums(known.astype(np.float32))
    means = _sums(values) / np.maximum(counts, 1)
    coarser = _continued(means, counts > 0)
    return np.where(known, values, _doubled(coarser, values.shape))


def _sums(values: np.ndarray) -> np.ndarray:
    """Sums over squares of 2×2, [⌈H/2⌉, ⌈W/2⌉]."""
    padded = np.pad(values, [(0, side % 2) for side in values.shape])
    return padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]


def _doubled(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Linear interpolation to twice the size, cut to `shape` where a side is odd."""
    for axis, side in enumerate(shape):
        lines = np.moveaxis(values, axis, 0)
        finer = np.empty((2 * len(lines), *lines.shape[1:]), np.float32)
        finer[::2] = 0.75 * lines + 0.25 * np.concatenate([lines[:1], lines[:-1]])
        finer[1::2] = 0.75 * lines + 0.25 * np.concatenate([lines[1:], lines[-1:]])
        values = np.moveaxis(finer[:side], 0, axis)
    return values
