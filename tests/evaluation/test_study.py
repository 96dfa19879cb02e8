"""Studies: which settings become which curves, what is shown of them, and what is refused."""

from __future__ import annotations

import dataclasses
import itertools
import re
import sys
from pathlib import Path

import jax
import pytest

from rdonet_jax.cli.commands import eval as eval_command
from rdonet_jax.core.shard import WHOLE, Shard
from rdonet_jax.evaluation import anchors, curves, real_files, study
from rdonet_jax.evaluation.measures import EvaluationError
from rdonet_jax.evaluation.real_files import Settings
from rdonet_jax.imaging import dataset
from rdonet_jax.metrics import quality
from rdonet_jax.metrics.libraries import MissingMetricError
from rdonet_jax.models import zoo
from rdonet_jax.rdo import effort
from rdonet_jax.runtime import multihost
from tests import curve_samples


def measured(requested: study.Study, print_line: study.PrintLine) -> list[curves.Curve]:
    """All curves of a study."""
    *_, found = study.run(study.prepare(requested, print_line), print_line)
    return found


def run(**requested) -> tuple[list[curves.Curve], list[str]]:
    lines: list[str] = []
    return measured(study.Study(data=["images"], **requested), lines.append), lines


@pytest.fixture
def no_images(monkeypatch):
    """Nothing is looked for in the folder of images."""
    monkeypatch.setattr(real_files, "named_images", lambda *_: {})


def test_every_model_start_and_number_of_passes_is_a_curve_over_the_qualities(evaluated, no_images):
    found, lines = run(
        models=["mini", "low"], inits=["variance", "uniform-16"], passes=[0, 1]
    )  # fmt: skip
    names = [f"{model} {init}+{n}" for model in ("mini", "low")
             for init in ("variance", "uniform-16") for n in (0, 1)]  # fmt: skip
    assert [curve.name for curve in found] == names
    assert [s.plan.passes for _, s in evaluated] == [0, 1] * 4
    assert found[0].settings["weights"] != found[-1].settings["weights"]
    assert "bpp" in lines[0]
    assert sum("encode s" in line for line in lines) == 1


def test_every_level_of_effort_is_a_curve_by_the_plan_of_compress(evaluated, no_images):
    levels = range(len(effort.EFFORTS))
    found, lines = run(models=["mini"], efforts=levels, qualities=[20.0, 80.0])
    assert [curve.name for curve in found] == [f"mini variance+effort-{n}" for n in levels]
    assert lines[0].splitlines()[1].startswith("mini, variance+effort-0, quality 20 ")
    plans = [settings.plan for _, settings in evaluated]
    assert plans == [effort.chosen_plan(n, "variance", None, None) for n in levels for _ in "12"]
    assert [curve.settings["passes"] for curve in found] == [0, 1, 1, 1, 2, 2, 2, 2, 2, 2]
    for one, other in itertools.combinations(found, 2):
        assert one.settings != other.settings
        assert one.description != other.description


def test_levels_of_effort_that_refine_latents_are_not_estimated(evaluated, no_images):
    run(models=["mini"], efforts=[5], estimate=True, files=False)
    evaluated.clear()
    for files in (False, True):
        with pytest.raises(EvaluationError, match="an estimate refines no latents"):
            run(models=["mini"], efforts=[5, 6], estimate=True, files=files)
    assert evaluated == []


def test_the_table_has_a_row_for_every_setting(evaluated, no_images):
    found, lines = run(models=["mini"], qualities=[20.0, 80.0])
    assert [curve.name for curve in found] == ["mini"]
    assert [p.quality for p in found[0].points] == [20, 80]
    head, first, second = "\n".join(lines).splitlines()[:3]
    assert head.split()[0] == "bpp"
    assert first.split()[:4] == ["mini,", "variance+0,", "quality", "20"]
    assert second.split()[:4] == ["mini,", "variance+0,", "quality", "80"]
    assert len(head) == len(first) == len(second)
    assert lines[-1].startswith("mini: real files")


def test_estimates_and_files_have_tables_of_their_own_and_their_difference(evaluated, no_images):
    found, lines = run(models=["mini"], qualities=[20.0, 80.0], estimate=True, files=True)
    assert [curve.name for curve in found] == ["mini (estimate)", "mini"]
    assert [curves.is_estimate(curve) for curve in found] == [True, False]
    text = "\n".join(lines)
    assert text.index("bpp (est.)") < text.index("encode s") < text.index("files over estimate")
    assert [line.split()[-3:] for line in lines[-2:]] == [["+0.50%"] * 3] * 2
    for one, other in zip(*(curve.points for curve in found), strict=True):
        assert study.differences(one, other) == pytest.approx([0.005, 0.005])


def test_the_words_of_a_curve_are_of_all_its_points(evaluated, no_images, monkeypatch):
    """At the highest quality one of two images comes back exactly, and has no PSNR."""
    evaluate = real_files.evaluate

    def evaluate_exactly(model, folders, settings):
        first, *others = evaluate(model, folders, settings)
        if settings.quality == 100:
            first = first._replace(quality={**first.quality, "psnr": None})
        return [first, *others]

    monkeypatch.setattr(real_files, "evaluate", evaluate_exactly)
    note = "; mean over images: 2; PSNR leaves out 0 to 1 of 2 at a point, exact copies"
    for qualities in ([20.0, 100.0], [100.0, 20.0]):
        (found,), lines = run(models=["mini"], qualities=qualities)
        assert found.description.endswith(note)
        assert f"{note}; weights " in lines[-1]


def test_models_of_one_lambda_can_be_joined_to_one_curve(evaluated, no_images):
    found, _ = run(models=["low", "high"], joined="family")
    assert [curve.name for curve in found] == ["family"]
    rates = [point.mean.bpp for point in found[0].points]
    assert rates == sorted(rates) and len(rates) == 2
    assert found[0].settings["weights"] == [b"low0".hex(), b"high".hex()]


def test_files_of_several_settings_are_in_separate_folders(evaluated, no_images, tmp_path):
    shared = Settings(keep=tmp_path)
    run(models=["mini", "low"], inits=["variance", "uniform-16"], shared=shared)
    kept = [settings.keep for _, settings in evaluated]
    assert len(set(kept)) == 4
    assert kept[0] == tmp_path / "mini" / "variance+0"
    evaluated.clear()
    run(models=["mini"], shared=shared)
    assert [settings.keep for _, settings in evaluated] == [tmp_path]


def test_estimates_beside_files_keep_nothing(evaluated, no_images, tmp_path):
    shared = Settings(keep=tmp_path, save_decoded=tmp_path)
    run(models=["mini"], estimate=True, shared=shared)
    estimate, files = (settings for _, settings in evaluated)
    assert estimate.estimate and estimate.keep is estimate.save_decoded is None
    assert files == dataclasses.replace(shared, quality=None)


def test_every_image_is_listed_on_request(evaluated, monkeypatch):
    names = {"a.png": Path("a.png"), "b.png": Path("b.png")}
    monkeypatch.setattr(real_files, "named_images", lambda folders, shard: names)
    monkeypatch.setattr(dataset, "inspect", lambda path: (64, 64))
    _, lines = run(models=["mini"], per_image=True)
    rows = "\n".join(lines).splitlines()
    assert [row.split()[0] for row in rows[1:4]] == ["a.png", "b.png", "mini,"]


@pytest.fixture
def slow(monkeypatch):
    """A slow metric by its name, and how often it was measured."""
    calls = []
    metric = quality.QualityMetric(
        "slow", "Slow", lambda *images: calls.append(images) or 1.0, is_default=False, is_slow=True
    )
    monkeypatch.setitem(quality.METRICS, "slow", metric)
    return calls


def test_a_slow_metric_says_how_long_it_takes_for_the_first_image(evaluated, folder, slow):
    requested = study.Study([folder], ["mini"], shared=Settings(metrics=("slow",)))
    lines: list[str] = []
    measured(requested, lines.append)
    assert re.fullmatch(
        r"slow takes \S+ s for a\.png \(256x192 pixels\): about 0 s for each row of the table, "
        r"over 3 images",
        lines[0],
    )
    assert len(slow) == 2
    assert evaluated[0][1].metrics == ("slow",)


def test_the_time_of_a_slow_metric_is_that_of_the_images_of_this_shard_and_host(
    evaluated, folder, slow, monkeypatch
):
    def said(number: int) -> str:
        shared = Settings(metrics=("slow",), shard=Shard(number, 2))
        lines: list[str] = []
        measured(study.Study([folder], ["mini"], shared=shared), lines.append)
        return lines[0]

    assert "for a.png (" in said(1) and said(1).endswith(" over 2 images")
    assert said(2).endswith(" over 1 images")
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost, "gather_texts", lambda *_: [""])
    assert said(1).endswith(" over 1 images of this host")
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    assert said(1).endswith(" over 1 images of this host")
    assert "slow takes" not in said(2)


def test_a_shard_records_the_images_of_all_shards(evaluated, folder):
    found = [
        measured(study.Study([folder], ["mini"], shared=Settings(shard=shard)), [].append)[0]
        for shard in (Shard(1, 2), Shard(2, 2), WHOLE)
    ]
    first, second, whole = (curve.settings for curve in found)
    assert (first["shard"], second["shard"]) == ([1, 2], [2, 2])
    assert first["images"] == second["images"] and first["images"]["count"] == 3
    assert not whole.keys() & {"shard", "images"}


def test_anchors_are_measured_by_the_metrics_that_are_asked_for(folder, slow):
    requested = study.Study([folder], anchors=["jpeg"], shared=Settings(metrics=("slow",)),
                         bpp=(1.0, 1.1))  # fmt: skip
    (found,) = measured(requested, [].append)
    assert all(row.quality["slow"] == 1.0 for p in found.points for row in p.rows)
    assert found.points[0].mean.quality["slow"] == 1.0


def test_anchors_at_an_equal_rate_come_close_to_the_file_of_every_image(
    monkeypatch, folder, mini_model
):
    def evaluate(model, folders, settings):
        rates = {"a.png": 1.5, "b.png": 0.8, "deeper/c.png": 1.1}
        return [curve_samples.row(name, rate) for name, rate in rates.items()]

    monkeypatch.setattr(zoo, "load", lambda name: mini_model)
    monkeypatch.setattr(real_files, "evaluate", evaluate)
    lines: list[str] = []
    requested = study.Study([folder], ["mini"], [40.0], anchors=["jpeg"], equal_rate=True)
    mini, jpeg = measured(requested, lines.append)
    assert study.prepare(requested, lines.append).names() == ["mini", "jpeg at mini"]
    assert (jpeg.name, jpeg.settings["at_sizes_of"]) == ("jpeg at mini", "mini")
    assert [p.quality for p in jpeg.points] == [40]
    for ours, theirs in zip(mini.points[0].rows, jpeg.points[0].rows, strict=True):
        assert theirs.name == ours.name
        assert theirs.bpp == pytest.approx(ours.bpp, rel=0.05)
    assert any(line.startswith("jpeg at mini 40 ") for line in "\n".join(lines).splitlines())


def test_an_equal_rate_needs_both_sides(folder):
    with pytest.raises(EvaluationError, match="needs a model and an anchor"):
        study.Study([folder], anchors=["jpeg"], equal_rate=True)


def test_a_metric_that_is_missing_is_named_before_anything_is_done(evaluated, monkeypatch):
    monkeypatch.setitem(sys.modules, "ssimulacra2", None)
    monkeypatch.setattr(zoo, "load", None)
    with pytest.raises(MissingMetricError, match="needs the package ssimulacra2"):
        run(models=["mini"], shared=Settings(metrics=("ssimulacra2",)))
    arguments = ["--data", "x", "--model", "mini", "--metrics", "ssimulacra2"]
    assert eval_command.main(arguments) == 1


def test_anchors_span_the_rates_of_the_models_and_missing_ones_are_named(
    evaluated, monkeypatch, folder
):
    ranges = []

    def curve(name, images, bpp, metrics):
        ranges.append(bpp)
        return curve_samples.curve(name, names=[image.name for image in images])

    def require(name):
        if name == "jxl":
            raise anchors.MissingAnchorError("jxl: needs the package pillow-jxl-plugin")

    monkeypatch.setattr(anchors, "curve", curve)
    monkeypatch.setattr(anchors, "require", require)
    lines: list[str] = []
    requested = study.Study([folder], ["mini"], [0.0, 100.0], anchors=["jpeg", "jxl", "webp"])
    found = measured(requested, lines.append)
    assert [curve.name for curve in found] == ["mini", "jpeg", "webp"]
    assert study.prepare(requested, lines.append).names() == ["mini", "jpeg", "webp"]
    assert ranges[0] == pytest.approx((1.005 * 0.1, 1.005 * 1.1))
    assert "left out: jxl: needs the package pillow-jxl-plugin" in lines
    measured(dataclasses.replace(requested, bpp=(0.3, 0.4)), lines.append)
    assert ranges[-1] == (0.3, 0.4)


def test_missing_anchors_alone_are_an_error_and_beside_stored_curves_a_line(
    monkeypatch, folder, tmp_path, capsys
):
    def require(name):
        raise anchors.MissingAnchorError(f"{name}: needs a package")

    monkeypatch.setattr(anchors, "require", require)
    arguments = ["--data", str(folder), "--anchors", "jxl"]
    assert eval_command.main(arguments) == 1
    assert "none of the anchors is installed" in capsys.readouterr().err
    stored = tmp_path / "stored.json"
    curves.write(stored, [curve_samples.curve(name) for name in ("ours", "theirs")])
    assert eval_command.main([*arguments, "--results", str(stored), "--bd-rate", "ours"]) == 0
    assert "left out: jxl: needs a package" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ({}, "neither a model nor an anchor"),
        ({"models": ["mini"], "data": []}, "no folders"),
        ({"models": ["low"], "joined": "a", "qualities": [1.0, 2.0]}, "one quality each"),
        ({"models": ["mini"], "anchors": ["jpeg"], "files": False}, "estimated rates are not"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused(requested, message):
    with pytest.raises(EvaluationError, match=message):
        study.Study(**{"data": ["images"], **requested})
