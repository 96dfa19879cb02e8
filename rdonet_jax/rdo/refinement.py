"""Latent refinement: a gradient descent on J of an image's latents, at the encoder alone.

The variables are y, absolute and not relative to the mean, and z of all levels. The loss is the
model's own J through the whole pass: later latents are predicted from earlier ones, so a change
travels on. Real symbols are tried regularly, and the best ones kept, since J of softly rounded
latents misleads. Decoders do not know about any of this.

It works tile by tile, each with the current latents of its neighbors in its margin. They take part
in the pass, but do not change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from rdonet_jax.codec import codec, memory, tiles
from rdonet_jax.codec.codec import Report
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.codec.image_quality import ImageQuality
from rdonet_jax.codec.level_coder import ImageLatents
from rdonet_jax.codec.tiles import Tile
from rdonet_jax.core import partition
from rdonet_jax.core.cached import cached_property
from rdonet_jax.core.partition import BLOCK, STRIDES, Partition
from rdonet_jax.metrics.loss import AREA, Distortion
from rdonet_jax.models.portable.network import LevelLatents
from rdonet_jax.models.quality_maps import LevelQuality, QualityMaps
from rdonet_jax.models.zoo import Model
from rdonet_jax.rdo import encoder_tiles, file_cost, refinement_step
from rdonet_jax.rdo.refinement_step import Latents, TileInputs

CHECK_EVERY = 10
"""Iterations after which J of real symbols is computed."""

SEED = 0


class Refined(NamedTuple):
    """Refined latents, and whether the refinement was interrupted."""

    latents: ImageLatents
    interrupted: bool


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is to be refined.

    Attributes:
      model: a portable one.
      pixels: uint8 [H, W, 3].
      partition: trimmed.
      quality: of the image.
      distortions: those of J.
      weights: of each of their maps, see `FileCost.weights`.
      relative: what areas count, see `FileCost.relative`.
    """

    model: Model
    pixels: np.ndarray
    partition: Partition
    quality: ImageQuality
    distortions: tuple[Distortion, ...]
    weights: tuple[np.ndarray, ...]
    relative: np.ndarray | None = None

    @cached_property
    def quality_maps(self) -> QualityMaps | None:
        """The qualities of all positions; None where all have the same."""
        return self.quality.maps


def require_memory(model: Model, size: tuple[int, int]) -> None:
    """Raises `EncodeError` if refining an image of (height, width) takes too much memory."""
    grid = partition.block_grid(*size)
    tile_blocks = np.prod(encoder_tiles.cover(grid)[0].sides)
    if lack := memory.refining_shortage(model.config, grid, int(tile_blocks)):
        raise EncodeError(f"the image is too large: {lack}")


def refine(
    problem: Problem,
    start: ImageLatents,
    iterations: int,
    names: tuple[str, ...] = (),
    report: Report = codec.silent,
) -> Refined:
    """Refines latents, `iterations` steps in each tile.

    `report` is called before every iteration, with the `names` of steps in turn, evenly over the
    iterations of all tiles. So an interrupt does not wait for the end of a step.

    In each tile J of the real symbols, with the margin, does not rise. A `KeyboardInterrupt` ends
    the refinement, also one that `report` raises. The best latents so far are the result.
    """
    latents = _copy(start)
    covering = encoder_tiles.cover(partition.block_grid(*problem.pixels.shape[:2]))
    advance = _progress(len(covering) * iterations, names, report)
    for number, tile in enumerate(covering):
        best = None
        try:
            for _, found in _descend(problem, tile, number, latents, iterations, advance):
                best = found
            interrupted = False
        except KeyboardInterrupt:
            interrupted = True
        if best is not None:
            _store(latents, tile, best)
        if interrupted:
            return Refined(latents, True)
    return Refined(latents, False)


def stages(
    problem: Problem, start: ImageLatents, iterations: int
) -> Iterator[tuple[int, ImageLatents]]:
    """After every check, the iterations so far and what `refine` gives for so many.

    For images of one tile alone; raises ValueError for others.
    """
    covering = encoder_tiles.cover(partition.block_grid(*problem.pixels.shape[:2]))
    if len(covering) > 1:
        raise ValueError(f"the image has {len(covering)} tiles, not one")
    (tile,) = covering
    for done, best in _descend(problem, tile, 0, start, iterations):
        latents = _copy(start)
        if best is not None:
            _store(latents, tile, best)
        yield done, latents


def _copy(latents: ImageLatents) -> ImageLatents:
    return ImageLatents(*(tuple(map(np.copy, values)) for values in latents))


def _descend(
    problem: Problem,
    tile: Tile,
    number: int,
    latents: ImageLatents,
    iterations: int,
    advance: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, Latents | None]]:
    """After every check, the iterations so far, and the best latents of a tile; None if none.

    `number` is that of the tile. `advance` is called before every iteration.
    """
    model, best = problem.model, None
    key = jax.random.fold_in(jax.random.key(SEED), number)
    functions = model.config, problem.distortions, model.device_params
    inputs = _tile_inputs(problem, tile)
    descent = refinement_step.begin(_cut_latents(latents, tile))
    least = float(refinement_step.cost(*functions, inputs, descent.latents))
    for iteration in range(1, iterations + 1):
        advance()
        descent = refinement_step.step(*functions, inputs, descent, key)
        # Otherwise the progress would run ahead, and an interrupt would wait.
        descent.steps.block_until_ready()
        if iteration % CHECK_EVERY == 0 or iteration == iterations:
            found = float(refinement_step.cost(*functions, inputs, descent.latents))
            if found < least:
                least, best = found, descent.latents
            yield iteration, best


def _progress(total: int, names: tuple[str, ...], report: Report) -> Callable[[], None]:
    """A function to call before each of `total` iterations, which reports the step it is in."""
    begun = iter(range(total))

    def advance() -> None:
        iteration = next(begun)
        if names:
            report(names[iteration * len(names) // total])

    return advance


def _tile_inputs(problem: Problem, tile: Tile) -> TileInputs:
    size = problem.pixels.shape[:2]
    masks = codec.coded_masks(problem.partition, *size)
    return TileInputs(
        file_cost.originals(problem.distortions, tiles.cut(problem.pixels, tile, BLOCK)),
        tile.extent(size, BLOCK),
        tuple(_cut_mask(mask, tile, BLOCK // STRIDES[level]) for level, mask in enumerate(masks)),
        tuple(_variable(tile, level) for level in range(problem.model.config.levels)),
        _tile_quality(problem, tile),
        problem.weights,
        None if problem.relative is None else tiles.cut(problem.relative, tile, BLOCK // AREA)[0],
    )


def _tile_quality(problem: Problem, tile: Tile) -> np.ndarray | QualityMaps:
    if problem.quality_maps is None:
        return np.array([problem.quality.number], np.int32)
    return QualityMaps(
        tuple(
            LevelQuality(
                tiles.cut(of_level.positions, tile, BLOCK // STRIDES[level]),
                tiles.cut(of_level.areas, encoder_tiles.of_hyper_latents(tile, level)),
            )
            for level, of_level in enumerate(problem.quality_maps.levels)
        )
    )


def _cut_mask(mask: np.ndarray, tile: Tile, per_block: int) -> np.ndarray:
    """The mask in a tile, [1, h, w], False beyond the image."""
    within = tile.extent(mask.shape, per_block)
    inside = tiles.cut(mask, tile, per_block)
    return inside & partition.extent_mask(within, inside.shape[1:])


def _variable(tile: Tile, level: int) -> LevelLatents:
    """Which latents of a level lie in the core of a tile, bool [1, ·, ·, 1]."""
    hyper = encoder_tiles.of_hyper_latents(tile, level)
    return LevelLatents(_core(tile, BLOCK // STRIDES[level]), _core(hyper, 1))


def _core(tile: Tile, factor: int) -> np.ndarray:
    core = np.zeros([1, *(factor * side for side in tile.sides), 1], bool)
    tile.crop_core(core, factor)[:] = True
    return core


def _cut_latents(latents: ImageLatents, tile: Tile) -> Latents:
    return tuple(
        LevelLatents(
            tiles.cut(y, tile, BLOCK // STRIDES[level]),
            tiles.cut(z, encoder_tiles.of_hyper_latents(tile, level)),
        )
        for level, (y, z) in enumerate(zip(*latents, strict=True))
    )


def _store(latents: ImageLatents, tile: Tile, refined: Latents) -> None:
    """Writes the latents of the core of a tile."""
    for level, (y, z) in enumerate(refined):
        per_block = BLOCK // STRIDES[level]
        hyper = encoder_tiles.of_hyper_latents(tile, level)
        latents.y[level][tile.core_slices(per_block)] = tile.crop_core(np.asarray(y), per_block)
        latents.z[level][hyper.core_slices()] = hyper.crop_core(np.asarray(z))
