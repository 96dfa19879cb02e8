"""The study that reproduces the table: equal budgets, its arithmetic, what it keeps."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("bjontegaard", reason="the study needs rdonet-jax[bench]")
pytest.importorskip("matplotlib", reason="the study needs rdonet-jax[bench]")

from experiments.reproduce_table import __main__ as study
from experiments.reproduce_table import (
    areas,
    budgets,
    drawings,
    evaluations,
    stored,
    tables,
    trainings,
)
from rdonet_jax.imaging import srgb
from rdonet_jax.models import zoo


@pytest.mark.parametrize("name", budgets.BUDGETS)
def test_every_contestant_is_trained_as_long_and_in_the_same_way(name):
    budget = budgets.BUDGETS[name]
    for lmbda in budget.lmbdas:
        parts = {part.name: part for part in budgets.parts(budget, lmbda)}
        for contestant in budget.contestants:
            part = parts[budgets.named(contestant, lmbda)]
            before = parts[part.after]
            assert before.after is None and before.network_config == part.network_config
            assert before.schedule.steps == budget.first_steps
            assert part.schedule.steps == budget.second_steps
        lmbdas = {part.schedule.lmbda for part in parts.values()}
        assert lmbda is None or lmbdas == {lmbda}
        varied = {"stage1_steps", "stage2_steps", "seed", *budget.second}
        fixed = {
            tuple((k, v) for k, v in vars(part.schedule).items() if k not in varied)
            for part in parts.values()
        }
        assert len(fixed) == 1
        for part in parts.values():
            expected = budget.second if part.after else {}
            assert {k: getattr(part.schedule, k) for k in expected} == expected
        for after in (False, True):
            assert len({p.schedule.seed for p in parts.values() if bool(p.after) == after}) == 1


def test_only_var_sees_variance_masks_and_it_shares_the_first_part_with_basic():
    parts = {p.name.rsplit("_", 1)[0]: p for p in budgets.parts(budgets.BUDGETS["cpu"], 0.01)}
    assert {n for n, p in parts.items() if p.schedule.stage2_steps} == {"var"}
    portable = {p.name: p for p in budgets.parts(budgets.BUDGETS["portable-cpu"], None)}
    assert {n for n, p in portable.items() if p.schedule.stage2_steps} == {
        "var", "direct_first", "direct",
    }  # fmt: skip
    assert parts["var"].schedule.stage1_steps == 0
    assert parts["var"].after == parts["basic"].after == parts["rdonet_first"].name


def points(rates, scale=1.0):
    """Points of a curve that needs `scale` times these rates."""
    return [
        {
            "bpp": scale * rate,
            "psnr": 30 + 6 * np.log2(rate),
            "ms_ssim": 1 - 0.1 / rate,
            "cost": 2 * scale * rate,
        }
        for rate in rates
    ]


def study_results(scales):
    """Results of three images; a column needs these multiples of the reference's rates."""
    columns = {}
    for contestant in evaluations.STARTS:
        for column in evaluations.columns(contestant):
            each = [1.0] * 3 if column == tables.ANCHOR else scales
            columns[column] = {
                name: points([0.5, 1.0, 2.0], scale)
                for name, scale in zip("abc", each, strict=True)
            }
    return columns


def test_the_table_has_the_best_the_worst_and_the_mean_image():
    results = study_results([0.8, 1.1, 0.95])
    for metric in tables.METRICS:
        found = tables.summary(results, "var, variance, 1", metric)
        assert found[:3] == pytest.approx((-20.0, 10.0, -5.0), abs=1e-6)
        assert found.images == 3
    text = tables.table(results, "psnr")
    assert "| var, variance, 2 | -20.0 % | +10.0 % | -5.0 % | 3 | 18 |" in text
    assert "| var, uniform, 0 | -20.0 % | +10.0 % | -5.0 % | 3 | 3 |" in text
    assert len(text.splitlines()) == 2 + 3 + 7 + 4
    json.dumps(tables.to_json(results), allow_nan=False)


def test_costs_are_means_over_the_images_beside_those_of_the_reference():
    results = study_results([0.8, 1.1, 0.95])
    assert tables.costs(results, "basic, static, 0") == pytest.approx([0.95, 1.9, 3.8])
    lines = tables.cost_table(results, ["quality 0", "quality 50", "quality 100"]).splitlines()
    assert lines[0] == "| J | quality 0 | quality 50 | quality 100 |"
    assert lines[2].startswith("| reference | ") and lines[2].count("(+0.0%)") == 3
    assert lines[3] == "| basic, static, 0 | 0.950 (-5.0%) | 1.900 (-5.0%) | 3.800 (-5.0%) |"
    assert len(lines) == 2 + 1 + 3 + 7 + 4


@pytest.mark.parametrize(
    "change",
    [lambda p: p | {"psnr": p["psnr"] + 90}, lambda p: p | {"psnr": 30.0},
     lambda p: p | {"psnr": None}],
)  # fmt: skip
def test_images_without_a_rate_at_equal_quality_are_left_out(change):
    results = study_results([0.8, 1.1, 0.95])
    column = results["var, variance, 0"]
    column["b"] = [change(point) for point in column["b"]]
    found = tables.summary(results, "var, variance, 0", "psnr")
    assert found[:3] == pytest.approx((-20.0, -5.0, -12.5), abs=1e-6)
    assert found.images == 2


def test_a_table_without_any_comparable_image_says_so():
    results = study_results([0.8, 1.1, 0.95])
    for name, found in results["basic, static, 1"].items():
        results["basic, static, 1"][name] = [point | {"ms_ssim": None} for point in found]
    assert "| basic, static, 1 | – | – | – | – | 12 |" in tables.table(results, "ms_ssim")


def test_images_are_spread_over_the_folder():
    paths = {str(number): None for number in range(9)}
    assert list(evaluations.chosen(paths, 3)) == ["0", "4", "8"]
    assert list(evaluations.chosen(paths, 20)) == list(paths)


@pytest.mark.slow
def test_an_evaluation_is_of_real_files_and_is_not_repeated(
    tiny_weights, photograph, tmp_path, monkeypatch
):
    path = tmp_path / "a.png"
    srgb.save(path, photograph[:150, :200])
    target = tmp_path / "out" / "basic.json"
    found = evaluations.evaluate(target, tiny_weights, "basic", {"a.png": path})
    assert list(found) == evaluations.columns("basic")
    costs = {column: images["a.png"]["bpp"] for column, images in found.items()}
    assert all(0 < bpp < 5 for bpp in costs.values())
    monkeypatch.setattr(zoo, "load", None)
    assert evaluations.evaluate(target, tiny_weights, "basic", {"a.png": path}) == found
    shown = ["basic, static, 0", "basic, static, 2"]
    drawings.draw_masks(path, [target.with_suffix(".npz")] * 2, shown, tmp_path / "masks.png")
    drawn = srgb.load(tmp_path / "masks.png")
    assert drawn.shape == (2 * 150 + drawings.GAP, 2 * 200 + drawings.GAP, 3)


def test_curves_are_drawn_in_the_format_of_the_suffix(tmp_path):
    results = study_results([0.8, 1.1, 0.95])
    for suffix in ("svg", "png"):
        drawings.draw_curves(results, "psnr", tmp_path / f"curves.{suffix}")
    assert (tmp_path / "curves.svg").read_text().startswith("<?xml")
    assert srgb.load(tmp_path / "curves.png").size


def test_a_finished_training_is_not_repeated(tmp_path):
    part = budgets.parts(budgets.BUDGETS["toy"], 0.004)[0]
    weights = tmp_path / "weights" / f"{part.name}-0123456789abcdef.safetensors"
    weights.parent.mkdir()
    weights.touch()
    assert trainings.train(tmp_path, part, None) == weights


def test_a_folder_with_another_study_and_folders_without_images_are_refused(
    tmp_path, photograph_folder, capsys
):
    (tmp_path / "study.json").write_text(json.dumps({"budget": {}}))
    (tmp_path / "empty").mkdir()
    folder = str(photograph_folder)
    for test, cause in ((folder, "holds a study of another budget"), ("empty", "empty")):
        test = str(tmp_path / test) if test == "empty" else test
        arguments = ["--budget", "toy", "--data", folder, "--valid", folder, "--test", test]
        assert study.main([*arguments, "--out", str(tmp_path)]) == 1
        error = capsys.readouterr().err
        assert cause in error and error.count("\n") == 1
    alone = ["--out", str(tmp_path / "other"), "--contestants", "basic"]
    assert study.main([*arguments[:-1], folder, *alone]) == 1
    assert "the reference" in capsys.readouterr().err and not (tmp_path / "other").exists()


@pytest.fixture
def started(photograph_folder, monkeypatch):
    """The exit code of a study without trainings, with its results in a folder."""
    monkeypatch.setattr(study, "trained", lambda *_: None)
    folder = str(photograph_folder)

    def started(out):
        sets = ["--data", folder, "--valid", folder, "--test", folder]
        return study.main(["--budget", "toy", *sets, "--out", str(out)])

    return started


def test_a_file_in_the_position_of_the_folder_is_one_sentence(started, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert started(tmp_path / "file") == 1
    assert capsys.readouterr().err == f"reproduce_table: {tmp_path / 'file'}: File exists\n"


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_damaged_files_of_a_study_are_named_in_one_sentence(started, tmp_path, capsys, content):
    (tmp_path / "study.json").write_bytes(content)
    assert started(tmp_path) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"reproduce_table: {tmp_path / 'study.json'}: is damaged: ")
    assert said.count("\n") == 1
    (tmp_path / "basic.json").write_bytes(content)
    with pytest.raises(stored.StudyError, match=r"basic\.json: is damaged"):
        evaluations.evaluate(tmp_path / "basic.json", tmp_path, "basic", {})


def test_quarters_of_the_blocks_are_ordered_by_variance_and_share_the_cost():
    finest = np.array([1.0, 8.0, 2.0, 4.0, 3.0, 6.0, 16.0, 10.0])
    variance = np.array([0.0, 50.0, 1.0, 30.0, 2.0, 40.0, 100.0, 70.0])
    blocks = areas.BlockCosts(
        variance, finest, finest * 0.9, np.where(variance < 2, 0.5, 1) * finest
    )
    found = areas.quarters(blocks)
    assert [q.most_variance for q in found] == [1.0, 30.0, 50.0, 100.0]
    assert [q.share for q in found] == pytest.approx([0.06, 0.14, 0.28, 0.52])
    assert [q.by_variance for q in found] == pytest.approx([-0.1] * 4)
    assert [q.by_search for q in found] == pytest.approx([-0.5, 0, 0, 0])
    assert areas.table(blocks).splitlines()[-1] == "| all | 100.0% | -10.0% | -3.0% |"


@pytest.mark.slow
def test_the_blocks_of_an_image_are_those_that_lie_inside_it(tiny_model, photograph):
    blocks = areas.block_costs(tiny_model, photograph[:150, :200], None)
    assert {len(values) for values in blocks} == {2 * 3}
    assert np.all(blocks.finest > 0) and blocks.searched.sum() <= blocks.variance_mask.sum() * 1.05
