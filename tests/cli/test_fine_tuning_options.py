"""The command line of `rdonet train --fine-tune`: what the weights set, and what goes over it."""

from __future__ import annotations

import pytest

from rdonet_jax.core import presets
from rdonet_jax.models import zoo
from rdonet_jax.training.config import TrainingConfig
from tests import portable_params

from .train_settings import complaint, settings


@pytest.fixture
def finished(tmp_path):
    """Weights that were trained for both distortions."""
    model = presets.mini(hidden=20)
    training = {"metric": "both", "ms_ssim_share": 0.25, "lmbda": 0.0067}
    record = {"training": training}
    return model, zoo.save(tmp_path, "own", model, portable_params.start(model), record)


@pytest.mark.slow
def test_fine_tuning_goes_on_with_the_loss_of_the_weights_in_small_steps_without_random_masks(
    finished,
):
    model, path = finished
    found = settings(f"--fine-tune {path} --minutes 20")
    assert (found.preset, found.model) == ("own", model)
    training = found.training
    assert (training.start, training.minutes) == (str(path), 20)
    assert (training.metric, training.ms_ssim_share) == ("both", 0.25)
    assert (training.stage1_steps, training.rate, training.prior_rate) == (0, "rounded", 10)
    assert training.learning_rate < TrainingConfig().learning_rate
    assert settings(f"--fine-tune {path} --learning-rate 1e-3").training.learning_rate == 1e-3


def test_a_training_of_the_priors_alone_does_not_change_the_loss(tmp_path, finished):
    model, _ = finished
    before = {"training": {"metric": "both", "ms_ssim_share": 0.25}}
    record = {"training": {"learn": "priors"}, "origin": {"started_from": before}}
    path = zoo.save(tmp_path, "later", model, portable_params.start(model), record)
    training = settings(f"--fine-tune {path}").training
    assert (training.metric, training.ms_ssim_share) == ("both", 0.25)
    assert training.lmbda == TrainingConfig.lmbda  # the network has a range of its own


@pytest.mark.parametrize(
    ("metric", "share", "lmbda"),
    [("mse", TrainingConfig.ms_ssim_share, 0.02), ("both", 0.25, 0.02)],
)
def test_another_metric_leaves_out_a_share_of_the_weights_that_it_has_not(
    written, tmp_path, tiny_model, metric, share, lmbda
):
    record = {"training": {"metric": "both", "ms_ssim_share": 0.25, "lmbda": 0.02}}
    model = presets.tiny()
    path = zoo.save(tmp_path, "own", model, tiny_model.params, record)
    file = written(f"training: {{metric: {metric}}}")
    for line in (f"--metric {metric}", f"--config {file}"):
        found = settings(f"--fine-tune {path} {line}").training
        assert (found.metric, found.ms_ssim_share, found.lmbda) == (metric, share, lmbda)


def test_another_metric_leaves_out_a_lambda_of_another_scale(tmp_path, tiny_model, capsys):
    model = presets.tiny()
    params = tiny_model.params
    for metric, lmbda in (("ms-ssim", 8.0), ("mse", 0.02)):
        record = {"training": {"metric": metric, "lmbda": lmbda}}
        path = zoo.save(tmp_path, metric.replace("-", "_"), model, params, record)
        assert settings(f"--fine-tune {path}").training.lmbda == lmbda
        if metric == "ms-ssim":
            found = settings(f"--fine-tune {path} --metric mse").training
            assert found.lmbda == TrainingConfig().lmbda
        else:
            line = f"--fine-tune {path} --metric ms-ssim"
            assert "8.73 a usual value" in complaint(capsys, line)
            assert settings(f"{line} --lmbda 9").training.lmbda == 9


@pytest.mark.parametrize("length", ["--steps 70", "--stage1-steps 0 --stage2-steps 70", "FILE"])
def test_all_steps_of_fine_tuning_are_in_the_second_stage(finished, written, length):
    file = written("length: {steps: 70}\ntraining: {batch_size: 4}")
    line = length.replace("FILE", f"--config {file}")
    found = settings(f"--fine-tune {finished[1]} {line}")
    result = found.length.applied(found.training, images=3)
    assert (result.stage1_steps, result.stage2_steps) == (0, 70)
    assert result.rate == "rounded"


def test_epochs_of_fine_tuning_are_in_the_second_stage_too(finished):
    found = settings(f"--fine-tune {finished[1]} --epochs 16 --batch-size 4")
    result = found.length.applied(found.training, images=3)
    assert (result.stage1_steps, result.stage2_steps) == (0, 12)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--fine-tune WEIGHTS --start linear", "so --start cannot"),
        ("--fine-tune nothing", "nothing"),
        ("--fine-tune WEIGHTS --steps 7 --stage2-steps 8", "either in both stages' steps or once"),
    ],
)
def test_what_cannot_be_fine_tuned_is_a_sentence(finished, capsys, line, sentence):
    assert sentence in complaint(capsys, line.replace("WEIGHTS", str(finished[1])))
