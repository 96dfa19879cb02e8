"""Where blocks have qualities of their own, costs have their lambdas; bits are those of files."""

from __future__ import annotations

import numpy as np
import pytest

from rdonet_jax.codec import codec, preparation
from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.core import partition
from rdonet_jax.metrics import loss
from rdonet_jax.models.training_record import TrainingRecord
from rdonet_jax.rdo import coding, cost
from rdonet_jax.rdo.cost import TileCost, make_file_cost
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan, Target
from rdonet_jax.rdo.file_cost import FileCost

pytestmark = pytest.mark.once

QUALITY = 40.0
SIZE = (192, 256)


@pytest.fixture
def gains() -> np.ndarray:
    return np.random.default_rng(0).uniform(-35, 50, partition.block_grid(*SIZE))


def test_areas_count_by_the_lambda_of_their_block(mini_model, photograph, gains):
    quality = parse_quality(mini_model.config, QUALITY, gains, SIZE)
    prepared = preparation.prepare(mini_model.config, photograph)
    decoded = photograph ^ 3
    found = make_file_cost(mini_model, prepared, quality)(1000, decoded)
    squares = np.square(photograph.astype(float) - decoded).mean(-1)
    lmbdas = loss.lmbda_of(mini_model.config, quality.blocks)
    by_pixel = lmbdas.repeat(64, 0).repeat(64, 1)
    expected = (8000 + (by_pixel * squares).sum()) / squares.size
    assert found == pytest.approx(expected, rel=1e-5)


def test_with_gains_of_one_value_the_cost_is_that_of_the_other_quality(mini_model, photograph):
    training = {"metric": "both", "ms_ssim_share": 0.25}
    model = mini_model.replace(record=TrainingRecord.from_json({"training": training}))
    prepared = preparation.prepare(model.config, photograph)
    decoded = photograph ^ 3
    other = make_file_cost(model, prepared, parse_quality(model.config, 50))(1000, decoded)
    raised = parse_quality(model.config, QUALITY, np.full((3, 4), 10), SIZE)
    found = make_file_cost(model, prepared, raised)(1000, decoded)
    assert found == pytest.approx(other, rel=1e-6)


@pytest.mark.slow
def test_estimated_bits_are_those_of_the_file(mini_model, photograph, gains):
    quality = parse_quality(mini_model.config, QUALITY, gains, SIZE)
    p = codec.choose_partition(mini_model, photograph, "variance", QUALITY, gains)
    estimate = TileCost(mini_model, (), (), quality, photograph[None], SIZE)
    encoded = codec.encode(mini_model, photograph, p, QUALITY, gains=gains, reconstruct=False)
    assert estimate([p]).totals[0] == pytest.approx(8 * len(encoded.data), rel=0.02, abs=400)


def test_rate_control_changes_the_quality_and_keeps_the_gains(mini_model, photograph, gains):
    options = EncodeOptions(target=Target(size=3800), gains=gains, reconstruct=True)
    found = coding.encode(mini_model, photograph, options)
    assert 3700 < len(found.encoded.data) <= 3800
    decoded = codec.decode(mini_model, found.encoded.data)
    np.testing.assert_array_equal(decoded.image, found.encoded.image)
    on_scale = np.clip(gains, -decoded.quality, 100 - decoded.quality)
    np.testing.assert_allclose(decoded.gains, on_scale, atol=100 * 8 / 640)


@pytest.mark.slow
@pytest.mark.parametrize("plan", [Plan(passes=1), Plan("uniform"), Plan(refinements=10)])
def test_searches_and_refinements_never_cost_more(mini_model, photograph, gains, plan):
    options = EncodeOptions(QUALITY, plan=plan, gains=gains, reconstruct=True)
    found = coding.encode(mini_model, photograph, options)
    decoded = codec.decode(mini_model, found.encoded.data)
    np.testing.assert_array_equal(decoded.image, found.encoded.image)
    if found.searched is None:
        return
    j = make_file_cost(mini_model, found.prepared, found.quality).of(found.encoded)
    assert found.searched.after <= found.searched.before
    assert found.searched.after == pytest.approx(j)


def test_a_model_of_one_quality_has_no_emphasis(tiny_model):
    assert cost.emphasis(parse_quality(tiny_model.config, None)) is None


def test_areas_beyond_the_image_do_not_count_in_the_mean():
    emphasis = np.ones((8, 8))
    emphasis[5:], emphasis[:, 6:] = 100.0, 100.0  # an image of 80x96 pixels in blocks of 64x64
    emphasis[0, 0] = 4.0
    found = FileCost((), np.zeros((80, 96, 3), np.uint8), emphasis)
    assert found.relative[:5, :6].mean() == pytest.approx(1.0)
