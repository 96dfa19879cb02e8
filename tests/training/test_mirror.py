"""The copy of a run's folder at a URL: whole at every moment, and never less than was there."""

from __future__ import annotations

import errno
import shutil
import zipfile
from pathlib import Path

import pytest

from rdonet_jax.storage import urls
from rdonet_jax.training.folder import mirror
from rdonet_jax.training.folder.mirror import Mirror, UncopiedError

pytestmark = pytest.mark.once


@pytest.fixture
def store() -> str:
    return "memory://mirror/run"


@pytest.fixture(autouse=True)
def alone(store, monkeypatch):
    """Nothing at the URL, no thread that copies by itself, no waiting."""
    for name in urls.listed(store):
        urls.remove(urls.join(store, name))
    monkeypatch.setattr(mirror, "PERIOD_S", 3600.0)
    monkeypatch.setattr(mirror.time, "sleep", lambda _: None)


def put_checkpoint(run: Path, kind: str, step: int) -> Path:
    """A checkpoint of two files, one in a folder."""
    folder = run / kind / str(step)
    (folder / "state").mkdir(parents=True)
    (folder / "state" / "arrays").write_bytes(bytes(1000))
    (folder / "progress").write_text(str(step))
    return folder


def at(url: str) -> set[str]:
    return set(urls.listed(url))


def vanishing(monkeypatch, moment: str, folder: Path, left: int = 0) -> None:
    """Lets a folder vanish, but for some files, at a moment while it is packed."""
    usual = zipfile.ZipFile

    class File(usual):
        def __init__(self, *given, **options):
            self._vanish("opened")
            super().__init__(*given, **options)

        def write(self, *given):
            super().write(*given)
            self._vanish("written")

        def close(self):
            super().close()
            self._vanish("closed")

        def _vanish(self, now: str) -> None:
            if now == moment and folder.exists():
                for path in [path for path in folder.rglob("*") if path.is_file()][left:]:
                    path.unlink()
                if not left:
                    shutil.rmtree(folder)

    monkeypatch.setattr(mirror.zipfile, "ZipFile", File)


@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("moment", ["opened", "written", "closed"])
@pytest.mark.parametrize("kind", ["checkpoints", "best"])
def test_a_checkpoint_that_vanishes_while_it_is_packed_leaves_the_older_one(
    store, tmp_path, monkeypatch, kind, moment, left
):
    copies = Mirror(tmp_path, store)
    first = put_checkpoint(tmp_path, kind, 3)
    copies.copy()
    assert at(store) == {f"{kind}/3.zip"}
    shutil.rmtree(first)
    second = put_checkpoint(tmp_path, kind, 6)
    with monkeypatch.context() as patch:
        vanishing(patch, moment, second, left)
        copies.copy()
    assert at(store) == {f"{kind}/3.zip"}
    assert list(tmp_path.glob(".*")) == []
    shutil.rmtree(second, ignore_errors=True)
    put_checkpoint(tmp_path, kind, 9)
    copies.copy()
    assert at(store) == {f"{kind}/9.zip"}
    mirror.fetch(store, tmp_path / "fetched")
    found = [path for path in (tmp_path / "fetched" / kind / "9").rglob("*") if path.is_file()]
    assert {path.name for path in found} == {"arrays", "progress"}


def test_a_checkpoint_that_is_about_to_be_removed_is_not_copied(store, tmp_path):
    copies = Mirror(tmp_path, store)
    for step in (3, 6, 9):
        put_checkpoint(tmp_path, "checkpoints", step)
    copies.copy()
    assert at(store) == {"checkpoints/6.zip", "checkpoints/9.zip"}


def test_the_newest_checkpoint_of_one_kind_replaces_none_of_the_other(store, tmp_path):
    copies = Mirror(tmp_path, store)
    best = put_checkpoint(tmp_path, "best", 3)
    put_checkpoint(tmp_path, "checkpoints", 3)
    copies.copy()
    shutil.rmtree(best)
    put_checkpoint(tmp_path, "checkpoints", 6)
    copies.copy()
    assert at(store) == {"best/3.zip", "checkpoints/3.zip", "checkpoints/6.zip"}


def test_a_best_checkpoint_of_an_earlier_step_replaces_one_of_a_later_step(store, tmp_path):
    copies = Mirror(tmp_path, store)
    later = put_checkpoint(tmp_path, "best", 9)
    copies.copy()
    shutil.rmtree(later)
    copies.copy()
    assert at(store) == {"best/9.zip"}
    put_checkpoint(tmp_path, "best", 6)
    copies.copy()
    assert at(store) == {"best/6.zip"}


def test_a_best_checkpoint_that_is_written_again_is_copied_again(store, tmp_path):
    copies = Mirror(tmp_path, store)
    first = put_checkpoint(tmp_path, "best", 9)
    copies.copy()
    shutil.rmtree(first)
    again = put_checkpoint(tmp_path, "best", 9)
    (again / "progress").write_text("again")
    copies.copy()
    mirror.fetch(store, tmp_path / "fetched")
    assert (tmp_path / "fetched" / "best" / "9" / "progress").read_text() == "again"


def test_a_checkpoint_that_is_there_is_not_copied_again(store, tmp_path, monkeypatch):
    put_checkpoint(tmp_path, "best", 9)
    Mirror(tmp_path, store).copy()
    monkeypatch.setattr(urls, "upload", lambda *_: pytest.fail("copied again"))
    Mirror(tmp_path, store).copy()


def test_an_archive_without_files_is_no_checkpoint(store, tmp_path):
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    urls.upload(tmp_path / "empty.zip", urls.join(store, "checkpoints/3.zip"))
    with pytest.raises(urls.UrlError, match=r"3\.zip: is no checkpoint"):
        mirror.fetch(store, tmp_path / "fetched")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), ValueError("odd")])
def test_every_error_is_a_failure_to_copy(store, tmp_path, monkeypatch, error):
    def failing(*_, **__):
        raise error

    copies = Mirror(tmp_path, store)
    put_checkpoint(tmp_path, "checkpoints", 3)
    monkeypatch.setattr(mirror.zipfile, "ZipFile", failing)
    with (
        pytest.raises(UncopiedError, match=rf"^{store}: cannot be kept up to date \(.*\)$"),
        copies,
    ):
        pass
    assert copies.uncopied


def test_copying_goes_on_after_an_error_and_fails_after_its_patience(store, tmp_path, monkeypatch):
    monkeypatch.setattr(mirror, "PATIENCE_S", -1.0)
    copies = Mirror(tmp_path, store)
    causes = iter(["odd", "", "odd again"])
    seen: list[str] = []

    def wait(_: float) -> bool:
        seen.append(copies.failure)
        return len(seen) == 4

    monkeypatch.setattr(copies, "_attempt", lambda: next(causes))
    monkeypatch.setattr(copies._ended, "wait", wait)
    copies._watch()
    assert seen == ["", "odd", "", "odd again"]


def test_what_may_not_be_written_counts_as_not_copied(store, tmp_path):
    (tmp_path / "log.jsonl").write_text("x")
    copies = Mirror(tmp_path / "none", store, lambda: False)
    with pytest.raises(UncopiedError, match="is not written to without its lock"), copies:
        pass
    assert at(store) == set()
