"""Results of an evaluation: rows, their mean and tables for people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rdonet_jax.metrics import quality as quality_metrics
from rdonet_jax.metrics.quality import QualityMetric

MEAN_OVER = "mean over images"
"""Before the number of images in words."""


class Row(NamedTuple):
    """The result of one image, or a mean."""

    name: str
    bpp: float
    quality: Mapping[str, float | None]  # by metric; None where it has none
    encoding_time: float | None = None  # seconds; None for an estimate
    decoding_time: float | None = None


def mean(rows: Sequence[Row]) -> Row:
    """The means over images, each over those that have the value; None where none has."""
    rates, seen, *times = zip(*(row[1:] for row in rows), strict=True)
    names = dict.fromkeys(name for one in seen for name in one)
    means = {name: _mean([one.get(name) for one in seen]) for name in names}
    return Row("mean", _mean(rates), means, *map(_mean, times))  # type: ignore[arg-type] # a rate


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def metrics_of(rows: Iterable[Row]) -> list[QualityMetric]:
    """The metrics that the rows have, in the order of their columns."""
    return quality_metrics.present(row.quality for row in rows)


def count_words(points: Sequence[Sequence[Row]]) -> str:
    """How many images the means of a curve's points are of, and how many they leave out.

    `points`: the rows of each, of the same images.
    """
    metrics = metrics_of(row for rows in points for row in rows)
    notes = (_note(metric, points) for metric in metrics)
    return "; ".join([f"{MEAN_OVER}: {len(points[0])}", *(note for note in notes if note)])


def _note(metric: QualityMetric, points: Sequence[Sequence[Row]]) -> str:
    """How many images the means of a metric leave out, and why; empty for none."""
    missing = [sum(row.quality.get(metric.name) is None for row in rows) for rows in points]
    if not any(missing):
        return ""
    least, most = min(missing), max(missing)
    count = f"{most} of {len(points[0])}"
    if least < most:
        count = f"{least} to {count} at a point"
    return f"{metric.label} leaves out {count}, {metric.left_out}"


def is_estimate(rows: Sequence[Row]) -> bool:
    """Whether the rates are estimates; those have no times, and the two are never mixed."""
    return all(row.encoding_time is None for row in rows)


def table(rows: Sequence[Row], per_image: bool = False) -> str:
    """The rows and their mean for people to read."""
    shown = [*(rows if per_image else []), mean(rows)]
    return aligned(shown, max(len(row.name) for row in shown))


def aligned(rows: Sequence[Row], width: int, head: bool = True) -> str:
    """The rows below each other, with names of `width` letters, and a line of titles if asked for.

    A table that grows takes its later rows without the titles.
    """
    with_times = not is_estimate(rows)
    metrics = metrics_of(rows)
    titles = [f"{title:>10}" for title in _titles(metrics, with_times)]
    lines = [" ".join([" " * width, *titles])] if head else []
    for row in rows:
        cells = (
            f"{cell:>{len(title)}}"
            for cell, title in zip(_cells(row, metrics, with_times), titles, strict=True)
        )
        lines.append(" ".join([f"{row.name:<{width}}", *cells]))
    return "\n".join(lines)


def _titles(metrics: Sequence[QualityMetric], with_times: bool) -> list[str]:
    measured = [metric.title for metric in metrics]
    return [
        "bpp" if with_times else "bpp (est.)",
        *measured,
        *(("encode s", "decode s") if with_times else ()),
    ]


def _cells(row: Row, metrics: Sequence[QualityMetric], with_times: bool) -> Iterator[str]:
    """The values below the titles; "-" for one that the row has not."""
    values: list[tuple[float | None, int]] = [(row.bpp, 4)]
    values += [(row.quality.get(m.name), m.decimals) for m in metrics]
    values += [(row.encoding_time, 3), (row.decoding_time, 3)] if with_times else []
    return ("-" if value is None else f"{value:.{decimals}f}" for value, decimals in values)
