"""Bjøntegaard rates between curves: over the set, and image by image.

How much more rate (negative: less) a codec takes than a reference at equal quality, in percent:
log rates interpolated over the quality by Akima's method, averaged over the qualities that both
curves reach (package `bjontegaard`). Quality is any registered metric on the scale of its curves,
such as PSNR, or MS-SSIM as -10 log10(1 - MS-SSIM), both in dB. Curves that share too little of
their qualities are refused, since the average would say nothing about the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rdonet_jax.evaluation import curves, mean_points
from rdonet_jax.evaluation.curves import Curve
from rdonet_jax.evaluation.mean_points import MeanPoints
from rdonet_jax.evaluation.results import Row
from rdonet_jax.metrics.quality import METRICS

LEAST_OVERLAP = 0.5
"""Of the smaller of two ranges of quality that both curves must reach."""

LEAST_POINTS = 4
"""Of a curve, by convention."""


class BdRateError(ValueError):
    """Curves that no Bjøntegaard rate can be given for; the message says why."""


class Line(NamedTuple):
    """A curve in one metric, by rising rate and quality."""

    rate: tuple[float, ...]  # bits per pixel
    quality: tuple[float, ...]  # rising: the negative of a metric of which less is better
    unit: str = "dB"
    is_negative: bool = False  # whether it is such a metric

    @classmethod
    def through(
        cls, points: Iterable[tuple[float, float]], unit: str = "dB", is_negative: bool = False
    ) -> Line:
        """The line through points (bits per pixel, quality) in any order.

        A point that is no better than a cheaper one is left out: no-one would use it, and it has no
        place on a curve that rises. Raises `BdRateError` when fewer than `LEAST_POINTS` remain, for
        rates that are not finite and positive, and for qualities that are not finite.
        """
        rising: list[tuple[float, float]] = []
        points = list(points)
        for rate, quality in points:
            if not (0 < rate < math.inf and math.isfinite(quality)):
                raise BdRateError(
                    f"a point has {rate:g} bpp and the quality {quality:g}, but rates are positive "
                    "and finite, and qualities are finite"
                )
        for rate, quality in sorted(points, key=lambda p: (p[0], -p[1])):
            if not rising or quality > rising[-1][1]:
                rising.append((rate, quality))
        if len(rising) < LEAST_POINTS:
            raise BdRateError(
                f"{len(rising)} points on a rising curve, but at least {LEAST_POINTS} are needed"
            )
        rates, qualities = zip(*rising, strict=True)
        return cls(rates, qualities, unit, is_negative)


class BdRate(NamedTuple):
    """A Bjøntegaard rate and what it is the mean over."""

    percent: float
    low: float  # the qualities that both curves reach
    high: float
    overlap: float  # those as a part of the smaller of the two ranges


class Comparison(NamedTuple):
    """A codec against the reference in one metric."""

    metric: str  # of `quality.METRICS`
    over_set: BdRate | None  # of the curves of means
    images: dict[str, BdRate]
    refused: dict[str, str]  # by image, or "set", why there is none
    left_out: tuple[str, ...] = ()  # images and points that the rate over the set leaves out

    def extremes(self) -> tuple[tuple[str, float], tuple[str, float], float] | None:
        """The best and the worst image with their percentages, and the average of all."""
        if not self.images:
            return None
        ranked = sorted((found.percent, name) for name, found in self.images.items())
        average = math.fsum(percent for percent, _ in ranked) / len(ranked)
        (best, best_name), (worst, worst_name) = ranked[0], ranked[-1]
        return (best_name, best), (worst_name, worst), average


def line(rows: Sequence[Row], metric: str) -> Line:
    """The line through the rows that have the metric. Raises as `Line.through` does."""
    measure = METRICS[metric]
    points = ((row.bpp, value) for row in rows if (value := _rising_value(row, metric)) is not None)
    return Line.through(points, measure.unit_of_curve, not measure.higher_is_better)


def _rising_value(row: Row, metric: str) -> float | None:
    """The value of a row on a line; None where it has none."""
    measure = METRICS[metric]
    value = measure.curve_value(row.quality.get(metric))
    return value if value is None or measure.higher_is_better else -value


def bd_rate(tested: Line, reference: Line, least_overlap: float = LEAST_OVERLAP) -> BdRate:
    """The Bjøntegaard rate of a codec against a reference.

    Raises `BdRateError` when less than `least_overlap` of the smaller range is common to both.
    """
    low = max(tested.quality[0], reference.quality[0])
    high = min(tested.quality[-1], reference.quality[-1])
    smaller = min(one.quality[-1] - one.quality[0] for one in (tested, reference))
    overlap = max(0.0, high - low) / smaller
    if overlap < least_overlap or overlap == 0:
        raise BdRateError(
            f"{_range(tested)} and {_range(reference)} have {overlap:.0%} of the smaller range in "
            f"common, but {least_overlap:.0%} are needed"
        )
    percent = require()(
        reference.rate, reference.quality, tested.rate, tested.quality,
        method="akima", require_matching_points=False, min_overlap=0,
    )  # fmt: skip
    return BdRate(float(percent), low, high, overlap)


def require() -> Callable[..., np.floating]:
    """The function of the package bjontegaard. Raises `BdRateError` when it is missing."""
    try:
        import bjontegaard  # here, since few evaluations need it, and it loads matplotlib
    except ImportError as error:
        raise BdRateError(
            "Bjøntegaard rates need the package bjontegaard (extra report)"
        ) from error
    return bjontegaard.bd_rate


def compare(tested: Curve, reference: Curve, metric: str) -> Comparison:
    """A codec against the reference, over the set and for every image that both know.

    Raises `BdRateError` when one rate is estimated and the other is not, or when both know their
    images and these are not the same.
    """
    if curves.is_estimate(tested) != curves.is_estimate(reference):
        raise BdRateError("estimated rates are not compared with those of files")
    by_image = [_by_image(curve) for curve in (tested, reference)]
    names = [set(rows) for rows in by_image]
    if all(names) and names[0] != names[1]:
        odd = sorted(names[0] ^ names[1])
        raise BdRateError(f"the images differ: {odd[0]} is not in both")
    images: dict[str, BdRate] = {}
    refused: dict[str, str] = {}
    for name in sorted(names[0] & names[1]):
        try:
            images[name] = _between(by_image[0][name], by_image[1][name], metric)
        except BdRateError as error:
            refused[name] = str(error)
    over_set = None
    left_out: tuple[str, ...] = ()
    try:
        over_set, left_out = _over_set(tested, reference, metric)
    except BdRateError as error:
        refused["set"] = str(error)
    return Comparison(metric, over_set, images, refused, left_out)


def _over_set(tested: Curve, reference: Curve, metric: str) -> tuple[BdRate, tuple[str, ...]]:
    """The rate between the curves of means, and what these leave out.

    Raises `BdRateError` as `bd_rate` does, and when no image has the metric at every point.
    """
    both = (tested, reference)
    means = mean_points.over_common_images(both, metric)
    label = METRICS[metric].label
    if means.count and not means.used:
        raise BdRateError(f"no image has {label} at every point of both curves")
    own, other = (line([row for row in rows if row], metric) for rows in means.of_curves)
    left_out = [
        sentence
        for curve, rows, drawn in zip(both, means.of_curves, (own, other), strict=True)
        for sentence in _points_left_out(curve, rows, drawn, metric)
    ]
    return bd_rate(own, other), (*_images_left_out(means, label), *left_out)


def _images_left_out(means: MeanPoints, label: str) -> Iterator[str]:
    """A sentence on the images without the metric, if there are any."""
    count = means.count - means.used
    if count:
        yield f"{count} of {means.count} images, without {label} at some point"


def _points_left_out(
    curve: Curve, rows: Sequence[Row | None], drawn: Line, metric: str
) -> Iterator[str]:
    """A sentence on each point of a curve that is not on its line."""
    on_line = set(zip(drawn.rate, drawn.quality, strict=True))
    for point, row in zip(curve.points, rows, strict=True):
        name = f"{curve.name} at {point.mean.bpp:.4f} bpp"
        if row is None or (value := _rising_value(row, metric)) is None:
            yield f"{name}, where no image has a finite {METRICS[metric].label}"
        elif (row.bpp, value) not in on_line:
            yield f"{name}, which is no better than a cheaper point"


def table(measured: Sequence[Curve], reference: Curve) -> Iterator[str]:
    """Lines of the rates of all curves but the reference, against it, and of refusals by name.

    Raises `BdRateError` when the package is missing.
    """
    require()
    width = max(len(curve.name) for curve in measured)
    metrics = curves.metrics_of(measured)
    label = max(8, *(len(metric.label) for metric in metrics))
    head = ("set", "best", "worst", "average", "images", "overlap")
    yield f"Bjøntegaard rates against {reference.name}"
    yield " " * (width + 1 + label) + "".join(f"{title:>10}" for title in head)
    for curve in measured:
        for metric in metrics if curve is not reference else ():
            start = f"{curve.name:<{width}} {metric.label:<{label}}"
            try:
                found = compare(curve, reference, metric.name)
            except BdRateError as error:
                yield f"{start}  refused: {error}"
                continue
            yield start + _cells(found)
            indent = " " * (width + 3)
            yield from (f"{indent}{name} refused: {why}" for name, why in found.refused.items())
            yield from (f"{indent}set leaves out {what}" for what in found.left_out)


def _cells(found: Comparison) -> str:
    """The numbers of a line of the table; "-" where there is none."""
    extremes = found.extremes()
    parts = [found.over_set and found.over_set.percent]
    parts += [extremes[0][1], extremes[1][1], extremes[2]] if extremes else [None] * 3
    cells = "".join(f"{'-' if part is None else f'{part:+.1f} %':>10}" for part in parts)
    overlap = f"{found.over_set.overlap:.0%}" if found.over_set else "-"
    return f"{cells}{len(found.images):>10}{overlap:>10}"


def _range(line: Line) -> str:
    """The qualities of a line, in words."""
    sign = -1 if line.is_negative else 1
    low, high = sorted((sign * line.quality[0], sign * line.quality[-1]))
    return f"{low:.2f} to {high:.2f} {line.unit}".rstrip()


def _between(tested: Sequence[Row], reference: Sequence[Row], metric: str) -> BdRate:
    """Raises `BdRateError` as `bd_rate` does, and for an image without the metric."""
    if not any(_rising_value(row, metric) is not None for row in (*tested, *reference)):
        raise BdRateError(f"it has no {METRICS[metric].label}")
    return bd_rate(line(tested, metric), line(reference, metric))


def _by_image(curve: Curve) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {}
    for point in curve.points:
        for row in point.rows:
            rows.setdefault(row.name, []).append(row)
    return rows
