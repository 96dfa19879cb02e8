"""Which options and names of the commands may be URLs, and what the others say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rdonet_jax.cli.commands import eval as eval_command
from rdonet_jax.cli.commands import train
from rdonet_jax.cli.files import jobs, remote_files
from rdonet_jax.codec import bitstream
from rdonet_jax.evaluation import curves
from rdonet_jax.storage import urls
from tests import curve_samples


def refusal(main, capsys, *line: str) -> str:
    assert main(line) in (1, 2)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("option", ["--keep", "--save-decoded", "--plot", "--report"])
def test_options_that_need_a_local_path_refuse_urls(option, capsys):
    line = ["--data", "d", "--model", "standard", option, "s3://bucket/x"]
    said = refusal(eval_command.main, capsys, *line)
    assert f"{option}: s3://bucket/x is a URL, and a local path is needed here" in said


def test_a_configuration_is_a_local_file(capsys):
    said = refusal(train.main, capsys, "--config", "s3://bucket/run.yaml")
    assert "s3://bucket/run.yaml is a URL" in said


def test_results_are_written_to_a_store_once_and_read_from_there(store, capsys):
    part, whole = urls.join(store, "part.json"), urls.join(store, "whole.json")
    curve = curve_samples.curve("a", shard=[1, 1])
    curves.write(part, [curve])
    assert curves.read(part)[0].points[0].mean.bpp == curve.points[0].mean.bpp
    line = ["--results", part, "--merge", "-o", whole]
    assert eval_command.main(line) == 0
    assert json.loads(urls.read(whole))["name"] == "a"
    said = refusal(eval_command.main, capsys, *line)
    assert f"{whole}: exists already and is not overwritten without --force" in said
    assert eval_command.main([*line, "--force"]) == 0


def test_a_model_that_is_not_in_a_store_is_a_sentence(store, capsys):
    url = urls.join(store, "x-0123456789abcdef.safetensors")
    said = refusal(eval_command.main, capsys, "--data", "d", "--model", url, "--estimate")
    assert f"{url}: there is no such file or bucket" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_files_at_urls_are_compressed_and_restored_there(rdonet, bundle, store):
    image = Path("a.png").read_bytes()
    photographs, coded = urls.join(store, "photographs"), urls.join(store, "coded")
    for name in ("one.png", "below/two.png", ".hidden.png", "notes.txt"):
        urls.write(urls.join(photographs, name), image)
    urls.write(urls.join(photographs, "bad.png"), b"none")
    code, out, err = rdonet("compress", photographs, "--out-dir", coded, "-j", 2)
    assert code == 1 and out.startswith("2 files, 1 failed, ")
    passed, bad = sorted(err.splitlines())
    assert f"rdonet: {photographs}/bad.png: is damaged or no image" in "".join((passed, bad))
    assert "files passed over in folders: 1 (.txt)" in err
    assert list(urls.listed(coded)) == ["below/two.png.rdo", "one.png.rdo"]
    bitstream.parse(urls.read(urls.join(coded, "one.png.rdo")))
    again = rdonet("compress", photographs, "--out-dir", coded)
    assert again.out.startswith("0 files, 2 were there already, 1 failed, ")
    code, out, err = rdonet("decompress", coded, "--out-dir", "back", "--json")
    assert (code, err) == (0, "") and Path("back/below/two.png").exists()
    facts = [json.loads(line) for line in out.splitlines()[:-1]]
    assert sorted(one["input"] for one in facts) == [
        urls.join(coded, "below/two.png.rdo"), urls.join(coded, "one.png.rdo")
    ]  # fmt: skip


def test_a_bucket_that_is_missing_is_a_sentence(rdonet, bundle, s3_server):
    code, _, err = rdonet("compress", "s3://none/a", "--out-dir", "out")
    assert code == 1 and err == "rdonet: s3://none/a: there is no such bucket\n"
    code, _, err = rdonet("compress", "a.png", "--out-dir", "s3://none/a")
    assert code == 1 and err.startswith("rdonet: s3://none/a/a.png.rdo: ") and err.count("\n") == 1


def test_names_in_lists_may_be_urls_that_have_a_folder_in_common():
    names = ["s3://bucket/a/b/x.png", "s3://bucket/a/y.png"]
    assert [job.target for job in jobs.compressions([], "s3://bucket/out", []).jobs] == []
    for listed in (names, names[::-1]):
        root = jobs.file_names.common_folder(listed)
        assert root == "s3://bucket/a"
        assert jobs._below_root(names[0], root) == "b/x.png"
    for other in ("s3://other/z.png", "gs://bucket/a/z.png", "local/z.png"):
        with pytest.raises(ValueError, match="have no folder in common"):
            jobs.file_names.common_folder([*names, other])


def test_results_that_are_there_are_found_by_listing_each_folder_once(store, tmp_path, monkeypatch):
    for name in ("a/x", "a/below/y", "b/z"):
        urls.write(urls.join(store, name), b"")
    (tmp_path / "here").touch()
    listed, calls = urls.listed, []
    monkeypatch.setattr(urls, "listed", lambda url: calls.append(url) or listed(url))
    there = [urls.join(store, name) for name in ("a/x", "a/below/y", "b/z")]
    there.append(str(tmp_path / "here"))
    missing = [urls.join(store, "a/none"), str(tmp_path / "none")]
    assert remote_files.existing([*there, *missing]) == set(there)
    assert calls == [urls.join(store, "a"), urls.join(store, "b")]


def test_one_file_at_a_url_needs_an_output_folder(refusal, folder):
    text = refusal("s3://bucket/a.png", "compress", "s3://bucket/a.png")
    assert text == "is a URL; say with --out-dir where results are to go"


def test_a_url_without_one_of_its_slashes_is_no_folder(refusal, rdonet, folder):
    cause = "is a URL that was made a path; give it as text, with both slashes"
    Path("names").write_text("s3:/bucket/b.png\n")
    for command in ("compress", "decompress"):
        assert refusal("s3:/bucket/x", command, "b.rdo", "--out-dir", "s3:/bucket/x") == cause
        assert refusal("s3:/bucket/x", command, "s3:/bucket/x") == cause
    done = rdonet("compress", "s3:/bucket/a", "--list", "names", "--out-dir", "out")
    assert (done.code, done.err.splitlines()) == (
        1, [f"rdonet: s3:/bucket/{name}: {cause}" for name in ("a", "b.png")]
    )  # fmt: skip


def test_times_and_permissions_are_those_of_local_files(refusal, folder):
    line = ["compress", "a.png", "--out-dir", "s3://bucket/out", "--preserve"]
    text = refusal("s3://bucket/out/a.png.rdo", *line)
    assert text == "--preserve goes with local files, not with URLs"
