"""The two-stage schedule, run through `train.py` as its users run it, on real pictures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from PIL import Image

import train
from rdonet_jax import config, data, partition, training, training_run, zoo

ROOT = Path(__file__).parent.parent
SHORT = ["--preset", "tiny", "--crop", "64", "--batch-size", "8", "--log-every", "1",
         "--validation-every", "3", "--checkpoint-every", "2"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three photographs, one of them only for validation by its place in the list."""
    path = tmp_path_factory.mktemp("pictures")
    for name in ("astronaut", "chelsea", "coffee"):
        picture = Image.fromarray(getattr(skimage.data, name)())
        picture.resize((picture.width // 2, picture.height // 2)).save(path / f"{name}.png")
    return path


def run_script(arguments, devices=1):
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    return subprocess.run(
        [sys.executable, "train.py", *map(str, arguments)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def losses(run: Path):
    lines = [json.loads(line) for line in (run / training_run.LOG_FILE).read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def validations(run: Path):
    lines = [json.loads(line) for line in (run / training_run.LOG_FILE).read_text().splitlines()]
    return {line["step"]: line["validation"] for line in lines if "validation" in line}


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory) -> Path:
    """A run of both stages on one device, by the script."""
    run = tmp_path_factory.mktemp("runs") / "one"
    result = run_script([*SHORT, "--data", folder, "--run", run, "--steps", 6])
    assert result.returncode == 0, result.stderr
    return run


def test_eight_devices_have_the_loss_curve_of_one(folder, finished, tmp_path):
    run = tmp_path / "eight"
    result = run_script([*SHORT, "--data", folder, "--run", run, "--steps", 6], devices=8)
    assert result.returncode == 0, result.stderr
    one, eight = losses(finished), losses(run)
    assert one.keys() == eight.keys() == set(range(1, 7))
    np.testing.assert_allclose(
        [eight[step] for step in one], [one[step] for step in one], rtol=2e-3
    )
    assert abs(eight[1] / one[1] - 1) < 1e-5, "before the first update there is only rounding"


def test_a_run_has_both_stages_in_the_originals_proportion_and_is_validated(finished):
    run = training_run.Run.load(finished)
    assert (run.training.stage1_steps, run.training.stage2_steps) == (5, 1)
    assert set(validations(finished)) == {3, 6}
    shares = validations(finished)[6]["shares"]
    assert sum(shares) == pytest.approx(1)


def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(folder, finished, tmp_path):
    """The checkpoint of step 4 is what a run killed before step 6 would leave."""
    run = tmp_path / "resumed"
    shutil.copytree(finished, run)
    shutil.rmtree(run / training_run.CHECKPOINTS / "6")
    (run / training_run.LOG_FILE).unlink()
    result = run_script([*SHORT, "--data", folder, "--run", run, "--steps", 6, "--resume"])
    assert result.returncode == 0, result.stderr
    before, after = losses(finished), losses(run)
    assert set(after) == {5, 6}
    assert [after[5], after[6]] == [before[5], before[6]]


def test_exported_weights_are_the_averaged_ones_and_load_by_path(finished, tmp_path, capsys):
    assert train.main(["export", str(finished), "trial", "--out", str(tmp_path)]) == 0
    path = Path(capsys.readouterr().out.strip())
    model = zoo.load(str(path))
    run = training_run.Run.load(finished)
    checkpoints = training.open_checkpoints(finished / training_run.CHECKPOINTS)
    state = training.restore_state(checkpoints, run.model, run.training)
    checkpoints.close()
    assert model.config == config.tiny()
    assert model.record["steps_done"] == 6 and model.record["training"]["lmbda"] == 0.0067
    jax.tree_util.tree_map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5),
        model.params,
        dict(state.ema),
    )


def test_a_run_can_go_on_from_a_weights_file(tiny_weights, tiny_model):
    schedule = config.TrainingConfig(start=str(tiny_weights))
    state = training.create_state(config.tiny(thresholds=(1.0, 2.0)), schedule)
    assert int(state.step) == 0
    jax.tree_util.tree_map(np.testing.assert_array_equal, dict(state.params), tiny_model.params)
    with pytest.raises(config.ConfigError, match="another configuration"):
        training.create_state(config.tiny(hyper_latents=5), schedule)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--run", "FINISHED", "--steps", "6"], "--resume"),
        (["--run", "FINISHED", "--steps", "7", "--resume"], "another configuration"),
        (["--run", "NEW", "--steps", "6", "--resume"], "no run to resume"),
        (["--run", "NEW", "--steps", "6", "--crop", "100"], "multiple of 64"),
        (["--run", "NEW", "--steps", "6", "--stage1-steps", "3"], "either --steps"),
        (["--run", "NEW", "--steps", "6", "--data", "MISSING"], "no such folder"),
        (["--run", "NEW", "--steps", "6", "--start", "nothing"], "no model 'nothing'"),
    ],
)
def test_what_cannot_start_says_why_in_one_line_and_writes_nothing(
    folder, finished, tmp_path, capsys, arguments, complaint
):
    places = {"FINISHED": finished, "NEW": tmp_path / "new", "MISSING": tmp_path / "missing"}
    given = [str(places.get(argument, argument)) for argument in arguments]
    before = sorted(finished.rglob("*"))
    assert train.main([*SHORT, "--data", str(folder), *given]) == 1
    message = capsys.readouterr().err.strip()
    assert complaint in message and "\n" not in message
    assert not (tmp_path / "new").exists()
    assert sorted(finished.rglob("*")) == before


def test_a_batch_that_does_not_divide_over_the_devices_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 3)
    with pytest.raises(config.ConfigError, match="3 devices"):
        training.shard(np.zeros((8, 1)))


def test_masks_are_random_in_stage_1_and_follow_the_variance_in_stage_2():
    model = config.tiny()
    schedule = config.TrainingConfig(stage1_steps=10, stage2_steps=10)
    x = jnp.asarray(skimage.data.astronaut()[None, :256, :256] / 255.0, jnp.float32)
    x = jnp.concatenate([x, x[:, :, ::-1]])
    keys = training.crop_keys(schedule, jnp.int32(3), jnp.arange(2))
    stage1, again = (
        training.masks_of_step(model, schedule, jnp.int32(step), x, keys) for step in (9, 9)
    )
    stage2 = training.masks_of_step(model, schedule, jnp.int32(10), x, keys)
    expected = partition.level_masks(partition.variance(x, model.thresholds))
    for level in range(3):
        np.testing.assert_array_equal(stage1[level], again[level])
        np.testing.assert_array_equal(stage2[level], expected[level])
    assert any(np.any(stage1[level] != expected[level]) for level in range(3))
    other = training.crop_keys(schedule, jnp.int32(4), jnp.arange(2))
    moved = training.masks_of_step(model, schedule, jnp.int32(9), x, other)
    assert any(np.any(stage1[level] != moved[level]) for level in range(3))


def test_the_step_size_warms_up_and_decays():
    schedule = config.TrainingConfig(
        stage1_steps=80, stage2_steps=20, warmup_steps=10, learning_rate=1e-2, final_rate=0.1,
        clip_norm=1e9,
    )  # fmt: skip
    optimiser = training.make_optimiser(schedule)
    params = {"w": jnp.zeros(())}
    state = optimiser.init(params)
    sizes = []
    for _ in range(schedule.steps):
        updates, state = optimiser.update({"w": jnp.ones(())}, state, params)
        sizes.append(-float(updates["w"]))
    assert sizes[0] == pytest.approx(1e-3, rel=0.01)
    assert max(sizes) == pytest.approx(1e-2, rel=0.01)
    assert int(np.argmax(sizes)) == 10
    assert sizes[-1] == pytest.approx(1e-3, rel=0.05)


@pytest.fixture
def pictures(folder):
    return data.usable(data.find_pictures([folder]), 64)


def test_a_crop_is_a_function_of_seed_and_number(pictures):
    first = data.random_crop(pictures, 64, 0.5, 1, 17)
    assert first.shape == (64, 64, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, data.random_crop(pictures, 64, 0.5, 1, 17))
    others = [data.random_crop(pictures, 64, 0.5, seed, n) for seed, n in [(2, 17), (1, 18)]]
    assert all(np.any(first != other) for other in others)


def test_crops_without_reduction_are_pieces_of_the_pictures_or_their_mirror_images(pictures):
    sources = [np.asarray(pictures.picture(n)) for n in range(len(pictures.paths))]
    windows = [np.lib.stride_tricks.sliding_window_view(s[..., 0], (1, 64)) for s in sources]
    for number in range(6):
        crop = data.random_crop(pictures, 64, 1.0, 0, number)
        found = [
            np.any(np.all(w[:, :, 0] == row, axis=-1))
            for w in windows
            for row in (crop[0, :, 0], crop[0, ::-1, 0])
        ]
        assert any(found)


def test_batches_start_anywhere_with_the_same_crops(pictures):
    whole = list(data.batches(pictures, 64, 0.5, 0, 4, 0, 5))
    tail = list(data.batches(pictures, 64, 0.5, 0, 4, 3, 5))
    assert len(whole) == 5 and whole[0].shape == (4, 64, 64, 3)
    np.testing.assert_array_equal(np.stack(whole[3:]), np.stack(tail))


def test_unusable_pictures_are_skipped_with_a_warning_that_names_them(folder, tmp_path):
    Image.new("RGB", (20, 300)).save(tmp_path / "narrow.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (80, 80)).save(tmp_path / "fine.png")
    with pytest.warns(UserWarning) as warnings:
        kept = data.usable(data.find_pictures([tmp_path]), 64)
    assert [path.name for path in kept.paths] == ["fine.png"]
    text = " ".join(str(w.message) for w in warnings)
    assert "narrow.png" in text and "broken.png" in text


def test_no_usable_picture_is_an_error(tmp_path):
    with pytest.raises(data.DataError, match="no pictures"):
        data.find_pictures([tmp_path])
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    with pytest.warns(UserWarning), pytest.raises(data.DataError, match="none of 1"):
        data.usable(data.find_pictures([tmp_path]), 64)
