"""How a run takes its folder, and when there is nothing left to do."""

from __future__ import annotations

import errno
import json
import os
import warnings

import numpy as np
import pytest
from PIL import Image

from rdonet_jax.core import presets
from rdonet_jax.core.config import ConfigError
from rdonet_jax.imaging import dataset
from rdonet_jax.runtime import multihost
from rdonet_jax.training import run as training_run
from rdonet_jax.training.batches import crops as training_crops
from rdonet_jax.training.config import RunLength, TrainingConfig
from rdonet_jax.training.folder import run_dir
from rdonet_jax.training.folder.checkpoints import Progress
from rdonet_jax.training.folder.run_dir import Run, RunError

pytestmark = pytest.mark.once

RUN = Run(presets.tiny(), TrainingConfig(), "tiny")


@pytest.fixture
def causes(monkeypatch) -> list[str]:
    """What this host tells the others. They tell of no errors."""
    texts: list[str] = []

    def gather(name, text, patience_ms):
        texts.append(text)
        return [text]

    monkeypatch.setattr(multihost, "gather_texts", gather)
    return texts


def claim(folder, resume=False) -> None:
    with training_run._claimed(folder, RUN, resume):
        assert (folder / run_dir.CONFIG_FILE).exists()


def test_what_the_first_host_cannot_do_in_the_folder_is_an_error_on_all_hosts(causes, tmp_path):
    with run_dir.locked(tmp_path), pytest.raises(RunError, match="another process is training"):
        claim(tmp_path)
    with pytest.raises(RunError, match="holds no training run"):
        claim(tmp_path, resume=True)
    claim(tmp_path)
    with pytest.raises(RunError, match="there is a run already"):
        claim(tmp_path)
    claim(tmp_path, resume=True)  # nothing has kept the lock
    words = ["another process", "no training run", "", "a run already", ""]
    assert all(word in text for word, text in zip(words, causes, strict=True))


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_whose_checkpoints_could_not_be_read_is_refused_before_it_is_made(
    tmp_path, resume
):
    folder = tmp_path / "small[lr=1e-4]"
    with pytest.raises(RunError, match=r"choose one without \[lr=1e-4\] in its path"):
        run_dir.check(folder, RUN, resume)
    assert not folder.exists()


@pytest.mark.parametrize("number", run_dir.NO_LOCKS)
def test_a_file_system_without_locks_holds_a_run_with_a_warning(tmp_path, monkeypatch, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(run_dir.fcntl, "flock", fail)
    with (
        pytest.warns(run_dir.LockWarning, match=f"^{tmp_path}: this file system has no locks"),
        run_dir.locked(tmp_path),
    ):
        pass


def test_another_error_of_a_lock_names_the_folder(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(run_dir.fcntl, "flock", fail)
    with pytest.raises(RunError, match=f"^{tmp_path}: cannot be locked"), run_dir.locked(tmp_path):
        pass


def test_other_hosts_write_nothing_and_raise_what_the_first_one_tells(tmp_path, monkeypatch):
    monkeypatch.setattr(multihost, "is_first", lambda: False)
    monkeypatch.setattr(multihost, "gather_texts", lambda *_: ["the disk is full", ""])
    with pytest.raises(ConfigError, match="host 0: the disk is full"):
        claim(tmp_path)
    assert not list(tmp_path.iterdir())


def test_hosts_with_different_validation_crops_all_name_the_image_that_one_passed_over(
    tmp_path, monkeypatch
):
    random = np.random.default_rng(0)
    for name in "abc":
        pixels = random.integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")

    def held_out() -> tuple[np.ndarray, dataset.ImageDataset]:
        images = dataset.usable(found, 64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dataset.DatasetWarning)
            for path in damaged:
                path.write_bytes(path.read_bytes()[:-500])
            return training_crops.center_crops(images, 64), images

    sent: list = []

    def gather(name, value):
        sent.append(json.loads(json.dumps(value)))
        return sent

    found, damaged = dataset.find([tmp_path]), []
    monkeypatch.setattr(multihost, "gather_json", gather)
    whole = held_out()
    training_run._require_equal_crops(*whole)
    training_run._require_equal_crops(*whole)
    damaged.append(tmp_path / "b.png")
    cause = f"differ in their validation crops; host 2 has passed over {damaged[0]}$"
    with pytest.raises(ConfigError, match=cause):
        training_run._require_equal_crops(*held_out())


def test_a_run_by_the_clock_that_is_finished_can_have_no_more_minutes(tmp_path):
    config, more = TrainingConfig(minutes=9), RunLength(more_minutes=3)
    done = Progress(step=70, switched_at=7, reader={}, passed=1.0)
    assert training_run._is_finished(tmp_path, config, RunLength(), done)
    with pytest.raises(RunError, match=f"{tmp_path}: the run is finished, and more_minutes are"):
        training_run._is_finished(tmp_path, config, more, done)
    assert not training_run._is_finished(tmp_path, config, more, done.replace(passed=0.5))
