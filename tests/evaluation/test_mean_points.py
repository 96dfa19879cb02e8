"""Mean points: rate and quality of a point are means over the same images."""

from __future__ import annotations

import pytest

from rdonet_jax.evaluation import curves, mean_points
from rdonet_jax.evaluation.curves import Curve, Point
from rdonet_jax.evaluation.results import Row
from rdonet_jax.metrics.quality import METRICS

pytestmark = pytest.mark.once


def curve(*points: dict[str, tuple[float, float | None]]) -> Curve:
    """A curve from the rate and the PSNR of every image at every point."""
    rows = [
        [Row(name, bpp, {"psnr": psnr}) for name, (bpp, psnr) in images.items()]
        for images in points
    ]
    return Curve("any", "", tuple(curves.point(None, one) for one in rows))


def means(*measured: Curve) -> list[list[tuple[float, float | None] | None]]:
    found = mean_points.over_common_images(measured, "psnr").of_curves
    return [[row and (row.bpp, row.quality["psnr"]) for row in rows] for rows in found]


def test_an_image_without_the_metric_at_one_point_counts_at_none():
    first = curve({"a": (1, 30), "b": (3, 40), "c": (5, None)}, {"a": (2, 32), "b": (4, 42)})
    second = curve({"a": (7, 50), "b": (9, None), "c": (1, 10)})
    assert means(first) == [[(2, 35), (3, 37)]]
    assert means(first, second) == [[(1, 30), (2, 32)], [(7, 50)]]
    counted = mean_points.over_common_images([first, second], "psnr")
    assert (counted.used, counted.count) == (1, 3)


def test_a_point_at_which_no_image_has_the_metric_has_no_mean_and_costs_no_image():
    both = curve({"a": (1, 30), "b": (3, 40)}, {"a": (2, None), "b": (4, None)})
    assert means(both) == [[(2, 35), None]]


def test_without_a_common_image_there_are_no_means():
    apart = curve({"a": (1, 30), "b": (3, None)}, {"a": (2, None), "b": (4, 42)})
    found = mean_points.over_common_images([apart], "psnr")
    assert (found.of_curves, found.used, found.count) == ([[None, None]], 0, 2)


def test_means_of_unknown_images_and_of_all_images_are_those_that_are_stored():
    stored = Row("mean", 0.25, {"psnr": 33.0})
    complete = curve({"a": (1, 30), "b": (3, 40)})
    rows = complete.points[0].rows
    odd = complete._replace(points=(Point(None, stored), Point(None, stored, rows)))
    assert means(odd) == [[(0.25, 33), (0.25, 33)]]


def test_a_curve_is_drawn_through_the_pairs_of_rate_and_quality_of_the_same_images():
    both = curve({"a": (1, 30), "b": (3, None)}, {"a": (2, 32), "b": (4, 42)})
    assert mean_points.on_curve(both, METRICS["psnr"]) == [(1, 30), (2, 32)]
    assert mean_points.on_curve(both, METRICS["ms_ssim"]) == [None, None]
