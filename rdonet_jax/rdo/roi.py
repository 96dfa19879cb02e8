"""Regions of interest: masks and boxes to gains, points of quality by 64x64 block.

A *mask* has numbers from 0 to 255. Where it is `AS_ASKED`, the image is of the quality that was
asked for, where it is brighter a better one, where it is darker a worse one. It may have any size
that scales to that of the image. A *box* is a rectangle of pixels with a gain of its own.

Both are first averaged over areas of 16x16 pixels. A block then takes the highest of its areas, so
that a region is as good at its border as within.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rdonet_jax.codec.qualities import MAX_GAIN
from rdonet_jax.core import partition
from rdonet_jax.core.partition import BLOCK, STRIDES

AS_ASKED = 128
"""The number of a mask that leaves the quality as it is."""

GAIN_PER_LEVEL = 0.5
"""Points of quality per gray level of a mask."""

_AREA = STRIDES[0]


class RoiError(ValueError):
    """A mask or a box that an image cannot have."""


class Box(NamedTuple):
    """A rectangle of an image: its left and upper end, its sides in pixels, and its gain."""

    x: int
    y: int
    width: int
    height: int
    gain: float


def gains(size: tuple[int, int], mask: Any = None, boxes: Sequence[Box] = ()) -> np.ndarray | None:
    """The gain of every block of an image of `size` = (height, width), float64; None without any.

    Boxes count more than the mask, and later ones more than earlier ones. Raises `RoiError` for a
    mask of another shape than the image, for numbers that are none from 0 to 255, for boxes that
    are not within the image, and for gains that are none from -100 to 100.
    """
    if mask is None and not boxes:
        return None
    grid = partition.block_grid(*size)
    per_block = BLOCK // _AREA
    areas = np.zeros([-(-side // _AREA) for side in size])
    if mask is not None:
        areas = GAIN_PER_LEVEL * (_area_means(checked_mask(mask, size), size) - AS_ASKED)
    for box in boxes:
        covered = _covered(box, size)
        areas = covered * box.gain + (1 - covered) * areas
    missing = [(0, per_block * n - have) for n, have in zip(grid, areas.shape, strict=True)]
    padded = np.pad(areas, missing, constant_values=-np.inf)
    return padded.reshape(grid[0], per_block, grid[1], per_block).max(axis=(1, 3))


def checked_mask(mask: Any, size: tuple[int, int]) -> np.ndarray:
    """A mask as float64 [h, w]. Raises `RoiError`."""
    try:
        values = np.asarray(mask)
        numeric = values.dtype.kind in "iuf"
    except MemoryError:
        raise
    except Exception:  # rows of different lengths, or whatever an array of another library raises
        numeric = False
    if not numeric or values.ndim != 2 or not values.size:
        raise RoiError(
            f"a mask of regions is a two-dimensional array of numbers, and this is "
            f"{_described(mask)}"
        )
    # A segmentation of 0 and 1 would make the whole image as bad as possible.
    shares = 0 < values.max() <= 1
    values = values.astype(np.float64)
    if not np.all((values >= 0) & (values <= 255)):  # NaN is not
        raise RoiError("a mask of regions has numbers from 0 to 255, and some are not")
    if shares:
        raise RoiError(
            "a mask of regions has numbers from 0 to 255, where 128 is the quality as asked, and "
            "these go from 0 to 1"
        )
    if not _scales(values.shape, size):
        raise RoiError(
            f"a mask of regions has the shape of the image: this one has {values.shape[0]} rows of "
            f"{values.shape[1]}, which do not scale to {size[0]} rows of {size[1]} pixels"
        )
    return values


def _described(mask: Any) -> str:
    """What was given in place of a mask, in words."""
    try:
        values = np.asarray(mask)
    except Exception:  # as above
        return f"no array, but {type(mask).__name__}"
    if values.dtype.kind == "U" and not values.ndim:
        return "a text"
    kind = {"b": "truth values", "U": "texts"}.get(values.dtype.kind, str(values.dtype))
    return f"one of {kind} of the shape {list(values.shape)}"


def _scales(shape: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Whether a mask scales to the image: its sides are those of the image, scaled and rounded."""
    (rows, columns), (height, width) = shape, size
    return abs(columns * height - rows * width) < max(height, width)


def _area_means(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mean of a mask in every area of 16x16 pixels of an image; areas end with it."""
    for axis, side in enumerate(size):
        mask = np.moveaxis(_means(np.moveaxis(mask, axis, 0), side), 0, axis)
    return mask


def _means(values: np.ndarray, side: int) -> np.ndarray:
    """Means of values [n, ...], spread evenly over `side` pixels, in every 16 pixels."""
    edges = np.append(np.arange(0, side, _AREA), side) * (len(values) / side)
    whole = np.minimum(edges.astype(np.int64), len(values) - 1)
    shape = (-1, *[1] * (values.ndim - 1))
    sums = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
    below = sums[whole] + (edges - whole).reshape(shape) * values[whole]
    return np.diff(below, axis=0) / np.diff(edges).reshape(shape)


def _covered(box: Box, size: tuple[int, int]) -> np.ndarray:
    """What share of every area of 16x16 pixels a box covers. Raises `RoiError`."""
    words = f"{box.x},{box.y},{box.width},{box.height}"
    if not all(isinstance(number, numbers.Integral) for number in box[:4]):
        raise RoiError(f"the box {words} is none: its numbers count whole pixels")
    if min(box.x, box.y) < 0 or min(box.width, box.height) < 1:
        raise RoiError(f"the box {words} is none: it has sides of one pixel at least")
    height, width = size
    if box.x + box.width > width or box.y + box.height > height:
        raise RoiError(f"the box {words} is not within the image of {width}x{height} pixels")
    is_number = isinstance(box.gain, numbers.Real)
    if not is_number or not abs(box.gain) <= MAX_GAIN:  # NaN is not
        raise RoiError(
            f"the gain of the box {words} is a number from {-MAX_GAIN:g} to {MAX_GAIN:g}"
        )
    rows, columns = (
        _covered_side(start, length, side)
        for start, length, side in ((box.y, box.height, height), (box.x, box.width, width))
    )
    return np.outer(rows, columns)


def _covered_side(start: int, length: int, side: int) -> np.ndarray:
    edges = np.append(np.arange(0, side, _AREA), side)
    return np.diff(np.clip(edges, start, start + length)) / np.diff(edges)
