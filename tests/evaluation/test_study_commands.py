"""Studies by the command line: what is compared, stored and drawn, and refused beforehand."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from rdonet_jax.cli.commands import eval as eval_command
from rdonet_jax.cli.options import eval_options, host_options
from rdonet_jax.evaluation import anchors, bd_rates, curves, hosts, real_files
from rdonet_jax.evaluation.measures import EvaluationError
from rdonet_jax.runtime import multihost
from tests import curve_samples


def test_anchors_need_no_model(folder, tmp_path, capsys):
    out = tmp_path / "anchors.json"
    arguments = ["--data", str(folder), "--anchors", "jpeg", "webp", "--bpp", "0.5", "1.5"]
    assert eval_command.main([*arguments, "--out", str(out)]) == 0
    jpeg, webp = curves.read(out)
    assert (jpeg.name, webp.name) == ("jpeg", "webp")
    assert len(jpeg.points[0].rows) == 3
    printed = capsys.readouterr().out
    assert "optimize=True" in printed and "method=6" in printed


def test_stored_curves_are_compared_by_name(tmp_path, capsys):
    pytest.importorskip("bjontegaard", reason="needs the package bjontegaard")
    for name, factor in (("ours", 0.5), ("jpeg", 1.0)):
        curves.write(tmp_path / f"{name}.json", [curve_samples.curve(name, factor)])
    files = [str(tmp_path / f"{name}.json") for name in ("ours", "jpeg")]
    assert eval_command.main(["--results", *files, "--bd-rate", "jpeg"]) == 0
    assert "-50.0 %" in capsys.readouterr().out
    assert eval_command.main(["--results", *files, "--bd-rate", "avif"]) == 1
    assert "no curve 'avif' among ours, jpeg" in capsys.readouterr().err
    assert eval_command.main(["--results", files[0], "--bd-rate", "ours"]) == 1
    assert "there is no other curve to compare with 'ours'" in capsys.readouterr().err


@pytest.fixture
def call(folder, monkeypatch, tmp_path) -> list[str]:
    """A command line with a model and two anchors, whose curves are made up."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(anchors, "curve", lambda name, *_, **__: curve_samples.curve(name))
    return ["--data", str(folder), "--model", "mini", "--anchors", "jpeg", "webp"]


def stored_points() -> dict[str, int]:
    """The curves in out.json by name, and how many points each has."""
    return {curve.name: len(curve.points) for curve in curves.read("out.json")}


def test_an_anchor_that_fails_leaves_what_was_measured_before_it(
    evaluated, call, monkeypatch, capsys
):
    def curve(name, *_, **__):
        if name == "webp":
            raise EvaluationError("wide.png: cannot be coded: WebP refuses the image")
        return curve_samples.curve(name)

    monkeypatch.setattr(anchors, "curve", curve)
    assert eval_command.main([*call, "--quality", "20", "80", "-o", "out.json"]) == 1
    said = capsys.readouterr().err
    assert said == "rdonet eval: wide.png: cannot be coded: WebP refuses the image\n"
    assert stored_points() == {"mini": 2, "jpeg": len(curve_samples.RATES)}


@pytest.mark.parametrize("measured", [["--model", "mini"], ["--anchors", "jpeg"]])
def test_an_image_that_cannot_be_used_is_refused_before_another_one_is_measured(
    evaluated, call, monkeypatch, capsys, tmp_path, measured
):
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (64, 48)).save(images / "a.png")
    Image.new("RGBA", (64, 48), (9, 9, 9, 9)).save(images / "b.png")
    monkeypatch.setattr(anchors, "curve", None)
    assert eval_command.main(["--data", str(images), *measured]) == 1
    assert f"{images / 'b.png'}: has transparent" in capsys.readouterr().err
    assert not evaluated


def test_ctrl_c_leaves_the_points_that_were_measured(evaluated, call, monkeypatch):
    evaluate = real_files.evaluate

    def interrupted(model, folders, settings):
        if settings.quality == 80:
            raise KeyboardInterrupt
        return evaluate(model, folders, settings)

    monkeypatch.setattr(real_files, "evaluate", interrupted)
    line = [*call, "--quality", "10", "20", "80", "90", "-o", "out.json"]
    assert eval_command.main(line) == 130
    assert stored_points() == {"mini": 2}
    assert eval_command.main(line) == 1  # it is not replaced without --force


def test_another_host_measures_the_models_alone_and_says_and_writes_nothing(
    evaluated, call, monkeypatch, capsys
):
    monkeypatch.setattr(anchors, "curve", None)
    monkeypatch.setattr(host_options, "join", lambda options: True)
    monkeypatch.setattr(multihost, "is_first", lambda: False)
    assert eval_command.main([*call, "--quality", "20", "80", "-o", "out.json"]) == 0
    assert [settings.quality for _, settings in evaluated] == [20, 80]
    assert capsys.readouterr() == ("", "") and not Path("out.json").exists()


def test_all_hosts_meet_at_the_same_places_and_the_others_wait_for_files_and_anchors(
    evaluated, call, monkeypatch
):
    met: list[list[tuple[str, bool]]] = []

    @contextlib.contextmanager
    def raising_on_all(name):
        yield
        met[-1].append((name, Path("page.html").exists()))

    monkeypatch.setattr(hosts, "raising_on_all", raising_on_all)
    monkeypatch.setattr(host_options, "join", lambda options: True)
    for is_first in (False, True):
        met.append([])
        monkeypatch.setattr(multihost, "is_first", lambda is_first=is_first: is_first)
        arguments = ["--quality", "20", "-o", "out.json", "--report", "page.html"]
        drawing = ["--report-pictures", "0", "--distributed"]
        assert eval_command.main([*call, *arguments, *drawing]) == 0
    others, first = ([name for name, _ in one] for one in met)
    assert first == others
    assert first[0] == "every host is ready" and first[-2] == "the anchors are measured"
    assert met[1][-1] == ("everything is written", True)
    assert stored_points() == {"mini": 1} | dict.fromkeys(
        ["jpeg", "webp"], len(curve_samples.RATES)
    )


@pytest.mark.parametrize(
    ("more", "missing", "message"),
    [
        (["--plot", "a.png", "b.pdf"], "", "b.pdf: figures are written as .png or .svg"),
        (["--quality-plot", "a.gif"], "", "a.gif: figures are written as .png or .svg"),
        (["--plot", "a.svg"], "matplotlib.figure", "a.svg: figures need the package matplotlib"),
        (["--bd-rate", "jpeg"], "bjontegaard", "need the package bjontegaard"),
        (["--bd-rate", "jxl"], "", "no curve 'jxl' among mini, jpeg, webp"),
        (["--report", "a.html", "--report-images", "-1"], "", "images to show is not -1"),
    ],
)
def test_what_cannot_be_drawn_or_compared_is_refused_before_anything_is_measured(
    evaluated, call, monkeypatch, capsys, more, missing, message
):
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    elif "--report" not in more:
        for package in ("matplotlib", "bjontegaard"):
            pytest.importorskip(package, reason=f"needs the package {package}")
    assert eval_command.main([*call, *more, "-o", "out.json"]) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert evaluated == [] and not Path("out.json").exists()


@pytest.mark.slow
def test_estimates_beside_real_files_by_the_command_line(folder, tiny_weights, tmp_path, capsys):
    out = tmp_path / "both.json"
    arguments = ["--data", str(folder), "--model", str(tiny_weights), "--estimate", "--files"]
    assert eval_command.main([*arguments, "--batch-size", "1", "-o", str(out)]) == 0
    assert "files over estimate" in capsys.readouterr().out
    values = json.loads(out.read_text())
    assert [one["settings"]["rate"] for one in values] == ["estimate", "real files"]
    for estimate, file in zip(*(one["images"] for one in values), strict=True):
        assert estimate["bpp"] < file["bpp"] < 1.2 * estimate["bpp"]
    with pytest.raises(bd_rates.BdRateError, match="not compared"):
        bd_rates.compare(*curves.read(out), "psnr")


def test_one_file_for_two_results_is_refused_before_anything_is_measured(evaluated, call, capsys):
    for outputs in (["-o", "a.html", "--report", "a.html"], ["--plot", "a.svg", "./a.svg"]):
        assert eval_command.main([*call, *outputs, "--force"]) == 1
        assert "is named for two results" in capsys.readouterr().err
    assert evaluated == []


def test_a_model_and_a_quality_that_are_named_twice_are_measured_once(evaluated, call):
    assert eval_command.main([*call, "--quality", "20", "60", "20", "--model", "mini", "mini"]) == 0
    assert [settings.quality for _, settings in evaluated] == [20, 60]


def test_the_image_of_the_page_is_of_the_middle_quality_by_size():
    line = ["--data", "a", "--model", "m", "--report", "a.html", "--quality", "90", "10", "50"]
    options = eval_options.parse([*line, "--shard", "1/2"], "rdonet eval", "")
    shown = eval_command.showcase_options(options)
    assert (shown.quality, shown.shard) == (50, options.shard)
