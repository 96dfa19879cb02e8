"""Files of curves: what is written is read, others' schema is, and nonsense is refused."""

from __future__ import annotations

import json

import pytest

from rdonet_jax.evaluation import curves, results
from rdonet_jax.evaluation.curves import CurveError
from rdonet_jax.imaging import srgb
from tests import curve_samples

pytestmark = pytest.mark.once


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


def shards(count: int, names: str, **settings) -> list[curves.Curve]:
    whole = curve_samples.curve("ours", names=names, **settings)
    parts = []
    for number in range(1, count + 1):
        points = [
            curves.point(p.quality, sorted(p.rows)[number - 1 :: count]) for p in whole.points
        ]
        parts.append(
            whole._replace(
                description=curves.description("made up", points),
                points=tuple(points),
                settings={**settings, curves.SHARD: [number, count]},
            )
        )
    return parts


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shards_are_joined_to_the_curve_of_all_images(count, tmp_path):
    whole = curve_samples.curve("ours", names="edcab", rate="real files")
    for number, part in enumerate(shards(count, "edcab", rate="real files")):
        curves.write(tmp_path / f"{number}.json", [part])
    parts = [curve for path in sorted(tmp_path.glob("*.json")) for curve in curves.read(path)]
    jpeg = curve_samples.curve("jpeg", names="edcab")
    joined, other = sorted(curves.merged([*reversed(parts), jpeg]), key=lambda one: one.name)[::-1]
    assert other == jpeg
    assert (joined.name, joined.settings) == (whole.name, whole.settings)
    assert joined.description == "made up; mean over images: 5"
    for found, expected in zip(joined.points, whole.points, strict=True):
        assert found.rows == tuple(sorted(expected.rows)) and found.quality == expected.quality
        assert found.mean.bpp == pytest.approx(expected.mean.bpp)
        assert found.mean.quality == pytest.approx(expected.mean.quality)


def test_the_words_of_joined_shards_are_of_all_points_and_images():
    """Shards that earlier versions measured have the words of one point alone."""
    parts = []
    for number, part in enumerate(shards(2, "abc")):
        points = list(part.points)
        first, *others = points[-1].rows
        first = first._replace(quality={**first.quality, "psnr": None})
        points[-1] = curves.point(points[-1].quality, [first, *others])
        words = results.count_words([points[-1 * number].rows])
        parts.append(part._replace(points=tuple(points), description=f"made up; {words}"))
    (joined,) = curves.merged(parts)
    assert joined.description == (
        "made up; mean over images: 3; PSNR leaves out 0 to 2 of 3 at a point, exact copies"
    )


def test_shards_that_are_missing_doubled_or_of_another_evaluation_are_refused():
    first, second, third = shards(3, "abcdef")
    for parts, there in (
        ([first, third], "1/3, 3/3"),
        ([first, second, second, third], "2/3, 2/3"),
    ):
        with pytest.raises(CurveError, match=f"each of its 3 shards once, there are .*{there}"):
            curves.merged(parts)
    odd = second._replace(settings={**second.settings, "init": "static"})
    shorter = second._replace(points=second.points[:-1])
    for other in (odd, shorter):
        with pytest.raises(CurveError, match="different settings or qualities"):
            curves.merged([first, other, third])


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
        ('{"name": "a", "results": {"bpp": ["x"]}}', "schema"),
        ('{"name": "a", "results": {"bpp": [1], "psnr-rgb": []}}', "schema"),
        ('{"name": "a", "results": {"bpp": [1], "ms-ssim-rgb": [13.1]}}', "linear scale"),
        ('{"name": "a", "results": {"bpp": [1]}, "images": [{"bpp": 1}]}', "'name' is missing"),
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
    with pytest.raises(srgb.ImageError, match="exists already"):
        curves.write(tmp_path / "one.json", [ours])
    curves.write(tmp_path / "one.json", [ours], force=True)
