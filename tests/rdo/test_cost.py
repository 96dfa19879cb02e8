"""What partitions cost: the estimate's bits, the partition's own, and the distortion by areas."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.codec import codec, partition_coding, preparation, qualities
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.core import partition
from rdonet_jax.entropy import range_coder
from rdonet_jax.evaluation import estimate as evaluation_estimate
from rdonet_jax.metrics import distortion, loss
from rdonet_jax.models import registry
from rdonet_jax.models.training_record import TrainingRecord
from rdonet_jax.rdo import cost as rdo_cost
from rdonet_jax.rdo.cost import RDCost, make_file_cost
from tests import compiled

pytestmark = [pytest.mark.once, pytest.mark.slow]

QUALITY = 40.0


@pytest.fixture(scope="module")
def both_model(mini_model):
    """Said to have been trained for both distortions."""
    training = {"metric": "both", "ms_ssim_share": 0.25}
    return mini_model.replace(record=TrainingRecord.from_json({"training": training}))


@pytest.fixture(scope="module")
def candidates(photograph):
    grid = partition.block_grid(*photograph.shape[:2])
    mixed = np.kron(np.arange(12).reshape(3, 4) % 3, np.ones((4, 4), int))
    return [partition.uniform(0, grid), partition.from_level_map(mixed)]


def expected_distortion(image, decoded, weights, levels=5):
    squares = np.mean((image.astype(float) - decoded) ** 2)
    x, x_hat = (v.astype(np.float32) / 255 for v in (image, decoded))
    similarity = float(distortion.ms_ssim(x, x_hat, levels)) if "ms-ssim" in weights else 1.0
    return weights.get("mse", 0) * squares + weights.get("ms-ssim", 0) * (1 - similarity)


def weights_of(model, quality=None):
    """By the distortion's name, what it weighs."""
    return {
        term.distortion.name: term.weight
        for term in rdo_cost.trained_loss(model, parse_quality(model.config, quality))
    }


def test_lambda_is_that_of_the_quality_or_of_the_training(mini_model, both_model, tiny_model):
    lmbda = loss.lmbda_of(mini_model.config, qualities.stream_quality(mini_model.config, QUALITY))
    assert weights_of(mini_model, QUALITY) == pytest.approx({"mse": lmbda})
    mixed = {"mse": 0.75 * lmbda, "ms-ssim": 0.25 * lmbda * loss.SIMILARITY_WEIGHT}
    assert weights_of(both_model, QUALITY) == pytest.approx(mixed)
    record = TrainingRecord.from_json({"training": {"lmbda": 8.0, "metric": "ms-ssim"}})
    trained = tiny_model.replace(record=record)
    assert weights_of(trained) == {"ms-ssim": 8.0}
    assert weights_of(tiny_model) == {"mse": 0.0067}


def test_a_loss_that_is_not_known_is_told_by_name(tiny_model):
    record = TrainingRecord.from_json({"training": {"lmbda": 8.0, "metric": "vmaf"}})
    trained = tiny_model.replace(record=record)
    with pytest.raises(
        EncodeError, match="tiny: was trained for the metric 'vmaf', which this version"
    ):
        rdo_cost.trained_loss(trained, parse_quality(trained.config, None))


def test_priors_learned_alone_leave_what_the_whole_network_was_trained_for(both_model):
    record = both_model.record.stored
    for _ in range(2):
        record = {"training": {"learn": "priors", "metric": "mse", "ms_ssim_share": 0.5},
                  "origin": {"started_from": record}}  # fmt: skip
    later = both_model.replace(record=TrainingRecord.from_json(record))
    assert weights_of(later, QUALITY) == weights_of(both_model, QUALITY)
    alone = {"training": {"learn": "priors", "metric": "mse"}, "origin": {"started_from": None}}
    never_trained = both_model.replace(record=TrainingRecord.from_json(alone))
    assert set(weights_of(never_trained, QUALITY)) == {"mse"}


@pytest.mark.parametrize("size", [(192, 256), (150, 201), (33, 17)])
def test_the_price_is_the_rate_with_the_partitions_and_the_weighed_error(
    mini_model, photograph, size
):
    image = photograph[: size[0], : size[1]]
    p = codec.choose_partition(mini_model, image, "variance", QUALITY)
    estimate = evaluation_estimate.estimate_image(mini_model, image, p, QUALITY)
    areas, totals = RDCost(mini_model, image, QUALITY)([p])
    weights = weights_of(mini_model, QUALITY)
    pixels = size[0] * size[1]
    expected = estimate.bits + partition_coding.bits(p, *size).sum()
    expected += pixels * expected_distortion(image, estimate.decoded, weights)
    assert totals[0] == pytest.approx(expected, rel=1e-4)
    assert areas.sum() == pytest.approx(expected, rel=1e-4)
    assert (areas >= 0).all()


def test_a_network_of_one_lambda_has_prices_too(tiny_model, photograph, candidates):
    _, totals = RDCost(tiny_model, photograph)(candidates)
    for p, total in zip(candidates, totals, strict=True):
        estimate = evaluation_estimate.estimate_image(tiny_model, photograph, p)
        expected = estimate.bits + partition_coding.bits(p, *photograph.shape[:2]).sum()
        weights = {"mse": 0.0067}
        expected += photograph[..., 0].size * expected_distortion(
            photograph, estimate.decoded, weights
        )
        assert total == pytest.approx(expected, rel=1e-4)


def test_ms_ssim_has_its_share_in_the_price_of_a_model_trained_for_both(
    both_model, photograph, candidates
):
    weights = weights_of(both_model, QUALITY)
    _, totals = RDCost(both_model, photograph, QUALITY)(candidates)
    for p, total in zip(candidates, totals, strict=True):
        estimate = evaluation_estimate.estimate_image(both_model, photograph, p, QUALITY)
        expected = estimate.bits + partition_coding.bits(p, *photograph.shape[:2]).sum()
        expected += photograph[..., 0].size * expected_distortion(
            photograph, estimate.decoded, weights
        )
        # The local evaluation repeats the windows at the border.
        assert total == pytest.approx(expected, rel=0.01)


def test_what_a_network_makes_of_padding_has_no_price(both_model, photograph, monkeypatch):
    image = photograph[:180, :200]
    p = codec.choose_partition(both_model, image, "variance", QUALITY)
    _, expected = RDCost(both_model, image, QUALITY)([p])
    code_features = registry.code_features

    def with_junk(*arguments):
        coded = code_features(*arguments)
        inside = np.zeros(coded.x_hat.shape[1:3], bool)
        inside[:180, :200] = True
        return coded._replace(x_hat=jnp.where(inside[None, ..., None], coded.x_hat, 7.0))

    monkeypatch.setattr(registry, "code_features", with_junk)
    # Another configuration, for which all is compiled anew.
    config = dataclasses.replace(both_model.config, thresholds=((1.0, 2.0),) * 6)
    _, found = RDCost(both_model.replace(config=config), image, QUALITY)([p])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_areas_tell_of_ms_ssim_as_much_as_the_whole_where_little_changes(both_model, photograph):
    cost = RDCost(both_model, photograph, QUALITY)
    now = partition.uniform(0, (3, 4))
    other = search_form(now, (1, 2))
    areas, totals = cost([now, other])
    assert areas[1].sum() - areas[0].sum() == pytest.approx(totals[1] - totals[0], rel=0.05)


def search_form(p, block):
    """The partition with one block whole."""
    split64, split32 = np.array(p.split64), np.array(p.split32)
    split64[block] = False
    split32[2 * block[0] : 2 * block[0] + 2, 2 * block[1] : 2 * block[1] + 2] = False
    return partition.Partition(split64, split32)


def test_a_price_hangs_on_no_other_candidate_and_on_no_number_of_them(
    mini_model, photograph, candidates
):
    cost = RDCost(mini_model, photograph, QUALITY)
    many = cost([*candidates, *reversed(candidates), *candidates, candidates[1]])
    first, second = (cost([p]).totals[0] for p in candidates)
    assert many.totals.tolist() == [first, second, second, first, first, second, second]


def test_other_partitions_images_and_sizes_within_a_grid_compile_nothing(
    mini_model, photograph, candidates
):
    RDCost(mini_model, photograph, QUALITY)(candidates)
    assert (before := compiled.counts())
    RDCost(mini_model, photograph[:180, :250], 77.0)(candidates[:1])
    assert compiled.counts() == before


@pytest.mark.parametrize("quality", [0.0, 60.0])
def test_a_file_costs_its_real_bits_and_what_its_image_lacks(both_model, photograph, quality):
    p = codec.choose_partition(both_model, photograph, "variance", quality)
    encoded = codec.encode(both_model, photograph, p, quality)
    prepared = preparation.prepare(both_model.config, photograph)
    cost = make_file_cost(both_model, prepared, parse_quality(both_model.config, quality)).of(
        encoded
    )
    weights = weights_of(both_model, quality)
    bpp = 8 * len(encoded.data) / photograph[..., 0].size
    assert cost == pytest.approx(
        bpp + expected_distortion(photograph, encoded.image, weights), rel=0.01
    )


@pytest.mark.parametrize(("side", "scales"), [(64, 3), (128, 4), (192, 5), (640, 5)])
def test_as_many_scales_of_ms_ssim_count_as_fit(side, scales):
    assert distortion.scales_within(side) == scales


def test_the_bits_of_the_partition_are_those_of_its_stream():
    rng = np.random.default_rng(5)
    for _ in range(20):
        height, width = rng.integers(65, 700, 2)
        grid = partition.block_grid(height, width)
        split = rng.random(grid) < rng.random()
        quarters = rng.random((2 * grid[0], 2 * grid[1])) < rng.random()
        p = partition.Partition(split, quarters & np.kron(split, np.ones((2, 2), bool)))
        bits = partition_coding.bits(p, height, width)
        assert bits.shape == grid
        stream = partition_coding.encode(p, height, width, next(iter(range_coder.CODERS)))
        if len(stream) > 4:
            assert 8 * len(stream) == pytest.approx(bits.sum(), abs=40)


def test_what_is_no_partition_has_no_cost(mini_model, photograph):
    cost = RDCost(mini_model, photograph[:64, :64], QUALITY)
    wrong = partition.Partition(np.zeros((1, 1), bool), np.ones((2, 2), bool))
    with pytest.raises(partition.PartitionError, match="only where it splits the 64x64 block"):
        cost([wrong])
    with pytest.raises(partition.PartitionError, match="a partition is a Partition"):
        cost(partition.uniform(0, (1, 1)))
