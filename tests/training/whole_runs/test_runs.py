"""The two-stage schedule, run through `train.py` as its users run it, on real images."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from rdonet_jax.cli.commands import train
from rdonet_jax.core import presets
from rdonet_jax.models import zoo
from rdonet_jax.training.batches import input_pipeline
from rdonet_jax.training.folder import checkpoints, run_dir, run_log
from rdonet_jax.training.steps import step as training_step
from rdonet_jax.training.steps import train_state, validation

from .conftest import SHORT, STEPS, logged, newest_state

pytestmark = pytest.mark.slow

QUICK = ["--steps", "6", "--checkpoint-every", "2", "--validation-every", "3",
         "--preview-every", "3"]  # fmt: skip


def test_a_run_has_both_stages_in_the_originals_proportion_and_is_validated(finished):
    run = run_dir.Run.load(finished)
    assert (run.training.stage1_steps, run.training.stage2_steps) == (23, 7)
    stages = logged(finished, "stage")
    assert [stages[step] for step in (1, 23, 24, 30)] == [1, 1, 2, 2]
    assert logged(finished, "event")[23] == "stage 2 begins"
    assert set(logged(finished, "validation")) == {10, 20, 30}
    assert sum(logged(finished, "validation")[30]["shares"]) == pytest.approx(1)


def test_checkpoints_say_where_the_run_stands(finished):
    held = run_dir.Run.load(finished)
    with checkpoints.Checkpoints(finished) as kept:
        state, progress = kept.restore(held.model, held.training)
        _, best = kept.restore(held.model, held.training, best=True)
    assert (int(state.step), progress.step, progress.switched_at) == (30, 30, 23)
    losses = {step: result["loss"] for step, result in logged(finished, "validation").items()}
    assert best.step == min(losses, key=losses.get) and progress.best_loss == min(losses.values())
    newest = sorted(int(path.name) for path in (finished / checkpoints.LAST).iterdir())
    assert newest == [28, 30]


def test_a_run_records_its_command_its_images_and_what_computed_it(finished, photograph_folder):
    origin = run_dir.Run.load(finished).origin
    assert origin.command.startswith("train.py --preset tiny --crop 64")
    assert origin.folders == (str(photograph_folder),)
    assert origin.environment["packages"]["jax"] == jax.__version__
    assert (origin.environment["devices"], origin.environment["hosts"]) == (1, 1)
    assert len(origin.environment["revision"] or "") in (0, 40, 41)


def test_exported_weights_are_the_averaged_ones_and_load_by_path(
    photograph_folder, finished, tmp_path, capsys
):
    export = ["export", str(finished), "trial", "--out", str(tmp_path)]
    assert train.main([*export, "--thresholds", "2", "3.5"]) == 0
    path = Path(capsys.readouterr().out.strip())
    model = zoo.load(str(path))
    state = newest_state(finished)
    assert model.config == presets.tiny(thresholds=(2.0, 3.5))
    assert model.record.steps_done == STEPS and model.record.training.lmbda == 0.0067
    origin = model.record.stored["origin"]
    assert origin["command"].startswith("train.py --preset tiny --crop 64")
    assert origin["folders"] == [str(photograph_folder)] and origin["validation_folders"] == []
    assert (origin["pictures"]["count"], origin["validation_pictures"]["count"]) == (2, 1)
    jax.tree_util.tree_map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5),
        model.params,
        dict(state.ema),
    )


def test_the_best_checkpoint_can_be_exported(finished, tmp_path, capsys):
    best = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(best / checkpoints.LAST)
    assert train.main(["export", str(best), "name"]) == 1
    assert "there is no checkpoint" in capsys.readouterr().err
    assert train.main(["export", str(best), "name", "--best", "--out", str(tmp_path)]) == 0
    record = zoo.load(capsys.readouterr().out.strip()).record.stored
    losses = {step: result["loss"] for step, result in logged(finished, "validation").items()}
    assert losses[record["steps_done"]] == min(losses.values()) == record["validation"]["loss"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--run", "FINISHED", "--steps", "30"], "--resume"),
        (["--run", "FINISHED", "--steps", "31", "--resume"], "stage1_steps: 23 then, 24 now"),
        (["--run", "FINISHED", "--lmbda", "0.1", "--resume"], "lmbda: 0.0067 then, 0.1 now"),
        (["--run", "NEW", "--steps", "30", "--resume"], "no run to resume"),
        (["--run", "NEW", "--steps", "30", "--crop", "100"], "multiple of 64"),
        (["--run", "NEW", "--stage1-steps", "3"], "both stages' steps or once"),
        (["--run", "NEW", "--epochs", "3"], "either the steps"),
        (["--run", "NEW", "--stage1-epochs", "3"], "the epochs of both stages"),
        (["--run", "NEW", "--accumulate", "3"], "does not divide over 1 devices in 3 parts"),
        (["--run", "NEW", "--process", "3"], "name the coordinator"),
        (["--run", "NEW", "--final-rate", "0", "--schedule", "exponential"], "final_rate must be"),
        (["--run", "NEW", "--steps", "30", "--data", "MISSING"], "no such folder"),
        (["--run", "NEW", "--steps", "30", "--start", "nothing"], "no model 'nothing'"),
        (["--run", "NEW", "--steps", "30", "--data", "SINGLE"], "--valid"),
        (
            ["--run", "FINISHED", "--steps", "30", "--valid", "SINGLE", "--resume"],
            "images are not",
        ),
        (["--run", "FILE", "--steps", "30", "--start", "WEIGHTS"], "file"),
        (["--run", "NEW", "--steps", "30", "--metric", "ms-ssim"], "at least 192"),
        (["--run", "NEW", "--crop", "256", "--metric", "ms-ssim"], "next to nothing"),
        (["--run", "NEW", "--ms-ssim-share", "0.3"], "for the metric 'both'"),
        (["--run", "NEW", "--stage2-rate", "0.5"], "needs the switch 'restart'"),
        (["--run", "NEW", "--thresholds", "nan", "5"], "thresholds are two variances"),
        (["--run", "NEW", "--data", "WEIGHTS"], "not a folder"),
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
    photograph_folder, finished, tiny_weights, tmp_path, capsys, arguments, complaint
):
    places = {name: tmp_path / name.lower() for name in ("NEW", "MISSING", "SINGLE", "FILE")}
    places |= {"FINISHED": finished, "WEIGHTS": tiny_weights}
    places["SINGLE"].mkdir()
    shutil.copy(photograph_folder / "coffee.png", places["SINGLE"])
    places["FILE"].write_text("")
    given = [str(places.get(argument, argument)) for argument in arguments]
    before = sorted(finished.rglob("*"))
    usual = ["--data", str(photograph_folder), "--start", str(tiny_weights)]
    assert train.main([*SHORT, *usual, *given]) == 1
    message = capsys.readouterr().err.strip()
    assert complaint in message and "\n" not in message
    assert not (tmp_path / "new").exists()
    assert sorted(finished.rglob("*")) == before


@pytest.fixture
def quick_steps(monkeypatch):
    """Steps that only count, and diverge as told: {step: (healthy, added to the parameters)}."""
    diverging = {}

    def make_step(network_config, schedule):
        def step(state, batch, position):
            healthy, added = diverging.get(int(state.step[0]) + 1, (True, 0.0))
            loss = 1.0 if healthy else np.nan
            values = training_step.StepValues(loss, 0.5, 0.01, 2.0, 1e-4)
            metrics = training_step.StepMetrics(values, healthy)
            if healthy:
                params = jax.tree_util.tree_map(lambda leaf: leaf + added, state.params)
                state = state._replace(step=state.step + 1, params=params)
            return state, jax.tree_util.tree_map(lambda value: jnp.full(1, value), metrics)

        return step

    result = validation.Validation(1.0, 0.5, 30.0, (1.0, 0.0, 0.0))
    monkeypatch.setattr(training_step, "make_step", make_step)
    monkeypatch.setattr(validation, "make", lambda *_: lambda _: result)
    monkeypatch.setattr(validation, "preview", lambda _, params, crops: validation.Preview(
        crops, crops, np.zeros((len(crops), 4, 4), np.uint8), np.ones((len(crops), 4, 4))
    ))  # fmt: skip
    return diverging


@pytest.fixture
def quick_start(photograph_folder, tiny_weights, tmp_path):
    """`train.main` on a run of six quick steps that goes on from a weights file."""

    def run(*more, data=photograph_folder):
        given = ["--data", data, "--run", tmp_path / "run", "--start", tiny_weights, *QUICK]
        return train.main([*SHORT, *map(str, given), *map(str, more)])

    return run


def test_a_run_killed_before_its_first_checkpoint_is_started_afresh(
    quick_steps, quick_start, tmp_path, monkeypatch, capsys
):
    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoints.Checkpoints, "save", kill)
        quick_start()
    run = tmp_path / "run"
    (run / checkpoints.LAST / "0.orbax-checkpoint-tmp").mkdir()
    assert quick_start() == 1 and "--resume" in capsys.readouterr().err
    assert train.main(["export", str(run), "early"]) == 1
    assert "no checkpoint" in capsys.readouterr().err
    assert quick_start("--resume") == 0
    assert set(logged(run, "loss")) == set(range(1, 7))
    assert "crops_per_second" not in run.joinpath(run_log.LOG_FILE).read_text().split("\n")[0]
    shutil.rmtree(run / checkpoints.LAST)
    assert (
        quick_start("--resume") == 1 and "has a log, but no checkpoint" in capsys.readouterr().err
    )


def test_resume_auto_begins_a_run_and_goes_on_with_one(quick_steps, quick_start, tmp_path, capsys):
    run = tmp_path / "run"
    assert quick_start("--resume", "auto") == 0
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith("step 0: begun (")
    assert second == "compiling the first step, which can take minutes"
    shutil.rmtree(run / checkpoints.LAST / "6")
    assert quick_start("--resume", "auto") == 0
    assert "step 4: resumed (" in capsys.readouterr().err
    assert list(logged(run, "loss")) == list(range(1, 7))
    (run / run_dir.CONFIG_FILE).unlink()
    assert quick_start("--resume", "auto") == 1
    assert "of a run without its config.json" in capsys.readouterr().err


def test_a_run_says_at_its_start_which_devices_train_it_in_which_precision(
    quick_steps, quick_start, tmp_path, capsys
):
    assert quick_start() == 0
    count = jax.device_count()
    facts = f"device cpu, devices {count}, hosts 1, transforms float32)"
    assert facts in capsys.readouterr().err.splitlines()[0]
    first = run_log.read(tmp_path / "run" / run_log.LOG_FILE)[0]
    assert (first["step"], first["event"], first["device"]) == (0, "begun", "cpu")


def test_a_run_that_is_asked_to_stop_before_its_first_step_does_none_and_can_go_on(
    quick_steps, quick_start, tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        patch.setattr(
            input_pipeline.BatchIterator, "go_to", lambda *_: signal.raise_signal(signal.SIGTERM)
        )
        patch.setattr(training_step, "make_step", lambda *_: None)
        assert quick_start() == 0
    assert "SIGTERM: stopped after step 0, --resume goes on" in capsys.readouterr().err
    assert quick_start("--resume") == 0
    assert list(logged(tmp_path / "run", "loss")) == list(range(1, 7))


@pytest.mark.parametrize("where", ["--no-resident", "--resident"])
def test_a_run_that_diverges_keeps_its_checkpoint_and_all_that_one_needs_to_look_into_it(
    quick_steps, quick_start, tmp_path, capsys, where
):
    quick_steps[4] = (False, 0.0)
    assert quick_start("--log-every", 50, where) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    place = tmp_path / "run" / "diverged-4"
    assert "not finite at step 4" in message and str(place) in message
    assert "the last checkpoint is kept" in message
    assert int(newest_state(tmp_path / "run").step) == 3
    crops = json.loads((place / "crops-0.json").read_text())
    batch = np.load(place / "batch-0.npz")
    assert [crop["number"] for crop in crops] == batch["numbers"].tolist() == list(range(8))
    assert batch["crops"].shape == (8, 64, 64, 3)
    assert {Path(crop["picture"]).name for crop in crops} <= {"astronaut.png", "chelsea.png",
                                                              "coffee.png"}  # fmt: skip
    assert all(float(crop["loss"]) > float(crop["bpp"]) > 0 for crop in crops)
    assert (place / "state").is_dir()


def test_a_state_that_is_not_finite_does_not_become_a_checkpoint(
    quick_steps, quick_start, tmp_path, capsys
):
    quick_steps[3] = (True, np.nan)
    assert quick_start() == 1
    assert "the state is not finite after step 3" in capsys.readouterr().err
    state = newest_state(tmp_path / "run")
    assert int(state.step) == 2 and train_state.is_finite(state)


def test_resuming_asks_for_the_same_images_wherever_they_lie(
    quick_steps, quick_start, photograph_folder, tmp_path, capsys
):
    assert quick_start() == 0
    moved = shutil.copytree(photograph_folder, tmp_path / "elsewhere")
    assert quick_start("--resume", data=moved) == 0
    with Image.open(moved / "coffee.png") as image:
        image.resize((100, 90)).save(moved / "coffee.png")
    assert quick_start("--resume", data=moved) == 1
    assert "training images are not those" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_told_in_one_line(quick_steps, quick_start, tmp_path, capsys):
    assert quick_start() == 0
    newest = tmp_path / "run" / checkpoints.LAST / "6"
    largest = max(newest.rglob("*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:100])
    capsys.readouterr()
    exporting = ["export", str(tmp_path / "run"), "name"]
    for attempt in (lambda: quick_start("--resume"), lambda: train.main(exporting)):
        assert attempt() == 1
        message = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"{newest}: this checkpoint cannot be read" in message and "step 4" in message
    shutil.rmtree(newest)
    assert quick_start("--resume") == 0


def test_two_processes_do_not_train_the_same_run(quick_steps, quick_start, tmp_path, capsys):
    assert quick_start() == 0
    capsys.readouterr()
    with run_dir.locked(tmp_path / "run"):
        assert quick_start("--resume") == 1
    assert "another process is training this run" in capsys.readouterr().err
    assert quick_start("--resume") == 0


def test_images_are_held_out_from_those_that_can_be_used(
    quick_steps, quick_start, photograph_folder, tmp_path, capsys
):
    folder = shutil.copytree(photograph_folder, tmp_path / "pictures")
    (folder / "a.png").write_bytes(b"first in the list, and broken")
    assert quick_start(data=folder) == 0
    assert f"rdonet train: warning: {folder / 'a.png'}" in capsys.readouterr().err
    origin = run_dir.Run.load(tmp_path / "run").origin
    assert (origin.pictures.count, origin.validation_pictures.count) == (2, 1)


def test_validation_images_among_the_training_images_are_not_trained_on(
    quick_steps, quick_start, photograph_folder, tmp_path
):
    folder = shutil.copytree(photograph_folder, tmp_path / "pictures")
    (folder / "valid").mkdir()
    (folder / "coffee.png").rename(folder / "valid" / "coffee.png")
    assert quick_start("--valid", folder / "valid", data=folder) == 0
    origin = run_dir.Run.load(tmp_path / "run").origin
    assert (origin.pictures.count, origin.validation_pictures.count) == (2, 1)


def test_export_needs_nothing_but_the_runs_folder(
    quick_steps, quick_start, photograph_folder, tiny_weights, tmp_path, capsys
):
    weights = Path(shutil.copy(tiny_weights, tmp_path))
    assert quick_start("--start", weights) == 0
    weights.unlink()
    assert train.main(["export", str(tmp_path / "run"), "later", "--out", str(tmp_path)]) == 0
    record = zoo.load(capsys.readouterr().out.strip().splitlines()[-1]).record
    assert record.started_from.stored == {"preset": "tiny"}
    described = tmp_path / "run" / run_dir.CONFIG_FILE
    values = json.loads(described.read_text())
    del values["origin"]
    described.write_text(json.dumps(values))
    assert train.main(["export", str(tmp_path / "run"), "older", "--out", str(tmp_path)]) == 0
    assert quick_start("--resume", "--start", tiny_weights) == 1


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", "\xff", '{"model": {}}', '{"model": 1, "training": {}, "preset": "tiny"}',
     '{"model": {"trunk": 3}, "training": {}, "preset": "tiny"}',
     '{"model": {}, "training": {"lmbda": "x"}, "preset": "tiny"}',
     '{"model": {}, "training": {}, "preset": "tiny", "origin": {"command": "train.py"}}'],
)  # fmt: skip
def test_a_damaged_description_of_a_run_is_refused(quick_start, tmp_path, capsys, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / run_dir.CONFIG_FILE).write_bytes(content.encode("latin-1"))
    assert quick_start("--resume") == 1
    assert train.main(["export", str(tmp_path / "run"), "name"]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 2
