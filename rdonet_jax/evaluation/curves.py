"""Rate-distortion curves: points of one codec on the same images, and their JSON files.

A file holds one curve in CompressAI's schema, or a list of curves. In addition to CompressAI's
means it has the settings of the points and, with the same field names, the results of every image.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rdonet_jax.evaluation import curve_schema, results
from rdonet_jax.evaluation.curve_schema import TIMES
from rdonet_jax.evaluation.results import Row
from rdonet_jax.imaging import output_files
from rdonet_jax.metrics.quality import QualityMetric
from rdonet_jax.storage import urls


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


def require_reference(name: str, names: Sequence[str]) -> None:
    """Raises `CurveError` if the name is none of these, or there is no other to compare with it."""
    require_name(name, names)
    if len(names) == 1:
        raise CurveError(f"there is no other curve to compare with {name!r}")


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
        fields = curve_schema.parse(values)
    except ValueError as error:
        raise CurveError(f"{where}: holds no curve in CompressAI's schema: {error}") from error
    if not fields.means:
        raise CurveError(f"{where}: the curve {fields.name} has no points")
    points = [
        Point(quality, mean, tuple(rows))
        for quality, mean, rows in zip(fields.qualities, fields.means, fields.rows, strict=True)
    ]
    return Curve(fields.name, fields.description, tuple(points), fields.settings)


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
        output_files.check_target(path, force)
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
        output_files.write_bytes(path, text.encode(), force)
