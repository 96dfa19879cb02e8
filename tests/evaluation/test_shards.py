"""Shards of an evaluation: joined they are the whole, and what does not fit is refused."""

from __future__ import annotations

import pytest

from rdonet_jax.core.shard import WHOLE, Shard
from rdonet_jax.evaluation import curves, results, shards
from rdonet_jax.evaluation.curve_schema import ALL_IMAGES, SHARD
from rdonet_jax.evaluation.curves import Curve, CurveError
from tests import curve_samples

pytestmark = pytest.mark.once


def parts_of(count: int, names: str, **settings) -> list[Curve]:
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
                settings={**settings, SHARD: [number, count]},
            )
        )
    return parts


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shards_are_joined_to_the_curve_of_all_images(count, tmp_path):
    whole = curve_samples.curve("ours", names="edcab", rate="real files")
    for number, part in enumerate(parts_of(count, "edcab", rate="real files")):
        curves.write(tmp_path / f"{number}.json", [part])
    parts = [curve for path in sorted(tmp_path.glob("*.json")) for curve in curves.read(path)]
    jpeg = curve_samples.curve("jpeg", names="edcab")
    joined, other = sorted(shards.merge([*reversed(parts), jpeg]), key=lambda one: one.name)[::-1]
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
    for number, part in enumerate(parts_of(2, "abc")):
        points = list(part.points)
        first, *others = points[-1].rows
        first = first._replace(quality={**first.quality, "psnr": None})
        points[-1] = curves.point(points[-1].quality, [first, *others])
        words = results.count_words([points[-1 * number].rows])
        parts.append(part._replace(points=tuple(points), description=f"made up; {words}"))
    (joined,) = shards.merge(parts)
    assert joined.description == (
        "made up; mean over images: 3; PSNR leaves out 0 to 2 of 3 at a point, exact copies"
    )


def test_shards_that_are_missing_doubled_or_of_another_evaluation_are_refused():
    first, second, third = parts_of(3, "abcdef")
    for parts, there in (
        ([first, third], "1/3, 3/3"),
        ([first, second, second, third], "2/3, 2/3"),
    ):
        with pytest.raises(CurveError, match=f"each of its 3 shards once, there are .*{there}"):
            shards.merge(parts)
    odd = second._replace(settings={**second.settings, "init": "static"})
    shorter = second._replace(points=second.points[:-1])
    for other in (odd, shorter):
        with pytest.raises(CurveError, match="different settings or qualities"):
            shards.merge([first, other, third])


def recorded(part: Curve, names: str) -> Curve:
    """The part as it is measured, with a record of all images."""
    settings = shards.shard_settings(Shard(*part.settings[SHARD]), list(names))
    return part._replace(settings={**part.settings, **settings})


def test_the_record_of_all_images_is_compared_and_not_in_the_joined_curve():
    first, second = (recorded(part, "edcba") for part in parts_of(2, "abcde", init="static"))
    (joined,) = shards.merge([first, second])
    assert joined.settings == {"init": "static"}
    other = recorded(second, "abcdef")
    with pytest.raises(CurveError, match="ours: its shards are not of the same set of images"):
        shards.merge([first, other])
    with pytest.raises(CurveError, match="have 5 images, which are not the 6 of the evaluation"):
        shards.merge([recorded(first, "abcdef"), other])
    with pytest.raises(CurveError, match="have 5 images, which are not the 5 of the evaluation"):
        shards.merge([recorded(first, "abcdx"), recorded(second, "abcdx")])
    assert shards.shard_settings(WHOLE, ["a"]) == {}


def test_shards_of_earlier_versions_have_no_record_and_are_joined():
    first, second = parts_of(2, "abcde")
    (joined,) = shards.merge([first, recorded(second, "abcde")])
    assert joined.settings == {} and ALL_IMAGES not in joined.settings


def test_an_image_that_is_in_two_shards_or_not_at_every_point_is_refused():
    first, second = parts_of(2, "abcd")
    points = [curves.point(p.quality, [*p.rows, first.points[0].rows[0]]) for p in second.points]
    with pytest.raises(CurveError, match="ours: the image a is in more than one shard"):
        shards.merge([first, second._replace(points=tuple(points))])
    last = second.points[-1]
    points = [*second.points[:-1], curves.point(last.quality, last.rows[:1])]
    with pytest.raises(CurveError, match="ours: the image d is not at every point"):
        shards.merge([first, second._replace(points=tuple(points))])


def test_shards_of_different_counts_or_without_images_are_refused():
    first, second = parts_of(2, "abcd")
    other = second._replace(settings={SHARD: [2, 3]})
    with pytest.raises(CurveError, match="each of its 2 shards once, there are 1/2, 2/3"):
        shards.merge([first, other])
    bare = second._replace(points=tuple(p._replace(rows=()) for p in second.points))
    with pytest.raises(CurveError, match="a shard has no results of its images"):
        shards.merge([first, bare])


def test_shards_without_images_need_not_be_there():
    parts = [recorded(part, "ab") for part in parts_of(2, "ab")]
    parts = [
        part._replace(settings={**part.settings, SHARD: [number + 1, 4]})
        for number, part in enumerate(parts)
    ]
    (joined,) = shards.merge(parts)
    assert [row.name for row in joined.points[0].rows] == ["a", "b"]
    message = "each of the 2 of its 4 shards that have images once, there are 2/4"
    with pytest.raises(CurveError, match=message):
        shards.merge(parts[1:])


@pytest.mark.parametrize(("threads", "joined"), [((2, 2), 2), ((4, 1), [4, 1])])
def test_shards_may_be_computed_by_different_numbers_of_threads(threads, joined):
    parts = [
        part._replace(settings={**part.settings, "threads": count})
        for part, count in zip(parts_of(2, "abcd"), threads, strict=True)
    ]
    assert shards.merge(parts)[0].settings == {"threads": joined}
