"""The example of images for machines: a detector, what matters to it, and files for it."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from examples.machines import __main__ as machines
from examples.machines import accuracy, detector, methods, results, saliency, scenes, tuning
from examples.machines.detector import Detection, Detector
from examples.machines.results import Point
from examples.machines.scenes import Digit
from rdonet_jax.codec import codec
from rdonet_jax.codec.qualities import parse_quality
from rdonet_jax.metrics.loss import Term
from rdonet_jax.rdo import roi
from rdonet_jax.rdo.cost import emphasis, trained_loss
from rdonet_jax.rdo.file_cost import FileCost

pytestmark = pytest.mark.once

WIDTH = 8


@pytest.fixture(scope="module")
def blind():
    """A detector that was not trained, but answers differently for different images."""
    network = detector.Network(WIDTH)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
    rng = np.random.default_rng(3)

    def drawn(shape: jax.ShapeDtypeStruct) -> np.ndarray:
        deviation = 2 / np.sqrt(np.prod(shape.shape[:-1]))
        return rng.normal(0, deviation, shape.shape).astype(np.float32)

    params = jax.tree_util.tree_map(drawn, shapes)
    return Detector(params, WIDTH)


def test_the_average_precision_is_that_of_a_computation_by_hand():
    truth = [[Digit(3, 20, 20, 12), Digit(4, 20, 40, 12)], [Digit(5, 9, 9, 12)]]
    right = Detection(3, 22, 22, 0.9)
    again = Detection(3, 19, 21, 0.8)  # the digit is taken
    wrong = Detection(7, 20, 40, 0.7)
    far = Detection(5, 9, 16, 0.6)  # half of the height is 6 pixels
    late = Detection(5, 12, 11, 0.5)
    assert accuracy.average_precision([[right, again, wrong], [far, late]], truth) == pytest.approx(
        (1 + 2 / 5) / 3
    )
    assert accuracy.average_precision([[], []], truth) == 0
    exact = [[Detection(*digit[:3], 0.5) for digit in digits] for digits in truth]
    assert accuracy.average_precision(exact, truth) == 1


def test_digits_are_where_the_scene_says_and_nothing_else_has_changed():
    pixels = np.full((150, 210, 3), 120, np.uint8)
    drawn, digits = scenes.with_signs(np.random.default_rng(5), pixels, 3)
    rows, columns = np.nonzero((drawn != pixels).any(-1))
    assert len(digits) >= 4
    near = np.zeros(pixels.shape[:2], bool)
    for digit in digits:
        row, column = int(digit.row), int(digit.column)
        reach = int(digit.height)
        around = (
            slice(max(0, row - reach), row + reach),
            slice(max(0, column - reach), column + reach),
        )
        assert (drawn[around] != pixels[around]).any()
        near[around] = True
    assert near[rows, columns].all()


def test_scenes_of_the_test_are_of_no_photograph_of_the_training_and_the_same_every_time():
    assert not set(scenes.TRAINING) & set(scenes.TEST)
    first, again = (scenes.test_scenes(2, 1, 100) for _ in range(2))
    for scene, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(scene.pixels, same.pixels)
        assert scene.digits == same.digits


def test_a_detector_is_stored_and_loaded_and_another_file_is_refused(blind, photograph, tmp_path):
    detector.save(tmp_path / "a.safetensors", blind)
    loaded = detector.load(tmp_path / "a.safetensors")
    pixels = photograph[:64, :64]
    np.testing.assert_array_equal(loaded.scores(pixels), blind.scores(pixels))
    (tmp_path / "b.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(detector.DetectorError, match=r"b\.safetensors: holds no detector"):
        detector.load(tmp_path / "b.safetensors")


def test_candidates_matter_with_the_blocks_that_they_reach_into(blind, monkeypatch):
    found = [Detection(1, 30, 30, 0.9), Detection(2, 100, 62, 0.9), Detection(3, 5, 180, 0.01)]
    monkeypatch.setattr(Detector, "detect", lambda self, pixels: found)
    gains = saliency.by_candidates(blind, np.zeros((130, 190, 3), np.uint8))
    np.testing.assert_array_equal(gains == 0, [[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    assert gains.min() == saliency.LEAST_GAIN


def test_the_mask_gives_every_block_the_gain_that_was_meant():
    gains = np.array([[0.0, -12.5, -50.0], [-31.0, 0.0, -4.0]])
    mask = saliency.mask_of(gains, (100, 150))
    np.testing.assert_allclose(roi.gains((100, 150), mask), gains)


@pytest.mark.slow
def test_what_blocks_add_to_the_loss_is_the_loss(blind, photograph):
    original = detector.batch_of(photograph[:70, :100])
    coded = jnp.clip(original + 0.1 * jax.random.normal(jax.random.key(0), original.shape), 0, 1)
    loss = float(jnp.sum(saliency.divergence(blind, original, coded)))
    blame = saliency._blame(blind, original, coded)
    assert blame.shape == (2, 2)
    assert loss > 0
    assert float(jnp.sum(blame)) == pytest.approx(loss, rel=0.1)
    assert float(jnp.sum(saliency.divergence(blind, original, original))) == pytest.approx(0)


def test_gains_by_gradient_are_highest_where_an_error_costs_most(
    blind, photograph, mini_weights, mini_model
):
    pixels = np.ascontiguousarray(photograph[:70, :100])
    gains = saliency.by_gradient(blind, mini_model, str(mini_weights), pixels)
    assert gains.shape == (2, 2)
    assert gains.max() == 0
    assert saliency.LEAST_GAIN <= gains.min() < 0


@pytest.mark.slow
def test_refinement_for_the_task_lowers_the_cost_that_counts_it(blind, photograph, mini_model):
    pixels = np.ascontiguousarray(photograph[:70, :90])
    gains = np.array([[0.0, -20.0], [-30.0, 0.0]])
    task = tuning.TaskDistortion(blind)
    p = codec.choose_partition(mini_model, pixels, "variance", 40, gains)
    plain = codec.encode(mini_model, pixels, p, 40, gains=gains).data
    refined = tuning.refined(task, mini_model, pixels, 40, gains, 60)
    quality = parse_quality(mini_model.config, 40, gains, pixels.shape[:2])
    areas = emphasis(quality)
    mean = areas[:5, :6].mean()
    terms = (*trained_loss(mini_model, quality), Term(tuning.BITS_PER_NAT / mean, task))
    cost = FileCost(terms, pixels, areas)
    before, after = (
        cost(len(data), codec.decompress(mini_model, data)) for data in (plain, refined)
    )
    assert after < before


@pytest.mark.slow
def test_maps_of_the_task_add_up_to_its_loss_and_end_with_the_image(blind, photograph):
    task = tuning.TaskDistortion(blind)
    x = photograph[:64, :128]
    other = x // 16 * 16
    whole = task.maps(x, other, jnp.array([64, 128]))
    assert whole.shape == (1, 4, 8)
    batch = [jnp.asarray(v[None] / 255.0, jnp.float32) for v in (x, other)]
    assert float(whole.sum()) == pytest.approx(float(task.of_batch(*batch)[0]), rel=1e-4)
    cut = task.maps(x, other, jnp.array([50, 70]))
    np.testing.assert_array_equal(cut[0, :, 5:], 0)
    sizes = jnp.array([[50, 70]])
    assert float(cut.sum()) == pytest.approx(float(task.of_batch(*batch, sizes)[0]), rel=1e-4)


def test_rates_at_a_precision_lie_between_points_and_are_not_extrapolated():
    points = [Point(2, 0.4, 0.6), Point(1, 0.1, 0.2)]
    assert results.rate_at(points, 0.4) == pytest.approx(0.2)
    assert results.rate_at(points, 0.6) == pytest.approx(0.4)
    assert results.rate_at(points, 0.1) is None
    assert results.rate_at(points, 0.9) is None


@pytest.mark.slow
def test_the_program_leaves_a_figure_and_what_it_measured(
    mini_weights, tmp_path, capsys, monkeypatch
):
    short = {name: way._replace(settings=way.settings[:2]) for name, way in methods.METHODS.items()}
    monkeypatch.setattr(methods, "METHODS", short)
    monkeypatch.setattr(machines, "METHODS", short)
    monkeypatch.setattr(results, "METHODS", short)
    out = tmp_path / "out"
    options = ["--out", str(out), "--model", str(mini_weights), "--side", "100", "--scenes", "1"]
    assert (
        machines.main(
            [
                *options,
                "--steps",
                "2",
                "--methods",
                "jpeg",
                "plain",
                "levels",
                "candidates",
                "gradient",
            ]
        )
        == 0
    )
    assert Image.open(out / "accuracy.png").width > 300
    found = json.loads((out / "accuracy.json").read_text())
    assert list(found["curves"]) == list(methods.DEFAULT_METHODS)
    for points in found["curves"].values():
        assert points[0]["bpp"] < points[1]["bpp"]
    assert "bpp at precision" in capsys.readouterr().out
    detector.load(out / "detector.safetensors")


def test_what_the_example_cannot_do_is_said_in_one_line(tiny_weights, tmp_path, capsys):
    out = tmp_path / "out"
    assert machines.main(["--out", str(out), "--model", str(tiny_weights)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()
    assert machines.main(["--out", str(out), "--detector", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
