"""Evaluation: real files against the estimate, fixed shapes, the results file and error lines."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from rdonet_jax.cli.commands import eval as eval_command
from rdonet_jax.codec import bitstream, codec, engine_choice
from rdonet_jax.entropy import range_coder
from rdonet_jax.evaluation import curves, estimate, real_files, results, study
from rdonet_jax.evaluation.curves import Curve
from rdonet_jax.evaluation.measures import EvaluationError, NamedImage
from rdonet_jax.evaluation.real_files import Settings
from rdonet_jax.evaluation.results import Row
from rdonet_jax.imaging import pixel_format, srgb
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.metrics import libraries, quality
from rdonet_jax.rdo import coding, effort, encoder  # fmt: skip
from rdonet_jax.rdo.encode_options import EncodeOptions
from rdonet_jax.rdo.encoder import Plan
from rdonet_jax.runtime import processors

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def real_run(folder, tiny_weights, tmp_path_factory) -> Path:
    """What a run with real files leaves behind: out.json, files/ and decoded/."""
    out = tmp_path_factory.mktemp("real")
    arguments = ["--data", folder, "--model", tiny_weights, "--per-image", "-o", out / "out.json"]
    arguments += ["--keep", out / "files", "--save-decoded", out / "decoded"]
    assert eval_command.main([str(a) for a in arguments]) == 0
    return out


@pytest.mark.slow
def test_the_first_image_of_each_padded_size_is_coded_untimed_before(
    tiny_model, images, tmp_path, monkeypatch
):
    shapes = []
    encode = codec.encode_prepared

    def recorded(model, x, *others, reconstruct=True, **options):
        shapes.extend([] if reconstruct else [x.size])
        return encode(model, x, *others, reconstruct=reconstruct, **options)

    monkeypatch.setattr(codec, "encode_prepared", recorded)
    for row, _ in real_files.code_all(tiny_model, images[:2], Settings(), tmp_path):
        assert row.encoding_time > 0 and row.decoding_time > 0
    assert shapes == [(192, 256), (192, 256), (170, 250)]


@pytest.mark.slow
def test_files_are_written_by_the_range_coder_that_is_asked_for(
    tiny_model, images, tmp_path, coder_name
):
    settings = Settings(coder=coder_name)
    ((row, _),) = real_files.code_all(tiny_model, images[:1], settings, tmp_path)
    header, _ = bitstream.parse((tmp_path / f"{row.name}.rdo").read_bytes())
    assert header.coder == range_coder.CODERS[coder_name]
    expected = f"real files, {coder_name} range coder, "
    assert real_files.kind(tiny_model, settings).startswith(expected)


@pytest.mark.parametrize(("given", "threads"), [("3", 3), ("many", 5), (None, 5)])
def test_results_say_which_engine_computed_with_how_many_threads(
    given, threads, mini_model, tiny_model, monkeypatch
):
    for name in processors.BLAS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    if given:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", given)
    monkeypatch.setattr(processors, "usable", lambda: 5)
    monkeypatch.setattr(engine_choice, "uses_accelerator", lambda: False)
    portable = real_files.curve_settings(mini_model, Settings())
    assert (portable["engine"], portable["threads"]) == ("numpy", threads)
    fixed_rate = real_files.curve_settings(tiny_model, Settings())
    assert fixed_rate["engine"] == "jax" and "threads" not in fixed_rate
    estimate = real_files.curve_settings(mini_model, Settings(estimate=True))
    assert not estimate.keys() & {"engine", "threads"}
    words = [real_files.kind(model, Settings()) for model in (mini_model, tiny_model)]
    assert "times on cpu by NumPy; " in words[0]
    assert "times on cpu by JAX; " in words[1]
    searched = real_files.kind(mini_model, Settings(Plan(passes=1)))
    assert "by NumPy, search and refinement by JAX; 1 pass" in searched


@pytest.mark.slow
def test_results_have_compressais_schema(real_run, tiny_model):
    result = json.loads((real_run / "out.json").read_text())
    assert list(result) == ["name", "description", "settings", "results", "images"]
    assert result["name"] == tiny_model.name
    assert result["description"].startswith("real files")
    keys = ["bpp", "psnr-rgb", "ms-ssim-rgb", "encoding_time", "decoding_time"]
    assert list(result["results"]) == keys
    for key in keys:
        values = [row[key] for row in result["images"] if row[key] is not None]
        assert result["results"][key] == [pytest.approx(sum(values) / len(values))]


def test_bpp_is_that_of_the_whole_file_over_the_images_own_pixels(real_run, images):
    rows = json.loads((real_run / "out.json").read_text())["images"]
    assert [row["name"] for row in rows] == [image.name for image in images]
    for row, (name, pixels) in zip(rows, images, strict=True):
        size = (real_run / "files" / f"{name}.rdo").stat().st_size
        assert row["bpp"] == pytest.approx(8 * size / (pixels.shape[0] * pixels.shape[1]))


def test_quality_is_that_of_the_decoded_8_bit_images(real_run, images):
    rows = json.loads((real_run / "out.json").read_text())["images"]
    for row, (name, pixels) in zip(rows, images, strict=True):
        decoded = srgb.load(real_run / "decoded" / f"{name}.rdo.png")
        mse = np.mean((pixels.astype(float) - decoded) ** 2)
        assert row["psnr-rgb"] == pytest.approx(10 * math.log10(255**2 / mse), abs=1e-3)


def test_kept_files_decode_to_the_saved_images(real_run, tiny_model, images):
    for name, _ in images:
        data = (real_run / "files" / f"{name}.rdo").read_bytes()
        saved = srgb.load(real_run / "decoded" / f"{name}.rdo.png")
        np.testing.assert_array_equal(codec.decompress(tiny_model, data), saved)


def test_small_images_have_no_ms_ssim_and_a_note_counts_them(real_run):
    result = json.loads((real_run / "out.json").read_text())
    first, second, small = [row["ms-ssim-rgb"] for row in result["images"]]
    assert small is None
    assert result["results"]["ms-ssim-rgb"] == [pytest.approx((first + second) / 2)]
    assert "MS-SSIM leaves out 1 of 3, short side under 161" in result["description"]


@pytest.mark.slow
def test_an_estimate_says_so_and_has_no_times(folder, tiny_weights, tmp_path, capsys):
    out = tmp_path / "out.json"
    arguments = ["--data", str(folder), "--model", str(tiny_weights), "--estimate", "-o", str(out)]
    assert eval_command.main([*arguments, "--batch-size", "2"]) == 0
    result = json.loads(out.read_text())
    assert result["description"].startswith("estimated rate, no files")
    assert list(result["results"]) == ["bpp", "psnr-rgb", "ms-ssim-rgb"]
    printed = capsys.readouterr().out
    assert "bpp (est.)" in printed
    assert "decode" not in printed


def test_the_estimate_of_a_folder_is_close_to_its_real_run(folder, tiny_model, real_run):
    real = json.loads((real_run / "out.json").read_text())["images"]
    rows = real_files.evaluate(tiny_model, [folder], Settings(estimate=True, batch_size=2))
    for row, values in zip(rows, real, strict=True):
        assert row.name == values["name"]
        assert row.bpp < values["bpp"]
        assert row.quality["psnr"] == pytest.approx(values["psnr-rgb"], abs=0.01)


def test_an_exact_copy_has_no_finite_psnr_and_the_mean_leaves_it_out(photograph, tiny_model):
    seen = quality.measure(photograph, photograph)
    rows = [Row("copy", 1.0, seen), Row("other", 2.0, {"psnr": 30.0, "ms_ssim": None})]
    assert seen["psnr"] is None
    means = {"psnr": 30.0, "ms_ssim": pytest.approx(1.0)}
    assert results.mean(rows)[:3] == ("mean", 1.5, means)
    points = (curves.point(None, rows),)
    description = curves.description(real_files.kind(tiny_model, Settings(estimate=True)), points)
    result = curves.to_json(Curve("tiny", description, points))
    assert "PSNR leaves out 1 of 2, exact copies" in result["description"]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_the_whole_plan_is_said_in_words(mini_model):
    def words(plan):
        return real_files.kind(mini_model, Settings(plan)).partition("; ")[2]

    assert words(Plan()) == "variance mask"
    assert words(Plan("static", 1)) == "1 pass of search from the static mask"
    assert words(effort.plan(4)) == (
        "2 passes of search from the variance mask with up to 3 trials"
    )
    assert words(Plan(refinements=30)) == ("variance mask, 30 iterations of latent refinement")


@pytest.mark.slow
def test_files_of_a_level_of_effort_are_those_of_compress(mini_model, tmp_path, photograph):
    image = NamedImage("a", photograph[:96, :64])
    plan = effort.plan(6)
    settings = Settings(plan, quality=20.0)
    ((row, _),) = real_files.code_all(mini_model, [image], settings, tmp_path)
    expected = coding.encode(mini_model, image.pixels, EncodeOptions(20.0, plan=plan)).encoded.data
    assert (tmp_path / "a.rdo").read_bytes() == expected
    assert row.bpp == pytest.approx(8 * len(expected) / (96 * 64))


def test_the_table_lists_images_on_request_and_always_the_mean():
    rows = [
        Row("a.png", 0.5, {"psnr": 30.0, "ms_ssim": 0.9}, 0.2, 0.1),
        Row("long name.png", 0.7, {"psnr": 31.0, "ms_ssim": None}, 0.4, 0.3),
    ]
    short = results.table(rows).splitlines()
    full = results.table(rows, per_image=True).splitlines()
    assert [line.split()[0] for line in full[1:]] == ["a.png", "long", "mean"]
    assert short[1].split() == full[3].split()
    assert full[3].split() == ["mean", "0.6000", "30.500", "0.90000", "0.300", "0.200"]
    assert full[2].split()[2:] == ["0.7000", "31.000", "-", "0.400", "0.300"]


def test_images_of_the_same_name_in_two_folders_stay_apart(folder):
    twice = real_files.named_images([folder, folder / "deeper"])
    assert list(twice) == ["a.png", "b.png", "deeper/c.png"]


def test_a_decoder_that_shows_another_image_is_an_error(tiny_model, images, tmp_path, monkeypatch):
    decode = codec.decode
    monkeypatch.setattr(
        codec,
        "decode",
        lambda *a: (d := decode(*a))._replace(content=pixel_format.as_image_data(255 - d.image)),
    )
    with pytest.raises(EvaluationError, match=r"a\.png: the decoder's image is not the encoder's"):
        list(real_files.code_all(tiny_model, images, Settings(), tmp_path))


def test_an_image_that_cannot_be_coded_is_named(tiny_model, images, tmp_path):
    broken = tiny_model.replace(params=_scaled(tiny_model.params, math.nan))
    with pytest.raises(EvaluationError, match=r"^a\.png: cannot be coded: "):
        list(real_files.code_all(broken, images, Settings(), tmp_path))
    with pytest.raises(EvaluationError, match=r"^a\.png: its estimated rate is nan"):
        list(estimate.estimate_all(broken, images, Plan(), batch_size=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--data": "missing"}, "missing: no such folder"),
        ({"--data": "empty"}, "no images below"),
        ({"--data": "broken"}, "torn.png"),
        ({"--model": "nobody"}, "no model 'nobody'"),
        ({"--keep": "files", "--estimate": None}, "no files that could be kept"),
        ({"--estimate": None, "--batch-size": "0"}, "at least one image, not 0"),
        ({"-o": "there.json"}, "there.json: exists already"),
        ({"-o": "nowhere/out.json"}, "does not exist"),
        ({"--keep": "there.json"}, "there.json: cannot be made a folder"),
    ],
)
def test_a_wrong_call_ends_with_one_line_that_says_why(
    folder, tiny_weights, tmp_path, monkeypatch, capsys, change, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "there.json").write_text("{}")
    (tmp_path / "broken").mkdir()
    whole = (folder / "a.png").read_bytes()
    (tmp_path / "broken/torn.png").write_bytes(whole[: len(whole) // 2])
    options = {"--data": str(folder), "--model": str(tiny_weights), **change}
    arguments = [part for pair in options.items() for part in pair if part is not None]
    assert eval_command.main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("rdonet eval: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert (tmp_path / "there.json").read_text() == "{}"


def test_one_folder_is_a_list_of_one(folder):
    assert real_files.named_images(str(folder)) == real_files.named_images([folder])
    assert real_files.named_images(folder) == real_files.named_images([folder])


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (("ssimulacra",), "no metric 'ssimulacra', only psnr, ms_ssim, ssimulacra2, "),
        ("lpips", "a tuple of names, not the text 'lpips'"),
    ],
)
def test_metrics_that_there_are_not_are_refused(metrics, message):
    with pytest.raises(ValueError, match=message):
        Settings(metrics=metrics)
    assert Settings(metrics=("lpips",)).metrics == ("lpips",)


def test_a_missing_package_of_a_metric_is_named_before_any_work(folder, tiny_model, monkeypatch):
    monkeypatch.setattr(libraries.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(real_files, "code_all", None)
    with pytest.raises(libraries.MissingMetricError, match="ssimulacra2: needs the package"):
        real_files.evaluate(tiny_model, [folder], Settings(metrics=("ssimulacra2",)))


def test_folders_of_results_may_be_texts(tmp_path):
    settings = Settings(keep=str(tmp_path / "kept"), save_decoded=str(tmp_path / "decoded"))
    real_files._check_targets(["a/b.png"], settings)
    assert {path.name for path in tmp_path.rglob("a")} == {"a"}
    (tmp_path / "decoded" / "a" / "b.png.rdo.png").touch()
    with pytest.raises(srgb.ImageError, match="exists already"):
        real_files._check_targets(["a/b.png"], settings)


def test_files_that_exist_are_replaced_only_by_force(tiny_model, images, tmp_path):
    (tmp_path / "in").mkdir()
    srgb.save(tmp_path / "in/a.png", images[0].pixels)
    settings = {"keep": str(tmp_path / "files"), "save_decoded": tmp_path / "decoded"}
    real_files.evaluate(tiny_model, [tmp_path / "in"], Settings(**settings))
    with pytest.raises(ImageError, match="exists already"):
        real_files.evaluate(tiny_model, [tmp_path / "in"], Settings(**settings))
    real_files.evaluate(tiny_model, [tmp_path / "in"], Settings(**settings, force=True))


def test_an_interrupted_search_ends_the_evaluation(tiny_model, images, tmp_path, monkeypatch):
    original = encoder.encode

    def interrupted(*arguments):
        found = original(*arguments)
        searched = encoder.SearchSummary(encoder.SearchStats(), 1.0, 1.0, interrupted=True)
        return found._replace(searched=searched)

    monkeypatch.setattr(encoder, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(real_files.code_all(tiny_model, images[:1], Settings(), tmp_path))
    assert not list(tmp_path.iterdir())


def _scaled(params, factor: float):
    if isinstance(params, dict):
        return {key: _scaled(value, factor) for key, value in params.items()}
    return params * np.float32(factor)


# A model of every quality


@pytest.mark.slow
def test_several_qualities_make_one_curve(folder, mini_weights, tmp_path, capsys):
    output = tmp_path / "curve.json"
    arguments = ["--data", str(folder), "--model", str(mini_weights), "--estimate", "--per-image"]
    code = eval_command.main([*arguments, "--quality", "20", "80", "-o", str(output)])
    assert code == 0
    assert "quality 20" in capsys.readouterr().out
    written = json.loads(output.read_text())
    assert written["results"]["quality"] == [20, 80]
    assert written["results"]["bpp"][0] < written["results"]["bpp"][1]
    names = len(real_files.named_images([folder]))
    assert [row["quality"] for row in written["images"]] == [20] * names + [80] * names


@pytest.mark.slow
def test_shards_of_an_evaluation_merge_to_that_of_all_images(folder, tiny_weights, tmp_path):
    call = ["--data", str(folder), "--model", str(tiny_weights), "--estimate"]
    parts = [str(tmp_path / f"{number}.json") for number in (1, 2)]
    for number, part in enumerate(parts, start=1):
        assert eval_command.main([*call, "--shard", f"{number}/2", "-o", part]) == 0
    whole, merged = (tmp_path / f"{name}.json" for name in ("whole", "merged"))
    assert eval_command.main([*call, "-o", str(whole)]) == 0
    assert eval_command.main(["--results", *parts, "--merge", "-o", str(merged)]) == 0
    found, expected = (json.loads(path.read_text()) for path in (merged, whole))
    assert found["settings"] == expected["settings"]
    assert found["description"] == expected["description"]
    names = [row["name"] for row in expected["images"]]
    assert [row["name"] for row in found["images"]] == names and len(names) == 3
    for key, values in expected["results"].items():
        if values != [None]:
            assert found["results"][key] == pytest.approx(values)
    assert eval_command.main([*call, "--shard", "4/4"]) == 1


def test_a_model_of_one_quality_refuses_to_be_asked_for_another(folder, tiny_weights, capsys):
    arguments = ["--data", str(folder), "--model", str(tiny_weights), "--quality", "20"]
    assert eval_command.main(arguments) == 1
    assert "quality" in capsys.readouterr().err


def test_decoded_images_among_those_that_are_measured_are_refused(
    folder, mini_model, tmp_path, monkeypatch
):
    def measured(*_):
        raise AssertionError

    monkeypatch.setattr(real_files, "code_all", measured)
    (tmp_path / "link").symlink_to(folder)
    for inside in (folder, folder / "decoded", tmp_path / "link" / "decoded"):
        with pytest.raises(EvaluationError, match="would be measured as well"):
            real_files.evaluate(mini_model, [folder], Settings(save_decoded=inside))
    assert not (folder / "decoded").exists()


def test_a_file_of_a_later_quality_is_in_the_way_before_anything_is_measured(
    folder, mini_weights, tmp_path, monkeypatch
):
    def measured(*_):
        raise AssertionError

    monkeypatch.setattr(real_files, "code_all", measured)
    (tmp_path / "60").mkdir()
    (tmp_path / "60" / "b.png.rdo").touch()
    requested = study.Study(
        [folder], [str(mini_weights)], [20.0, 60.0], shared=Settings(keep=tmp_path)
    )
    with pytest.raises(ImageError, match=r"60/b\.png\.rdo: exists already"):
        list(study.run(study.prepare(requested, print), print))
