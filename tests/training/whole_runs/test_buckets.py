"""Runs, images and weights at URLs."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import fsspec
import jax
import numpy as np
import pytest

from rdonet_jax.cli.commands import train
from rdonet_jax.imaging import shard_writer, shards
from rdonet_jax.models import zoo
from rdonet_jax.storage import urls
from rdonet_jax.training.folder import mirror, run_lease, working_folder
from rdonet_jax.training.folder.run_dir import LOCK_FILE, RunError

from .conftest import SHORT, curve, ended, newest_state, on_two_hosts, started

pytestmark = pytest.mark.once

STEPS = 9
QUICK = [*SHORT[: SHORT.index("--steps")], "--steps", str(STEPS), "--log-every", "2",
         "--checkpoint-every", "3", "--validation-every", "4", "--preview-every",
         "1000"]  # fmt: skip


@pytest.fixture
def run(light_steps, photograph_folder, tiny_weights, monkeypatch):
    """`train.main` on a run in a folder or at a URL, by default on local images."""
    monkeypatch.setattr(mirror, "PERIOD_S", 0.02)
    monkeypatch.setattr(run_lease, "SETTLING_S", 0.0)

    def run(target, *more, data=photograph_folder, weights=tiny_weights):
        given = ["--data", data, "--run", target, "--start", weights, *more]
        return train.main([*QUICK, *map(str, given)])

    return run


def put(folder: Path, url: str) -> str:
    """Copies the files of a folder to a URL."""
    for path in folder.rglob("*"):
        if path.is_file():
            urls.upload(path, urls.join(url, path.relative_to(folder).as_posix()))
    return url


def assert_equal(run: str, local: Path) -> None:
    """A run at a URL has the log and the state of a local one, bit for bit."""
    with working_folder.fetch_run(run) as copy:
        assert curve(copy) == curve(local)
        jax.tree_util.tree_map(
            np.testing.assert_array_equal, newest_state(copy), newest_state(local)
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "store", ["memory", pytest.param("s3", marks=pytest.mark.long)], indirect=True
)
def test_a_run_in_a_bucket_on_images_and_weights_from_there_is_a_local_run(
    store, run, photograph_folder, tiny_weights, tmp_path, capsys
):
    images = put(photograph_folder, urls.join(store, "images"))
    weights = urls.join(store, "weights", tiny_weights.name)
    urls.upload(tiny_weights, weights)
    assert run(tmp_path / "run") == 0
    target = urls.join(store, "run")
    assert run(target, data=images, weights=weights) == 0
    assert f"{target}: finished after step {STEPS}" in capsys.readouterr().err
    assert_equal(target, tmp_path / "run")
    names = set(urls.listed(target))
    events = {name for name in names if name.startswith("tensorboard/")}
    assert len(events) == 1
    assert names - events == {
        "config.json", "log.jsonl", "checkpoints/6.zip", "checkpoints/9.zip", "best/4.zip",
    }  # fmt: skip
    assert run(target, data=images, weights=weights) == 1
    assert f"{target}: there is a run already; continue it with" in capsys.readouterr().err
    packed = urls.join(store, "shards")
    shard_writer.pack([photograph_folder], packed, shards.TAR)
    for same in (images, packed):
        assert run(target, "--resume", data=same, weights=weights) == 0
        assert "was finished already" in capsys.readouterr().err
    assert train.main(["export", target, "name", "--out", urls.join(store, "out")]) == 0
    exported = capsys.readouterr().out.strip()
    assert exported.startswith(urls.join(store, "out/name-"))
    local = tmp_path / "run"
    assert train.main(["export", str(local), "name", "--out", str(tmp_path)]) == 0
    ours, theirs = zoo.load(exported), zoo.load(capsys.readouterr().out.strip())
    jax.tree_util.tree_map(np.testing.assert_array_equal, ours.params, theirs.params)


@pytest.mark.slow
def test_a_run_goes_on_from_whatever_a_killed_one_has_left_in_a_bucket_bit_for_bit(
    run, tmp_path, monkeypatch
):
    """What a killed process leaves is what was there at that moment."""
    monkeypatch.setattr(run_lease, "_is_gone", lambda held: True)  # it was this process
    store = fsspec.filesystem("memory")
    moments: list[dict[str, bytes]] = []

    def contents() -> dict[str, bytes]:
        return {name: store.cat_file(name) for name in store.find("/killed")}

    with monkeypatch.context() as patch:
        for name in ("write", "upload", "remove"):
            changed = getattr(urls, name)

            def changing(*given, changed=changed):
                moments.append(contents())
                changed(*given)

            patch.setattr(urls, name, changing)
        assert run("memory://killed/run") == 0
    assert run(tmp_path / "whole") == 0
    moments = [left for left in moments if "/killed/run/config.json" in left]
    steps = set()
    for left in (moments[n] for n in np.linspace(0, len(moments) - 1, 4).astype(int)):
        store.rm("/killed", recursive=True)
        for name, content in left.items():
            store.pipe_file(name, content)
        steps.add(max((int(Path(n).stem) for n in left if "checkpoints/" in n), default=-1))
        assert f"/killed/run/{LOCK_FILE}" in left
        assert run("memory://killed/run", "--resume") == 0
        assert_equal("memory://killed/run", tmp_path / "whole")
    assert len(steps) > 1


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("s3://no-such-bucket/run", "s3://no-such-bucket/run: there is no such bucket"),
        ("gs://b/run", "gs://b/run: gs:// needs a package that is not installed: gcsfs"),
        ("nothing://b/run", "nothing://b/run: cannot be accessed (Protocol not known: noth"),
    ],
)
def test_a_run_that_cannot_be_at_a_url_says_so_and_leaves_no_folder(
    s3_server, run, monkeypatch, tmp_path, capsys, target, sentence
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert run(target) == 1
    said = capsys.readouterr().err.strip()
    assert sentence in said and "\n" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_bucket_that_fails_at_the_end_leaves_what_is_not_there_in_a_folder_that_is_named(
    run, monkeypatch, capsys
):
    written = urls.write

    def failing(url, content):
        if url.endswith("log.jsonl"):
            raise urls.UrlError(url, "access is denied")
        written(url, content)

    monkeypatch.setattr(urls, "write", failing)
    monkeypatch.setattr(mirror.time, "sleep", lambda _: None)
    assert run("memory://failing/run") == 1
    said = capsys.readouterr().err.splitlines()[-1]
    sentence = (
        "memory://failing/run/log.jsonl: access is denied; "
        "what is not at memory://failing/run yet is in "
    )
    assert sentence in said
    folder = Path(said.partition(sentence)[2])
    assert curve(folder)
    shutil.rmtree(folder)


def test_a_run_whose_bucket_fails_for_long_or_is_taken_over_stops():
    sentences = ["", ""]
    working = working_folder.WorkingFolder(
        Path("x"), False, (lambda: sentences[0], lambda: sentences[1])
    )
    stop_request = working.with_failure_checks(lambda step: "SIGTERM" if step == 2 else "")
    assert (stop_request(1), stop_request(2)) == ("", "SIGTERM")
    sentences[1] = "taken over"
    with pytest.raises(RunError, match="taken over"):
        stop_request(3)


COPYING_OFTEN = """
import sys
from rdonet_jax.cli.commands import train
from rdonet_jax.training.folder import mirror
mirror.PERIOD_S = 0.05
sys.exit(train.run(sys.argv[1:], "train.py"))
"""
"""`train.py`, but that it copies what is new all the time."""


@pytest.mark.long
def test_a_run_killed_and_resumed_in_a_bucket_is_bit_for_bit_one_that_never_stopped(
    s3, finished, photograph_folder, tiny_weights
):
    usual = [*SHORT, "--start", tiny_weights, "--data", photograph_folder, "--run", s3]
    process = started(usual, program=("-c", COPYING_OFTEN))
    limit = time.monotonic() + 300
    while not any(f"checkpoints/{step}.zip" in urls.listed(s3) for step in (8, 12, 16)):
        assert process.poll() is None and time.monotonic() < limit, process.said()
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert LOCK_FILE in urls.listed(s3)
    ended(started([*usual, "--resume"]))
    assert_equal(s3, finished)
    assert LOCK_FILE not in urls.listed(s3)


@pytest.mark.long
def test_two_hosts_train_in_a_bucket_without_a_shared_folder(
    s3, finished, photograph_folder, tiny_weights
):
    usual = [*SHORT, "--start", tiny_weights, "--data", photograph_folder, "--run", s3]
    for process in on_two_hosts(usual, 4):
        ended(process)
    whole = [name for name in urls.listed(s3) if name.startswith("checkpoints/")]
    assert whole == ["checkpoints/28.zip", "checkpoints/30.zip"]
    with working_folder.fetch_run(s3) as copy:
        ours, theirs = curve(copy), curve(finished)
    for step in range(1, 21):
        assert ours[step, False]["loss"] == pytest.approx(theirs[step, False]["loss"], rel=2e-4)
