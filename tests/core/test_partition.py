"""The quadtree, checked against plain loops over its blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition, PartitionError
from tests.conftest import quick_key

pytestmark = pytest.mark.once

SIZES = [(1, 1), (17, 300), (64, 64), (65, 128), (511, 769), (33, 32)]


def some_partition(rows: int, cols: int, seed: int = 0) -> Partition:
    generator = np.random.default_rng(seed)
    split64 = generator.random((rows, cols)) < 0.6
    split32 = generator.random((2 * rows, 2 * cols)) < 0.5
    for row in range(2 * rows):
        for col in range(2 * cols):
            split32[row, col] &= split64[row // 2, col // 2]
    return Partition(split64, split32)


def levels_by_loop(p: Partition) -> np.ndarray:
    rows, cols = p.split64.shape
    levels = np.zeros((4 * rows, 4 * cols), np.uint8)
    for row in range(4 * rows):
        for col in range(4 * cols):
            if not p.split64[row // 4, col // 4]:
                levels[row, col] = 2
            elif not p.split32[row // 2, col // 2]:
                levels[row, col] = 1
    return levels


def test_level_maps_and_masks_agree_with_a_loop_over_all_positions():
    p = some_partition(3, 5)
    levels = levels_by_loop(p)
    masks = partition.level_masks(p)
    result = partition.level_map(p)
    assert result.dtype == jnp.uint8
    np.testing.assert_array_equal(result, levels)
    for level, mask in enumerate(masks):
        assert mask.dtype == bool
        assert mask.shape == (12 >> level, 20 >> level)
        for row in range(mask.shape[0]):
            for col in range(mask.shape[1]):
                assert mask[row, col] == (levels[row << level, col << level] == level)


@pytest.mark.slow
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_every_finest_position_is_covered_by_exactly_one_level(rows, cols, seed):
    masks = partition.level_masks(partition.random(quick_key(seed), (rows, cols)))
    count = sum(
        np.kron(np.asarray(mask, int), np.ones((1 << level, 1 << level), int))
        for level, mask in enumerate(masks)
    )
    np.testing.assert_array_equal(count, np.ones((4 * rows, 4 * cols)))


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_a_partition_survives_the_way_through_its_level_map(rows, cols, seed):
    p = some_partition(rows, cols, seed)
    again = partition.from_level_map(np.asarray(partition.level_map(p)))
    np.testing.assert_array_equal(again.split64, p.split64)
    np.testing.assert_array_equal(again.split32, p.split32)


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_a_uniform_partition_has_one_level_everywhere(level, batch):
    p = partition.uniform(level, (2, 3), batch)
    assert p.split64.shape == (*batch, 2, 3)
    assert p.split32.shape == (*batch, 4, 6)
    np.testing.assert_array_equal(partition.level_map(p), np.full((*batch, 8, 12), level, np.uint8))


def test_a_level_that_does_not_exist_is_refused():
    with pytest.raises(PartitionError, match="no level 3"):
        partition.uniform(3, (1, 1))


@pytest.mark.slow
def test_random_partitions_give_each_level_a_third_of_the_area():
    p = partition.random(jax.random.key(3), (40, 40), batch=(4,))
    levels = np.asarray(partition.level_map(p))
    for level in range(3):
        assert abs((levels == level).mean() - 1 / 3) < 0.03


@pytest.mark.slow
def test_random_partitions_depend_on_the_key_alone():
    first, same, other = (partition.random(jax.random.key(k), (5, 5), (2,)) for k in (1, 1, 2))
    np.testing.assert_array_equal(first.split32, same.split32)
    assert (np.asarray(first.split32) != np.asarray(other.split32)).any()
    assert (np.asarray(first.split64)[0] != np.asarray(first.split64)[1]).any()


def test_the_probabilities_of_a_random_partition_are_arguments():
    key = jax.random.key(0)
    coarse, middle, fine = (
        partition.level_map(partition.random(key, (3, 3), p64=p64, p32=p32))
        for p64, p32 in ((0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
    )
    assert (coarse == 2).all() and (middle == 1).all() and (fine == 0).all()


def variance_by_loop(x: np.ndarray, thresholds: tuple[float, float]) -> Partition:
    luma = 255.0 * (0.299 * x[..., 0] + 0.587 * x[..., 1] + 0.114 * x[..., 2])
    rows, cols = x.shape[0] // 64, x.shape[1] // 64
    split64 = np.zeros((rows, cols), bool)
    split32 = np.zeros((2 * rows, 2 * cols), bool)
    for row in range(rows):
        for col in range(cols):
            block = luma[64 * row : 64 * row + 64, 64 * col : 64 * col + 64]
            split64[row, col] = np.var(block) > thresholds[0]
            for down in range(2):
                for right in range(2):
                    part = block[32 * down : 32 * down + 32, 32 * right : 32 * right + 32]
                    split32[2 * row + down, 2 * col + right] = (
                        split64[row, col] and np.var(part) > thresholds[1]
                    )
    return Partition(split64, split32)


def patchy_images(count: int, rows: int, cols: int) -> np.ndarray:
    """Noise whose strength and mean change from one 16x16 block to the next."""
    generator = np.random.default_rng(7)
    spread = generator.uniform(0, 0.3, (count, 4 * rows, 4 * cols, 1)) ** 2
    mean = generator.uniform(0.4, 0.6, (count, 4 * rows, 4 * cols, 1))
    spread, mean = (a.repeat(16, axis=1).repeat(16, axis=2) for a in (spread, mean))
    noise = generator.uniform(-1, 1, (*mean.shape[:3], 3))
    return (mean + spread * noise).clip(0, 1).astype(np.float32)


def test_variance_partitions_agree_with_a_loop_over_blocks():
    images = patchy_images(2, 4, 5)
    thresholds = (300.0, 250.0)
    result = jax.jit(partition.variance)(images, thresholds)
    for index in range(2):
        expected = variance_by_loop(images[index].astype(np.float64), thresholds)
        assert 0 < expected.split64.mean() < 1
        assert 0 < expected.split32.mean() < expected.split64.mean()
        np.testing.assert_array_equal(result.split64[index], expected.split64)
        np.testing.assert_array_equal(result.split32[index], expected.split32)


def test_variances_are_in_squared_gray_levels_of_eight_bits():
    half = np.zeros((64, 64, 3), np.float32)
    half[:, 32:] = 10 / 255
    variance64, variance32 = partition.block_variances(half)
    np.testing.assert_allclose(variance64, [[25.0]], rtol=1e-5)
    np.testing.assert_array_equal(variance32, np.zeros((2, 2)))


@pytest.mark.slow
@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
@settings(max_examples=50, deadline=None)
def test_a_flat_block_is_not_split_even_at_threshold_zero(red, green, blue):
    flat = jnp.broadcast_to(jnp.array([red, green, blue], jnp.float32) / 255, (64, 64, 3))
    p = partition.variance(flat, (0.0, 0.0))
    assert not p.split64.any() and not p.split32.any()


def test_an_image_that_is_no_multiple_of_64_has_no_variance_partition():
    with pytest.raises(PartitionError, match="multiples of 64"):
        partition.variance(jnp.zeros((64, 80, 3)), (1.0, 1.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((slice(5, 6), slice(6, 7), 3), r"16x16 block in row 5, column 6 .*row 80, column 96"),
        ((slice(5, 6), slice(6, 7), -1), r"16x16 block in row 5, column 6 .*level -1"),
        ((slice(5, 6), slice(6, 7), 1), r"64x64 block in row 1, column 1 .*row 64, column 64"),
        ((slice(4, 6), slice(4, 8), 1), r"64x64 block in row 1, column 1 "),
        ((slice(2, 3), slice(1, 2), 0), r"32x32 block in row 1, column 0 .*row 32, column 0"),
    ],
)
def test_a_level_map_that_is_no_quadtree_is_refused_and_the_block_named(change, message):
    levels = np.full((8, 12), 2, np.int16)
    levels[:4, :4] = 1
    rows, cols, value = change
    levels[rows, cols] = value
    with pytest.raises(PartitionError, match=message):
        partition.from_level_map(levels)


@pytest.mark.parametrize(
    "levels",
    [
        np.zeros((8, 6), np.uint8),
        np.zeros((3, 8), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4), bool),
        np.array([["2"] * 4] * 4),
    ],
)
def test_an_array_that_is_no_level_map_is_refused(levels):
    with pytest.raises(PartitionError, match="level map"):
        partition.from_level_map(levels)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_inside_masks_mark_the_positions_that_touch_the_image(height, width):
    image = np.zeros((-(-height // 64) * 64, -(-width // 64) * 64), bool)
    image[:height, :width] = True
    for stride, mask in zip((16, 32, 64), partition.inside_masks(height, width), strict=True):
        assert mask.shape == (image.shape[0] // stride, image.shape[1] // stride)
        for row in range(mask.shape[0]):
            for col in range(mask.shape[1]):
                area = image[row * stride :, col * stride :][:stride, :stride]
                assert mask[row, col] == area.any()


def test_trimming_removes_only_splits_that_change_nothing_inside_the_image():
    height, width = 70, 90
    p = some_partition(2, 2, seed=1)
    p = Partition(np.ones_like(p.split64), np.ones_like(p.split32))
    trimmed = partition.trim(p, height, width)
    inside = partition.inside_masks(height, width)
    before, after = (partition.level_masks(q) for q in (p, trimmed))
    assert trimmed.split32.sum() == 3 * 3
    for level in range(3):
        np.testing.assert_array_equal(before[level] & inside[level], after[level] & inside[level])


def test_a_partition_of_another_size_is_refused():
    with pytest.raises(PartitionError, match="2x3 blocks"):
        partition.trim(partition.uniform(0, (2, 2)), 128, 129)
    with pytest.raises(PartitionError, match="0x5"):
        partition.block_grid(0, 5)


@given(st.sampled_from([1, 4, 9]), st.integers(1, 5), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_a_hyper_latent_is_coded_when_any_of_its_sixteen_positions_is(rows, cols, seed):
    mask = np.random.default_rng(seed).random((2, rows, cols)) < 0.1
    result = partition.hyper_mask(mask)
    assert result.shape == (2, -(-rows // 4), -(-cols // 4))
    for index in np.ndindex(result.shape):
        batch, row, col = index
        covered = mask[batch, 4 * row : 4 * row + 4, 4 * col : 4 * col + 4]
        assert result[index] == covered.any()


@pytest.mark.parametrize("side", [1, 2, 4])
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_sums_of_tiles_agree_with_a_loop_over_them(side, kind):
    values = np.random.default_rng(0).random((2, 3 * side, 2 * side), np.float32)
    result = partition.tile_sums(kind(values), side)
    assert isinstance(result, type(kind(values)))
    assert result.shape == (2, 3, 2)
    for batch, row, col in np.ndindex(result.shape):
        block = values[batch, side * row : side * row + side, side * col : side * col + side]
        np.testing.assert_allclose(result[batch, row, col], block.sum(), rtol=1e-5)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_block_shares_count_the_pixels_of_the_image(height, width):
    p = some_partition(-(-height // 64), -(-width // 64), seed=height)
    pixels = levels_by_loop(p).repeat(16, 0).repeat(16, 1)[:height, :width]
    shares = partition.block_shares(p, height, width)
    for level in range(3):
        assert shares[level] == pytest.approx((pixels == level).mean())


@pytest.mark.slow
def test_array_operations_can_be_jitted_and_work_on_batches():
    p = partition.random(jax.random.key(0), (2, 3), batch=(4,))

    @jax.jit
    def everything(p: Partition):
        masks = partition.level_masks(p)
        return masks, partition.level_map(p), tuple(map(partition.hyper_mask, masks))

    for index in range(4):
        batched = jax.tree.map(lambda a, i=index: a[i], everything(p))
        single = everything(Partition(p.split64[index], p.split32[index]))
        jax.tree.map(np.testing.assert_array_equal, batched, single)


def test_bits_lie_where_they_are_spent():
    """One bit of y at the middle level, one of z at the finest for two coded positions."""
    masks = [np.zeros((1, 8 >> level, 8 >> level), bool) for level in range(3)]
    y = [np.zeros(mask.shape, np.float32) for mask in masks]
    z = [np.zeros((1, 2, 2)), np.zeros((1, 1, 1)), np.zeros((1, 1, 1))]
    masks[1][0, 1, 2] = True
    y[1][0, 1, 2] = 1.0
    masks[0][0, 4, 0] = masks[0][0, 6, 3] = True
    z[0][0, 1, 0] = 1.0
    areas = np.asarray(partition.bits_by_area(tuple(masks), tuple(y), tuple(z)))
    expected = np.zeros((1, 8, 8))
    expected[0, 2:4, 4:6] += 1 / 4
    expected[0, [4, 6], [0, 3]] += 1 / 2
    np.testing.assert_allclose(areas, expected, rtol=1e-6)


def test_numpy_arrays_give_numpy_arrays_and_jax_gives_its_own():
    p = partition.uniform(1, (2, 2))
    for arrays, kind in ((p, np.ndarray), (jax.tree.map(jnp.asarray, p), jax.Array)):
        assert isinstance(arrays, Partition)
        for found in (partition.level_map(arrays), *partition.level_masks(arrays)):
            assert isinstance(found, kind)
