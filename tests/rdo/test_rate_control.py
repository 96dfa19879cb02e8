"""Encoding for a size or a PSNR: met from the right side, closely, in few trials."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from rdonet_jax.codec import codec
from rdonet_jax.core import partition
from rdonet_jax.imaging import pixel_format
from rdonet_jax.rdo import encoder, quality_search, rate_control, target_trials
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan, Target
from rdonet_jax.rdo.encoder import SearchSummary
from rdonet_jax.rdo.rate_control import TargetError
from rdonet_jax.rdo.search.costs import SearchStats
from rdonet_jax.rdo.targets import TARGET_METRICS

pytestmark = pytest.mark.once

MOST = 640


@pytest.fixture(scope="module")
def large(photograph):
    return np.ascontiguousarray(photograph[:150, :201])


FLAT = {
    "black": np.zeros((70, 90, 3), np.uint8),
    "one pixel": np.full((1, 1, 3), 200, np.uint8),
}


@pytest.fixture(scope="module", params=FLAT)
def flat(request, mini_model):
    """An image whose sizes and PSNRs do not rise, and by scanned quality what it is coded to."""
    image = FLAT[request.param]
    most = mini_model.config.steps_of_quality
    scan = [100 * n / most for n in quality_search.evenly(most, target_trials.SCANNED)]
    coded = [
        encoder.encode(mini_model, image, EncodeOptions(q, reconstruct=True)).encoded for q in scan
    ]
    return image, [(len(c.data), pixel_format.psnr(image, c.image)) for c in coded]


@pytest.mark.slow
def test_a_flat_image_meets_the_least_size_that_any_scanned_quality_has(mini_model, flat):
    image, table = flat
    least = min(size for size, _ in table)
    assert (
        len(
            rate_control.encode(
                mini_model, image, EncodeOptions(target=Target(size=least))
            ).encoded.data
        )
        <= least
    )


def test_a_flat_image_meets_the_best_psnr_that_any_scanned_quality_has(mini_model, flat):
    image, table = flat
    best = min(max(psnr for _, psnr in table), 90.0)  # where one decodes exactly, any is met
    found = rate_control.encode(mini_model, image, EncodeOptions(target=Target(psnr=best)))
    assert pixel_format.psnr(image, codec.decode(mini_model, found.encoded.data).image) >= best
    assert len(found.encoded.data) <= min(size for size, psnr in table if psnr >= best)


def test_an_exact_decoding_meets_every_psnr(mini_model, monkeypatch):
    monkeypatch.setattr(pixel_format, "psnr", lambda pixels, decoded: math.inf)
    found = rate_control.encode(
        mini_model, FLAT["one pixel"], EncodeOptions(target=Target(psnr=1e6))
    )
    assert codec.decode(mini_model, found.encoded.data).image.shape == (1, 1, 3)


def test_what_a_search_makes_worse_is_given_up_for_what_met_the_target(
    mini_model, large, monkeypatch
):
    encode = encoder.encode
    limit = len(encode(mini_model, large, EncodeOptions(50.0)).encoded.data)
    finest = partition.uniform(0, partition.block_grid(*large.shape[:2]))

    did = SearchSummary(SearchStats(7), 3.0, 2.0, False)

    def searching(model, image, options, *others):
        plan = options.plan
        without = dataclasses.replace(options, plan=dataclasses.replace(plan, passes=0))
        found = encode(model, image, without, *others)
        if not plan.passes:
            large_file = found.encoded._replace(data=bytes(2 * limit))
            return found._replace(encoded=large_file) if plan.init is finest else found
        return found._replace(partition=finest, searched=did)

    monkeypatch.setattr(encoder, "encode", searching)
    found = rate_control.encode(
        mini_model, large, EncodeOptions(target=Target(size=limit), plan=Plan(passes=1))
    )
    assert len(found.encoded.data) <= limit
    assert found.searched.stats is did.stats
    # Both files are the first one, whose cost is that of `cost.of`.
    assert found.searched.before == found.searched.after > 0


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_size_is_kept_and_used(mini_model, large, share):
    sizes = [
        len(encoder.encode(mini_model, large, EncodeOptions(q)).encoded.data) for q in (20.0, 80.0)
    ]
    limit = round(np.interp(share, [0, 1], sizes))
    found = rate_control.encode(mini_model, large, EncodeOptions(target=Target(size=limit)))
    size = len(found.encoded.data)
    quality = codec.decode(mini_model, found.encoded.data).quality
    assert size <= limit
    if size < 0.99 * limit:
        following = encoder.encode(
            mini_model, large, EncodeOptions(quality + 100 / MOST)
        ).encoded.data
        assert len(following) > limit


def test_a_psnr_is_reached_and_no_more_than_needed(mini_model, large):
    def at(quality):
        found = encoder.encode(mini_model, large, EncodeOptions(quality, reconstruct=True))
        return pixel_format.psnr(large, found.encoded.image)

    limit = (at(20.0) + at(80.0)) / 2
    found = rate_control.encode(mini_model, large, EncodeOptions(target=Target(psnr=limit)))
    decoded = codec.decode(mini_model, found.encoded.data)
    reached = pixel_format.psnr(large, decoded.image)
    assert reached >= limit
    assert (
        reached <= limit + TARGET_METRICS["psnr"].tolerance
        or at(decoded.quality - 100 / MOST) < limit
    )


@pytest.mark.slow
def test_a_search_and_a_target_go_together(mini_model, large):
    limit = 1 + len(encoder.encode(mini_model, large, EncodeOptions(50.0)).encoded.data)
    found = rate_control.encode(
        mini_model, large, EncodeOptions(target=Target(size=limit), plan=Plan("static", 1))
    )
    assert len(found.encoded.data) <= limit
    assert found.searched.stats.evaluations > 1


@pytest.mark.slow
@pytest.mark.parametrize("passes", [0, 1])
def test_a_refined_file_keeps_the_size_and_costs_less(start_model, large, passes):
    limit = 1 + len(encoder.encode(start_model, large, EncodeOptions(60.0)).encoded.data)
    plan = Plan("variance", passes, 10)
    said: list[str] = []
    options = EncodeOptions(target=Target(size=limit), plan=plan)
    found = rate_control.encode(start_model, large, options, said.append)
    assert len(found.encoded.data) <= limit
    assert found.searched.after < found.searched.before
    assert (found.searched.stats.evaluations > 0) == bool(passes)
    decoded = codec.decode(start_model, found.encoded.data)
    np.testing.assert_array_equal(decoded.image, found.encoded.image)
    # A search may end before its last step.
    steps = set(rate_control.steps(plan))
    assert set(said) <= steps
    assert all(step.startswith("search ") for step in steps - set(said))


@pytest.mark.slow
def test_a_refined_file_keeps_the_psnr_and_is_no_larger(start_model, large):
    plain = encoder.encode(start_model, large, EncodeOptions(60.0, reconstruct=True))
    limit = pixel_format.psnr(large, plain.encoded.image) - 0.01
    target = Target(psnr=limit)
    unrefined = rate_control.encode(start_model, large, EncodeOptions(target=target))
    options = EncodeOptions(target=target, plan=Plan(refinements=10))
    found = rate_control.encode(start_model, large, options)
    assert pixel_format.psnr(large, codec.decode(start_model, found.encoded.data).image) >= limit
    assert len(found.encoded.data) <= len(unrefined.encoded.data)
    assert found.searched.after <= found.searched.before


@pytest.mark.slow
def test_no_quality_is_refined_twice(start_model, large, monkeypatch):
    refined, coded = [], []
    encode_refined, encode = encoder.encode_refined, encoder.encode

    def too_large(model, result, options, *others):
        refined.append(options.quality)
        found, _ = encode_refined(model, result, options, *others)
        return found._replace(data=bytes(10**6)), False

    def counted(model, image, options, *others):
        coded.append(options.quality)
        return encode(model, image, options, *others)

    monkeypatch.setattr(encoder, "encode_refined", too_large)
    monkeypatch.setattr(encoder, "encode", counted)
    least = len(encode(start_model, large, EncodeOptions(0.0)).encoded.data)
    options = EncodeOptions(target=Target(size=least), plan=Plan(refinements=1))
    assert len(rate_control.encode(start_model, large, options).encoded.data) <= least
    assert len(refined) == len(set(refined)) <= rate_control.REFINED_TRIALS


@pytest.mark.slow
def test_an_interrupted_refinement_is_the_last_thing_that_is_done(start_model, large, monkeypatch):
    encode, coded, refined = encoder.encode, [], []

    def interrupted(model, result, options, report):
        refined.append(options.quality)
        coded.clear()
        return result.encoded, True

    def counted(model, image, options, *others):
        coded.append(options.quality)
        return encode(model, image, options, *others)

    monkeypatch.setattr(encoder, "encode_refined", interrupted)
    monkeypatch.setattr(encoder, "encode", counted)
    options = EncodeOptions(target=Target(size=2000), plan=Plan(refinements=1))
    found = rate_control.encode(start_model, large, options)
    assert len(refined) == 1 and not coded
    assert found.searched.interrupted and len(found.encoded.data) <= 2000


@pytest.mark.slow
def test_an_interrupt_between_two_refinements_leaves_the_best_file_so_far(
    start_model, large, monkeypatch
):
    refine = refining(10, 0.5, [])
    encode = encoder.encode

    def then_interrupted(*arguments):
        def interrupt(*_):
            raise KeyboardInterrupt

        found = refine(*arguments)
        monkeypatch.setattr(encoder, "encode", interrupt)
        return found

    limit = 1 + len(encode(start_model, large, EncodeOptions(50.0)).encoded.data)
    monkeypatch.setattr(encoder, "encode_refined", then_interrupted)
    options = EncodeOptions(target=Target(size=limit), plan=Plan(refinements=1))
    found = rate_control.encode(start_model, large, options)
    assert found.searched.interrupted
    assert len(found.encoded.data) < 0.7 * limit  # the refined one, which has less distortion


@pytest.mark.slow
def test_for_a_size_a_searched_file_of_more_distortion_is_given_up(start_model, large, monkeypatch):
    encode, plan = encoder.encode, Plan(passes=1)
    limit = 1 + len(encode(start_model, large, EncodeOptions(50.0)).encoded.data)
    coarsest = partition.uniform(2, partition.block_grid(*large.shape[:2]))

    def searching(model, image, options, *others):
        without = dataclasses.replace(options, plan=dataclasses.replace(options.plan, passes=0))
        found = encode(model, image, without, *others)
        if not options.plan.passes:
            return found
        summary = SearchSummary(SearchStats(7), 3.0, 2.0, False)
        return found._replace(partition=coarsest, searched=summary)

    monkeypatch.setattr(encoder, "encode", searching)
    target = Target(size=limit)
    plain = rate_control.encode(start_model, large, EncodeOptions(target=target))
    found = rate_control.encode(start_model, large, EncodeOptions(target=target, plan=plan))
    assert found.encoded.data == plain.encoded.data
    assert found.searched.before == found.searched.after


def refining(points: float, share: float, tried: list[float]):
    """A refinement whose files look as plain ones `points` better, in a share of their bytes."""

    def refine(model, result, options, report):
        tried.append(options.quality)
        quality = min(max(options.quality + points, 0), 100)
        better = EncodeOptions(quality, reconstruct=True)
        file = encoder.encode(model, result.prepared, better).encoded
        return file._replace(data=file.data[: round(share * len(file.data))]), False

    return refine


def refining_by(decibels: float, share: float, tried: list[float]):
    """A refinement that changes the PSNR by so much, and leaves a share of the bytes."""

    def refine(model, result, options, report):
        tried.append(options.quality)
        file, original = result.encoded, result.prepared.rgb8
        errors = (file.image.astype(np.float64) - original) * 10 ** (-decibels / 20)
        # Rounded at random, since whole errors that are scaled by nearly 1 round to what they were.
        rounding = np.random.default_rng(0).random(original.shape)
        image = np.floor(original + errors + rounding).clip(0, 255).astype(np.uint8)
        return file._replace(image=image, data=file.data[: round(share * len(file.data))]), False

    return refine


@pytest.mark.slow
@pytest.mark.parametrize("decibels", [-0.04, 0.04, 0.1])
def test_a_refined_file_for_a_psnr_is_smaller_whether_refining_makes_it_better_or_worse(
    start_model, large, monkeypatch, decibels
):
    plain = encoder.encode(start_model, large, EncodeOptions(50.0, reconstruct=True)).encoded
    limit = pixel_format.psnr(large, plain.image)
    tried: list[float] = []
    monkeypatch.setattr(encoder, "encode_refined", refining_by(decibels, 0.85, tried))
    options = EncodeOptions(target=Target(psnr=limit), plan=Plan(refinements=1))
    found = rate_control.encode(start_model, large, options)
    assert pixel_format.psnr(large, found.encoded.image) >= limit
    assert len(found.encoded.data) < 0.95 * len(plain.data)
    assert found.searched.after < found.searched.before
    assert len(tried) <= rate_control.REFINED_TRIALS
    if decibels < 0:
        assert max(tried) > tried[0]
    if decibels > TARGET_METRICS["psnr"].tolerance:  # more than is needed: the quality is lowered
        assert min(tried) < tried[0]
        assert len(found.encoded.data) < round(0.85 * len(plain.data))


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.63, 0.85])
def test_a_size_is_used_by_a_refined_file_too(start_model, large, monkeypatch, share):
    limit = 1 + len(encoder.encode(start_model, large, EncodeOptions(50.0)).encoded.data)
    tried: list[float] = []
    monkeypatch.setattr(encoder, "encode_refined", refining(10, share, tried))
    options = EncodeOptions(target=Target(size=limit), plan=Plan(refinements=1))
    found = rate_control.encode(start_model, large, options)
    assert 0.98 * limit < len(found.encoded.data) <= limit
    assert found.searched.after < found.searched.before
    assert len(tried) <= rate_control.REFINED_TRIALS


@pytest.mark.parametrize(
    "target, cause",
    [
        (Target(size=30), r"the smallest file, of quality [\d.]+, has \d+ bytes, not 30"),
        (Target(psnr=99.5), r"the best image, of quality [\d.]+, has [\d.]+ dB, not 99.5"),
    ],
)
def test_a_target_out_of_reach_is_refused_with_what_can_be_had(mini_model, large, target, cause):
    with pytest.raises(TargetError, match=cause):
        rate_control.encode(mini_model, large, EncodeOptions(target=target))


def test_a_size_that_no_quality_fills_is_coded_at_the_best(mini_model, large):
    found = rate_control.encode(mini_model, large, EncodeOptions(target=Target(size=10**6)))
    assert codec.decode(mini_model, found.encoded.data).quality == 100


def test_a_model_of_one_quality_aims_at_nothing(tiny_model, large):
    with pytest.raises(TargetError, match="one quality"):
        rate_control.encode(tiny_model, large, EncodeOptions(target=Target(size=1000)))


@pytest.mark.parametrize("wrong", [{}, {"size": 1, "psnr": 1.0}, {"size": 0}, {"psnr": math.nan}])
def test_a_target_is_one_positive_number(wrong):
    with pytest.raises(ValueError):
        Target(**wrong)


def test_an_infinite_psnr_is_that_of_equal_images(photograph):
    assert pixel_format.psnr(photograph, photograph) == math.inf
    deep = pixel_format.to_uint16(photograph)
    other = np.clip(photograph.astype(int) + 1, 0, 255).astype(np.uint8)
    assert pixel_format.psnr(deep, pixel_format.to_uint16(other)) == pytest.approx(
        pixel_format.psnr(photograph, other), abs=1e-4
    )
