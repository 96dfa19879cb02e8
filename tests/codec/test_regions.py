"""Files whose blocks have qualities of their own: both engines, any size, nothing compiled anew."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.codec import bitstream, codec
from rdonet_jax.codec.bitstream import FormatError
from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition
from rdonet_jax.models import quality_maps
from tests import compiled

SIZES = [(1, 1), (17, 300), (77, 109), (130, 200), (192, 256)]


def image_of(photograph: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.ascontiguousarray(np.resize(photograph, (*size, 3)))


def random_partition(rng: np.random.Generator, size: tuple[int, int]) -> Partition:
    grid = partition.block_grid(*size)
    split64 = rng.random(grid) < 0.7
    split32 = rng.random([2 * side for side in grid]) < 0.5
    return Partition(split64, split32 & split64.repeat(2, 0).repeat(2, 1))


def assert_same(decoded: codec.Decoded, encoded: codec.Encoded) -> None:
    for ours, theirs in zip(decoded.symbols, encoded.symbols, strict=True):
        for run, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(run, other)
    assert np.abs(decoded.image.astype(int) - encoded.image).max() <= 1


@pytest.mark.slow
@settings(max_examples=8)
@given(st.sampled_from(SIZES), st.integers(0, 100), st.integers(0, 2**32 - 1), st.booleans())
def test_files_with_random_regions_decode_with_the_other_engine(
    mini_model, photograph, size, quality, seed, from_jax
):
    rng = np.random.default_rng(seed)
    image, p = image_of(photograph, size), random_partition(rng, size)
    gains = rng.uniform(-100, 100, partition.block_grid(*size))
    writer, reader = ("jax", "numpy") if from_jax else ("numpy", "jax")
    encoded = codec.encode(mini_model, image, p, quality, engine=writer, gains=gains)
    for engine in (writer, reader):
        decoded = codec.decode(mini_model, encoded.data, engine=engine)
        assert_same(decoded, encoded)
    stored = 0 if decoded.gains is None else decoded.gains
    asked, found = (np.clip(decoded.quality + each, 0, 100) for each in (gains, stored))
    atol = 100 * 4 / 640 + 1e-9
    np.testing.assert_allclose(np.broadcast_to(found, asked.shape), asked, atol=atol)


def test_without_gains_and_with_gains_of_0_files_are_those_of_before(mini_model, photograph):
    p = codec.choose_partition(mini_model, photograph, "variance", 40)
    plain = codec.encode(mini_model, photograph, p, 40)
    nothing = codec.encode(mini_model, photograph, p, 40, gains=np.full((3, 4), 0.2))
    assert plain.data == nothing.data
    assert codec.decode(mini_model, plain.data).gains is None


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["numpy", "jax"])
def test_blocks_of_one_other_quality_are_coded_as_an_image_of_that_quality(
    mini_model, photograph, engine
):
    """Offsets that are all the same differ from another quality by the header alone."""
    p = codec.choose_partition(mini_model, photograph, "variance", 60)
    expected = codec.encode(mini_model, photograph, p, 60, engine=engine)
    gains = np.full((3, 4), 10.0)
    found = codec.encode(mini_model, photograph, p, 50, engine=engine, gains=gains)
    for ours, theirs in zip(found.symbols, expected.symbols, strict=True):
        for run, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(run, other)
    np.testing.assert_array_equal(found.image, expected.image)


def test_a_better_block_is_better_and_the_variance_mask_follows_it(mini_model, photograph):
    gains = np.zeros((3, 4))
    gains[1, 1:3] = 60
    p = codec.choose_partition(mini_model, photograph, "variance", 20)
    finer = codec.choose_partition(mini_model, photograph, "variance", 20, gains)
    inside = gains > 0
    np.testing.assert_array_equal(finer.split64[~inside], p.split64[~inside])
    assert finer.split64[inside].sum() >= p.split64[inside].sum()
    assert finer.split32.sum() > p.split32.sum()

    def error(image: np.ndarray) -> float:
        part = (slice(64, 128), slice(64, 192))
        return float(np.square(image[part].astype(float) - photograph[part]).mean())

    plain = codec.encode(mini_model, photograph, p, 20)
    better = codec.encode(mini_model, photograph, p, 20, gains=gains)
    assert error(better.image) < error(plain.image)
    assert len(better.data) > len(plain.data)


def test_gray_images_and_those_of_16_bits_have_regions(mini_model, photograph):
    gray = np.ascontiguousarray(photograph[:100, :150, 1]).astype(np.uint16) * 257
    p = partition.uniform(0, partition.block_grid(*gray.shape))
    gains = np.array([[0, 20, -30], [40, 0, 0]])
    encoded = codec.encode(mini_model, gray, p, 50, gains=gains)
    assert encoded.data[4] == bitstream.REGION_VERSION
    decoded = codec.decode(mini_model, encoded.data)
    np.testing.assert_array_equal(decoded.image, encoded.image)


@pytest.mark.slow
def test_nothing_is_compiled_for_another_mask(mini_model, photograph):
    p = codec.choose_partition(mini_model, photograph, "variance", 40)

    def code(seed: int) -> dict[str, int]:
        gains = np.random.default_rng(seed).uniform(-50, 50, (3, 4))
        data = codec.encode(mini_model, photograph, p, 40, engine="jax", gains=gains).data
        codec.decode(mini_model, data, engine="jax")
        return compiled.counts()

    assert code(0) == code(1)


def test_other_offsets_for_the_same_symbols_are_noticed(mini_model, photograph):
    p = codec.choose_partition(mini_model, photograph, "variance", 40)
    gains = np.eye(3, 4) * 30
    header, sections = bitstream.parse(
        codec.encode(mini_model, photograph, p, 40, gains=gains, reconstruct=False).data
    )
    other = codec.encode(mini_model, photograph, p, 40, gains=2 * gains, reconstruct=False).data
    swapped = sections._replace(offsets=bitstream.parse(other)[1].offsets)
    with pytest.raises(FormatError, match="coded data is invalid|not those that were encoded"):
        codec.decode(mini_model, bitstream.pack(header, swapped))
    without = bitstream.pack(header, sections._replace(offsets=b""))
    with pytest.raises(FormatError, match="coded data is invalid|not those that were encoded"):
        codec.decode(mini_model, without)
    with pytest.raises(FormatError, match="names no quality"):
        headless = dataclasses.replace(header, quality=None)
        codec.decode(mini_model, bitstream.pack(headless, sections))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_hyper_latent_has_the_mean_of_its_blocks(rows, columns, seed):
    blocks = np.random.default_rng(seed).integers(0, 641, (rows, columns))
    maps = quality_maps.of_blocks(blocks, 3).levels
    for level, side in enumerate((1, 2, 4)):
        positions, areas = maps[level]
        assert positions.shape == (rows * 4 // side, columns * 4 // side)
        assert areas.shape == (-(-rows // side), -(-columns // side))
        for row, column in np.ndindex(areas.shape):
            part = blocks[row * side : (row + 1) * side, column * side : (column + 1) * side]
            assert areas[row, column] == part.sum() // part.size
        for row, column in np.ndindex(positions.shape):
            assert positions[row, column] == blocks[row * side // 4, column * side // 4]
