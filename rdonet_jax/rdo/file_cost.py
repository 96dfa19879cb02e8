"""The rate-distortion cost of files, R + lambda * D, in tiles: nothing is compiled for an image.

J is that of `rdonet_jax.rdo.cost`. Where blocks have qualities of their own, each has a lambda of
its own: areas count by an *emphasis*, the lambda of their block in relation to that of the image.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from rdonet_jax.codec import tiles
from rdonet_jax.codec.codec import Encoded
from rdonet_jax.core import partition
from rdonet_jax.core.partition import BLOCK
from rdonet_jax.imaging import pixel_format
from rdonet_jax.metrics.loss import AREA, Distortion, Term
from rdonet_jax.rdo import encoder_tiles
from rdonet_jax.runtime import compilation

Maps = list[np.ndarray]
"""By distortion its maps, float64 [M, H/16, W/16], see `Distortion.maps`."""


class FileCost:
    """The cost of files of one image.

    Args:
      terms: the distortions and their weights, see `cost.trained_loss`.
      pixels: uint8 [H, W, 3].
      emphasis: of areas, [H/16, W/16], see `cost.emphasis`; None where all count the same.

    Attributes:
      terms: with weights of the mean emphasis.
      relative: the emphasis in relation to its mean, by which maps are multiplied, or None. A
        distortion that is no sum over areas is that of means which are weighted so.
    """

    def __init__(
        self, terms: Sequence[Term], pixels: np.ndarray, emphasis: np.ndarray | None = None
    ) -> None:
        # Blocks may go past the end of the image: only its own areas count.
        rows, columns = (-(-side // AREA) for side in pixels.shape[:2])
        mean = 1.0 if emphasis is None else float(emphasis[:rows, :columns].mean())
        self.relative = None if emphasis is None else emphasis / mean
        self.terms = tuple(
            term._replace(weight=term.weight * mean) for term in terms if term.weight > 0
        )
        self.distortions = tuple(term.distortion for term in self.terms)
        self._pixels = pixels
        self._count = pixels.shape[0] * pixels.shape[1]

    def __call__(self, size: int, decoded: np.ndarray) -> float:
        """J per pixel, by real bits, of a file of `size` bytes that decodes to uint8 [H, W, 3]."""
        bits = 8.0 * size
        for (weight, distortion), values in zip(self.terms, self.maps(decoded), strict=True):
            if distortion.adds_up:
                bits += weight * values.sum()
            else:
                bits += weight * self._count * distortion.linearized(values[None], values)[1][0]
        return float(bits) / self._count

    def of(self, encoded: Encoded) -> float:
        """J per pixel of an encoded image that has the decoder's pixels."""
        return self(len(encoded.data), pixel_format.as_rgb8(encoded.pixels))

    def maps(self, decoded: np.ndarray) -> Maps:
        """The maps of a decoded image uint8 [H, W, 3], times the emphasis where there is one."""
        height, width = self._pixels.shape[:2]
        grid = partition.block_grid(height, width)
        per_block = BLOCK // AREA
        whole: Maps = []
        for tile in encoder_tiles.cover(grid):
            original, other = (tiles.cut(v, tile, BLOCK) for v in (self._pixels, decoded))
            size = tile.extent((height, width), BLOCK)
            of_original = originals(self.distortions, original)
            found = maps_of(self.distortions, of_original, other[0], size)
            if not whole:
                shape = [per_block * n for n in grid]
                whole = [np.empty((len(maps), *shape)) for maps in found]
            for values, maps in zip(whole, found, strict=True):
                core = np.moveaxis(np.asarray(maps), 0, -1)[None]
                rows, columns = tile.core_slices(per_block)
                values[:, rows, columns] = np.moveaxis(tile.crop_core(core, per_block), -1, 0)
        return whole if self.relative is None else [maps * self.relative for maps in whole]

    @property
    def adds_up(self) -> bool:
        """Whether all distortions are sums over areas."""
        return all(distortion.adds_up for distortion in self.distortions)

    def weights(self, decoded: np.ndarray | None) -> list[np.ndarray]:
        """By distortion, what each of its maps [M] weighs in the cost in bits, around an image.

        A distortion that adds up has its weight. Any other has its linearization around the decoded
        image. Without an image, for distortions that add up alone, [1] for all maps of each.
        """
        if decoded is None:
            return [np.array([term.weight], np.float32) for term in self.terms]
        return [
            np.array(self._weights_of(term, maps), np.float32)
            for term, maps in zip(self.terms, self.maps(decoded), strict=True)
        ]

    def _weights_of(self, term: Term, maps: np.ndarray) -> Sequence[float]:
        count = len(maps)
        if term.distortion.adds_up:
            return [term.weight] * count
        # The linearization is linear in the maps: it is read off from one map of ones at a time.
        ones = np.broadcast_to(np.eye(count)[:, :, None, None], (count, *maps.shape))
        areas, _ = term.distortion.linearized(ones, maps)
        return term.weight * self._count * areas[:, 0, 0]


@functools.partial(compilation.jit, static_argnums=0, quick=True)
def originals(distortions: tuple[Distortion, ...], pixels: jax.Array) -> tuple[Any, ...]:
    """What the maps of each distortion take of the original, uint8 [1, H, W, 3]."""
    return tuple(distortion.original(pixels[0]) for distortion in distortions)


@functools.partial(compilation.jit, static_argnums=0, quick=True)
def maps_of(
    distortions: tuple[Distortion, ...],
    originals: tuple[Any, ...],
    decoded: jax.Array,
    size: jax.Array,
) -> tuple[jax.Array, ...]:
    """The maps of a padded decoded image uint8 [H, W, 3]; `size` of it is the image."""
    return tuple(
        distortion.maps(original, decoded, size)
        for distortion, original in zip(distortions, originals, strict=True)
    )
