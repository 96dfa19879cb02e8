"""A portable model's files hang on the picture, not on the windows that it is coded in."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data

from rdonet_jax import codec, partition, windows
from tests.conftest import quick_key
from tests.test_codec import assert_same_symbols, picture_of

SMALL, WHOLE = 4, 14
"""Sides of windows in blocks: one that most pictures need several of, and one that all fit in."""

SIZES = [(1, 1), (64, 836), (700, 60), (330, 401), (512, 832), (850, 833)]


@pytest.fixture(scope="module")
def picture():
    return skimage.data.astronaut()


def coded(model, image, p, blocks, quality=60):
    """In windows of so many blocks alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "LADDER", (blocks,))
        return codec.encode(model, image, p, quality)


def opened(model, data, blocks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "LADDER", (blocks,))
        return codec.decode(model, data)


@pytest.mark.parametrize("size", SIZES)
def test_files_of_many_windows_are_those_of_one(mini_model, picture, size):
    """All levels are coded somewhere, and their borders cross those of windows everywhere."""
    image = picture_of(picture, *size)
    p = partition.random(quick_key(sum(size)), partition.grid_of(*size))
    parts, whole = (coded(mini_model, image, p, blocks) for blocks in (SMALL, WHOLE))
    assert_same_symbols(parts, whole)
    assert parts.data == whole.data
    assert np.abs(parts.picture.astype(int) - whole.picture).max() <= 1


def test_each_decodes_what_the_other_has_written(mini_model, picture):
    image = picture_of(picture, 450, 600)
    p = partition.random(quick_key(7), partition.grid_of(450, 600))
    encoded = {blocks: coded(mini_model, image, p, blocks) for blocks in (SMALL, WHOLE)}
    for writer, reader in ((SMALL, WHOLE), (WHOLE, SMALL)):
        decoded = opened(mini_model, encoded[writer].data, reader)
        assert_same_symbols(decoded, encoded[writer])
        np.testing.assert_array_equal(decoded.picture, encoded[reader].picture)


def test_the_variance_mask_is_that_of_the_whole_picture(mini_model, picture, monkeypatch):
    image = picture_of(picture, 700, 1100)
    masks = []
    for ladder in ((3,), (20,)):
        monkeypatch.setattr(windows, "LADDER", ladder)
        masks.append(codec.choose_partition(mini_model, image, "variance", 30))
    for ours, theirs in zip(*masks, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert masks[0].split32.any() and not masks[0].split32.all()
