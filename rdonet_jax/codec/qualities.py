"""Qualities from 0 to 100 as numbers on the scale of a model, for an image and for its blocks.

Where the blocks of 64x64 pixels differ, a file has the quality of the image and an *offset* for
each block, an integer in units of `OFFSET_UNIT`. People give *gains*: how many points of the
quality, which has 100, a block is better than the image.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from rdonet_jax.codec import family_codec, tiles
from rdonet_jax.codec.preparation import EncodeError
from rdonet_jax.codec.tiles import Tile
from rdonet_jax.core import partition
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.core.json_values import short_repr
from rdonet_jax.models import quality_maps, registry
from rdonet_jax.models.quality_maps import QualityMaps

DEFAULT_QUALITY = 50.0
"""Of 0 to 100, for variable-rate models."""

OFFSET_UNIT = 8
"""Steps of a model's scale by which offsets count: 1/16 of the way between two knots."""

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


def quality_of(config: AnyConfig, number: int | None) -> float | None:
    """The inverse of `stream_quality`: the quality, 0 to 100, of a number in a file."""
    return None if number is None else 100 * number / config.steps_of_quality


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


@dataclasses.dataclass(frozen=True, eq=False)
class ImageQuality:
    """The quality of an image as a file has it.

    `parse_quality` makes it of what somebody asks for, once for each encoding.

    Attributes:
      config: of the model.
      number: on the scale of the model; None of a fixed-rate model.
      offsets: of 64x64 blocks, int32 [rows, columns]; None where all have the same quality.
    """

    config: AnyConfig
    number: int | None
    offsets: np.ndarray | None = None

    @property
    def quality(self) -> float | None:
        """That of the image, 0 to 100; None of a fixed-rate model."""
        return quality_of(self.config, self.number)

    @property
    def gains(self) -> np.ndarray | None:
        """How many points better than the image each block is, float64; None for no offsets."""
        if self.offsets is None:
            return None
        return 100 * OFFSET_UNIT * self.offsets.astype(np.float64) / self.config.steps_of_quality

    @property
    def blocks(self) -> np.ndarray | None:
        """Those of the blocks on the scale of the model, int32; None where all have the `number`.

        They end with the scale.
        """
        if self.offsets is None:
            return None
        found = self.number + OFFSET_UNIT * self.offsets
        return np.clip(found, 0, self.config.steps_of_quality)

    @property
    def maps(self) -> QualityMaps | None:
        """Those of all positions of all levels; None where all have the `number`."""
        blocks = self.blocks
        return None if blocks is None else quality_maps.of_blocks(blocks, self.config.levels)

    def in_tile(self, tile: Tile) -> ImageQuality:
        """The quality of a tile of the image."""
        if self.offsets is None:
            return self
        return dataclasses.replace(self, offsets=tiles.cut(self.offsets, tile)[0])


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
    return ImageQuality(
        config, number, None if offsets is None else _effective(config, number, offsets)
    )


def _effective(config: AnyConfig, number: int, offsets: np.ndarray) -> np.ndarray | None:
    """Offsets that lead no further than to the ends of the scale; None where all are 0 then."""
    lowest = -number // OFFSET_UNIT
    highest = -((number - config.steps_of_quality) // OFFSET_UNIT)
    offsets = np.clip(offsets, lowest, highest)
    return offsets if offsets.any() else None
