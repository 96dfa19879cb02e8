"""Many files: folders and lists, what is there already, what fails, and what is summed up."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rdonet_jax.cli.commands import fidelity
from rdonet_jax.cli.files import batch, jobs
from rdonet_jax.cli.files.file_result import FileResult
from rdonet_jax.cli.options import argument_types
from rdonet_jax.codec import bitstream, codec
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.imaging import reader, srgb
from rdonet_jax.ray import cluster_row
from rdonet_jax.rdo import encoder, rate_control, targets


@pytest.fixture
def album(folder, image):
    """A folder of images, one of them in a folder below, and a file that is none."""
    Path("album/below").mkdir(parents=True)
    srgb.save("album/one.png", image)
    srgb.save("album/below/two.jpg", image)
    Image.fromarray(image).convert("L").save("album/below/gray.tif")
    Path("album/notes.txt").write_text("no image")
    Path("album/.hidden.png").write_bytes(b"")
    return folder


def found(place):
    return sorted(str(path) for path in Path(place).rglob("*") if path.is_file())


@pytest.mark.slow
def test_a_folder_of_images_goes_there_and_back(rdonet, bundle, album):
    code, out, err = rdonet("compress", "album", "--out-dir", "out")
    assert (code, err) == (0, "rdonet: files passed over in folders: 1 (.txt)\n")
    assert found("out") == ["out/below/gray.tif.rdo", "out/below/two.jpg.rdo", "out/one.png.rdo"]
    size = sum(len(Path(path).read_bytes()) for path in found("out"))
    bpp = 8 * size / (3 * 9000)
    line = r"3 files, (\d+) bytes compressed, (\d\.\d{3}) bpp, [\d.]+ MB/s of pixels, [\d.]+ s\n"
    assert re.fullmatch(line, out).groups() == (str(size), f"{bpp:.3f}")

    code, out, err = rdonet("decompress", "out", "--out-dir", "back")
    assert (code, err) == (0, "")
    assert found("back") == ["back/below/gray.tif.png", "back/below/two.jpg.png", "back/one.png"]
    assert Image.open("back/below/gray.tif.png").mode == "L"
    assert Image.open("back/one.png").size == (90, 100)


def test_images_come_back_in_the_format_that_is_asked_for(rdonet, bundle, album):
    assert rdonet("decompress", "b.rdo", "--out-dir", "back", "--suffix", "WebP").code == 0
    assert found("back") == ["back/b.webp"]


def test_what_exists_is_left_alone_unless_it_is_to_be_overwritten(rdonet, bundle, album):
    Path("out").mkdir()
    Path("out/one.png.rdo").write_bytes(b"old")
    out = rdonet("compress", "album", "--out-dir", "out").out
    assert out.startswith("2 files, 1 were there already, ")
    assert Path("out/one.png.rdo").read_bytes() == b"old"
    assert rdonet("compress", "album", "--out-dir", "out", "--force").out.startswith("3 files, ")
    bitstream.parse(Path("out/one.png.rdo").read_bytes())


@pytest.mark.parametrize("workers", [1, 3])
def test_a_bad_file_is_named_and_stops_nothing(rdonet, bundle, album, workers):
    Path("album/bad.png").write_bytes(Path("a.png").read_bytes()[:-500])
    code, out, err = rdonet("compress", "album", "none.png", "--out-dir", "out", "-j", workers)
    assert code == 1
    lines = sorted(err.splitlines())
    assert [line.split(": ")[:2] for line in lines] == [
        ["rdonet", "album/bad.png"],
        ["rdonet", "files passed over in folders"],
        ["rdonet", "none.png"],
    ]  # fmt: skip
    assert out.startswith("3 files, 2 failed, ")
    assert len(found("out")) == 3


def test_shards_share_the_files_of_a_folder(rdonet, bundle, album):
    first = rdonet("compress", "album", "--out-dir", "out", "--shard", "1/2")
    assert first.code == 0 and first.out.startswith("2 files, ") and "passed over" in first.err
    assert len(found("out")) == 2
    second = rdonet("compress", "album", "--out-dir", "out", "--shard", "2/2")
    assert (second.code, second.err) == (0, "") and second.out.startswith("1 file, ")
    assert len(found("out")) == 3
    nothing = rdonet("decompress", "out", "--out-dir", "back", "--shard", "4/4")
    assert nothing.code == 0 and nothing.out.startswith("0 files, ")
    alone = rdonet("compress", "a.png", "--shard", "1/2")
    assert alone.code == 2 and "--list, --jobs, --ray and --shard go with --out-dir" in alone.err


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "1/0", "-1/2", "1/2/3", "a/b", "1/\u0662"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="no part of a whole"):
        argument_types.shard(text)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_another_process_makes_meanwhile_is_no_failure(
    rdonet, bundle, album, monkeypatch, workers
):
    compress = codec.encode_prepared

    def beaten(*arguments, **more):
        Path("out/below").mkdir(parents=True, exist_ok=True)
        Path("out/below/two.jpg.rdo").write_bytes(b"theirs")
        return compress(*arguments, **more)

    monkeypatch.setattr(codec, "encode_prepared", beaten)
    code, out, err = rdonet(
        "compress", "album/below/two.jpg", "album/one.png", "--out-dir", "out/below", "-j", workers
    )
    assert (code, err) == (0, "") and out.startswith("1 file, 1 were there already, ")
    assert Path("out/below/two.jpg.rdo").read_bytes() == b"theirs"


def test_lists_name_files_one_per_line(rdonet, bundle, album, monkeypatch):
    Path("names.txt").write_text("album/one.png\n\nalbum/below/two.jpg\n")
    assert rdonet("compress", "a.png", "--list", "names.txt", "--out-dir", "out").code == 0
    assert found("out") == ["out/a.png.rdo", "out/below/two.jpg.rdo", "out/one.png.rdo"]


@pytest.mark.parametrize("by", ["file", "standard input"])
def test_names_in_lists_are_bytes_of_any_encoding(rdonet, bundle, album, monkeypatch, by):
    name = os.fsdecode(b"caf\xe9 \xe2\x80\xa8.png")
    Path("a.png").rename(name)
    lines = os.fsencode(name) + b"\r\n"
    Path("names.txt").write_bytes(lines)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines), "utf-8"))
    source = "-" if by == "standard input" else "names.txt"
    assert rdonet("compress", "--list", source, "--out-dir", "out").code == 0
    assert found("out") == [f"out/{name}.rdo"]


def test_rows_of_files_on_a_cluster_have_their_names_as_unicode():
    job = jobs.Job("caf\udce9.png", "caf\udce9.png.rdo")
    row = cluster_row(batch.Failed(job, "caf\udce9.png: is damaged"))
    assert [row[name] for name in ("input", "output", "error")] == [
        "caf\\udce9.png", "caf\\udce9.png.rdo", "caf\\udce9.png: is damaged",
    ]  # fmt: skip
    assert cluster_row(batch.Skipped(jobs.Job("a.png", "b.rdo")))["error"] is None


def test_an_unforeseen_failure_is_that_of_one_file(rdonet, bundle, album, monkeypatch):
    load = reader.load

    def failing(path, *others, **more):
        if "two" in str(path):
            raise TypeError("odd")
        return load(path, *others, **more)

    monkeypatch.setattr(reader, "load", failing)
    code, out, err = rdonet("compress", "album", "--out-dir", "out")
    assert code == 1 and out.startswith("2 files, 1 failed, ")
    assert "album/below/two.jpg: fails in an unforeseen way: TypeError('odd')" in err


def test_an_interrupted_search_ends_the_whole_batch(rdonet, bundle, album, monkeypatch):
    monkeypatch.setattr(encoder, "_run_search", lambda all_regions, start, *others: (start, True))
    code, out, err = rdonet("compress", "album", "--out-dir", "out", "--rdo", "1")
    assert code == 130 and err.endswith("rdonet: interrupted\n")
    assert out.startswith("1 file, 2 not done, ")
    assert len(found("out")) == 1


def test_a_folder_that_cannot_be_looked_into_is_named_and_stops_nothing(
    rdonet, bundle, album, monkeypatch
):
    scandir = os.scandir

    def guarded(path):
        if str(path) == "album/below":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", guarded)
        code, out, err = rdonet("compress", "album", "--out-dir", "out")
    assert code == 1 and out.startswith("1 file, 1 failed, ")
    assert "rdonet: album/below: Permission denied\n" in err
    assert found("out") == ["out/one.png.rdo"]


@pytest.mark.parametrize(("wanted", "size"), [("1e-9", 1), ("1e300", argument_types.MOST_BYTES)])
def test_any_positive_rate_is_a_target(rdonet, bundle, monkeypatch, wanted, size):
    sizes = []

    def record(model, image, options, report):
        sizes.append(options.target.size)
        raise EncodeError("enough")

    monkeypatch.setattr(rate_control, "encode", record)
    assert rdonet("compress", "a.png", "--target-bpp", wanted).code == 1
    assert sizes == [size]


def test_info_goes_on_after_a_file_that_is_none(rdonet, bundle):
    code, out, err = rdonet("info", "a.png", "none.rdo", "b.rdo")
    assert code == 1 and out.startswith("b.rdo: 90x100 pixels")
    assert [line.split(": ")[1] for line in err.splitlines()] == ["a.png", "none.rdo"]


def test_json_has_a_line_for_every_file_and_a_summary(rdonet, bundle, album):
    Path("album/bad.png").write_bytes(b"no image")
    code, out, _ = rdonet("compress", "album", "--out-dir", "more", "--json")
    *lines, last = map(json.loads, out.splitlines())
    by_input = {line["input"]: line for line in lines}
    assert by_input["album/bad.png"]["error"].startswith("album/bad.png: ")
    one = by_input["album/one.png"]
    size = len(Path("more/one.png.rdo").read_bytes())
    assert one["bytes"] == size
    assert one["bpp"] == 8 * size / 9000
    assert sum(one["levels"].values()) == pytest.approx(1)
    assert (last["summary"]["done"], last["summary"]["failed"], code) == (3, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (["compress", "none.png"], {"input": "none.png"}),
        (["compress", "a.png", "b.rdo"], {"input": "a.png"}),
        (["compress", "s3://bucket/a.png"], {"input": "s3://bucket/a.png"}),
        (["decompress", "a.png"], {"input": "a.png"}),
        (["info", "none.rdo"], {"input": "none.rdo"}),
        (["compare", "a.png", "none.png"],
         {"a": {"input": "a.png"}, "b": {"input": "none.png"}}),
        (["models"], {}),
    ],
)  # fmt: skip
def test_json_has_a_line_for_a_single_failure_too(rdonet, bundle, monkeypatch, arguments, about):
    if arguments == ["models"]:
        bundle["tiny"] = Path("none.safetensors")
    code, out, err = rdonet(*arguments, "--json")
    line = json.loads(out)
    assert (code, err) == (1, f"rdonet: {line.pop('error')}\n")
    assert line == about


def test_names_may_stand_on_both_sides_of_options(rdonet, bundle):
    assert rdonet("compress", "a.png", "--mask", "uniform-16", "c.rdo").code == 0
    assert Path("c.rdo").exists()


def test_an_interrupt_ends_many_jobs_and_keeps_what_is_done(album):
    done = []

    def work(job):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(job)
        return FileResult((), {}, 1, 1, ())

    found = jobs.compressions(["album"], "out").jobs
    outcomes = batch.on_this_machine(found, work, False, 1)
    summary = batch.run(len(found), outcomes, lambda outcome: None)
    assert done == found[:2]
    assert (summary.done, summary.not_done, summary.interrupted) == (2, 1, True)


def test_a_check_that_finds_another_image_says_so(rdonet, bundle, monkeypatch):
    assert rdonet("compress", "a.png", "c.rdo", "--lossless-check").code == 0
    decode = codec.decode

    def wrong(*arguments, **named):
        decoded = decode(*arguments, **named)
        pixels = np.ascontiguousarray(decoded.image[::-1])
        return decoded._replace(content=codec.ImageData(pixels))

    monkeypatch.setattr(codec, "decode", wrong)
    cause = "a.png: its compressed file does not decode to what was encoded"
    for where in (["d.rdo"], ["--out-dir", "out"], ["--out-dir", "out"]):
        code, out, err = rdonet("compress", "a.png", *where, "--lossless-check")
        assert (code, err) == (1, f"rdonet: {cause}\n")
        assert out == "" or out.startswith("0 files, 1 failed, ")
    assert found("out") == [] and not Path("d.rdo").exists()


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (bitstream.FormatError("there is too little memory"), "there is too little memory"),
        (MemoryError(), "there is not enough memory for this image"),
        (targets.TargetError("PSNR: needs a package"), "PSNR: needs a package"),
    ],
)
@pytest.mark.parametrize("where", [["c.rdo"], ["--out-dir", "out"]])
def test_what_fails_after_the_encoding_is_one_line_and_leaves_no_file(
    rdonet, bundle, monkeypatch, where, error, cause
):
    def fail(*_):
        raise error

    monkeypatch.setattr(fidelity, "judge", fail)
    code, _, err = rdonet("compress", "a.png", *where)
    assert (code, err) == (1, f"rdonet: a.png: {cause}\n")
    assert not Path("c.rdo").exists() and found("out") == []


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_only_a_file_counts_as_a_result_that_is_there(rdonet, bundle, command):
    source, target = {"compress": ("a.png", "a.png.rdo"), "decompress": ("b.rdo", "b.png")}[command]
    Path("out", target).mkdir(parents=True)
    code, out, err = rdonet(command, source, "--out-dir", "out")
    assert code == 1 and out.startswith("0 files, 1 failed, ")
    assert err == f"rdonet: {os.path.join('out', target)}: exists and is not a regular file\n"


@pytest.mark.slow
def test_targets_are_met_on_the_command_line(rdonet, bundle, mini_weights):
    options = ["--model", mini_weights, "--json"]
    sizes = [json.loads(rdonet("compress", "a.png", f"{q}.rdo", "--quality", q, *options).out)
             for q in (20, 80)]  # fmt: skip
    wanted = (sizes[0]["bytes"] + sizes[1]["bytes"]) // 2
    found = json.loads(rdonet("compress", "a.png", "s", "--target-size", wanted, *options).out)
    assert found["bytes"] <= wanted
    same = rdonet("compress", "a.png", "t", "--target-bpp", 8 * wanted / 9000, *options)
    assert json.loads(same.out)["bytes"] == found["bytes"]
    code, _, err = rdonet("compress", "a.png", "u", "--target-psnr", "99", *options)
    assert code == 1
    assert err.startswith("rdonet: a.png: the best image, of quality ")
    code, _, err = rdonet("compress", "a.png", "u", "--target-psnr", "20")
    assert (code, err.count("one quality")) == (1, 1)
