"""The search region by region: nothing is compiled for an image, and blocks are decided once."""

from __future__ import annotations

import numpy as np
import pytest

from rdonet_jax.codec import codec
from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition
from rdonet_jax.models.training_record import TrainingRecord
from rdonet_jax.rdo import encoder, encoder_tiles, image_regions
from rdonet_jax.rdo.cost import RDCost
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan
from rdonet_jax.rdo.search import regions
from rdonet_jax.rdo.search.fast import search_fast
from rdonet_jax.rdo.search.original import search_original
from tests import compiled

pytestmark = [pytest.mark.once, pytest.mark.slow]

QUALITY = 40.0


def at_quality(model):
    return parse_quality(model.config, QUALITY)


@pytest.fixture(scope="module")
def both_model(mini_model):
    """Said to have been trained for both distortions."""
    training = {"metric": "both", "ms_ssim_share": 0.25}
    return mini_model.replace(record=TrainingRecord.from_json({"training": training}))


@pytest.fixture
def small_tiles(monkeypatch):
    """One shape of tiles, so that small images have several."""
    monkeypatch.setattr(encoder_tiles, "TILE_SHAPES", ((4, 8),))


@pytest.fixture
def wide(photograph):
    """110x640 pixels, two tiles of 4x8 blocks."""
    return np.tile(photograph[:110], (1, 3, 1))[:, 40:680]


def searched(model, image, start, passes=2):
    *_, found = regions.search(
        image_regions.of_image(model, image, at_quality(model), start), start, passes
    )
    return found


def test_an_image_of_the_size_of_a_tile_is_searched_as_a_whole_image_is(mini_model, photograph):
    image = np.tile(photograph, (2, 1, 1))[:256]
    start = codec.choose_partition(mini_model, image, "uniform-32", QUALITY)
    *_, expected = search_fast(RDCost(mini_model, image, QUALITY), start, 2)
    assert all(map(np.array_equal, searched(mini_model, image, start), expected.partition))


def test_an_image_in_a_larger_tile_costs_nearly_what_the_padded_image_costs(mini_model, photograph):
    image = photograph[:150, :201]
    start = codec.choose_partition(mini_model, image, "uniform-32", QUALITY)
    (region,) = image_regions.of_image(mini_model, image, at_quality(mini_model), start)
    whole = RDCost(mini_model, image, QUALITY)
    # The features of coarser levels see other padding, and a symbol that changes changes others.
    assert region.make_cost()([start]).totals == pytest.approx(whole([start]).totals, rel=1e-2)
    *_, expected = search_fast(whole, start, 2)
    assert whole([searched(mini_model, image, start)]).totals[0] < 1.02 * expected.total


def test_a_part_costs_what_the_image_costs_but_for_the_linearization(both_model, photograph):
    start = codec.choose_partition(both_model, photograph, "variance", QUALITY)
    (region,) = image_regions.of_image(both_model, photograph, at_quality(both_model), start)
    other = codec.choose_partition(both_model, photograph, "uniform-32", QUALITY)
    of_region = region.make_cost()([start, other]).totals
    whole = RDCost(both_model, photograph, QUALITY)([start, other]).totals
    assert of_region[1] - of_region[0] == pytest.approx(whole[1] - whole[0], rel=0.1)


def test_several_tiles_find_nearly_what_the_original_search_finds(mini_model, wide, small_tiles):
    start = codec.choose_partition(mini_model, wide, "uniform-32", QUALITY)
    assert len(image_regions.of_image(mini_model, wide, at_quality(mini_model), start)) == 2
    whole = RDCost(mini_model, wide, QUALITY)
    *_, theirs = search_original(whole, start, 1)
    before, ours = whole([start, searched(mini_model, wide, start)]).totals
    assert theirs.total < 0.97 * before
    assert ours < 1.01 * theirs.total


def test_every_block_is_decided_in_one_region(mini_model):
    for size in [(400, 600), (480, 640), (1300, 2100), (64, 3000)]:
        grid = partition.block_grid(*size)
        image = np.zeros((*size, 3), np.uint8)
        all_regions = image_regions.of_image(
            mini_model, image, at_quality(mini_model), partition.uniform(0, grid)
        )
        times = np.zeros(grid, int)
        for region in all_regions:
            of_image = Partition(np.zeros(grid, bool), np.zeros([2 * n for n in grid], bool))
            of_region = region.cut(of_image)
            assert region.decided(grid).shape == of_region.split64.shape
            region.store(of_image, Partition(*(np.ones_like(splits) for splits in of_region)))
            assert region.decided(grid).sum() == of_image.split64.sum()
            times += of_image.split64
            np.testing.assert_array_equal(
                of_image.split32, np.kron(of_image.split64, np.ones((2, 2), bool))
            )
        assert (times == 1).all()


def test_images_of_other_sizes_compile_nothing(both_model, photograph, wide):
    options = EncodeOptions(QUALITY, plan=Plan("uniform-32", 1))
    encoder.encode(both_model, photograph, options)
    encoder.encode(both_model, wide, options)
    assert (before := compiled.counts())
    for image in (photograph[:111, :222], wide[:90, :600], wide[:, :530], photograph[:9, :9]):
        found = encoder.encode(both_model, image, options)
        assert found.searched.after <= found.searched.before
    assert compiled.counts() == before


def test_an_interrupt_leaves_what_earlier_regions_have_found(mini_model, wide, small_tiles):
    start = codec.choose_partition(mini_model, wide, "uniform-64", QUALITY)
    all_regions = image_regions.of_image(mini_model, wide, at_quality(mini_model), start)
    first = all_regions[0].decided(start.split64.shape)

    def interrupting(share: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    found = []
    with pytest.raises(KeyboardInterrupt):
        for p in regions.search(all_regions, start, 1, report=interrupting):
            found.append(p)
    changed = found[-1].split64 != start.split64
    assert changed[:, : first.shape[1]][first].any()
    assert not changed[:, first.any(0).sum() :].any()


def test_a_search_leaves_the_start_as_it_is(mini_model, photograph):
    start = codec.choose_partition(mini_model, photograph, "uniform-64", QUALITY)
    copy = Partition(*(splits.copy() for splits in start))
    assert not np.array_equal(searched(mini_model, photograph, start, 1).split64, copy.split64)
    assert all(map(np.array_equal, start, copy))


def test_fixed_rate_models_are_searched_as_a_whole(tiny_model, wide):
    start = codec.choose_partition(tiny_model, wide, "uniform-64")
    (region,) = image_regions.of_image(
        tiny_model, wide, parse_quality(tiny_model.config, None), start
    )
    assert region.decided(start.split64.shape).all()
    *_, found = regions.search([region], start, 1)
    before, after = RDCost(tiny_model, wide)([start, found]).totals
    assert after < before
