"""A run that is finished, and one that is made longer."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from rdonet_jax.cli.commands import train
from rdonet_jax.training import config as training_config
from rdonet_jax.training import lengthening, masks
from rdonet_jax.training.config import TrainingConfig
from rdonet_jax.training.folder import run_dir

from .conftest import SHORT, logged, newest_state

pytestmark = pytest.mark.once


@pytest.fixture
def run(light_steps, photograph_folder, tiny_weights, tmp_path):
    """`train.main` on a run of a name, of no length that the arguments do not give."""

    def run(name, *more, data=photograph_folder):
        given = ["--data", data, "--run", tmp_path / name, "--start", tiny_weights]
        usual = SHORT[: SHORT.index("--steps")] + ["--log-every", "1", "--checkpoint-every", "50"]
        return train.main([*usual, *map(str, given), *map(str, more)])

    return run


CONSTANT = ["--schedule", "constant", "--warmup-steps", 3]


def assert_equal(ours, theirs):
    jax.tree_util.tree_map(np.testing.assert_array_equal, ours, theirs)


def files_of(folder) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.long
def test_a_run_of_20_steps_made_30_long_is_bit_for_bit_one_of_30_from_the_start(run, tmp_path):
    usual = [*CONSTANT, "--switch", "restart", "--stage1-steps", 15]
    assert run("whole", *usual, "--stage2-steps", 15) == 0
    assert run("longer", *usual, "--stage2-steps", 5) == 0
    assert int(newest_state(tmp_path / "longer").step) == 20
    assert run("longer", *usual, "--stage2-steps", 15, "--resume") == 0
    assert_equal(newest_state(tmp_path / "longer"), newest_state(tmp_path / "whole"))
    assert set(logged(tmp_path / "longer", "loss")) == set(range(1, 31))
    assert run_dir.Run.load(tmp_path / "longer").training.steps == 30


@pytest.mark.slow
def test_a_finished_run_says_so_and_is_left_as_it_is_whatever_length_it_cannot_have(
    run, tmp_path, capsys
):
    assert run("run", *CONSTANT, "--stage1-steps", 4, "--stage2-steps", 2) == 0
    said = capsys.readouterr().err.splitlines()[-1]
    assert "finished after step 6" in said and "rdonet train export" in said
    before = files_of(tmp_path / "run")
    # The length need not be said again.
    assert run("run", *CONSTANT, "--resume") == 0
    said = capsys.readouterr().err.strip()
    assert "\n" not in said and "was finished already after step 6" in said
    assert f"rdonet train export {tmp_path / 'run'} NAME" in said and "--resume with more" in said
    for first, second, complaint in (
        (5, 2, "some would have belonged to the other stage; give --stage1-steps 4"),
        (4, 1, "has done 6 steps and cannot end after 5"),
    ):
        lengths = ["--stage1-steps", first, "--stage2-steps", second]
        assert run("run", *CONSTANT, *lengths, "--resume") == 1
        said = capsys.readouterr().err.strip()
        assert complaint in said and "\n" not in said
    assert files_of(tmp_path / "run") == before


def schedule(stage1=15, stage2=10, **changes):
    given = {"warmup_steps": 5, "stage1_steps": stage1, "stage2_steps": stage2}
    return TrainingConfig(**(given | changes))


@pytest.mark.parametrize(
    ("name", "switch", "done", "possible"),
    [
        ("constant", "carry", 21, True),
        ("cosine", "carry", 21, False),
        ("linear", "carry", 21, False),
        ("exponential", "carry", 21, False),
        ("cosine", "carry", 5, True),  # warming up
        ("cosine", "carry", 7, False),
        ("cosine", "restart", 15, True),  # stage 1 has a schedule of its own
        ("cosine", "restart", 16, True),  # warming up again
        ("cosine", "restart", 22, False),
        ("constant", "restart", 21, True),
    ],
)
def test_what_was_done_decides_whether_stage_2_can_be_longer(name, switch, done, possible):
    held, longer = (
        schedule(stage2=n, schedule=name, switch=switch, warmup_steps=3) for n in (5, 9)
    )
    if name == "cosine" and done == 5:
        held, longer = (schedule(stage2=n, schedule=name) for n in (5, 9))
    complaint = lengthening.objection(held, longer, done)
    assert (complaint is None) == possible, complaint
    assert possible or "would have had other learning rates" in complaint


@pytest.mark.parametrize("depends", [True, False, None])
def test_masks_that_depend_on_the_length_keep_it(monkeypatch, depends):
    monkeypatch.setattr(masks, "SCHEDULES", dict(masks.SCHEDULES))
    monkeypatch.setitem(training_config.CHOICES, "masks", masks.SCHEDULES)
    name = f"own-{depends}"
    said = {} if depends is None else {"depends_on_length": depends}
    masks.register_schedule(name, masks.two_stage, **said)
    held, longer = (schedule(stage2=n, schedule="constant", masks=name) for n in (5, 9))
    assert lengthening.objection(held, longer, 0) is None
    complaint = lengthening.objection(held, longer, 21)
    if depends is False:
        assert complaint is None
    else:
        assert f"with the schedule of masks {name!r} the 21 steps" in complaint


def test_before_its_first_checkpoint_a_run_can_have_any_length():
    assert lengthening.objection(schedule(), schedule(1, 1), 0) is None
