"""The report as a single HTML page without external resources.

The folder `web` holds the template, style and scripts. This module inserts the data as JSON:
curves, Bjøntegaard rates, and images as WebP.
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from rdonet_jax import visualize
from rdonet_jax.core import partition
from rdonet_jax.evaluation import bd_rates, curves, mean_points
from rdonet_jax.evaluation.curves import Curve, Point
from rdonet_jax.evaluation.report.showcase import Example, Version
from rdonet_jax.imaging import output_files
from rdonet_jax.metrics.quality import QualityMetric

Metrics = Sequence[QualityMetric]
Labels = Mapping[str, str]

TITLE = "RDONet: evaluation"

SCRIPTS = ("elements.js", "chart.js", "viewer.js", "tables.js")
"""Files that are joined to one script, in this order."""

MOST_IMAGE_BYTES = 9_000_000
"""Size of all images in the page, as text. Beyond it the images are stored with losses."""

LOSSY_QUALITY = 92
"""Quality of WebP for images that are stored with losses."""


def write(
    path: Path,
    shown_curves: Sequence[Curve],
    images: Sequence[Example] = (),
    reference: str | None = None,
    force: bool = False,
) -> None:
    """Writes the page. Raises `ImageError` if the file cannot be written, and as `html` does."""
    output_files.write_bytes(path, html(shown_curves, images, reference).encode(), force)


def html(
    shown_curves: Sequence[Curve], images: Sequence[Example] = (), reference: str | None = None
) -> str:
    """The page, with curves of distinct names, images, and Bjøntegaard rates.

    The rates are relative to the curve named `reference`, by default to the first curve that is no
    model of this package, else to the first curve. Raises `CurveError` if there is no such curve.
    """
    if not shown_curves:
        raise curves.CurveError("a report needs at least one curve")
    against = _reference(shown_curves, reference)
    stored, is_lossless = _stored(images)
    metrics, labels = curves.metrics_of(shown_curves), _labels(shown_curves)
    data = {
        "metrics": [_metric(metric) for metric in metrics],
        "curves": [_curve(curve, metrics, labels) for curve in shown_curves],
        "rates": _rates(shown_curves, against, metrics, labels) if len(shown_curves) > 1 else None,
        "images": [_image(*both, metrics) for both in zip(images, stored, strict=True)],
        "viewer_note": _viewer_note(is_lossless),
        "palette": {
            "levels": visualize.LEVEL_COLORS,
            "bits": visualize.BITS_COLORS,
            "fewest": visualize.FEWEST_BITS,
        },
    }
    return Template(_file("report.html")).substitute(
        title=TITLE,
        summary=escape(_summary(shown_curves)),
        style=_file("report.css"),
        script="\n".join(_file(name) for name in SCRIPTS),
        data=_inert(data),
    )


def blocks(levels: np.ndarray, density: np.ndarray) -> list[list[float]]:
    """The blocks of a partition, each as [x, y, side, level, bits per pixel].

    `levels` and `density` have one value per 16x16 pixels, as in `Example`.
    """
    found = []
    for level, side in enumerate(partition.STRIDES):
        factor = side // partition.STRIDES[0]
        means = partition.tile_sums(np.asarray(density, np.float64), factor) / factor**2
        for row, col in np.argwhere(levels[::factor, ::factor] == level):
            bits = round(float(means[row, col]), 5)
            found.append([int(col) * side, int(row) * side, side, level, bits])
    return found


def _file(name: str) -> str:
    folder = resources.files("rdonet_jax.evaluation.report") / "web"
    return (folder / name).read_text(encoding="utf-8")


def _inert(data: Mapping[str, Any]) -> str:
    """JSON that cannot end the script element that holds it."""
    # In ASCII, since names of files may hold what UTF-8 does not.
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _reference(shown_curves: Sequence[Curve], name: str | None) -> Curve:
    if name is not None:
        return curves.named(shown_curves, name)
    others = [curve for curve in shown_curves if "weights" not in curve.settings]
    return (others or shown_curves)[0]


def _summary(shown_curves: Sequence[Curve]) -> str:
    """A sentence on the content of the page."""
    counts = {len(point.rows) for curve in shown_curves for point in curve.points} - {0}
    words = f"{len(shown_curves)} curve{'s' * (len(shown_curves) > 1)}"
    if len(counts) == 1:
        (count,) = counts
        words += f" over {count} image{'s' * (count > 1)}"
    if any(curves.is_estimate(curve) for curve in shown_curves):
        return f"{words}. Dashed curves show estimated rates, all others those of whole files."
    return f"{words}, with the rates of whole files."


def _curve(curve: Curve, metrics: Metrics, labels: Labels) -> dict[str, Any]:
    return {
        "name": curve.name,
        "label": labels[curve.name],
        "description": curve.description,
        "estimate": curves.is_estimate(curve),
        "varied": str(curve.settings.get("varied", "quality")).replace("quality_layers", "ratio"),
        "settings": {key: _words(value) for key, value in curve.settings.items()},
        "points": [
            {**_point(point, metrics), "on_chart": on_chart}
            for point, on_chart in zip(curve.points, _on_charts(curve, metrics), strict=True)
        ],
    }


def _on_charts(curve: Curve, metrics: Metrics) -> list[dict[str, tuple[float, float] | None]]:
    """For each point its rate and value in the chart of every metric."""
    found: list[dict[str, tuple[float, float] | None]] = [{} for _ in curve.points]
    for metric in metrics:
        for on_chart, point in zip(found, mean_points.on_curve(curve, metric), strict=True):
            on_chart[metric.name] = point
    return found


def _labels(shown_curves: Sequence[Curve]) -> Labels:
    """What the page calls each curve: its label, or its name where several have that label."""
    labels = {curve.name: str(curve.settings.get("label", curve.name)) for curve in shown_curves}
    counts = Counter(labels.values())
    return {name: label if counts[label] == 1 else name for name, label in labels.items()}


def _words(value: Any) -> str:
    """A value of the settings as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_words(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_words, value))
    return str(value)


def _metric(metric: QualityMetric) -> dict[str, Any]:
    """How the page shows a metric."""
    return {
        "name": metric.name,
        "label": metric.label,
        "unit": metric.unit,
        "decimals": max(0, metric.decimals - 1),
        "title": metric.title,
        "curve_title": metric.curve_title,
        "curve_unit": metric.unit_of_curve,
        "rescaled": metric.unit_of_curve != metric.unit,
    }


def _point(point: Point, metrics: Metrics) -> dict[str, Any]:
    row = point.mean
    return {
        "quality": point.quality,
        "bpp": row.bpp,
        "values": {m.name: row.quality.get(m.name) for m in metrics},
        "on_curve": {m.name: m.curve_value(row.quality.get(m.name)) for m in metrics},
        "encoding_time": row.encoding_time,
        "decoding_time": row.decoding_time,
    }


def _rates(
    shown_curves: Sequence[Curve], reference: Curve, metrics: Metrics, labels: Labels
) -> dict[str, Any]:
    rows = [
        {"label": labels[curve.name], **_rate(curve, reference, metric)}
        for curve in shown_curves
        for metric in metrics
        if curve is not reference
    ]
    return {"reference": labels[reference.name], "rows": rows}


def _rate(curve: Curve, reference: Curve, metric: QualityMetric) -> dict[str, Any]:
    """A line of the table, with the reasons for missing rates."""
    try:
        found = bd_rates.compare(curve, reference, metric.name)
    except bd_rates.BdRateError as error:
        found = bd_rates.Comparison(metric.name, None, {}, {"all": str(error)})
    best, worst, average = found.extremes() or (("", None), ("", None), None)
    return {
        "metric": metric.label,
        "set": found.over_set and found.over_set.percent,
        "overlap": found.over_set and found.over_set.overlap,
        "best": best[1],
        "best_name": best[0],
        "worst": worst[1],
        "worst_name": worst[0],
        "average": average,
        "images": len(found.images),
        "refused": found.refused,
        "left_out": found.left_out,
    }


def _viewer_note(lossless: bool) -> str:
    words = (
        "Drag the divider, or focus it and use the arrow keys. Conventional codecs were set to "
        "come as close as they can to the bytes of the model. Bits per block are estimates."
    )
    if not lossless:
        words += " The images are stored with slight losses, to keep this page small."
    return words


def _image(example: Example, stored: Sequence[str], metrics: Metrics) -> dict[str, Any]:
    """An image with its versions. `stored`: data URIs of the original and of the versions."""
    height, width = example.original.shape[:2]
    original, *decoded = stored
    return {
        "name": example.name,
        "width": width,
        "height": height,
        "original": original,
        "versions": [
            _version(*both, metrics) for both in zip(example.versions, decoded, strict=True)
        ],
        "shares": example.shares,
        "blocks": blocks(example.levels, example.density),
    }


def _version(version: Version, stored: str, metrics: Metrics) -> dict[str, Any]:
    return {
        "name": version.name,
        "setting": version.setting,
        "bytes": version.size,
        "bpp": version.bpp,
        "values": {m.name: version.quality.get(m.name) for m in metrics},
        "src": stored,
    }


def _stored(images: Sequence[Example]) -> tuple[list[list[str]], bool]:
    """Original and versions of every image as data URIs, and whether they are lossless."""
    arrays = [[example.original, *(v.image for v in example.versions)] for example in images]
    lossless = [[_uri(array, lossless=True, method=4) for array in row] for row in arrays]
    if sum(len(uri) for row in lossless for uri in row) <= MOST_IMAGE_BYTES:
        return lossless, True
    return [[_uri(array, quality=LOSSY_QUALITY) for array in row] for row in arrays], False


def _uri(image: np.ndarray, **options: Any) -> str:
    """An image as WebP with these options, or as PNG where it is too large for WebP."""
    file = io.BytesIO()
    fits = max(image.shape[:2]) <= output_files.LARGEST_SIDES["WEBP"]
    kind, options = ("webp", options) if fits else ("png", {})
    Image.fromarray(image).save(file, kind, **options)
    return f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode()
