"""Runs and weights at URLs: what could not be copied there stays, and the error says where."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from rdonet_jax.cli.commands import train
from rdonet_jax.core.config import ConfigError
from rdonet_jax.runtime import interrupts, multihost
from rdonet_jax.storage import urls
from rdonet_jax.training.divergence import DivergenceError
from rdonet_jax.training.folder import mirror, run_lease, working_folder
from rdonet_jax.training.folder.mirror import UncopiedError
from rdonet_jax.training.folder.run_dir import RunError

pytestmark = pytest.mark.once

RUN, WEIGHTS = "memory://bucket/run", "memory://bucket/weights"


@pytest.fixture(autouse=True)
def temporary(monkeypatch, tmp_path) -> Path:
    """The folder of temporary folders; nothing is at the URLs, and nobody waits."""
    for name in urls.listed("memory://bucket"):
        urls.remove(urls.join("memory://bucket", name))
    monkeypatch.setattr(mirror, "PERIOD_S", 3600.0)
    monkeypatch.setattr(mirror.time, "sleep", lambda _: None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def unwritable(monkeypatch):
    """Nothing but the lock can be written below these URLs."""

    def refuse(*urls_refused: str) -> None:
        written = urls.write

        def write(url, content):
            if url.startswith(urls_refused) and not url.endswith(".lock"):
                raise urls.UrlError(url, "access is denied")
            written(url, content)

        monkeypatch.setattr(urls, "write", write)

    return refuse


def folders(temporary: Path) -> list[Path]:
    return sorted(temporary.iterdir())


def test_a_temporary_folder_in_which_no_run_can_work_is_refused(temporary, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "a[b]"))
    (temporary / "a[b]").mkdir()
    with (
        pytest.raises(RunError, match=rf"^{temporary}/a.*: checkpoints in such a folder could not"),
        working_folder.open_run(RUN),
    ):
        pass
    assert not folders(temporary / "a[b]") and not urls.listed(RUN)


@pytest.mark.parametrize(
    "error",
    [RunError("stopped"), DivergenceError("stopped"), urls.UrlError(RUN, "stopped"),
     ZeroDivisionError("stopped")],
)  # fmt: skip
def test_an_error_inside_names_the_folder_that_holds_the_only_copy(unwritable, temporary, error):
    unwritable(RUN)
    with pytest.raises(type(error)) as caught, working_folder.open_run(RUN) as working:
        (working.folder / "log.jsonl").write_text("lines")
        raise error
    (folder,) = folders(temporary)
    assert str(caught.value).endswith(f"stopped; what is not at {RUN} yet is in {folder}")
    assert (folder / "log.jsonl").read_text() == "lines"


def test_ctrl_c_leaves_the_only_copy_with_a_warning(unwritable, temporary):
    unwritable(RUN)
    with (
        pytest.warns(working_folder.UncopiedWarning, match=f"what is not at {RUN} yet is in "),
        pytest.raises(KeyboardInterrupt),
        working_folder.open_run(RUN) as working,
    ):
        (working.folder / "log.jsonl").write_text("lines")
        raise KeyboardInterrupt
    assert len(folders(temporary)) == 1


def test_a_lost_lock_leaves_the_folder(temporary, monkeypatch):
    monkeypatch.setattr(run_lease.Lease, "may_write", lambda self: False)
    with (
        pytest.raises(RunError, match="taken over; what is not at"),
        working_folder.open_run(RUN) as working,
    ):
        (working.folder / "log.jsonl").write_text("lines")
        raise RunError("taken over")
    assert [path.name for path in folders(temporary)[0].iterdir()] == ["log.jsonl"]
    assert urls.listed(RUN) == {}


def test_an_error_inside_leaves_nothing_where_everything_was_copied(temporary):
    with pytest.raises(RunError) as caught, working_folder.open_run(RUN) as working:
        (working.folder / "log.jsonl").write_text("lines")
        raise RunError(f"{working.folder}: stopped")
    assert str(caught.value) == f"{RUN}: stopped"
    assert folders(temporary) == []
    assert urls.read(urls.join(RUN, "log.jsonl")) == b"lines"


def test_weights_that_cannot_be_copied_at_the_end_stay_and_are_one_sentence(unwritable, temporary):
    unwritable(WEIGHTS)
    with (
        pytest.raises(UncopiedError) as caught,
        working_folder.open_run(RUN) as run,
        working_folder.open_output(WEIGHTS) as weights,
    ):
        (run.folder / "log.jsonl").write_text("lines")
        (weights.folder / "a.safetensors").write_text("weights")
    (folder,) = folders(temporary)
    assert (folder / "a.safetensors").read_text() == "weights"
    assert str(caught.value) == (
        f"{WEIGHTS}/a.safetensors: access is denied; what is not at {WEIGHTS} yet is in {folder}"
    )
    assert isinstance(caught.value, train.EXPECTED)
    assert list(urls.listed(RUN)) == ["log.jsonl"]
    assert not interrupts.temporary_paths()


def test_both_folders_stay_and_are_named_where_neither_can_be_copied(unwritable, temporary):
    unwritable(RUN, WEIGHTS)
    with (
        pytest.raises(UncopiedError) as caught,
        working_folder.open_run(RUN) as run,
        working_folder.open_output(WEIGHTS) as weights,
    ):
        (run.folder / "log.jsonl").write_text("lines")
        (weights.folder / "a.safetensors").write_text("weights")
    assert len(folders(temporary)) == 2
    assert all(str(folder) in str(caught.value) for folder in folders(temporary))


def test_a_run_stops_after_failures_of_its_weights_too(tmp_path):
    working = working_folder.WorkingFolder(tmp_path, failures=(lambda: "",))
    weights = working_folder.WorkingFolder(tmp_path, failures=(lambda: "weights fail",))
    with pytest.raises(RunError, match="weights fail"):
        working.with_failures_of(weights).with_failure_checks(lambda step: "")(1)


def test_a_copy_to_read_goes_away(temporary):
    urls.write(urls.join(RUN, "config.json"), b"{}")
    with working_folder.fetch_run(RUN) as folder:
        assert (folder / "config.json").read_bytes() == b"{}"
        assert str(folder) in interrupts.temporary_paths()
    assert folders(temporary) == []


@pytest.fixture
def waits(monkeypatch) -> list[tuple[list[str], int]]:
    """What is at the run's URL when hosts wait for the last copies, and their patience."""
    found: list[tuple[list[str], int]] = []

    def gather(name, text, patience_ms):
        if name == "everything is copied":
            found.append((list(urls.listed(RUN)), patience_ms))
        return [text]

    monkeypatch.setattr(multihost, "gather_texts", gather)
    return found


def test_hosts_wait_until_the_first_one_has_copied_everything(waits, monkeypatch, tmp_path):
    with working_folder.open_run(RUN) as working:
        (working.folder / "log.jsonl").write_text("lines")
    monkeypatch.setattr(multihost, "is_first", lambda: False)
    for run in (RUN, tmp_path / "run"):
        with working_folder.open_run(run):
            pass
    assert waits == [(["log.jsonl"], multihost.A_DAY_MS)] * 3


def test_other_hosts_end_with_the_sentence_of_the_first_that_cannot_copy(monkeypatch, unwritable):
    sent: list[str] = []
    monkeypatch.setattr(multihost, "gather_texts", lambda name, text, _: [*sent, text])
    unwritable(RUN)
    with pytest.raises(UncopiedError) as caught, working_folder.open_run(RUN) as working:
        (working.folder / "log.jsonl").write_text("lines")
    monkeypatch.setattr(multihost, "is_first", lambda: False)
    with pytest.raises(ConfigError) as other, working_folder.open_run(RUN):
        sent.append(str(caught.value))
    assert str(other.value) == f"host 0: {caught.value}"
