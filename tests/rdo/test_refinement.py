"""Latent refinement: files that cost less, at the encoder alone, for images of any size."""

from __future__ import annotations

import dataclasses
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.codec import codec, preparation
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.core import partition
from rdonet_jax.entropy import dead_zone, soft_rounding
from rdonet_jax.imaging import pixel_format
from rdonet_jax.metrics import loss
from rdonet_jax.models.training_record import TrainingRecord
from rdonet_jax.rdo import encoder, encoder_tiles, refinement, refinement_step
from rdonet_jax.rdo.cost import RDCost, make_file_cost
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan
from tests import compiled
from tests.metrics.test_loss import AbsoluteError

pytestmark = [pytest.mark.once, pytest.mark.slow]

QUALITY = 60.0
ITERATIONS = 10
REFINED = EncodeOptions(QUALITY, plan=Plan(refinements=ITERATIONS))


def at_quality(model):
    return parse_quality(model.config, QUALITY)


@pytest.fixture(scope="module")
def both_model(start_model):
    """Said to have been trained for both distortions."""
    training = {"metric": "both", "ms_ssim_share": 0.5}
    return start_model.replace(record=TrainingRecord.from_json({"training": training}))


@pytest.fixture(scope="module")
def refined(start_model, photograph):
    return encoder.encode(start_model, photograph, REFINED)


def test_refinement_lowers_the_cost_by_real_bits(start_model, photograph, refined):
    plain = encoder.encode(start_model, photograph, EncodeOptions(QUALITY, reconstruct=True))
    cost = make_file_cost(start_model, plain.prepared, at_quality(start_model))
    before, after = (cost.of(found.encoded) for found in (plain, refined))
    assert refined.searched.before == pytest.approx(before)
    assert refined.searched.after == pytest.approx(after)
    assert after < 0.998 * before
    assert refined.searched.refinements == ITERATIONS and not refined.searched.interrupted


def test_a_model_trained_for_both_distortions_is_refined_for_both(both_model, photograph):
    found = encoder.encode(both_model, photograph, REFINED)
    assert found.searched.after < found.searched.before


def test_a_registered_distortion_of_pixels_is_refined_for(mini_model, photograph):
    training = {"metric": AbsoluteError.name, "lmbda": 0.17}
    model = mini_model.replace(record=TrainingRecord.from_json({"training": training}))
    options = dataclasses.replace(REFINED, plan=Plan(refinements=1))
    with mock.patch.dict(loss.DISTORTIONS):
        loss.register(AbsoluteError())
        found = encoder.encode(model, photograph[:64, :128], options)
    assert found.searched.refinements == 1
    assert np.isfinite(found.searched.before)
    assert found.searched.after <= found.searched.before


@pytest.mark.parametrize("engine", ["numpy", "jax"])
def test_every_decoder_reads_refined_files_as_they_were_encoded(start_model, refined, engine):
    decoded = codec.decode(start_model, refined.encoded.data, engine=engine)
    for ours, theirs in zip(refined.encoded.symbols, decoded.symbols, strict=True):
        assert all(map(np.array_equal, ours, theirs))
    difference = decoded.image.astype(int) - refined.encoded.image
    assert abs(difference).max() <= 1


@pytest.mark.parametrize("engine", ["numpy", "jax"])
def test_each_engine_codes_refined_latents(mini_model, photograph, engine):
    small = photograph[:100, :128]
    options = dataclasses.replace(REFINED, engine=engine)
    found = encoder.encode(mini_model, small, options)
    assert found.searched.after <= found.searched.before
    decoded = codec.decode(mini_model, found.encoded.data, engine=engine)
    np.testing.assert_array_equal(decoded.image, found.encoded.image)


def test_both_engines_code_given_latents_alike(mini_model, photograph):
    image = preparation.prepare(mini_model.config, photograph)
    p = codec.choose_partition(mini_model, photograph, "variance", QUALITY)
    start = codec.start_latents(mini_model, image, p, at_quality(mini_model))
    rng = np.random.default_rng(0)
    # Multiples of 1/32 beside 1/16, so that no sum is a tie or rounded.
    other = codec.ImageLatents(
        *(tuple(np.round(16 * v) / 16 + rng.choice([-1, 1, 3], v.shape) / 32 for v in values)
          for values in start)
    )  # fmt: skip
    files = [
        codec.encode_prepared(
            mini_model, image, p, at_quality(mini_model), engine=engine, latents=other
        )
        for engine in ("numpy", "jax")
    ]
    plain = codec.encode(mini_model, image, p, QUALITY)
    assert files[0].data == files[1].data != plain.data
    decoded = codec.decode(mini_model, files[0].data, engine="jax")
    np.testing.assert_array_equal(decoded.image, files[1].image)


def test_the_same_image_gives_the_same_file_twice(start_model, photograph, refined):
    again = encoder.encode(start_model, photograph, REFINED)
    assert again.encoded.data == refined.encoded.data


def test_a_descent_passes_through_what_shorter_ones_give(start_model, photograph, refined):
    longer = dataclasses.replace(REFINED, plan=Plan(refinements=25))
    plain = encoder.encode(start_model, photograph, EncodeOptions(QUALITY, reconstruct=True))
    problem, start = encoder.refinement_problem(start_model, plain, longer)
    found = dict(refinement.stages(problem, start, 25))
    assert list(found) == [10, 20, 25]
    files = {
        done: encoder.encode_given_latents(start_model, plain, longer, latents).data
        for done, latents in found.items()
    }
    assert files[ITERATIONS] == refined.encoded.data
    assert files[25] == encoder.encode(start_model, photograph, longer).encoded.data


def test_the_stages_of_an_image_of_several_tiles_are_refused(start_model):
    wide = np.zeros((1100, 1100, 3), np.uint8)
    plain = encoder.encode(start_model, wide, EncodeOptions(QUALITY, reconstruct=True))
    with pytest.raises(ValueError, match="tiles, not one"):
        next(refinement.stages(*encoder.refinement_problem(start_model, plain, REFINED), 10))


@pytest.mark.parametrize("size", [(17, 300), (130, 97), (1, 1)])
def test_images_of_any_size_are_refined(start_model, photograph, size):
    tall = np.tile(photograph, (1, 2, 1))
    found = encoder.encode(start_model, tall[: size[0], : size[1]], REFINED)
    decoded = codec.decode(start_model, found.encoded.data)
    assert decoded.image.shape[:2] == size
    assert found.searched.after <= found.searched.before


def test_gray_images_with_alpha_are_refined(start_model, photograph):
    gray = pixel_format.to_uint16(photograph[..., 1])
    alpha = np.where(np.arange(256) < 100, 0, 65535).astype(np.uint16) * np.ones((192, 1), "u2")
    image = pixel_format.ImageData(gray, alpha, icc=b"a profile")
    found = encoder.encode(start_model, image, REFINED)
    decoded = codec.decode(start_model, found.encoded.data).content
    assert decoded.gray and decoded.is_16bit and decoded.icc == b"a profile"
    np.testing.assert_array_equal(decoded.alpha, alpha)
    np.testing.assert_array_equal(decoded.pixels, found.encoded.image)
    assert found.searched.after <= found.searched.before


def test_without_iterations_the_file_is_that_of_no_options(start_model, photograph):
    plain = encoder.encode(start_model, photograph, EncodeOptions(QUALITY))
    none = encoder.encode(start_model, photograph, EncodeOptions(QUALITY, plan=Plan(refinements=0)))
    assert none.encoded.data == plain.encoded.data
    assert none.searched is None


def test_a_search_and_a_refinement_add_up(start_model, photograph):
    small = photograph[:128, :192]
    plans = Plan("uniform-64", 1), Plan("uniform-64", 1, ITERATIONS)
    searched, both = (
        encoder.encode(start_model, small, EncodeOptions(QUALITY, plan=plan)).searched
        for plan in plans
    )
    assert both.before == pytest.approx(searched.before)
    assert both.after < searched.after < searched.before
    assert both.stats == searched.stats


def test_progress_is_told_in_the_order_of_the_steps(start_model, photograph):
    for plan in (Plan(refinements=3), Plan(passes=1, refinements=2)):
        said: list[str] = []
        options = EncodeOptions(QUALITY, plan=plan)
        encoder.encode(start_model, photograph[:128, :64], options, report=said.append)
        steps = encoder.steps(plan)
        assert said == sorted(said, key=steps.index)
        assert {said[0], said[-1]} == {steps[0], steps[-1]}
        assert set(encoder.iteration_steps(plan.refinements)) <= set(said)


def test_an_interrupted_refinement_leaves_the_best_so_far(start_model, photograph, refined):
    plan = Plan(refinements=4 * ITERATIONS)
    names = encoder.iteration_steps(plan.refinements)

    def interrupting(step: str) -> None:
        if step == names[len(names) // 4 + 1]:  # after the first check
            raise KeyboardInterrupt

    found = encoder.encode(
        start_model, photograph, EncodeOptions(QUALITY, plan=plan), report=interrupting
    )
    assert found.searched.interrupted
    assert found.encoded.data == refined.encoded.data
    assert all(map(encoder.is_search_step, names))


def test_a_refinement_that_is_interrupted_at_once_leaves_the_plain_file(start_model, photograph):
    def interrupting(step: str) -> None:
        if step.startswith("refinement"):
            raise KeyboardInterrupt

    found = encoder.encode(start_model, photograph, REFINED, report=interrupting)
    plain = encoder.encode(start_model, photograph, EncodeOptions(QUALITY))
    assert found.searched.interrupted
    assert found.encoded.data == plain.encoded.data


def test_another_size_compiles_nothing(start_model, photograph):
    options = EncodeOptions(QUALITY, plan=Plan(refinements=1))
    encoder.encode(start_model, photograph[:180, :250], options)
    assert (before := compiled.counts())
    for height, width in ((97, 130), (30, 256)):
        options = EncodeOptions(70.0, plan=Plan("uniform-32", refinements=1))
        encoder.encode(start_model, photograph[:height, :width], options)
    assert compiled.counts() == before


def problem_of(model, image, plain, p):
    cost = make_file_cost(model, preparation.prepare(model.config, image), at_quality(model))
    weights = tuple(cost.weights(plain.image))
    return refinement.Problem(model, image, p, at_quality(model), cost.distortions, weights)


def test_tiles_are_refined_one_after_the_other_up_to_their_boundary(
    start_model, photograph, monkeypatch
):
    monkeypatch.setattr(encoder_tiles, "TILE_SHAPES", ((4, 8),))
    wide = np.tile(photograph[:100], (1, 3, 1))[:, :600]
    first, second = encoder_tiles.cover(partition.block_grid(100, 600))
    assert first.columns[2] == second.columns[1] == 6
    image = preparation.prepare(start_model.config, wide)
    p = codec.choose_partition(start_model, wide, "variance", QUALITY)
    plain = codec.encode(start_model, image, p, QUALITY)
    start = codec.start_latents(start_model, image, p, at_quality(start_model))
    found, _ = refinement.refine(problem_of(start_model, wide, plain, p), start, ITERATIONS)
    changed = [(a != b).any((0, 2)) for a, b in zip(found.y, start.y, strict=True)]
    # Of the finest level, on both sides of the boundary between the cores.
    assert changed[0][4 * 6 - 4 : 4 * 6].any() and changed[0][4 * 6 : 4 * 6 + 4].any()
    encoded = codec.encode_prepared(start_model, image, p, at_quality(start_model), latents=found)
    cost = make_file_cost(start_model, image, at_quality(start_model))
    assert cost.of(encoded) < cost.of(plain)


def test_latents_in_the_margin_of_a_tile_do_not_change(start_model, photograph, monkeypatch):
    monkeypatch.setattr(encoder_tiles, "TILE_SHAPES", ((4, 8),))
    wide = np.tile(photograph[:64], (1, 3, 1))[:, :600]
    image = preparation.prepare(start_model.config, wide)
    p = codec.choose_partition(start_model, wide, "uniform-16", QUALITY)
    plain = codec.encode(start_model, image, p, QUALITY)
    start = codec.start_latents(start_model, image, p, at_quality(start_model))
    names = ("first tile", "second tile")

    def interrupting(step: str) -> None:
        if step == names[1]:
            raise KeyboardInterrupt

    found = refinement.refine(
        problem_of(start_model, wide, plain, p), start, ITERATIONS, names, interrupting
    )
    assert found.interrupted
    y, before = found.latents.y[0], start.y[0]
    assert (y[:, : 4 * 6] != before[:, : 4 * 6]).any()
    np.testing.assert_array_equal(y[:, 4 * 6 :], before[:, 4 * 6 :])


def test_the_cost_of_a_tile_with_the_whole_image_is_that_of_its_file(start_model, photograph):
    image = preparation.prepare(start_model.config, photograph)
    p = codec.choose_partition(start_model, photograph, "variance", QUALITY)
    plain = codec.encode(start_model, image, p, QUALITY)
    start = codec.start_latents(start_model, image, p, at_quality(start_model))
    problem = problem_of(start_model, photograph, plain, p)
    (tile,) = encoder_tiles.cover(partition.block_grid(*image.size))
    inputs = refinement._tile_inputs(problem, tile)
    functions = start_model.config, problem.distortions, start_model.device_params
    found = refinement_step.cost(*functions, inputs, refinement._cut_latents(start, tile))
    total, expected = RDCost(start_model, photograph, QUALITY)([p]).totals[0], found
    flags = codec.partition_coding.bits(p, *image.size).sum()
    assert float(expected) + flags == pytest.approx(total, rel=1e-4)


def test_the_cost_of_a_tile_counts_an_image_without_its_padding(both_model, photograph):
    pixels = photograph[:150, :201]
    image = preparation.prepare(both_model.config, pixels)
    p = codec.choose_partition(both_model, pixels, "variance", QUALITY)
    plain = codec.encode(both_model, image, p, QUALITY)
    start = codec.start_latents(both_model, image, p, at_quality(both_model))
    problem = problem_of(both_model, pixels, plain, p)
    (tile,) = encoder_tiles.cover(partition.block_grid(*image.size))
    inputs = refinement._tile_inputs(problem, tile)
    functions = both_model.config, problem.distortions, both_model.device_params
    found = refinement_step.cost(*functions, inputs, refinement._cut_latents(start, tile))
    expected = (
        make_file_cost(both_model, image, at_quality(both_model)).of(plain) * pixels[..., 0].size
    )
    assert float(found) == pytest.approx(expected, rel=0.02)


def test_latents_of_the_analysis_are_coded_as_the_analysis_is(start_model, photograph):
    image = preparation.prepare(start_model.config, photograph[:150, :201])
    p = codec.choose_partition(start_model, photograph[:150, :201], "variance", QUALITY)
    start = codec.start_latents(start_model, image, p, at_quality(start_model))
    assert (
        codec.encode_prepared(start_model, image, p, at_quality(start_model), latents=start).data
        == codec.encode(start_model, image, p, QUALITY).data
    )


def test_offsets_without_a_dead_zone_are_rounded_as_with_it():
    rng = np.random.default_rng(0)
    bounds = dead_zone.zero_bounds("laplace")[rng.integers(0, 64, 10_000)]
    offsets = rng.uniform(-2.5, 2.5, 10_000).astype(np.float32)
    moved = dead_zone.without_zone(offsets, bounds)
    np.testing.assert_array_equal(np.rint(moved), np.rint(dead_zone.apply(offsets, bounds)))
    np.testing.assert_array_equal(moved[abs(offsets) >= 1], offsets[abs(offsets) >= 1])
    order = np.argsort(abs(offsets[bounds == bounds[0]]))
    assert (np.diff(abs(moved[bounds == bounds[0]])[order]) >= -1e-6).all()


def test_soft_rounding_lies_between_the_neighboring_integers_and_has_a_gradient():
    x = jnp.linspace(-2.0, 2.0, 101)
    noise = soft_rounding.draw(jax.random.key(0), x.shape)
    soft = soft_rounding.soft_round(x, noise)
    assert (soft >= jnp.floor(x)).all() and (soft <= jnp.floor(x) + 1).all()
    gradient = jax.grad(lambda v: soft_rounding.soft_round(v, noise).sum())(x)
    assert np.isfinite(gradient).all() and (gradient >= 0).all() and gradient.max() > 0
    without_noise = soft_rounding.soft_round(x, jnp.zeros(x.shape))
    far = abs(x - jnp.round(x)) < 0.3
    np.testing.assert_array_equal(jnp.round(without_noise)[far], jnp.round(x)[far])


@pytest.mark.parametrize("grid", [(1, 1), (4, 4), (5, 3), (8, 12), (9, 30), (17, 16), (63, 94)])
def test_the_cores_of_the_tiles_cover_every_block_once(grid):
    counts = np.zeros(grid, int)
    for tile in encoder_tiles.cover(grid):
        counts[tile.core_slices()] += 1
        assert tile.rows.start % 4 == 0 and tile.columns.start % 4 == 0
        for span, side, length in zip(tile[:2], tile.sides, grid, strict=True):
            assert span.start == 0 or span.core_start - span.start == encoder_tiles.MARGIN
            end = span.start + side
            assert span.core_stop == length or end - span.core_stop == encoder_tiles.MARGIN
    np.testing.assert_array_equal(counts, 1)


def test_the_cost_of_a_file_in_tiles_is_that_of_the_whole(both_model, photograph, monkeypatch):
    # The image ends with whole tiles, as MS-SSIM otherwise differs a little at the border.
    image = np.tile(photograph, (2, 3, 1))[:256, :768]
    decoded = np.clip(image + np.random.default_rng(0).integers(-9, 9, image.shape), 0, 255)
    cost = make_file_cost(
        both_model, preparation.prepare(both_model.config, image), at_quality(both_model)
    )
    found = []
    for shape, count in (((4, 12), 1), ((4, 8), 2)):
        monkeypatch.setattr(encoder_tiles, "TILE_SHAPES", (shape,))
        assert len(encoder_tiles.cover((4, 12))) == count
        found.append(cost(1000, decoded.astype(np.uint8)))
    assert found[1] == pytest.approx(found[0], rel=1e-6)


def test_only_portable_models_are_refined(tiny_model, photograph):
    with pytest.raises(EncodeError, match="tiny: the latents of this kind of model cannot"):
        encoder.encode(tiny_model, photograph, EncodeOptions(plan=Plan(refinements=5)))


@pytest.mark.parametrize("iterations", [-1, 1.5, 10_001])
def test_numbers_of_iterations_that_there_are_not_are_refused(iterations):
    with pytest.raises(ValueError, match="0 to 10000 iterations"):
        Plan(refinements=iterations)


def test_an_image_whose_refinement_takes_more_memory_than_there_is_is_refused(
    start_model, photograph, monkeypatch
):
    monkeypatch.setattr("rdonet_jax.runtime.system_memory.available_bytes", lambda: 2**24)
    with pytest.raises(EncodeError, match="refining its latents takes about"):
        refinement.require_memory(start_model, photograph.shape[:2])
