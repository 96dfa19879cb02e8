"""Mean points of curves in one metric, whose rate and quality are means over the same images.

Not every image has a value of every metric: one may be too small, and an exact copy has no finite
PSNR. A mean rate over all images does not belong to a mean quality over some of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rdonet_jax.evaluation import results
from rdonet_jax.evaluation.curves import Curve, Point
from rdonet_jax.evaluation.results import Row
from rdonet_jax.metrics.quality import QualityMetric


class MeanPoints(NamedTuple):
    """The means of some curves in one metric."""

    of_curves: list[list[Row | None]]  # by curve and point; None where no image has the metric
    used: int  # images that the means are over
    count: int  # type: ignore[assignment] # all images; 0 where the images are unknown


def over_common_images(curves: Sequence[Curve], metric: str) -> MeanPoints:
    """The means over the images that have the metric at every point of all these curves.

    A point at which no image has it is no reason to leave images out. Where the images of a point
    are unknown, its mean is used as it is. So is that of a point whose images are all used.
    """
    measured = [_images_with(point, metric) for curve in curves for point in curve.points]
    names = {row.name for curve in curves for point in curve.points for row in point.rows}
    used = names.intersection(*(images for images in measured if images))
    means = [[_mean(point, used, metric) for point in curve.points] for curve in curves]
    return MeanPoints(means, len(used), len(names))


def on_curve(curve: Curve, metric: QualityMetric) -> list[tuple[float, float] | None]:
    """The rate and the value for curves of every point, over the images of all its points that have
    a value; None where no image has the metric."""
    (rows,) = over_common_images([curve], metric.name).of_curves
    values = [row and metric.curve_value(row.quality.get(metric.name)) for row in rows]
    return [
        (row.bpp, value) if row is not None and value is not None else None
        for row, value in zip(rows, values, strict=True)
    ]


def _images_with(point: Point, metric: str) -> set[str]:
    return {row.name for row in point.rows if row.quality.get(metric) is not None}


def _mean(point: Point, images: set[str], metric: str) -> Row | None:
    """The mean of a point over these images; None if there is no value of the metric."""
    rows = [row for row in point.rows if row.name in images]
    mean = point.mean if len(rows) == len(point.rows) else results.mean(rows) if rows else None
    return mean if mean is not None and mean.quality.get(metric) is not None else None
