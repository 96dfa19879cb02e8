"""Qualities that somebody asks for, as an image and its blocks have them in a file.

People give a quality from 0 to 100 and *gains* of blocks: how many points a block is better than
the image.
"""

from __future__ import annotations

import math

import numpy as np

from rdonet_jax.codec import family_codec
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.codec.image_quality import OFFSET_UNIT, ImageQuality
from rdonet_jax.core import partition
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.core.json_values import short_repr
from rdonet_jax.models import registry

DEFAULT_QUALITY = 50.0
"""Of 0 to 100, for variable-rate models."""

MAX_OFFSET = 127
"""The largest offset in either direction. It leads from one end of the scale of any model that is
bundled to the other."""

MAX_GAIN = 100.0
"""Points of quality by which a block may be better or worse than the image."""


def stream_quality(config: AnyConfig, quality: float | None) -> int | None:
    """The number that stands for a quality in a file; None for a fixed-rate model.

    A variable-rate model has the qualities 0 to 100, and None means `DEFAULT_QUALITY`. A fixed-rate
    model takes None alone. Raises `EncodeError` otherwise.
    """
    if not registry.family_of(config).variable_rate:
        if quality is not None:
            raise EncodeError("the model was trained for one quality: it takes none from outside")
        return None
    if quality is None:
        quality = DEFAULT_QUALITY
    try:
        legal = bool(0 <= quality <= 100) and not isinstance(quality, bool | np.bool_)  # NaN is not
        quality = float(quality)
    except (TypeError, ValueError, ArithmeticError):  # no number, several, or far too large
        legal = False
    if not legal:
        raise EncodeError(f"a quality is a number between 0 and 100, not {short_repr(quality)}")
    return round(quality / 100 * config.steps_of_quality)


def require_regions(config: AnyConfig) -> None:
    """Raises `EncodeError` for a model whose files have one quality for all of an image."""
    if not registry.family_of(config).variable_rate:
        raise EncodeError("the model was trained for one quality: no region can have another")
    if not family_codec.of(config).takes_regions:
        raise EncodeError("files of this kind of model have one quality for all of an image")


def stream_offsets(
    config: AnyConfig, gains: np.ndarray, grid: tuple[int, int]
) -> np.ndarray | None:
    """The offsets of an image of `grid` = (rows, columns) blocks, int32; None where all are 0.

    Raises `EncodeError` for gains of another shape, for those that are no numbers from -`MAX_GAIN`
    to `MAX_GAIN`, and as `require_regions` does.
    """
    require_regions(config)
    try:
        given = np.asarray(gains)
        numeric = given.dtype.kind in "iuf"
    except ValueError:  # rows of different lengths
        numeric = False
    if not numeric:
        raise EncodeError("gains are a two-dimensional array of numbers")
    gains = given.astype(np.float64)
    if gains.shape != grid:
        raise EncodeError(
            f"there is one gain per 64x64 block, {grid[0]} rows of {grid[1]}, not {gains.shape}"
        )
    if not np.all(np.abs(gains) <= MAX_GAIN):  # NaN is not
        raise EncodeError(f"a gain is a number from {-MAX_GAIN:g} to {MAX_GAIN:g}")
    offsets = np.rint(gains / 100 * config.steps_of_quality / OFFSET_UNIT).astype(np.int32)
    if np.abs(offsets).max() > MAX_OFFSET:
        most = math.floor(100 * OFFSET_UNIT * MAX_OFFSET / config.steps_of_quality)
        raise EncodeError(f"files of this model hold gains from {-most} to {most} at most")
    return offsets if offsets.any() else None


def parse_quality(
    config: AnyConfig,
    quality: float | None,
    gains: np.ndarray | None = None,
    size: tuple[int, int] | None = None,
) -> ImageQuality:
    """The quality of an image from what somebody asks for.

    `gains` need the `size` of the image, (height, width). Raises `EncodeError` as `stream_quality`
    and `stream_offsets` do, and ValueError for gains without a size.
    """
    number = stream_quality(config, quality)
    if gains is None:
        return ImageQuality(config, number)
    if size is None:
        raise ValueError("gains of blocks need the size of the image")
    offsets = stream_offsets(config, gains, partition.block_grid(*size))
    if offsets is None or number is None:  # without a number, gains have been refused
        return ImageQuality(config, number)
    return ImageQuality(config, number, _effective(config, number, offsets))


def _effective(config: AnyConfig, number: int, offsets: np.ndarray) -> np.ndarray | None:
    """Offsets that lead no further than to the ends of the scale; None where all are 0 then."""
    lowest = -number // OFFSET_UNIT
    highest = -((number - config.steps_of_quality) // OFFSET_UNIT)
    offsets = np.clip(offsets, lowest, highest)
    return offsets if offsets.any() else None
