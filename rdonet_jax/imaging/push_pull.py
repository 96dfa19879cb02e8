"""A smooth continuation of what is known of an image over what is not: pull and push.

Known samples are averaged over squares of 2×2, and these again, until nothing is unknown ("pull");
on the way back every unknown sample is interpolated from the next coarser level ("push"). What is
far from anything known becomes flat, so that it costs next to nothing to code.
"""

from __future__ import annotations

import numpy as np


def fill(samples: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Samples [H, W] or [H, W, C] of an integer type, as they are where `known` (bool [H, W]) and
    continued elsewhere; zeros where nothing is known at all."""
    if known.all():
        return samples
    if not known.any():
        return np.zeros_like(samples)
    if samples.ndim == 2:
        return _filled(samples, known)
    return np.stack([_filled(channel, known) for channel in np.moveaxis(samples, 2, 0)], axis=2)


def _filled(channel: np.ndarray, known: np.ndarray) -> np.ndarray:
    """One channel, by itself: its floats are a third of what all of them would take."""
    continued = np.rint(_continued(np.where(known, channel, 0).astype(np.float32), known))
    return np.where(known, channel, continued.astype(channel.dtype))


def _continued(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Floats [H, W] that are zero where unknown, continued over that."""
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
    """Interpolated linearly to [H, W], twice the size but for an odd last row or column."""
    for axis, side in enumerate(shape):
        lines = np.moveaxis(values, axis, 0)
        finer = np.empty((2 * len(lines), *lines.shape[1:]), np.float32)
        finer[::2] = 0.75 * lines + 0.25 * np.concatenate([lines[:1], lines[:-1]])
        finer[1::2] = 0.75 * lines + 0.25 * np.concatenate([lines[1:], lines[-1:]])
        values = np.moveaxis(finer[:side], 0, axis)
    return values
