"""Tiles over grids: cores that cover everything once, with margins all around."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.codec import tiles
from rdonet_jax.core import partition

pytestmark = pytest.mark.once

SHAPES = st.tuples(st.integers(1, 300), st.integers(7, 40), st.integers(0, 3))


@settings(deadline=None)
@given(SHAPES)
def test_cores_cover_every_position_once_and_see_their_margins(shape):
    length, side, margin = shape
    found = tiles.spans(length, side, margin)
    covered = np.concatenate([np.arange(span.core_start, span.core_stop) for span in found])
    np.testing.assert_array_equal(covered, np.arange(length))
    for span in found:
        assert span.core_start == 0 or span.core_start - span.start >= margin
        assert span.core_stop == length or span.start + side - span.core_stop >= margin
        assert span.start == 0 or span.start + side <= length


@settings(deadline=None)
@given(SHAPES)
def test_no_tile_could_be_left_out(shape):
    length, side, margin = shape
    count = len(tiles.spans(length, side, margin))
    # The first and the last one have a margin on one side alone.
    assert count == 1 or (count - 1) * (side - 2 * margin) + 2 * margin < length


def test_a_tile_of_margins_alone_is_refused_where_one_is_not_enough():
    assert len(tiles.spans(6, 6, 3)) == 1
    with pytest.raises(ValueError, match="no core"):
        tiles.spans(7, 6, 3)


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_what_is_cut_into_tiles_is_put_together_again(rows, columns, factor, seed):
    array = np.random.default_rng(seed).integers(0, 9, (rows * factor, columns * factor, 2))
    whole = np.full_like(array, -1)
    for tile in tiles.cover((rows, columns), (12, 9), 3):
        seen = tiles.cut(array, tile, factor)
        assert seen.shape == (1, 12 * factor, 9 * factor, 2)
        height, width = tile.extent(array.shape[:2], factor)
        assert 0 < height <= 12 * factor and 0 < width <= 9 * factor
        top, left = tile.rows.start * factor, tile.columns.start * factor
        inside = array[top : top + height, left : left + width]
        np.testing.assert_array_equal(seen[0, :height, :width], inside)
        whole[tile.core_slices(factor)] = tile.crop_core(seen, factor)
    np.testing.assert_array_equal(whole, array)


@pytest.mark.parametrize(
    ("grid", "shape"),
    [
        *[((1, 1), (8, 8)), ((8, 8), (8, 8)), ((8, 12), (8, 12)), ((12, 8), (12, 8))],
        *[((7, 10), (8, 12)), ((16, 16), (16, 16)), ((100, 200), (16, 16)), ((3, 999), (8, 12))],
    ],
)
def test_images_take_the_shape_of_least_work(grid, shape):
    assert tiles.TILE_SHAPES == ((8, 8), (8, 12), (12, 8), (16, 16))
    assert tiles.tile_shape_for(grid) == shape


GRIDS = st.tuples(st.integers(1, 200), st.integers(1, 200))


@settings(deadline=None)
@given(GRIDS)
def test_tiles_that_fit_have_no_more_work_than_those_of_a_few_shapes(grid):
    def work(sides):
        return math.prod(sides) * len(list(tiles.cover(positions, sides, tiles.MARGIN)))

    positions = tuple(n * partition.BLOCK // partition.STRIDES[0] for n in grid)
    fixed = tiles.tile_sides(tiles.tile_shape_for(grid), 0)
    assert work(tiles.fitting_sides(grid, 0)) <= work(fixed)


@settings(deadline=None)
@given(GRIDS, st.integers(0, 2))
def test_tiles_that_fit_have_whole_areas_and_cores_at_every_level(grid, level):
    sides = tiles.fitting_sides(grid, level)
    positions = tuple(n * partition.BLOCK // partition.STRIDES[level] for n in grid)
    assert all(side % partition.HYPER_STRIDE == 0 for side in sides)
    assert max(sides) <= tiles.tile_sides((tiles.LARGEST_SIDE,) * 2, level)[0]
    assert list(tiles.cover(positions, sides, tiles.MARGIN))


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("size", [(1, 1), (480, 640), (600, 800), (1024, 1024)])
def test_an_image_of_up_to_1024x1024_pixels_is_a_single_tile_that_ends_with_it(size, level):
    grid = partition.block_grid(*size)
    positions = [n * partition.BLOCK // partition.STRIDES[level] for n in grid]
    sides = tiles.fitting_sides(grid, level)
    for side, length in zip(sides, positions, strict=True):
        assert length <= side < length + partition.HYPER_STRIDE


@pytest.mark.parametrize(
    ("grid", "sides", "count"),
    [((12, 20), (48, 44), 2), ((17, 30), (40, 64), 4), ((32, 32), (48, 48), 9)],
)
def test_larger_images_are_divided_evenly(grid, sides, count):
    assert tiles.fitting_sides(grid, 0) == sides
    positions = tuple(4 * n for n in grid)
    assert len(list(tiles.cover(positions, sides, tiles.MARGIN))) == count


def test_every_shape_has_whole_areas_of_the_coarsest_hyper_latents():
    assert all(math.prod(shape) % partition.HYPER_STRIDE**2 == 0 for shape in tiles.TILE_SHAPES)


def test_coarse_levels_have_tiles_of_more_than_margins():
    square, oblong = (
        [tiles.tile_sides(shape, level) for level in range(3)] for shape in ((16, 16), (8, 12))
    )
    assert square == [(64, 64), (32, 32), (16, 16)]
    assert oblong == [(32, 48), (16, 24), (16, 16)]
