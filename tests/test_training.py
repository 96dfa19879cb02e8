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
from rdonet_jax import config, partition, training, training_run, zoo

ROOT = Path(__file__).parent.parent
SHORT = ["--preset", "tiny", "--crop", "64", "--batch-size", "8", "--log-every", "1",
         "--validation-every", "3", "--checkpoint-every", "2"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(photograph_folder) -> Path:
    return photograph_folder


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


def logged(run: Path, name: str):
    """What the log says of `name`, by step."""
    lines = [json.loads(line) for line in (run / training_run.LOG_FILE).read_text().splitlines()]
    return {line["step"]: line[name] for line in lines if name in line}


def losses(run: Path):
    return logged(run, "loss")


def validations(run: Path):
    return logged(run, "validation")


def newest_state(run: Path) -> training.TrainState:
    held = training_run.Run.load(run)
    checkpoints = training.open_checkpoints(run / training_run.CHECKPOINTS)
    state = training.restore_state(checkpoints, held.model, held.training)
    checkpoints.close()
    return state


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
        [eight[step] for step in one], [one[step] for step in one], rtol=1e-4
    )
    # Every gradient is clipped. Clipped before it is averaged, it would have another direction.
    assert min(logged(finished, "gradient_norm").values()) > 10 * config.TrainingConfig().clip_norm
    for ours, theirs in zip(newest_state(finished), newest_state(run), strict=True):
        ours, theirs = (np.concatenate([np.ravel(x) for x in jax.tree_util.tree_leaves(tree)])
                        for tree in (ours, theirs))  # fmt: skip
        assert np.linalg.norm(ours - theirs) <= 1e-4 * np.linalg.norm(ours)


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


def test_exported_weights_are_the_averaged_ones_and_load_by_path(
    folder, finished, tmp_path, capsys
):
    export = ["export", str(finished), "trial", "--out", str(tmp_path)]
    assert train.main([*export, "--thresholds", "2", "3.5"]) == 0
    path = Path(capsys.readouterr().out.strip())
    model = zoo.load(str(path))
    state = newest_state(finished)
    assert model.config == config.tiny(thresholds=(2.0, 3.5))
    assert model.record["steps_done"] == 6 and model.record["training"]["lmbda"] == 0.0067
    origin = model.record["origin"]
    assert origin["command"].startswith("train.py --preset tiny --crop 64")
    assert origin["folders"] == [str(folder)] and origin["validation_folders"] == []
    assert (origin["pictures"]["count"], origin["validation_pictures"]["count"]) == (2, 1)
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
        (["--run", "NEW", "--steps", "6", "--data", "SINGLE"], "--valid"),
        (
            ["--run", "FINISHED", "--steps", "6", "--valid", "SINGLE", "--resume"],
            "pictures are not",
        ),
        (["--run", "FILE", "--steps", "6", "--start", "WEIGHTS"], "file"),
        (["--run", "NEW", "--steps", "6", "--metric", "ms-ssim"], "at least 192"),
        (["--run", "NEW", "--lmbda", "0"], "lmbda must be positive"),
        (["--run", "NEW", "--lmbda", "nan"], "lmbda must be positive"),
        (["--run", "NEW", "--learning-rate", "inf"], "learning_rate must be positive"),
        (["--run", "NEW", "--clip-norm", "-1"], "clip_norm must be positive"),
        (["--run", "NEW", "--ema-decay", "1"], "ema_decay must lie"),
        (["--run", "NEW", "--final-rate", "1.5"], "final_rate must lie"),
        (["--run", "NEW", "--warmup-steps", "-1"], "warmup_steps must not"),
        (["--run", "NEW", "--seed", "-1"], "seed must lie"),
        (["--run", "NEW", "--log-every", "0"], "log interval"),
    ],
)
def test_what_cannot_start_says_why_in_one_line_and_writes_nothing(
    folder, finished, tiny_weights, tmp_path, capsys, arguments, complaint
):
    places = {name: tmp_path / name.lower() for name in ("NEW", "MISSING", "SINGLE", "FILE")}
    places |= {"FINISHED": finished, "WEIGHTS": tiny_weights}
    places["SINGLE"].mkdir()
    shutil.copy(folder / "coffee.png", places["SINGLE"])
    places["FILE"].write_text("")
    given = [str(places.get(argument, argument)) for argument in arguments]
    before = sorted(finished.rglob("*"))
    assert train.main([*SHORT, "--data", str(folder), *given]) == 1
    message = capsys.readouterr().err.strip()
    assert complaint in message and "\n" not in message
    assert not (tmp_path / "new").exists()
    assert sorted(finished.rglob("*")) == before


@pytest.fixture
def quick_steps(monkeypatch):
    """Steps that only count, and diverge as told: {step: (loss, added to the parameters)}."""
    diverging = {}

    def make_step(model, schedule):
        def step(state, crops):
            loss, added = diverging.get(int(state.step[0]) + 1, (1.0, 0.0))
            params = jax.tree_util.tree_map(lambda leaf: leaf + added, state.params)
            metrics = [jnp.full(1, value) for value in (loss, 0.5, 0.01, 2.0)]
            state = state._replace(step=state.step + 1, params=params)
            return state, training.StepMetrics(*metrics)

        return step

    result = training.Validation(1.0, 0.5, 30.0, (1.0, 0.0, 0.0))
    monkeypatch.setattr(training, "make_step", make_step)
    monkeypatch.setattr(training, "validate", lambda *_: result)
    return diverging


@pytest.fixture
def start(folder, tiny_weights, tmp_path):
    """`train.main` on a run of six quick steps that goes on from a weights file."""

    def run(*more, data=folder):
        given = ["--data", data, "--run", tmp_path / "run", "--steps", 6, "--start", tiny_weights]
        return train.main([*SHORT, *map(str, given), *map(str, more)])

    return run


def test_a_run_killed_before_its_first_checkpoint_is_started_afresh(
    quick_steps, start, tmp_path, monkeypatch, capsys
):
    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training, "save_state", kill)
        start()
    run = tmp_path / "run"
    (run / training_run.CHECKPOINTS / "0.orbax-checkpoint-tmp").mkdir()
    assert start() == 1 and "--resume" in capsys.readouterr().err
    assert train.main(["export", str(run), "early"]) == 1
    assert "no checkpoint" in capsys.readouterr().err
    assert start("--resume") == 0
    assert set(losses(run)) == set(range(1, 7))
    assert "crops_per_second" not in run.joinpath(training_run.LOG_FILE).read_text().split("\n")[0]
    shutil.rmtree(run / training_run.CHECKPOINTS)
    assert start("--resume") == 1 and "has a log, but no checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("diverging", "complaint"),
    [
        ({4: (np.nan, np.nan)}, "the loss is nan at step 4"),
        ({3: (1.0, np.nan)}, "the state is not finite after step 4"),
    ],
)
def test_a_run_that_diverges_stops_before_it_spoils_its_checkpoint(
    quick_steps, start, tmp_path, capsys, diverging, complaint
):
    quick_steps.update(diverging)
    assert start("--log-every", 50) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert complaint in message and "the last checkpoint is kept" in message
    state = newest_state(tmp_path / "run")
    assert int(state.step) == 2 and training.is_finite(state)


def test_resuming_asks_for_the_same_pictures_wherever_they_lie(
    quick_steps, start, folder, tmp_path, capsys
):
    assert start() == 0
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    assert start("--resume", data=moved) == 0
    with Image.open(moved / "coffee.png") as picture:
        picture.resize((100, 90)).save(moved / "coffee.png")
    assert start("--resume", data=moved) == 1
    assert "training pictures are not those" in capsys.readouterr().err


def test_export_needs_nothing_but_the_runs_folder(
    quick_steps, start, folder, tiny_weights, tmp_path, capsys
):
    weights = Path(shutil.copy(tiny_weights, tmp_path))
    assert start("--start", weights) == 0
    weights.unlink()
    assert train.main(["export", str(tmp_path / "run"), "later", "--out", str(tmp_path)]) == 0
    record = zoo.load(capsys.readouterr().out.strip().splitlines()[-1]).record
    assert record["origin"]["started_from"] == {"preset": "tiny"}
    described = tmp_path / "run" / training_run.CONFIG_FILE
    values = json.loads(described.read_text())
    del values["origin"]
    described.write_text(json.dumps(values))
    assert train.main(["export", str(tmp_path / "run"), "older", "--out", str(tmp_path)]) == 0
    assert start("--resume", "--start", tiny_weights) == 1


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", "\xff", '{"model": {}}', '{"model": 1, "training": {}, "preset": "tiny"}',
     '{"model": {"trunk": 3}, "training": {}, "preset": "tiny"}',
     '{"model": {}, "training": {"lmbda": "x"}, "preset": "tiny"}',
     '{"model": {}, "training": {}, "preset": "tiny", "origin": {"command": "train.py"}}'],
)  # fmt: skip
def test_a_damaged_description_of_a_run_is_refused(start, tmp_path, capsys, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / training_run.CONFIG_FILE).write_bytes(content.encode("latin-1"))
    assert start("--resume") == 1
    assert train.main(["export", str(tmp_path / "run"), "name"]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 2


def test_the_average_follows_the_parameters_and_the_gradient_is_clipped():
    schedule = config.TrainingConfig(ema_decay=0.15, clip_norm=1.0)
    state = training.state_of(schedule, {"a": jnp.float32(1.0), "b": jnp.float32(-2.0)})
    gradients = {"a": jnp.float32(3.0), "b": jnp.float32(4.0)}
    first = training._updated(schedule, state, gradients)
    second = training._updated(schedule, first, gradients)
    for name, start, clipped in (("a", 1.0, 0.6), ("b", -2.0, 0.8)):
        assert float(first.params[name]) != start
        expected = 0.1 * start + 0.9 * float(first.params[name])
        assert float(first.ema[name]) == pytest.approx(expected, rel=1e-7)
        expected = 0.15 * expected + 0.85 * float(second.params[name])
        assert float(second.ema[name]) == pytest.approx(expected, rel=1e-7)
        assert float(first.optimiser[1][0].mu[name]) == pytest.approx(0.1 * clipped)


def test_a_step_is_compiled_once_for_both_stages(monkeypatch):
    def small_step(model, schedule, state, crops):
        keys = training.crop_keys(schedule, state.step, jnp.arange(len(crops)))
        masks = training.masks_of_step(model, schedule, state.step, crops / 255.0, keys)
        gradients = {"w": jax.lax.pmean(masks[0].mean(), training.AXIS) + state.params["w"]}
        return training._updated(schedule, state, gradients), masks[0].sum()

    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
    )
    monkeypatch.setattr(training, "device_step", small_step)
    schedule = config.TrainingConfig(stage1_steps=2, stage2_steps=2)
    step = training.make_step(config.tiny(), schedule)
    state = training.replicate(training.state_of(schedule, {"w": jnp.zeros(3)}))
    crops = np.zeros((jax.local_device_count(), 2, 64, 64, 3), np.uint8)
    state, _ = step(state, crops)
    assert compiled
    compiled.clear()
    for _ in range(3):
        state, _ = step(state, crops)
    assert not compiled


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


def test_a_share_of_the_crops_keeps_random_masks_in_stage_2():
    model = config.tiny()
    schedule = config.TrainingConfig(stage1_steps=1, stage2_steps=9, random_share=0.25)
    x = jnp.full((200, 64, 64, 3), 0.5)  # flat: its variance mask is the coarsest level
    keys = training.crop_keys(schedule, jnp.int32(3), jnp.arange(200))
    fine, middle, coarse = training.masks_of_step(model, schedule, jnp.int32(3), x, keys)
    # A random mask is the coarsest level for a third of the blocks.
    split = 1 - float(jnp.mean(coarse))
    assert 0.08 < split < 0.26
    assert float(jnp.mean(fine)) == pytest.approx(split / 2, abs=0.05)
    assert float(jnp.mean(middle)) == pytest.approx(split / 2, abs=0.05)


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
