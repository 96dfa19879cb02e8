"""Optimized encoding: what it claims is what its file costs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rdonet_jax.codec import codec
from rdonet_jax.codec.image_quality import OFFSET_UNIT
from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition
from rdonet_jax.imaging import pixel_format
from rdonet_jax.rdo import encoder, image_regions, initial_masks
from rdonet_jax.rdo.cost import RDCost, make_file_cost
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan
from rdonet_jax.rdo.search import regions
from rdonet_jax.rdo.search.fast import most_evaluations

QUALITY = 30.0


def at_quality(model):
    return parse_quality(model.config, QUALITY)


@pytest.mark.slow
@pytest.mark.parametrize("init", ["variance", "static", "uniform", "uniform-64"])
def test_decoding_what_was_chosen_gives_exactly_the_cost_that_was_claimed(
    mini_model, photograph, init
):
    found = encoder.encode(mini_model, photograph, EncodeOptions(QUALITY, plan=Plan(init, 1)))
    decoded = codec.decode(mini_model, found.encoded.data)
    cost = make_file_cost(mini_model, found.prepared, at_quality(mini_model))
    assert cost(len(found.encoded.data), decoded.image) == found.searched.after
    assert found.searched.after <= found.searched.before
    assert all(map(np.array_equal, decoded.partition, found.partition))


@pytest.mark.slow
def test_a_search_saves_in_real_bits_in_at_most_so_many_evaluations(mini_model, photograph):
    one, two = (
        encoder.encode(mini_model, photograph, EncodeOptions(QUALITY, plan=Plan("uniform-64", n)))
        for n in (1, 2)
    )
    assert one.searched.before == two.searched.before
    for found, passes in [(one, 1), (two, 2)]:
        assert found.searched.after < found.searched.before
        assert found.searched.stats.evaluations <= most_evaluations(passes)


@pytest.mark.slow
def test_no_step_of_a_search_raises_the_estimated_cost(mini_model, photograph):
    start = initial_masks.initial_partition(mini_model, photograph, "uniform-64", QUALITY)
    (whole,) = image_regions.of_image(mini_model, photograph, at_quality(mini_model), start)
    cost = whole.make_cost()
    totals = [cost([p]).totals[0] for p in regions.search([whole], start, 2)]
    assert len(totals) >= 2
    assert totals[-1] < totals[0]
    assert all(later <= earlier for earlier, later in itertools.pairwise(totals))


@pytest.mark.parametrize("size", [(1, 1), (140, 193), (17, 60)])
def test_images_of_any_size_can_be_searched(mini_model, photograph, size):
    image = photograph[: size[0], : size[1]]
    found = encoder.encode(mini_model, image, EncodeOptions(QUALITY, plan=Plan(passes=1)))
    decoded = codec.decode(mini_model, found.encoded.data)
    assert decoded.image.shape == image.shape
    assert found.searched.after <= found.searched.before


def test_an_image_of_any_form_is_searched_by_its_8_bit_colors(mini_model, photograph):
    gray = pixel_format.to_uint16(photograph[..., 1])
    alpha = np.where(np.arange(256) < 100, 0, 65535).astype(np.uint16) * np.ones((192, 1), "u2")
    image = pixel_format.fill_hidden(pixel_format.ImageData(gray, alpha, icc=b"a profile"))
    found = encoder.encode(mini_model, image, EncodeOptions(QUALITY, plan=Plan("uniform-32", 1)))
    decoded = codec.decode(mini_model, found.encoded.data).content
    assert decoded.gray and decoded.is_16bit and decoded.icc == b"a profile"
    np.testing.assert_array_equal(decoded.alpha, alpha)
    np.testing.assert_array_equal(decoded.pixels, found.encoded.image)
    file_cost = make_file_cost(mini_model, found.prepared, at_quality(mini_model))
    cost = file_cost(len(found.encoded.data), pixel_format.as_rgb8(decoded))
    assert cost == found.searched.after <= found.searched.before


def test_without_a_pass_the_start_is_the_partition(mini_model, photograph):
    found = encoder.encode(mini_model, photograph, EncodeOptions(QUALITY, plan=Plan()))
    p = codec.choose_partition(mini_model, photograph, "variance", QUALITY)
    assert found.searched is None
    assert found.encoded.data == codec.compress(mini_model, photograph, p, QUALITY)


def test_a_search_may_start_from_a_given_partition(mini_model, photograph):
    grid = partition.block_grid(*photograph.shape[:2])
    by_name = encoder.encode(mini_model, photograph, EncodeOptions(QUALITY, plan=Plan("static", 1)))
    given = encoder.encode(
        mini_model, photograph, EncodeOptions(QUALITY, plan=Plan(partition.uniform(0, grid), 1))
    )
    assert given.encoded.data == by_name.encoded.data


@pytest.mark.slow
def test_the_start_solved_from_uniform_partitions_is_better_than_any_of_them(
    mini_model, photograph
):
    cost = RDCost(mini_model, photograph, QUALITY)
    solved = initial_masks.initial_partition(mini_model, photograph, "uniform", QUALITY)
    grid = partition.block_grid(*photograph.shape[:2])
    candidates = [solved, *(partition.uniform(level, grid) for level in range(3))]
    totals = cost(candidates).totals
    assert totals[0] < totals[1:].min()


def test_an_interrupted_search_leaves_the_best_so_far(mini_model, photograph):
    def interrupting(step: str) -> None:
        name, _, share = step.partition(" ")
        if name == "search" and int(share.partition("/")[0]) > 5:  # in the second pass
            raise KeyboardInterrupt

    found = encoder.encode(
        mini_model,
        photograph,
        EncodeOptions(QUALITY, plan=Plan("uniform-64", 2)),
        report=interrupting,
    )
    assert found.searched.interrupted
    assert found.searched.stats.evaluations < most_evaluations(2)
    assert found.searched.after < found.searched.before
    image = codec.decode(mini_model, found.encoded.data).image
    np.testing.assert_array_equal(image, found.encoded.image)


@pytest.mark.parametrize("passes", [0, 1, 2])
def test_progress_is_told_in_the_order_of_the_steps(mini_model, photograph, passes):
    plan = Plan(passes=passes)
    said: list[str] = []
    encoder.encode(
        mini_model, photograph[:128, :64], EncodeOptions(QUALITY, plan=plan), report=said.append
    )
    steps = encoder.steps(plan)
    assert said == sorted(said, key=steps.index)
    assert {said[0], said[-1]} == {steps[0], steps[-1]}


def test_the_partition_alone_is_that_of_the_search(mini_model, photograph):
    plan = Plan("static", 1)
    start = initial_masks.initial_partition(mini_model, photograph, "static", QUALITY)
    all_regions = image_regions.of_image(mini_model, photograph, at_quality(mini_model), start)
    *_, best = regions.search(all_regions, start, 1)
    chosen = encoder.choose(mini_model, photograph, plan, QUALITY)
    assert all(map(np.array_equal, chosen, best))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [({"init": "uniform-8"}, "unknown start 'uniform-8'"), ({"passes": 3}, "0 to 2 passes, not 3")],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(given, complaint):
    with pytest.raises(ValueError, match=complaint):
        Plan(**given)


@pytest.mark.parametrize(
    ("made", "cause"),
    [
        (lambda grid: np.zeros(grid), "a Partition, not ndarray"),
        (lambda grid: Partition(np.zeros(grid), np.zeros(grid)), "arrays of bool"),
        (lambda grid: Partition(np.zeros(grid, bool), np.zeros(grid, bool)), "has .* split"),
        (
            lambda grid: Partition(np.zeros(grid, bool), np.ones([2 * n for n in grid], bool)),
            "only where it splits the 64x64 block",
        ),
    ],
)
def test_a_mask_that_makes_no_partition_is_named(tiny_model, photograph, monkeypatch, made, cause):
    mask = lambda model, image, quality: made(partition.block_grid(*image.shape[:2]))  # noqa: E731
    monkeypatch.setitem(initial_masks.INITS, "own", mask)
    with pytest.raises(partition.PartitionError, match=f"the mask 'own': .*{cause}"):
        encoder.choose(tiny_model, photograph, Plan("own"))


def test_a_registered_mask_gets_the_gains_of_blocks_if_it_asks_for_them(
    mini_model, photograph, monkeypatch
):
    seen = []

    def mask(model, image, quality, *more):
        seen.append((quality, *more))
        return partition.uniform_of_image(1, *image.shape[:2])

    monkeypatch.setattr(initial_masks, "INITS", {})
    initial_masks.register_mask("plain", mask)
    initial_masks.register_mask("own", mask, follows_gains=True)
    gains = np.zeros(partition.block_grid(*photograph.shape[:2]))
    gains[1, 2] = 20
    for name in ("plain", "own"):
        initial_masks.initial_partition(mini_model, photograph, name, QUALITY, gains)
    initial_masks.initial_partition(mini_model, photograph, "own", QUALITY)
    step = 100 / mini_model.config.steps_of_quality
    (first,), (second, of_blocks), (third, nothing) = seen
    assert [first, second, third] == pytest.approx([QUALITY] * 3, abs=step / 2)
    np.testing.assert_allclose(of_blocks, gains, atol=OFFSET_UNIT * step / 2)
    assert nothing is None


def test_masks_by_name_are_those_of_the_8_bit_colors_of_any_image(mini_model, photograph):
    wide = photograph.astype(np.uint16) * 257
    found = initial_masks.initial_partition(mini_model, wide, "variance", QUALITY)
    expected = initial_masks.initial_partition(mini_model, photograph, "variance", QUALITY)
    assert all(map(np.array_equal, found, expected)) and expected.split64.any()
