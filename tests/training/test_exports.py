"""The weights that a run writes every few minutes."""

from __future__ import annotations

import pytest

from rdonet_jax.core import presets
from rdonet_jax.models import zoo
from rdonet_jax.storage import files
from rdonet_jax.training.config import TrainingConfig
from rdonet_jax.training.divergence import DivergenceError
from rdonet_jax.training.folder import exports, run_log
from rdonet_jax.training.folder.exports import Exports, ExportWarning
from rdonet_jax.training.folder.run_dir import Run, RunError
from tests import portable_params

NETWORK_CONFIG = presets.mini()
RUN = Run(NETWORK_CONFIG, TrainingConfig(minutes=9), "mini")


@pytest.fixture
def params():
    return portable_params.acting(NETWORK_CONFIG)


def started(folder, minutes=2.0, now=lambda: 0.0) -> Exports:
    return Exports(folder / "out", folder, RUN, minutes, now)


def test_only_the_newest_two_files_stay_and_they_load(tmp_path, params):
    (tmp_path / "out").mkdir()
    other = tmp_path / "out" / "notes.txt"
    other.write_text("mine")
    result = {"loss": 1.0, "bpp": 0.5, "psnr": 30.0, "shares": [1.0, 0.0, 0.0]}
    run_log.append(tmp_path / run_log.LOG_FILE, {"step": 900, "validation": result})
    with started(tmp_path) as written:
        for step in (0, 999, 1000, 20000):
            written.write(params, step)
    found = exports.weights_files(tmp_path / "out")
    listed = (tmp_path / exports.LIST_FILE).read_text().splitlines()
    assert listed == [path.name for path in found]
    assert [path.name.partition("-")[0] for path in found] == ["step_1000", "step_20000"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "notes.txt", *(path.name for path in found)
    }  # fmt: skip
    model = zoo.load(found[-1])
    assert model.config == NETWORK_CONFIG and model.record.steps_done == 20000
    assert model.record.validation.psnr == 30
    assert model.record.stored["training"]["minutes"] == 9


def test_files_of_the_command_before_count_among_the_newest_two(tmp_path, params):
    for steps in ((5, 10), (15,)):
        with started(tmp_path) as written:
            for step in steps:
                written.write(params, step)
    names = [path.name.partition("-")[0] for path in exports.weights_files(tmp_path / "out")]
    assert names == ["step_10", "step_15"]


def test_a_folder_that_cannot_be_made_is_refused_before_the_training(tmp_path):
    exports.require_writable(tmp_path / "new" / "weights")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match="no weights can be exported there: .*file is no folder"):
        exports.require_writable(tmp_path / "file" / "weights")
    assert not (tmp_path / "new").exists()


def write_all(folder, params, steps) -> None:
    """Writes files as one command of the run does."""
    with started(folder) as written:
        for step in steps:
            written.write(params, step)


def steps_in(folder) -> list[str]:
    return [path.name.partition("-")[0] for path in exports.weights_files(folder / "out")]


def test_files_of_other_runs_stay_whatever_their_steps(tmp_path, params):
    (tmp_path / "out").mkdir()
    others = [tmp_path / "out" / f"step_{step}-{'ab' * 8}.safetensors" for step in (1, 9000)]
    for path in others:
        path.write_bytes(b"")
    write_all(tmp_path, params, (10, 20, 30))
    assert steps_in(tmp_path) == ["step_1", "step_20", "step_30", "step_9000"]


def test_a_run_that_goes_back_keeps_the_files_it_writes_and_then_removes_those_beyond(
    tmp_path, params
):
    write_all(tmp_path, params, (760, 980))
    write_all(tmp_path, params, (620,))
    assert steps_in(tmp_path) == ["step_620", "step_980"]
    write_all(tmp_path, params, (700,))
    assert steps_in(tmp_path) == ["step_620", "step_700"]


def test_files_that_are_gone_are_not_missed(tmp_path, params):
    write_all(tmp_path, params, (5, 10))
    for path in exports.weights_files(tmp_path / "out"):
        path.unlink()
    write_all(tmp_path, params, (15,))
    assert steps_in(tmp_path) == ["step_15"]


def test_nothing_but_weights_of_a_run_is_removed_whatever_its_list_says(tmp_path, params):
    (tmp_path / "mine").write_text("")
    (tmp_path / exports.LIST_FILE).write_bytes(b"../mine\n\xff\n\n")
    write_all(tmp_path, params, (5, 10, 15))
    assert (tmp_path / "mine").exists() and steps_in(tmp_path) == ["step_10", "step_15"]


def test_what_ends_a_run_is_reported_though_its_last_file_cannot_be_written(
    tmp_path, params, monkeypatch
):
    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(files, "replace", fail)
    with (
        pytest.warns(ExportWarning, match=r"could not be written \(no space left\)"),
        pytest.raises(DivergenceError, match="not finite"),
        started(tmp_path) as written,
    ):
        written.write(params, 1)
        raise DivergenceError("not finite")
    with pytest.raises(OSError, match="no space left"), started(tmp_path) as written:
        written.write(params, 1)


def test_a_file_that_cannot_be_written_is_told_and_the_ones_before_stay_whole(
    tmp_path, params, monkeypatch
):
    with started(tmp_path) as written:
        written.write(params, 1)
        written.wait()

        def cut_off(path, write):
            def half(file):
                write(file)
                file.truncate(100)
                raise OSError("no space left")

            return replace(path, half)

        replace = files.replace
        monkeypatch.setattr(files, "replace", cut_off)
        written.write(params, 2)
        with pytest.raises(OSError, match="no space left"):
            written.wait()
        monkeypatch.undo()
        written.write(params, 3)
    names = [path.name.partition("-")[0] for path in (tmp_path / "out").iterdir()]
    assert sorted(names) == ["step_1", "step_3"]
    for path in exports.weights_files(tmp_path / "out"):
        zoo.load(path)


def test_a_file_is_due_every_few_minutes(tmp_path, params):
    now = [0.0]
    with started(tmp_path, 2.0, lambda: now[0]) as written:
        due = []
        for minute in range(7):
            now[0] = 60.0 * minute
            due.append(written.is_due())
            if due[-1]:
                written.write(params, minute)
    assert due == [False, False, True, False, True, False, True]


def test_without_an_interval_nothing_is_written(tmp_path, params):
    with started(tmp_path, 0.0, lambda: 1e9) as written:
        assert not written.is_due()
        written.write(params, 1)
    assert not (tmp_path / "out").exists()
