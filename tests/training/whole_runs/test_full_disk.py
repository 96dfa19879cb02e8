"""A checkpoint that cannot be written: one sentence, and the one before it stays."""

from __future__ import annotations

import contextlib
import resource
import signal
import sys

import jax
import numpy as np
import pytest

from rdonet_jax.core import presets
from rdonet_jax.models import registry
from rdonet_jax.training.config import TrainingConfig
from rdonet_jax.training.folder import checkpoints
from rdonet_jax.training.steps import train_state

NETWORK_CONFIG, SCHEDULE = presets.tiny(), TrainingConfig(start="random")


@contextlib.contextmanager
def largest_file(size: int):
    """No file of this process may become larger: what a full disk does, without one."""
    held = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, held[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, held)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def state() -> train_state.TrainState:
    """Parameters that no compression makes smaller."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: registry.init_params(NETWORK_CONFIG, jax.random.key(0)))
    drawn = jax.tree_util.tree_map(lambda leaf: rng.normal(size=leaf.shape).astype("f"), shapes)
    return train_state.state_of(NETWORK_CONFIG, SCHEDULE, drawn)


@pytest.mark.slow
def test_a_disk_without_space_is_told_in_one_sentence_and_the_last_checkpoint_is_kept(
    state, tmp_path, capfd, caplog, monkeypatch
):
    thrown = []
    monkeypatch.setattr(sys, "unraisablehook", thrown.append)
    with checkpoints.Checkpoints(tmp_path) as kept:
        kept.save(state, checkpoints.Progress(2, None, {"next": 2}))
        kept.wait()
    capfd.readouterr()
    caplog.clear()
    with (
        pytest.raises(checkpoints.CheckpointError) as caught,
        largest_file(20_000),
        checkpoints.Checkpoints(tmp_path) as kept,
    ):
        kept.save(state, checkpoints.Progress(4, None, {"next": 4}))
        kept.wait()
    said = str(caught.value)
    assert "could not be written (File too large); that of step 2 is kept" in said
    assert "\n" not in said
    assert not capfd.readouterr().out and not thrown
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert [path.name for path in (tmp_path / checkpoints.LAST).iterdir()] == ["2"]
    with checkpoints.Checkpoints(tmp_path) as kept:
        restored, progress = kept.restore(NETWORK_CONFIG, SCHEDULE)
    assert progress.step == checkpoints.newest_step(tmp_path) == 2
    jax.tree_util.tree_map(np.testing.assert_array_equal, restored.params, state.params)
