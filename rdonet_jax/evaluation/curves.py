"""Rate-distortion curves: points of one codec on the same images, and their JSON files.

A file holds one curve in CompressAI's schema, or a list of curves. In addition to CompressAI's
means it has the settings of the points and, with the same field names, the results of every image.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rdonet_jax.core import urls
from rdonet_jax.evaluation import results
from rdonet_jax.evaluation.results import Row
from rdonet_jax.imaging import srgb
from rdonet_jax.metrics.quality import METRICS, QualityMetric

TIMES = ("encoding_time", "decoding_time")
"""CompressAI's names for the times of `Row`."""

OTHER_NAMES = {"psnr-rgb": "psnr", "ms-ssim-rgb": "ms-ssim"}
"""Names of these fields in earlier versions of CompressAI."""


SHARD = "shard"
"""The setting that says of which part of the images a curve is: its number and the count."""


class CurveError(ValueError):
    """A file holds no curves, or a curve cannot be used as requested."""


class Point(NamedTuple):
    """The results of one setting."""

    quality: float | None  # or the setting of a conventional codec; None without such a setting
    mean: Row
    rows: tuple[Row, ...] = ()  # of the images; empty if they are unknown


class Curve(NamedTuple):
    """The points of one codec, in the order in which they were requested."""

    name: str
    description: str
    points: tuple[Point, ...]
    settings: Mapping[str, Any] = {}  # what else determines the results


def point(quality: float | None, rows: Sequence[Row]) -> Point:
    """The point of the results of these images."""
    return Point(quality, results.mean(rows), tuple(rows))


def description(kind: str, points: Sequence[Point]) -> str:
    """The description of a curve: the kind of its results, and what its means are over."""
    return f"{kind}; {results.count_words([point.rows for point in points])}"


def is_estimate(curve: Curve) -> bool:
    """Whether the rates of a curve are estimates. Without a setting they count as real files."""
    return curve.settings.get("rate") == "estimate"


def named(curves: Sequence[Curve], name: str) -> Curve:
    """The curve of this name. Raises `CurveError` if there is none."""
    names = [curve.name for curve in curves]
    require_name(name, names)
    return curves[names.index(name)]


def require_name(name: str, names: Sequence[str]) -> None:
    """Raises `CurveError` if no curve of these names has the name."""
    if name not in names:
        raise CurveError(f"there is no curve {name!r} among {', '.join(names)}")


def distinct(curves: Sequence[Curve]) -> list[Curve]:
    """The curves, with a number appended to names that occur before."""
    names = distinct_names([curve.name for curve in curves])
    return [curve._replace(name=name) for curve, name in zip(curves, names, strict=True)]


def distinct_names(names: Iterable[str]) -> list[str]:
    """The names, with a number appended to those that occur before."""
    found: list[str] = []
    for name in names:
        numbered = (f"{name} ({n})" for n in itertools.count(2))
        found.append(next(n for n in itertools.chain([name], numbered) if n not in found))
    return found


def merged(curves: Sequence[Curve]) -> list[Curve]:
    """The curves, those of shards of the same evaluation joined.

    Raises `CurveError` for shards that are missing, doubled, or have different points.
    """
    found: dict[str, list[Curve]] = {}
    for curve in curves:
        found.setdefault(curve.name, []).append(curve)
    whole = []
    for same in found.values():
        parts = [curve for curve in same if SHARD in curve.settings]
        whole += [curve for curve in same if SHARD not in curve.settings]
        if parts:
            whole.append(_joined(parts))
    return whole


def _joined(parts: Sequence[Curve]) -> Curve:
    """One curve of all shards of an evaluation. Raises `CurveError` as `merged` does."""
    name, count = parts[0].name, parts[0].settings[SHARD][1]
    numbers = sorted(curve.settings[SHARD][0] for curve in parts)
    if numbers != list(range(1, count + 1)):
        there = ", ".join(f"{number}/{count}" for number in numbers)
        raise CurveError(f"{name}: needs each of its {count} shards once, there are {there}")
    settings = {key: value for key, value in parts[0].settings.items() if key != SHARD}
    points = []
    for same in zip(*(curve.points for curve in parts), strict=False):
        rows = sorted((row for one in same for row in one.rows), key=lambda row: row.name)
        points.append(point(same[0].quality, rows))
    for curve in parts:
        own = {key: value for key, value in curve.settings.items() if key != SHARD}
        qualities = [one.quality for one in curve.points]
        if own != settings or qualities != [one.quality for one in points]:
            raise CurveError(f"{name}: its shards have different settings or qualities")
    kind = parts[0].description.partition(f"; {results.MEAN_OVER}")[0]
    return Curve(name, description(kind, points), tuple(points), settings)


def metrics_of(curves: Iterable[Curve]) -> list[QualityMetric]:
    """The metrics of curves, in the order of their columns."""
    return results.metrics_of(p.mean for curve in curves for p in curve.points)


def to_json(curve: Curve) -> dict[str, Any]:
    """The curve in CompressAI's schema. Missing values are null.

    "results" has "quality" if the points have one. "images" holds one object per image and point;
    "point" counts from 0.
    """
    without_times = results.is_estimate([p.mean for p in curve.points])
    times = () if without_times else TIMES

    metrics = metrics_of([curve])

    def named(row: Row) -> dict[str, float | None]:
        measured = {m.key: row.quality.get(m.name) for m in metrics}
        return {"bpp": row.bpp, **measured, **{name: getattr(row, name) for name in times}}

    has_quality = any(p.quality is not None for p in curve.points)
    means = [named(p.mean) for p in curve.points]
    columns = {name: [values[name] for values in means] for name in means[0]}
    return {
        "name": curve.name,
        "description": curve.description,
        "settings": dict(curve.settings),
        "results": ({"quality": [p.quality for p in curve.points]} if has_quality else {})
        | columns,
        "images": [
            {"point": n, **({"quality": p.quality} if has_quality else {}), "name": row.name}
            | named(row)
            for n, p in enumerate(curve.points)
            for row in p.rows
        ],
    }


def from_json(values: Any, where: str) -> Curve:
    """The curve in an object of CompressAI's schema. `where` names it in messages.

    Raises `CurveError` for anything else.
    """
    try:
        columns = _columns(values["results"])
        count = len(values["results"]["bpp"])
        qualities = values["results"].get("quality") or [None] * count
        means = [_row("mean", {name: c[n] for name, c in columns.items()}) for n in range(count)]
        rows = _images(values.get("images", []), qualities)
        points = [
            Point(quality, mean, tuple(rows.get(n, ())))
            for n, (quality, mean) in enumerate(zip(qualities, means, strict=True))
        ]
        settings = dict(values.get("settings", {}))
        name, description = str(values["name"]), str(values.get("description", ""))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        cause = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CurveError(f"{where}: holds no curve in CompressAI's schema: {cause}") from error
    if not points:
        raise CurveError(f"{where}: the curve {name} has no points")
    return Curve(name, description, tuple(points), settings)


def read(path: str | Path) -> list[Curve]:
    """The curves in a file, or at a URL. Raises `CurveError` if it holds none, and `UrlError`."""
    try:
        text = urls.read(str(path)) if urls.is_url(path) else Path(path).read_text()
        values = json.loads(text)
    except urls.UrlError:
        raise
    except OSError as error:
        raise CurveError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (RecursionError, ValueError) as error:
        raise CurveError(f"{path}: is no JSON: {error}") from error
    found = values if isinstance(values, list) else [values]
    if not found:
        raise CurveError(f"{path}: holds no curve")
    return [from_json(one, str(path)) for one in found]


def check_target(path: str | Path, force: bool = False) -> None:
    """Raises `ImageError` or `CurveError` if `write` would refuse the path, and `UrlError`."""
    if not urls.is_url(path):
        srgb.check_target(path, force)
    elif not force and urls.exists(str(path)):
        raise CurveError(f"{path}: exists already and is not overwritten without --force")


def write(path: str | Path, curves: Sequence[Curve], force: bool = False) -> None:
    """Writes one curve, or a list of several curves, also to a URL. No incomplete file is left.

    Raises as `check_target` does, and `ImageError` if the path cannot be written.
    """
    values = [to_json(curve) for curve in curves]
    write_json(path, values[0] if len(values) == 1 else values, force)


def write_json(path: str | Path, values: Any, force: bool = False) -> None:
    """Writes any JSON value. Raises as `write` does."""
    text = json.dumps(values, indent=2, allow_nan=False) + "\n"
    if urls.is_url(path):
        check_target(path, force)
        urls.write(str(path), text.encode())
    else:
        srgb.write_bytes(path, text.encode(), force)


def _columns(values: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """The values of every field. Those of metrics that are no default ones may be missing."""
    names = ["bpp", *(metric.key for metric in _metrics_in(values)), *TIMES]
    return {name: _column(values, name) for name in names}


def _metrics_in(values: Mapping[str, Any]) -> list[QualityMetric]:
    """The default metrics, and the others that the fields of a file are of."""
    return [m for m in METRICS.values() if m.is_default or m.key in values]


def _column(columns: Mapping[str, Any], name: str) -> list[float | None]:
    """The values of a field; all None if the file has no such field."""
    key = name if name in columns else OTHER_NAMES.get(name, name)
    if key in columns:
        return list(columns[key])
    if name == "bpp":
        raise KeyError(name)
    return [None] * len(columns["bpp"])


def _row(name: str, values: Mapping[str, Any]) -> Row:
    metrics = _metrics_in(values)
    numbers = {key: values.get(key) for key in ("bpp", *(m.key for m in metrics), *TIMES)}
    for key, number in numbers.items():
        if number is not None and not math.isfinite(number):
            raise ValueError(f"{key} is {number}")
    if numbers["bpp"] is None or numbers["bpp"] <= 0:
        raise ValueError("a rate is missing or not positive")
    for metric in metrics:
        value = numbers[metric.key]
        if value is not None and value > metric.highest:
            raise ValueError(
                f"an {metric.label} over {metric.highest:g}; it is expected on the linear scale"
            )
    measured = {metric.name: numbers[metric.key] for metric in metrics}
    return Row(name, numbers["bpp"], measured, *(numbers[key] for key in TIMES))


def _images(objects: Sequence[Mapping[str, Any]], qualities: Sequence[Any]) -> dict[int, list]:
    """The rows of the images by point. In older files only the quality identifies the point."""
    rows: dict[int, list[Row]] = {}
    for values in objects:
        if "point" in values:
            at = int(values["point"])
        else:
            at = list(qualities).index(values["quality"]) if "quality" in values else 0
        rows.setdefault(at, []).append(_row(str(values["name"]), values))
    return rows
