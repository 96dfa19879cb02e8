"""Which checkpoints of a run are there, after it has gone back to an earlier one too."""

from __future__ import annotations

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from rdonet_jax.core import presets
from rdonet_jax.models import registry
from rdonet_jax.training.config import TrainingConfig
from rdonet_jax.training.folder import checkpoints
from rdonet_jax.training.folder.checkpoints import (
    BEST,
    LAST,
    CheckpointError,
    Checkpoints,
    Progress,
)
from rdonet_jax.training.steps import train_state

NETWORK_CONFIG, SCHEDULE = presets.tiny(), TrainingConfig(start="random")


@pytest.fixture(scope="module")
def state() -> train_state.TrainState:
    """A state whose parameters are zero."""
    shapes = jax.eval_shape(lambda: registry.init_params(NETWORK_CONFIG, jax.random.key(0)))
    zeros = jax.tree_util.tree_map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return train_state.state_of(NETWORK_CONFIG, SCHEDULE, zeros)


def at(step: int) -> Progress:
    return Progress(step, None, {})


def steps_in(folder) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir())


@pytest.mark.slow
def test_a_run_that_goes_back_has_its_best_checkpoint_until_it_writes_another(state, tmp_path):
    with Checkpoints(tmp_path) as kept:
        kept.save(state, at(2))
        kept.save(state, at(6), best=True)
    shutil.rmtree(tmp_path / LAST / "6")
    with Checkpoints(tmp_path) as kept:
        assert kept.restore(NETWORK_CONFIG, SCHEDULE)[1].step == 2
        kept.save(state, at(3))
        kept.wait()
        assert steps_in(tmp_path / BEST) == [6]
        kept.save(state, at(4), best=True)
    assert steps_in(tmp_path / BEST) == [4]
    with Checkpoints(tmp_path, read_only=True) as kept:
        assert kept.restore(NETWORK_CONFIG, SCHEDULE, best=True)[1].step == 4


@pytest.mark.slow
def test_a_best_checkpoint_is_replaced_by_that_of_the_same_step_done_again(state, tmp_path):
    with Checkpoints(tmp_path) as kept:
        kept.save(state, at(6).replace(best_loss=2.0), best=True)
    shutil.rmtree(tmp_path / LAST / "6")
    with Checkpoints(tmp_path) as kept:
        kept.save(state, at(6).replace(best_loss=1.0), best=True)
        kept.wait()
        assert kept.restore(NETWORK_CONFIG, SCHEDULE, best=True)[1].best_loss == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "a[b", "a]b {c} %20 # a::b ü ~ $ ' | + = @ &"])
def test_a_checkpoint_is_read_back_in_every_folder_that_is_not_refused(state, tmp_path, name):
    folder = tmp_path / name
    assert not checkpoints.objection(folder)
    with Checkpoints(folder) as kept:
        kept.save(state, at(2))
    with Checkpoints(folder, read_only=True) as kept:
        assert kept.restore(NETWORK_CONFIG, SCHEDULE)[1].step == 2


def test_a_folder_whose_checkpoints_could_not_be_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for part in ("*", "?", "[lr=1e-4]", "\\"):
        for folder in (Path(f"small{part}"), Path(f"runs{part}x/one")):
            assert checkpoints.objection(folder) == (
                f"{tmp_path}/{folder}: checkpoints in such a folder could not be read; choose one "
                f"without {part} in its path"
            )
    assert not checkpoints.objection(Path("a[b/c]d"))


def test_a_checkpoint_that_would_not_be_the_newest_one_is_an_error(state, tmp_path):
    with Checkpoints(tmp_path) as kept, pytest.raises(CheckpointError) as caught:
        kept.save(state, at(6))
        kept.save(state, at(4))
    assert str(caught.value) == (
        f"{tmp_path / LAST}: a checkpoint could not be written "
        "(step 4 is not after the newest one); that of step 6 is kept"
    )
