"""Bjøntegaard rates: against other computations, identities, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from scipy.interpolate import Akima1DInterpolator

from rdonet_jax.evaluation import bd_rates, curves, results
from rdonet_jax.evaluation.bd_rates import BdRateError, Line
from rdonet_jax.evaluation.curves import Curve, Point
from rdonet_jax.evaluation.results import Row
from rdonet_jax.metrics.quality import METRICS
from tests import curve_samples

bjontegaard = pytest.importorskip("bjontegaard", reason="needs the package bjontegaard")

pytestmark = pytest.mark.once

# The example of the package's page: two presets of x265, kbit/s and dB.
ANCHOR = Line((1358.24, 2486.44, 4593.60, 9487.76), (34.851, 36.845, 38.615, 40.037))
TESTED = Line((1356.24, 2451.52, 4469.00, 9787.80), (34.987, 36.970, 38.651, 40.121))


def test_the_packages_own_example_has_the_packages_value():
    theirs = bjontegaard.bd_rate(
        ANCHOR.rate[::-1], ANCHOR.quality[::-1], TESTED.rate[::-1], TESTED.quality[::-1],
        method="akima",
    )  # fmt: skip
    assert bd_rates.bd_rate(TESTED, ANCHOR).percent == pytest.approx(theirs, abs=1e-12)


def test_the_value_is_the_mean_difference_of_akimas_log_rates():
    found = bd_rates.bd_rate(TESTED, ANCHOR)
    ours, theirs = (Akima1DInterpolator(c.quality, np.log(c.rate)) for c in (TESTED, ANCHOR))
    area, _ = integrate.quad(lambda q: ours(q) - theirs(q), found.low, found.high, limit=200)
    expected = 100 * (math.exp(area / (found.high - found.low)) - 1)
    assert found.percent == pytest.approx(expected, abs=1e-6)
    assert (found.low, found.high) == (34.987, 40.037)
    assert found.overlap == pytest.approx((40.037 - 34.987) / (40.121 - 34.987))


@given(st.floats(0.1, 10.0), st.sampled_from(["psnr", "ms_ssim"]))
def test_a_multiple_of_the_rate_at_equal_quality_is_that_percentage(factor, metric):
    found = bd_rates.compare(
        curve_samples.curve("tested", factor), curve_samples.curve("reference"), metric
    )
    percent = 100 * (factor - 1)
    assert found.over_set.percent == pytest.approx(percent, rel=1e-6, abs=1e-6)
    assert found.over_set.overlap == pytest.approx(1.0)
    for one in found.images.values():
        assert one.percent == pytest.approx(percent, rel=1e-6, abs=1e-6)
    assert not found.refused


def test_half_the_rate_is_minus_50_percent_and_back_plus_100():
    half = bd_rates.bd_rate(Line(tuple(r / 2 for r in ANCHOR.rate), ANCHOR.quality), ANCHOR)
    back = bd_rates.bd_rate(ANCHOR, Line(tuple(r / 2 for r in ANCHOR.rate), ANCHOR.quality))
    assert half.percent == pytest.approx(-50.0)
    assert back.percent == pytest.approx(100.0)


def test_a_distance_counts_with_its_sign_turned_and_is_named_as_it_is():
    def curve(name: str, factor: float, offset: float = 0.0) -> Curve:
        points = []
        for rate in curve_samples.RATES:
            seen = {"butteraugli": offset + 5 - 2 * math.log2(rate)}
            points.append(curves.Point(None, Row("mean", factor * rate, seen)))
        return Curve(name, "", tuple(points))

    found = bd_rates.compare(curve("tested", 0.5), curve("reference", 1.0), "butteraugli")
    assert found.over_set.percent == pytest.approx(-50)
    text = "\n".join(bd_rates.table([curve("tested", 1, 50), curve("other", 1)], curve("r", 1)))
    assert "set refused: 53.64 to 61.64 and 3.64 to 11.64 have 0% " in text


def test_values_below_zero_are_named_with_their_sign():
    line = bd_rates.Line((1, 2, 3, 4), (-20.0, 1.0, 30.0, 50.0), "")
    assert bd_rates._range(line) == "-20.00 to 50.00"


def test_the_order_of_points_changes_nothing():
    rows = [curve_samples.row("a", rate) for rate in curve_samples.RATES]
    assert bd_rates.line(rows[::-1], "psnr") == bd_rates.line(rows, "psnr")


def test_best_and_worst_images_are_named_and_averaged():
    reference = curve_samples.curve("reference", names=["a", "b", "c"])
    points = [
        curves.point(
            p.quality, [r._replace(bpp=r.bpp * f) for r, f in zip(p.rows, (2, 0.5, 1), strict=True)]
        )
        for p in reference.points
    ]
    found = bd_rates.compare(Curve("tested", "", tuple(points)), reference, "psnr")
    best, worst, average = found.extremes()
    assert best == ("b", pytest.approx(-50.0))
    assert worst == ("a", pytest.approx(100.0))
    assert average == pytest.approx(50 / 3)


def test_ms_ssim_counts_in_decibels():
    ms_ssim = METRICS["ms_ssim"]
    assert ms_ssim.curve_value(0.99) == pytest.approx(20.0)
    assert ms_ssim.curve_value(1.0) is None
    assert ms_ssim.curve_value(None) is None


def test_points_that_are_no_better_than_cheaper_ones_are_left_out():
    rows = [Row("a", rate, {"psnr": psnr}) for rate, psnr in ((1, 30), (2, 29), (3, 31), (3, 32),
                                                          (4, 33), (5, 34))]  # fmt: skip
    assert bd_rates.line(rows, "psnr") == Line((1, 3, 4, 5), (30, 32, 33, 34))


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ((2.0, math.inf), "2 bpp and the quality inf"),
        ((2.0, math.nan), "2 bpp and the quality nan"),
        ((0.0, 20.0), "0 bpp and the quality 20"),
        ((math.inf, 50.0), "inf bpp"),
        ((math.nan, 50.0), "nan bpp"),
    ],
)
def test_points_without_a_finite_rate_and_quality_are_refused(point, words):
    points = [(0.1, 30.0), (0.2, 32.5), (0.4, 35.0), (0.8, 38.0)]
    with pytest.raises(BdRateError, match=f"a point has .*{words}"):
        Line.through([*points, point])


def test_too_few_points_are_refused():
    rows = [curve_samples.row("a", rate) for rate in (0.1, 0.2, 0.4)]
    with pytest.raises(BdRateError, match="3 points on a rising curve, but at least 4"):
        bd_rates.line(rows, "psnr")


def test_an_image_without_the_metric_says_so():
    rows = [curve_samples.row("a", rate) for rate in curve_samples.RATES]
    without = [row._replace(quality={**row.quality, "ms_ssim": None}) for row in rows]
    tested, reference = (
        Curve(name, "made up", tuple(curves.point(None, [row]) for row in without))
        for name in ("tested", "reference")
    )
    found = bd_rates.compare(tested, reference, "ms_ssim")
    assert found.refused["a"] == "it has no MS-SSIM" and not found.images


def test_too_little_overlap_is_refused_by_name_and_spares_the_others():
    low, high = (0.05, 0.1, 0.2, 0.4), (0.35, 0.7, 1.4, 2.8)
    reference = curve_samples.curve("reference", rates=low)
    tested = curve_samples.curve("tested", rates=low)
    moved = curve_samples.curve("tested", rates=high)
    mixed = [
        Point(p.quality, p.mean, (p.rows[0], q.rows[1]))
        for p, q in zip(tested.points, moved.points, strict=True)
    ]
    found = bd_rates.compare(tested._replace(points=tuple(mixed)), reference, "psnr")
    assert list(found.images) == ["a.png"]
    assert list(found.refused) == ["b.png"]
    assert "6% of the smaller range in common, but 50% are needed" in found.refused["b.png"]
    assert found.over_set is not None


def without(metric: str, curve: Curve, *images: tuple[int, str]) -> Curve:
    """The curve without the metric of these images, each at the point of this number."""
    points = []
    for number, point in enumerate(curve.points):
        rows = [
            row._replace(quality={**row.quality, metric: None})
            if (number, row.name) in images else row
            for row in point.rows
        ]  # fmt: skip
        points.append(curves.point(point.quality, rows))
    return curve._replace(points=tuple(points))


def with_rates(curve: Curve, **factors: float) -> Curve:
    """The curve with the rates of these images multiplied."""
    return curve._replace(
        points=tuple(
            curves.point(
                p.quality, [r._replace(bpp=factors.get(r.name, 1) * r.bpp) for r in p.rows]
            )
            for p in curve.points
        )
    )


def test_the_rate_over_the_set_is_of_the_images_that_have_the_metric_at_all_points_of_both():
    """Of three images, two take half the rate, and the third one, without MS-SSIM, ten times it."""
    reference = curve_samples.curve("jpeg", names=["a", "b", "small"])
    tested = with_rates(
        curve_samples.curve("ours", names=["a", "b", "small"]), a=0.5, b=0.5, small=10
    )
    small = [(number, "small") for number in range(len(curve_samples.RATES))]
    tested = without("ms_ssim", tested, *small)
    found = bd_rates.compare(tested, reference, "ms_ssim")
    assert found.over_set.percent == pytest.approx(-50)
    assert found.left_out == ("1 of 3 images, without MS-SSIM at some point",)
    assert bd_rates.compare(tested, reference, "psnr").left_out == ()
    lines = "\n".join(bd_rates.table([tested], reference))
    assert "set leaves out 1 of 3 images, without MS-SSIM at some point" in lines


def test_points_that_the_rate_over_the_set_leaves_out_are_named():
    rates = (*curve_samples.RATES, 3.2)
    reference = curve_samples.curve("jpeg", rates=rates)
    exact = without("psnr", reference, (5, "a.png"), (5, "b.png"))
    worse = [
        *exact.points,
        curves.point(None, [curve_samples.row(n, 0.8, -1) for n in ("a.png", "b.png")]),
    ]
    tested = exact._replace(name="ours", points=tuple(worse))
    found = bd_rates.compare(tested, reference, "psnr")
    assert found.over_set.percent == pytest.approx(0)
    assert found.left_out == (
        "ours at 3.2000 bpp, where no image has a finite PSNR",
        "ours at 0.8000 bpp, which is no better than a cheaper point",
    )


def test_curves_without_an_image_that_has_the_metric_at_all_points_have_no_rate_over_the_set():
    reference = curve_samples.curve("jpeg")
    apart = without("psnr", reference, (0, "a.png"), (4, "b.png"))
    found = bd_rates.compare(apart, reference, "psnr")
    assert found.over_set is None
    assert found.refused["set"] == "no image has PSNR at every point of both curves"


def test_curves_apart_have_no_rate_at_all():
    far = Line(tuple(100 * r for r in ANCHOR.rate), tuple(q + 30 for q in ANCHOR.quality))
    with pytest.raises(BdRateError, match="0% of the smaller range"):
        bd_rates.bd_rate(far, ANCHOR, least_overlap=0.0)


def test_estimates_are_not_compared_with_files():
    estimate = curve_samples.curve("estimate", rate="estimate")
    with pytest.raises(BdRateError, match="not compared with those of files"):
        bd_rates.compare(estimate, curve_samples.curve("files", rate="real files"), "psnr")
    assert bd_rates.compare(estimate, estimate, "psnr").over_set.percent == pytest.approx(0)


def test_curves_over_other_images_are_refused():
    with pytest.raises(BdRateError, match=r"the images differ: c\.png is not in both"):
        bd_rates.compare(
            curve_samples.curve("tested"),
            curve_samples.curve("reference", names=["a.png", "b.png", "c.png"]),
            "psnr",
        )


def test_curves_without_images_have_a_rate_over_the_set_alone():
    reference = curve_samples.curve("reference")
    bare = reference._replace(points=tuple(p._replace(rows=()) for p in reference.points))
    found = bd_rates.compare(bare, reference, "ms_ssim")
    assert found.over_set.percent == pytest.approx(0)
    assert found.extremes() is None


def test_the_table_has_a_line_per_curve_and_metric_and_says_what_is_refused():
    reference = curve_samples.curve("jpeg")
    few = curve_samples.curve("few", rates=(0.1, 0.2))
    lines = list(bd_rates.table([curve_samples.curve("ours", 0.5), reference, few], reference))
    assert lines[0].endswith("against jpeg")
    assert lines[2].split()[:5] == ["ours", "PSNR", "-50.0", "%", "-50.0"]
    assert lines[2].split()[-2:] == ["2", "100%"]
    assert lines[4].split() == ["few", "PSNR", "-", "-", "-", "-", "0", "-"]
    assert [line.split()[:2] for line in lines[5:8]] == [
        ["a.png", "refused:"], ["b.png", "refused:"], ["set", "refused:"],
    ]  # fmt: skip


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bjontegaard", None)
    with pytest.raises(BdRateError, match="need the package bjontegaard"):
        bd_rates.bd_rate(TESTED, ANCHOR)


def test_the_curve_of_means_is_that_of_mean_rates_and_qualities():
    curve = curve_samples.curve("any")
    means = [results.mean(p.rows) for p in curve.points]
    assert bd_rates.line(means, "psnr").rate == tuple(m.bpp for m in means)
