"""Files of curves: what is written is read, others' schema is, and nonsense is refused."""

from __future__ import annotations

import json

import pytest

from rdonet_jax.evaluation import curves
from rdonet_jax.evaluation.curves import CurveError
from rdonet_jax.imaging.errors import ImageError
from tests import curve_samples

pytestmark = pytest.mark.once


IMAGES = """{"name": "a", "results": {"bpp": [1, 2], "quality": [10, 20]},
             "images": [{"point": 0, "name": "a", "bpp": 1}, %s]}"""
SETTINGS = '{"name": "a", "results": {"bpp": [1]}, "settings": %s}'


@pytest.fixture
def ours():
    return curve_samples.curve("ours", rate="real files", weights=["0011aabb"])


def test_what_is_written_is_read(ours, tmp_path):
    jpeg = curve_samples.curve("jpeg", 2.0, options={"optimize": True})
    curves.write(tmp_path / "one.json", [ours])
    curves.write(tmp_path / "two.json", [ours, jpeg])
    assert curves.read(tmp_path / "one.json") == [ours]
    assert curves.read(tmp_path / "two.json") == [ours, jpeg]


def test_one_curve_is_a_file_in_compressais_schema(ours, tmp_path):
    curves.write(tmp_path / "one.json", [ours])
    values = json.loads((tmp_path / "one.json").read_text())
    assert values["name"] == "ours"
    assert values["results"]["bpp"] == list(curve_samples.RATES)
    assert len(values["results"]["psnr-rgb"]) == len(values["results"]["ms-ssim-rgb"]) == 5


def test_compressais_own_files_are_read(tmp_path):
    for psnr, ms_ssim in (("psnr-rgb", "ms-ssim-rgb"), ("psnr", "ms-ssim")):
        values = {
            "name": "bmshj2018-hyperprior",
            "description": "Inference (ans)",
            "results": {
                psnr: [27.58, 29.20], ms_ssim: [0.92, 0.95], "bpp": [0.13, 0.21],
                "encoding_time": [0.1, 0.2], "decoding_time": [0.1, 0.2],
            },
        }  # fmt: skip
        (tmp_path / "theirs.json").write_text(json.dumps(values))
        (found,) = curves.read(tmp_path / "theirs.json")
        assert [p.mean.quality["psnr"] for p in found.points] == [27.58, 29.20]
        assert [p.mean.quality["ms_ssim"] for p in found.points] == [0.92, 0.95]
        assert [p.quality for p in found.points] == [None, None]
        assert all(p.rows == () for p in found.points)


def test_images_that_are_named_by_their_quality_find_their_point(ours, tmp_path):
    values = curves.to_json(ours)
    for row in values["images"]:
        del row["point"]
    assert curves.from_json(values, "here").points == ours.points


def test_metrics_that_are_asked_for_are_stored_where_they_were_measured(ours, tmp_path):
    row = ours.points[0].mean._replace(quality={"psnr": 30.0, "ssimulacra2": 61.5})
    measured = curves.Curve("measured", "", (curves.Point(None, row, (row,)),))
    curves.write(tmp_path / "two.json", [measured, ours])
    values = json.loads((tmp_path / "two.json").read_text())
    assert values[0]["results"]["ssimulacra2"] == [61.5]
    assert values[0]["results"]["ms-ssim-rgb"] == [None]
    assert "ssimulacra2" not in values[1]["results"]
    found = curves.read(tmp_path / "two.json")
    assert found[0].points[0].rows[0].quality == {**row.quality, "ms_ssim": None}
    assert found[1] == ours
    assert [m.name for m in curves.metrics_of(found)] == ["psnr", "ms_ssim", "ssimulacra2"]


def test_equal_names_get_numbers(ours):
    names = [curve.name for curve in curves.distinct([ours, ours, ours])]
    assert names == ["ours", "ours (2)", "ours (3)"]


def test_an_unknown_name_is_an_error_that_lists_the_names(ours):
    with pytest.raises(CurveError, match="no curve 'webp' among ours"):
        curves.named([ours], "webp")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "holds no curve"),
        ("3", "holds no curve in CompressAI's schema"),
        ('{"name": "a"}', "'results' is missing"),
        ('{"name": "a", "results": {"psnr-rgb": [30]}}', "'bpp' is missing"),
        ('{"name": "a", "results": {"bpp": []}}', "the curve a has no points"),
        ('{"name": "a", "results": {"bpp": [0]}}', "a rate is missing or not positive"),
        ('{"name": "a", "results": {"bpp": [NaN]}}', "bpp is nan"),
        ('{"name": "a", "results": {"bpp": ["x"]}}', "bpp: 'x' is no number"),
        ('{"name": "a", "results": {"bpp": [true]}}', "bpp: True is no number"),
        ('{"name": "a", "results": {"bpp": [1' + 400 * "0" + "]}}", "bpp is 1000"),
        ('{"name": "a", "results": {"bpp": 3}}', "bpp: 3 is no list"),
        ('{"name": 3, "results": {"bpp": [1]}}', "the name of the curve: 3 is no text"),
        ('{"name": "a", "results": [1]}', "results: [1] is no object"),
        (
            '{"name": "a", "results": [{"bpp": 0.7626165122520633, "psnr": 31.25, "form": '
            '"as it is", "encoder": "ours"}]}',
            "results: [{'bpp': 0.7626165122520633, 'encoder': 'ours', 'form': 'as it is', "
            "'psnr': 3... is no object",
        ),
        (
            '{"name": "a", "results": {"bpp": [1], "psnr-rgb": []}}',
            "psnr-rgb has 0 values, but there are 1 rates",
        ),
        (
            '{"name": "a", "results": {"bpp": [1, 2], "encoding_time": [1, 2, 3]}}',
            "encoding_time has 3 values, but there are 2 rates",
        ),
        (
            '{"name": "a", "results": {"bpp": [1], "quality": [1, 2]}}',
            "quality has 2 values, but there are 1 rates",
        ),
        (
            '{"name": "a", "results": {"bpp": [1], "quality": ["low"]}}',
            "quality: 'low' is no number",
        ),
        ('{"name": "a", "results": {"bpp": [1]}, "settings": 3}', "settings: 3 is no object"),
        ('{"name": "a", "results": {"bpp": [1]}, "images": [3]}', "an image: 3 is no object"),
        ('{"name": "a", "results": {"bpp": [1], "ms-ssim-rgb": [13.1]}}', "linear scale"),
        ('{"name": "a", "results": {"bpp": [1]}, "images": [{"bpp": 1}]}', "'name' is missing"),
        (IMAGES % '{"point": 2, "name": "b", "bpp": 1}', "an image: 2 is no integer from 0 to 1"),
        (IMAGES % '{"point": -1, "name": "b", "bpp": 1}', "-1 is no integer from 0 to 1"),
        (IMAGES % '{"point": 0, "name": "a", "bpp": 1}', "a point has the image a twice"),
        (IMAGES % '{"quality": 7, "name": "b", "bpp": 1}', "no point has the quality 7"),
        (IMAGES % '{"name": "b", "bpp": 1}', "an image has neither a point nor a quality"),
        (IMAGES % '{"point": 0, "name": 3, "bpp": 1}', "the name of an image: 3 is no text"),
        (SETTINGS % '{"shard": 3}', "shard: 3 is no list"),
        (SETTINGS % '{"shard": [1]}', "shard: [1] is not a number and a count"),
        (SETTINGS % '{"shard": [3, 2]}', "a shard: 3 is no integer from 1 to 2"),
        (SETTINGS % '{"shard": ["1", 2]}', "a shard: '1' is no integer"),
        (SETTINGS % '{"shard": [1, 0]}', "the count of shards: 0 is no integer from 1 on"),
        (SETTINGS % '{"images": {"sha256": "ab"}}', "'count' is missing"),
        (SETTINGS % '{"images": [24]}', "images: [24] is no object"),
    ],
)
def test_what_is_no_curve_is_refused_with_the_files_name(tmp_path, text, message):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(CurveError) as caught:
        curves.read(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CurveError, match=r"none\.json: cannot be read: No such file"):
        curves.read(tmp_path / "none.json")


def test_an_existing_file_is_kept_without_force(ours, tmp_path):
    curves.write(tmp_path / "one.json", [ours])
    with pytest.raises(ImageError, match="exists already"):
        curves.write(tmp_path / "one.json", [ours])
    curves.write(tmp_path / "one.json", [ours], force=True)
