"""The quality of an image as a file has it: a number on the scale of the model.

Where the blocks of 64x64 pixels differ, there is an *offset* for each block as well, an integer in
units of `OFFSET_UNIT`.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from rdonet_jax.codec import tiles
from rdonet_jax.codec.tiles import Tile
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.models import quality_maps
from rdonet_jax.models.quality_maps import QualityMaps

OFFSET_UNIT = 8
"""Steps of a model's scale by which offsets count: 1/16 of the way between two knots."""


def quality_of(config: AnyConfig, number: int | None) -> float | None:
    """The inverse of `stream_quality`: the quality, 0 to 100, of a number in a file."""
    return None if number is None else 100 * number / config.steps_of_quality


@dataclasses.dataclass(frozen=True, eq=False)
class ImageQuality:
    """The quality of an image as a file has it.

    `qualities.parse_quality` makes it of what somebody asks for, once for each encoding.

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
