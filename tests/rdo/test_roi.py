"""Masks and boxes of regions become gains of blocks; what is none is refused in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.core import partition
from rdonet_jax.rdo import roi
from rdonet_jax.rdo.roi import Box, RoiError

pytestmark = pytest.mark.once

SIZE = (200, 300)
sides = st.integers(1, 150)


def by_pixels(gains: np.ndarray) -> np.ndarray:
    """Of every block the highest mean of its 16x16 areas, from the gain of every pixel."""
    grid = partition.block_grid(*gains.shape)
    found = np.full(grid, -np.inf)
    for row in range(0, gains.shape[0], 16):
        for column in range(0, gains.shape[1], 16):
            mean = gains[row : row + 16, column : column + 16].mean()
            block = row // 64, column // 64
            found[block] = max(found[block], mean)
    return found


@settings(max_examples=40)
@given(sides, sides, st.integers(0, 2**32 - 1))
def test_a_mask_of_the_size_of_the_image_counts_pixel_by_pixel(height, width, seed):
    mask = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    expected = by_pixels((mask.astype(float) - 128) / 2)
    np.testing.assert_allclose(roi.gains((height, width), mask), expected, atol=1e-9)


@settings(max_examples=20)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(2, 17), st.integers(0, 2**32 - 1))
def test_a_small_mask_is_enlarged_and_a_large_one_averaged(rows, columns, factor, seed):
    mask = np.random.default_rng(seed).uniform(1.5, 255, (rows, columns))
    enlarged = mask.repeat(factor, 0).repeat(factor, 1)
    np.testing.assert_allclose(
        roi.gains(enlarged.shape, mask), roi.gains(enlarged.shape, enlarged), atol=1e-9
    )
    np.testing.assert_allclose(
        roi.gains(mask.shape, enlarged), roi.gains(mask.shape, mask), atol=1e-9
    )


def test_gray_levels_are_half_points_around_128():
    for level, gain in ((0, -64), (128, 0), (130, 1), (255, 63.5)):
        np.testing.assert_allclose(roi.gains(SIZE, np.full((2, 3), level)), gain, atol=1e-9)


def test_a_box_raises_the_blocks_that_hold_a_whole_area_of_it_and_no_others():
    found = roi.gains(SIZE, boxes=[Box(64, 60, 70, 68, 30)])
    expected = np.zeros((4, 5))
    expected[1, 1] = 30
    expected[0, 1] = 30 * 4 / 16  # four of the sixteen rows of an area
    expected[1, 2] = 30 * 6 / 16
    expected[0, 2] = 30 * 4 * 6 / 256
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_later_boxes_count_more_than_earlier_ones_and_than_the_mask():
    boxes = [Box(0, 0, 300, 200, -20), Box(128, 64, 64, 64, 40)]
    found = roi.gains(SIZE, np.full((2, 3), 255), boxes)
    assert found[1, 2] == 40
    assert np.sum(found == -20) == found.size - 1


def test_without_a_mask_and_boxes_there_are_no_gains():
    assert roi.gains(SIZE) is None


@pytest.mark.parametrize("shape", [(200, 300), (2, 3), (4, 5), (20, 30), (67, 100), (1, 2), (1, 1)])
def test_masks_that_are_the_image_scaled_and_rounded_are_taken(shape):
    size = {(1, 1): (64, 64), (4, 5): (200, 257)}.get(shape, SIZE)
    np.testing.assert_allclose(roi.gains(size, np.full(shape, 128)), 0, atol=1e-9)


@pytest.mark.parametrize(
    ("mask", "cause"),
    [
        (np.zeros((300, 200)), "300 rows of 200, which do not scale to 200 rows of 300"),
        (np.zeros((2, 9)), "do not scale"),
        (np.zeros((20, 33)), "do not scale"),
        (np.full((2, 3), np.nan), "from 0 to 255, and some are not"),
        (np.full((2, 3), np.inf), "from 0 to 255, and some are not"),
        (np.full((2, 3), -1), "from 0 to 255, and some are not"),
        (np.full((2, 3), 255.5), "from 0 to 255, and some are not"),
        (np.eye(2, 3), "these go from 0 to 1"),
        (np.eye(2, 3, dtype=np.uint8), "these go from 0 to 1"),
        (np.ones((2, 3), bool), "two-dimensional array of numbers"),
        (np.zeros((2, 3, 3)), "two-dimensional"),
        (np.zeros((0, 3)), "two-dimensional"),
        (np.zeros((2, 3), complex), "array of numbers"),
        ([[1, 2], [3]], "array of numbers"),
        ("mask.png", "array of numbers"),
    ],
)
def test_what_is_no_mask_of_the_image_is_refused(mask, cause):
    with pytest.raises(RoiError, match=cause):
        roi.gains(SIZE, mask)


@pytest.mark.parametrize(
    ("box", "cause"),
    [
        (Box(250, 0, 51, 10, 20), "250,0,51,10 is not within the image of 300x200"),
        (Box(0, 199, 10, 2, 20), "not within"),
        (Box(300, 0, 1, 1, 20), "not within"),
        (Box(-1, 0, 10, 10, 20), "is none"),
        (Box(0, 0, 0, 10, 20), "is none"),
        (Box(0.5, 0, 10, 10, 20), "whole pixels"),
        (Box("a", 0, 10, 10, 20), "whole pixels"),
        (Box(0, 0, 10, 10, "much"), "from -100 to 100"),
        (Box(0, 0, 10, 10, 101), "from -100 to 100"),
        (Box(0, 0, 10, 10, float("nan")), "from -100 to 100"),
    ],
)
def test_what_is_no_box_of_the_image_is_refused(box, cause):
    with pytest.raises(RoiError, match=cause):
        roi.gains(SIZE, boxes=[box])
