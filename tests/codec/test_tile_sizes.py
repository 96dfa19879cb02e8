"""What a portable model codes depends on the image, not on the tiles that it is coded in."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import skimage.data

from rdonet_jax.codec import codec, tiles
from rdonet_jax.codec.portable.numpy_engine import NumpyEngine
from rdonet_jax.core import partition
from tests.codec.test_codec import assert_same_symbols, image_of
from tests.conftest import quick_key

pytestmark = pytest.mark.once

SMALL, OBLONG, WHOLE = (4, 4), (8, 4), (14, 14)
"""Sides of tiles in blocks: two that most images need several of, and one that all fit in."""

SIZES = [(1, 1), (64, 836), (700, 60), (330, 401), (512, 832), (850, 833)]


@pytest.fixture(scope="module")
def astronaut():
    return skimage.data.astronaut()


def coded(model, image, p, shape, quality=60):
    """In tiles of one shape alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE_SHAPES", (shape,))
        return codec.encode(model, image, p, quality, engine="jax")


def opened(model, data, shape):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE_SHAPES", (shape,))
        return codec.decode(model, data, engine="jax")


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_files_of_many_tiles_are_those_of_one(mini_model, astronaut, size):
    """All levels are coded somewhere, and their borders cross those of tiles everywhere."""
    image = image_of(astronaut, *size)
    p = partition.random(quick_key(sum(size)), partition.block_grid(*size))
    whole = coded(mini_model, image, p, WHOLE)
    for shape in (SMALL, OBLONG):
        parts = coded(mini_model, image, p, shape)
        assert_same_symbols(parts, whole)
        assert parts.data == whole.data
        assert np.abs(parts.image.astype(int) - whole.image).max() <= 1


@pytest.mark.slow
def test_each_decodes_what_the_other_has_written(mini_model, astronaut):
    image = image_of(astronaut, 450, 600)
    p = partition.random(quick_key(7), partition.block_grid(450, 600))
    encoded = {shape: coded(mini_model, image, p, shape) for shape in (SMALL, OBLONG, WHOLE)}
    for writer, reader in itertools.permutations(encoded, 2):
        decoded = opened(mini_model, encoded[writer].data, reader)
        assert_same_symbols(decoded, encoded[writer])
        np.testing.assert_array_equal(decoded.image, encoded[reader].image)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (480, 640), (600, 800), (70, 1500), (1100, 1200)])
def test_tiles_that_fit_the_image_decode_what_tiles_of_a_few_shapes_do(
    mini_model, astronaut, size, monkeypatch
):
    image = image_of(astronaut, *size)
    p = partition.random(quick_key(sum(size)), partition.block_grid(*size))
    fitting = codec.encode(mini_model, image, p, 60, engine="numpy")
    monkeypatch.setattr(NumpyEngine, "fixed_shapes", True)
    fixed = codec.encode(mini_model, image, p, 60, engine="numpy")
    for encoded in (fitting, fixed):
        monkeypatch.setattr(NumpyEngine, "fixed_shapes", encoded is fitting)
        decoded = codec.decode(mini_model, encoded.data, engine="numpy")
        assert_same_symbols(decoded, encoded)
        assert np.abs(decoded.image.astype(int) - encoded.image).max() <= 1
    # A sum near the middle of two integers may be rounded to either.
    assert len(fitting.data) == pytest.approx(len(fixed.data), rel=1e-3, abs=4)


@pytest.mark.parametrize(
    ("size", "shapes"),
    [
        ((1, 1), {(4, 4)}),
        ((480, 640), {(32, 40)}),
        ((1024, 1000), {(64, 64)}),
        ((1025, 64), {(40, 4)}),
    ],
)
def test_numpy_computes_tiles_of_the_size_of_the_image(
    mini_model, astronaut, size, shapes, monkeypatch
):
    seen = set()
    synthesize = NumpyEngine.synthesize

    def recording(engine, is_16bit, d, *others):
        seen.add(d.shape[1:3])
        return synthesize(engine, is_16bit, d, *others)

    monkeypatch.setattr(NumpyEngine, "synthesize", recording)
    image = image_of(astronaut, *size)
    p = partition.uniform(1, partition.block_grid(*size))
    codec.encode(mini_model, image, p, 60, engine="numpy")
    assert seen == shapes


@pytest.mark.slow
def test_qualities_of_blocks_do_not_depend_on_the_tiles(mini_model, astronaut, monkeypatch):
    size = 1100, 1200
    image, grid = image_of(astronaut, *size), partition.block_grid(*size)
    gains = np.random.default_rng(0).integers(-60, 61, grid)
    p = partition.random(quick_key(5), grid)
    encoded = codec.encode(mini_model, image, p, 50, engine="numpy", gains=gains)
    monkeypatch.setattr(NumpyEngine, "fixed_shapes", True)
    decoded = codec.decode(mini_model, encoded.data, engine="numpy")
    assert_same_symbols(decoded, encoded)
    assert np.abs(decoded.image.astype(int) - encoded.image).max() <= 1


def test_the_variance_mask_is_that_of_the_whole_image(mini_model, astronaut, monkeypatch):
    image = image_of(astronaut, 700, 1100)
    masks = []
    for ladder in (((3, 3),), ((2, 4),), ((20, 20),)):
        monkeypatch.setattr(tiles, "TILE_SHAPES", ladder)
        masks.append(codec.choose_partition(mini_model, image, "variance", 30))
    for splits in zip(*masks, strict=True):
        for ours in splits[:-1]:
            np.testing.assert_array_equal(ours, splits[-1])
    assert masks[0].split32.any() and not masks[0].split32.all()
