"""The partition in the stream: what goes in comes out, and it costs little."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rdonet_jax.codec import partition_coding
from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition, PartitionError
from rdonet_jax.entropy.runs import CoderError

sides = st.integers(1, 400)
seeds = st.integers(0, 2**32 - 1)
probabilities = st.sampled_from([0.0, 0.02, 0.3, 0.5, 0.9, 1.0])


def random_partition(height: int, width: int, seed: int, p64=0.5, p32=0.5) -> Partition:
    rows, cols = -(-height // 64), -(-width // 64)
    generator = np.random.default_rng(seed)
    split64 = generator.random((rows, cols)) < p64
    split32 = generator.random((2 * rows, 2 * cols)) < p32
    return Partition(split64, split32 & split64.repeat(2, 0).repeat(2, 1))


def patchy_partition(height: int, width: int, seed: int, patch: int = 4) -> Partition:
    """Large patches of equal level, as photographs have them."""
    rows, cols = -(-height // 64), -(-width // 64)
    generator = np.random.default_rng(seed)
    levels = generator.integers(0, 3, (-(-rows // patch), -(-cols // patch)))
    levels = levels.repeat(patch, 0).repeat(patch, 1)[:rows, :cols]
    split32 = (levels < 1).repeat(2, 0).repeat(2, 1)
    return Partition(levels < 2, split32)


def raw_bits(p: Partition) -> int:
    """One flag per 64x64 block, and four more where it is split."""
    return p.split64.size + 4 * int(p.split64.sum())


def assert_equal(first: Partition, second: Partition) -> None:
    for a, b in zip(first, second, strict=True):
        assert isinstance(a, np.ndarray) and a.dtype == bool
        np.testing.assert_array_equal(a, b)


def without_splits_outside(p: Partition, height: int, width: int) -> Partition:
    split32 = p.split32.copy()
    for row, col in np.ndindex(split32.shape):
        if 32 * row >= height or 32 * col >= width:
            split32[row, col] = False
    return Partition(p.split64, split32)


def assert_round_trip(p: Partition, height: int, width: int) -> None:
    data = partition_coding.encode(p, height, width)
    decoded = partition_coding.decode(data, height, width)
    assert_equal(decoded, without_splits_outside(p, height, width))


@given(sides, sides, seeds, probabilities, probabilities)
@settings(max_examples=150, deadline=None)
def test_random_partitions_survive_the_stream(height, width, seed, p64, p32):
    assert_round_trip(random_partition(height, width, seed, p64, p32), height, width)


@given(sides, sides, seeds, st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_patchy_partitions_survive_the_stream(height, width, seed, patch):
    assert_round_trip(patchy_partition(height, width, seed, patch), height, width)


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (17, 300), (64, 64), (511, 769), (4000, 6000)]
)
def test_a_uniform_partition_survives_the_stream_and_costs_one_byte(level, height, width):
    p = partition.uniform(level, partition.block_grid(height, width))
    p = Partition(*map(np.asarray, p))
    assert_round_trip(p, height, width)
    assert len(partition_coding.encode(p, height, width)) <= 1


def test_a_uniform_partition_with_one_exception_survives_the_stream():
    for level in range(3):
        levels = np.full((12, 16), level, np.uint8)
        levels[4:8, 8:12] = (level + 1) % 3
        assert_round_trip(partition.from_level_map(levels), 190, 250)


def test_the_partition_may_come_as_jax_arrays():
    p = partition.variance(np.random.default_rng(0).random((128, 192, 3), np.float32), (1.0, 9e9))
    decoded = partition_coding.decode(partition_coding.encode(p, 128, 192), 128, 192)
    np.testing.assert_array_equal(decoded.split64, p.split64)
    np.testing.assert_array_equal(decoded.split32, p.split32)


@given(sides, sides, seeds)
@settings(max_examples=50, deadline=None)
def test_splits_outside_the_image_cost_nothing(height, width, seed):
    p = random_partition(height, width, seed)
    q = without_splits_outside(p, height, width)
    assert partition_coding.encode(p, height, width) == partition_coding.encode(q, height, width)


@pytest.mark.parametrize("seed", range(5))
def test_patchy_partitions_of_a_small_image_cost_less_than_half_of_the_raw_flags(seed):
    p = patchy_partition(512, 768, seed)
    assert 8 * len(partition_coding.encode(p, 512, 768)) < 0.5 * raw_bits(p)


@pytest.mark.parametrize("seed", range(5))
def test_partitions_without_any_pattern_cost_hardly_more_than_the_raw_flags(seed):
    p = random_partition(512, 768, seed)
    assert 8 * len(partition_coding.encode(p, 512, 768)) < 1.15 * raw_bits(p) + 8


def test_the_coding_adapts_to_an_image_unlike_those_it_was_fitted_to():
    """A chequerboard of levels: neighbors always differ."""
    split64 = np.indices((32, 32)).sum(0) % 2 == 0
    p = Partition(split64, np.zeros((64, 64), bool))
    assert 8 * len(partition_coding.encode(p, 2048, 2048)) < 0.1 * raw_bits(p)


def test_the_bytes_of_a_known_partition_never_change():
    p = patchy_partition(300, 500, seed=1, patch=2)
    assert partition_coding.encode(p, 300, 500).hex() == "63b1f0649d"


def decode_or_refuse(data: bytes, height: int, width: int) -> None:
    try:
        p = partition_coding.decode(data, height, width)
    except (CoderError, PartitionError):
        return
    assert p.split64.shape == partition.block_grid(height, width)
    assert not (p.split32 & ~p.split64.repeat(2, 0).repeat(2, 1)).any()
    assert_equal(p, without_splits_outside(p, height, width))


@given(st.binary(max_size=200), sides, sides)
@settings(max_examples=200, deadline=None)
def test_hostile_bytes_are_refused_or_give_a_valid_partition(data, height, width):
    decode_or_refuse(data, height, width)


@pytest.mark.slow
@given(seeds, st.integers(0, 10**6), st.integers(1, 255), sides, sides)
@settings(max_examples=100, deadline=None)
def test_damaged_bytes_are_refused_or_give_a_valid_partition(seed, parity, change, height, width):
    data = bytearray(partition_coding.encode(random_partition(512, 768, seed), 512, 768))
    parity %= len(data)
    decode_or_refuse(bytes(data[:parity]), 512, 768)
    decode_or_refuse(bytes(data), height, width)
    data[parity] ^= change
    decode_or_refuse(bytes(data), 512, 768)


def test_a_size_without_pixels_is_refused():
    with pytest.raises(PartitionError, match="0x7"):
        partition_coding.decode(b"", 0, 7)


def test_a_partition_of_another_size_is_refused():
    with pytest.raises(PartitionError, match="2x2 blocks"):
        partition_coding.encode(random_partition(64, 64, 0), 65, 65)


def test_partitions_of_a_batch_are_refused():
    with pytest.raises(PartitionError, match="rows, columns"):
        partition_coding.encode(partition.uniform(0, (2, 2), batch=(3,)), 128, 128)


@given(sides, sides, seeds)
@settings(max_examples=20, deadline=None)
def test_a_split_below_a_block_that_is_not_split_is_refused(height, width, seed):
    p = random_partition(height, width, seed)
    assume(not p.split64[0, 0])
    p.split32[0, 0] = True
    with pytest.raises(PartitionError, match="only where it splits the 64x64 block"):
        partition_coding.encode(p, height, width)
