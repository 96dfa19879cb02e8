"""Evaluations over several hosts: every image once, the numbers of one host, one table."""

from __future__ import annotations

import json
import subprocess
import sys

import jax
import pytest

from rdonet_jax.cli.commands import eval as eval_command
from rdonet_jax.core.config import ConfigError
from rdonet_jax.evaluation import hosts, real_files
from rdonet_jax.evaluation.measures import EvaluationError
from rdonet_jax.evaluation.results import Row
from rdonet_jax.runtime import multihost
from tests.conftest import ROOT
from tests.training.whole_runs.conftest import cluster_of_two

NAMES = ["a", "b", "c"]
ROWS = {name: Row(name, 0.1 + n, {"psnr": None, "ms-ssim": 1 / 3}) for n, name in enumerate(NAMES)}


@pytest.fixture
def two_hosts(monkeypatch):
    """This process is the second of two hosts; `gathered` gives what is named as the first's."""
    theirs: list[dict] = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(
        multihost, "gather_json", lambda name, own, _: json.loads(json.dumps([theirs, own]))
    )
    return theirs


def test_hosts_share_the_images_and_each_gets_all_rows(two_hosts):
    own = hosts.share(ROWS)
    assert list(own) == ["b"]
    two_hosts += [ROWS["c"]._asdict(), ROWS["a"]._asdict()]
    assert hosts.gather_rows(own, NAMES) == list(ROWS.values())


@pytest.mark.parametrize("theirs", [["a"], ["a", "b", "c"], ["a", "c", "c"], ["a", "d"]])
def test_rows_that_are_missing_or_double_are_an_error(two_hosts, theirs):
    two_hosts += [{**ROWS["a"]._asdict(), "name": name} for name in theirs]
    with pytest.raises(EvaluationError, match="3 images were evaluated by 2 hosts"):
        hosts.gather_rows({"b": ROWS["b"]}, NAMES)


def test_a_single_host_has_all():
    assert hosts.share(ROWS) == ROWS
    assert hosts.gather_rows(ROWS, NAMES) == list(ROWS.values())
    with pytest.raises(ValueError), hosts.raising_on_all():
        raise ValueError


def test_other_hosts_raise_what_one_has_met(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost, "gather_texts", lambda *_: ["a.png: is damaged", ""])
    with pytest.raises(ConfigError, match="^host 0: a.png: is damaged$"), hosts.raising_on_all():
        pass


@pytest.mark.parametrize(
    ("data", "keep", "cause"),
    [("nowhere", None, "nowhere: no such folder"), (".", "kept", "a.png.rdo: exists already")],
)
def test_what_a_host_finds_wrong_before_it_begins_is_told_to_the_others(
    folder, tiny_model, tmp_path, monkeypatch, data, keep, cause
):
    monkeypatch.chdir(folder)
    kept = keep and tmp_path / keep
    if kept:
        kept.mkdir()
        (kept / "a.png.rdo").write_bytes(b"")
    sent: list[str] = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost, "gather_texts", lambda name, text, _: [sent.append(text) or ""])
    with pytest.raises(ValueError, match=cause):
        real_files.evaluate(tiny_model, [data], real_files.Settings(keep=kept))
    assert len(sent) == 1 and cause in sent[0]


@pytest.mark.parametrize(
    "options",
    [["--anchors", "jpeg", "--distributed"], ["--anchors", "jpeg", "--process", "1"]],
)
def test_hosts_share_models_alone(options, capsys):
    assert eval_command.main(["--data", "x", *options]) == 2
    assert "several hosts share the images of --model" in capsys.readouterr().err


def said_by(text: str) -> list[str]:
    """The lines of the command itself, and not of the library that connects CPUs."""
    return [line for line in text.splitlines() if not line.startswith("[Gloo]")]


def outputs(processes: list[subprocess.Popen]) -> list[tuple[str, str]]:
    """What each has written, once all have ended; none is left when one has failed."""
    try:
        return [process.communicate(timeout=600) for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
def test_two_processes_give_the_table_and_the_curves_of_one(folder, mini_weights, tmp_path):
    usual = ["--data", folder, "--model", mini_weights, "--estimate", "--files", "--per-image",
             "--quality", "20", "70", "--anchors", "jpeg"]  # fmt: skip

    def begun(*more):
        command = [sys.executable, "eval.py", *map(str, usual), *map(str, more)]
        return subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    alone = begun("-o", tmp_path / "alone.json")
    table, said = alone.communicate(timeout=600)
    assert alone.returncode == 0, said
    cluster = cluster_of_two()
    both = [begun("-o", tmp_path / f"{n}.json", *cluster, n) for n in range(2)]
    texts = outputs(both)
    assert [process.returncode for process in both] == [0, 0], texts
    assert said_by(texts[1][0]) == [] and not (tmp_path / "1.json").exists()

    def rates(text: str) -> list[list[str]]:
        return [line.split()[:4] for line in said_by(text)]

    assert rates(texts[0][0]) == rates(table)
    ours, theirs = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("0", "alone"))
    for one, other in zip(ours, theirs, strict=True):
        for found in (one, other):
            for image in found["images"]:
                image.pop("encoding_time", None), image.pop("decoding_time", None)
        assert one["images"] == other["images"]
        assert one["settings"] == other["settings"]


@pytest.mark.slow
def test_images_that_one_process_does_not_find_end_both_with_a_sentence(
    folder, mini_weights, tmp_path
):
    usual = [sys.executable, "eval.py", "--model", mini_weights, "--estimate", *cluster_of_two()]
    nowhere = tmp_path / "nowhere"
    both = [
        subprocess.Popen(
            list(map(str, [*usual, n, "--data", data])),
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for n, data in enumerate([folder, nowhere])
    ]  # fmt: skip
    said = [error for _, error in outputs(both)]
    assert [process.returncode for process in both] == [1, 1], said
    assert f"host 1: {nowhere}: no such folder" in said[0]
    assert "Traceback" not in "".join(said)


@pytest.mark.slow
def test_what_one_process_cannot_read_ends_both_with_a_sentence(folder, mini_weights, tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "images" / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "images" / "b.png").write_bytes(b"nothing")
    usual = ["--data", tmp_path / "images", "--model", mini_weights, "--estimate"]
    cluster = cluster_of_two()
    both = [
        subprocess.Popen(
            [sys.executable, "eval.py", *map(str, [*usual, *cluster, n])],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for n in range(2)
    ]  # fmt: skip
    said = [error for _, error in outputs(both)]
    assert [process.returncode for process in both] == [1, 1], said
    assert "b.png: is damaged or no image" in said[1] and "host 1: " in said[0]
    assert "Traceback" not in "".join(said)
