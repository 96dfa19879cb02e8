"""The table of a study: Bjøntegaard rates against the reference, best, worst and mean image."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import bjontegaard
import numpy as np

from rdonet_jax.core import decibels
from rdonet_jax.rdo import initial_masks
from rdonet_jax.rdo.search import fast

METRICS = ("psnr", "ms_ssim")
ANCHOR = "reference"

START_EVALUATIONS = {initial_masks.SOLVED: 3}
"""Evaluations of the whole image to find a start."""


class Curve(NamedTuple):
    """Points of an image, or means over images, by rising rate."""

    bpp: tuple[float, ...]
    quality: tuple[float, ...]  # dB


class Summary(NamedTuple):
    """Bjøntegaard rates against the reference, in percent, over the images that have one."""

    best: float
    worst: float
    average: float
    images: int  # that were compared


Results = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]
"""By column and image: all points, as `evaluations.coded` gives them."""


def joined(by_point: Sequence[Mapping[str, Mapping[str, Any]]]) -> Results:
    """The results of all points, one list per column and image."""
    first = by_point[0]
    return {
        column: {name: [part[column][name] for part in by_point] for name in first[column]}
        for column in first
        if all(column in part for part in by_point)  # with fewer passes a point has fewer
    }


def curve(points: Sequence[Mapping[str, Any]], metric: str) -> Curve | None:
    """The points of an image as a curve; None if it is too small for the metric."""
    if any(point[metric] is None for point in points):
        return None
    values = [point[metric] for point in points]
    if metric == "ms_ssim":
        values = [decibels.ms_ssim(value) for value in values]
    pairs = sorted(zip([point["bpp"] for point in points], values, strict=True))
    return Curve(*zip(*pairs, strict=True))


def mean_curve(images: Mapping[str, Sequence[Mapping[str, Any]]], metric: str) -> Curve | None:
    """The means over the images at every point."""
    curves = [c for points in images.values() if (c := curve(points, metric))]
    if not curves:
        return None
    return Curve(*(tuple(np.mean(axis, axis=0).tolist()) for axis in zip(*curves, strict=True)))


def bd_rate(anchor: Curve, ours: Curve) -> float | None:
    """The Bjøntegaard rate of `ours` against the anchor, in percent.

    None for curves that do not overlap or do not rise.
    """
    rising = all(np.all(np.diff(c.quality) > 0) and len(c.bpp) > 1 for c in (anchor, ours))
    low = max(anchor.quality[0], ours.quality[0])
    if not rising or low >= min(anchor.quality[-1], ours.quality[-1]):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about curves of fewer than four points
        rate = bjontegaard.bd_rate(
            anchor.bpp, anchor.quality, ours.bpp, ours.quality, method="pchip",
            require_matching_points=False, min_overlap=0,
        )  # fmt: skip
    return float(rate) if math.isfinite(rate) else None


def summary(results: Results, column: str, metric: str) -> Summary | None:
    """The rates of a column over the images; None if no image can be compared."""
    rates = []
    for name, points in results[column].items():
        pair = curve(results[ANCHOR][name], metric), curve(points, metric)
        if None not in pair and (rate := bd_rate(*pair)) is not None:
            rates.append(rate)
    if not rates:
        return None
    return Summary(min(rates), max(rates), float(np.mean(rates)), len(rates))


def search_evaluations(column: str) -> int:
    """The most evaluations of the whole image by the search of a column, with its start.

    The published search takes 6 for every block and pass.
    """
    if ", " not in column:
        return 0
    _, start, passes = column.split(", ")
    searching = fast.most_evaluations(int(passes)) if int(passes) else 0
    return START_EVALUATIONS.get(start, 0) + searching


def table(results: Results, metric: str) -> str:
    """The table in Markdown."""
    lines = [
        f"| {metric} | best | worst | average | images | evaluations |",
        "|---|---|---|---|---|---|",
    ]
    for column in results:
        if column == ANCHOR:
            continue
        found = summary(results, column, metric)
        cells = ["–"] * 4
        if found:
            cells = [f"{value:+.1f} %" for value in found[:3]] + [str(found.images)]
        lines.append(f"| {column} | {' | '.join(cells)} | {search_evaluations(column)} |")
    return "\n".join(lines)


def costs(results: Results, column: str) -> list[float]:
    """The mean cost J of the images at every point."""
    by_image = [[point["cost"] for point in points] for points in results[column].values()]
    return np.mean(by_image, axis=0).tolist()


def cost_table(results: Results, labels: Sequence[str]) -> str:
    """Costs in Markdown, and the change from the reference's. `labels` name the points."""
    lines = [
        f"| J | {' | '.join(labels)} |",
        f"|{'---|' * (1 + len(labels))}",
    ]
    anchor = costs(results, ANCHOR)
    for column in results:
        cells = [
            f"{own:.3f} ({own / of_anchor - 1:+.1%})"
            for own, of_anchor in zip(costs(results, column), anchor, strict=True)
        ]
        lines.append(f"| {column} | {' | '.join(cells)} |")
    return "\n".join(lines)


def to_json(results: Results) -> dict[str, Any]:
    """The table's numbers and the mean curves, by metric and column, and the costs."""
    found: dict[str, Any] = {"J": {column: costs(results, column) for column in results}}
    for metric in METRICS:
        found[metric] = {}
        for column in results:
            rates, mean = summary(results, column, metric), mean_curve(results[column], metric)
            found[metric][column] = {
                "bd_rate": rates and rates._asdict(),
                "mean_curve": mean and mean._asdict(),
            }
    return found
