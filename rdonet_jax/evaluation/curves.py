"""Rate-distortion curves: points of one codec over the same images, and the files they are in.

A file holds one curve in CompressAI's schema, or a list of them. Beside CompressAI's means stand
the settings that the points were made with and, under the same names, every image's results.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rdonet_jax.evaluation import results
from rdonet_jax.evaluation.results import Row
from rdonet_jax.imaging import srgb

FIELDS = {
    "bpp": "bpp",
    "psnr": "psnr-rgb",
    "ms_ssim": "ms-ssim-rgb",
    "encoding_time": "encoding_time",
    "decoding_time": "decoding_time",
}
"""CompressAI's names for the fields of `Row`."""

OTHER_NAMES = {"psnr-rgb": "psnr", "ms-ssim-rgb": "ms-ssim"}
"""What earlier versions of CompressAI call them."""


class CurveError(ValueError):
    """A file that holds no curves, or curves that cannot be used as asked."""


class Point(NamedTuple):
    """What one setting gives."""

    quality: float | None  # or the codec's own knob; None where there is nothing to turn
    mean: Row
    rows: tuple[Row, ...] = ()  # of every image, if they are known


class Curve(NamedTuple):
    """The points of one codec, in the order in which they were asked for."""

    name: str
    description: str
    points: tuple[Point, ...]
    settings: Mapping[str, Any] = {}  # whatever else fixes the numbers, for the file


def point(quality: float | None, rows: Sequence[Row]) -> Point:
    """The point of these images."""
    return Point(quality, results.mean(rows), tuple(rows))


def is_estimate(curve: Curve) -> bool:
    """Whether a curve of ours shows estimated rates. Curves of others count as real files."""
    return curve.settings.get("rate") == "estimate"


def named(curves: Sequence[Curve], name: str) -> Curve:
    """The curve of this name. Raises `CurveError` when there is none."""
    for curve in curves:
        if curve.name == name:
            return curve
    raise CurveError(f"there is no curve {name!r} among {', '.join(c.name for c in curves)}")


def distinct(curves: Sequence[Curve]) -> list[Curve]:
    """The curves, with a number behind names that others have had before."""
    found: list[Curve] = []
    for curve in curves:
        known = {one.name for one in found}
        numbered = (f"{curve.name} ({n})" for n in itertools.count(2))
        name = next(n for n in itertools.chain([curve.name], numbered) if n not in known)
        found.append(curve._replace(name=name))
    return found


def to_json(curve: Curve) -> dict[str, Any]:
    """The curve in CompressAI's schema. A value that no image has is null.

    "quality" stands in "results" where there is one to choose. "images" holds one object per
    image and point, which counts from 0.
    """
    without_times = results.is_estimate([p.mean for p in curve.points])
    fields = [field for field in FIELDS if not (without_times and field.endswith("time"))]

    def named(row: Row) -> dict[str, float | None]:
        return {FIELDS[field]: getattr(row, field) for field in fields}

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
    """The curve in an object of CompressAI's schema; `where` names it in complaints.

    Raises `CurveError` for anything else.
    """
    try:
        columns = {name: _column(values["results"], name) for name in FIELDS.values()}
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


def read(path: Path) -> list[Curve]:
    """The curves in a file. Raises `CurveError` when it holds none."""
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise CurveError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (RecursionError, ValueError) as error:
        raise CurveError(f"{path}: is no JSON: {error}") from error
    found = values if isinstance(values, list) else [values]
    if not found:
        raise CurveError(f"{path}: holds no curve")
    return [from_json(one, str(path)) for one in found]


def write(path: Path, curves: Sequence[Curve], force: bool = False) -> None:
    """Writes curves, whole or not at all: one as it is, several as a list.

    Raises `ImageError` when the path cannot be written.
    """
    values = [to_json(curve) for curve in curves]
    write_json(path, values[0] if len(values) == 1 else values, force)


def write_json(path: Path, values: Any, force: bool = False) -> None:
    """Writes anything that JSON holds, whole or not at all. Raises as `write` does."""
    text = json.dumps(values, indent=2, allow_nan=False) + "\n"
    srgb.write_bytes(path, text.encode(), force)


def _column(columns: Mapping[str, Any], name: str) -> list[float | None]:
    """The values of a field, None throughout where the file has no such field."""
    key = name if name in columns else OTHER_NAMES.get(name, name)
    if key in columns:
        return list(columns[key])
    if name == "bpp":
        raise KeyError(name)
    return [None] * len(columns["bpp"])


def _row(name: str, values: Mapping[str, Any]) -> Row:
    numbers = [values.get(key) for key in FIELDS.values()]
    for key, number in zip(FIELDS.values(), numbers, strict=True):
        if number is not None and not math.isfinite(number):
            raise ValueError(f"{key} is {number}")
    if numbers[0] is None or numbers[0] <= 0:
        raise ValueError("a rate is missing or not positive")
    if numbers[2] is not None and numbers[2] > 1:
        raise ValueError("an MS-SSIM over 1; it is expected on the linear scale")
    return Row(name, *numbers)


def _images(objects: Sequence[Mapping[str, Any]], qualities: Sequence[Any]) -> dict[int, list]:
    """The images' rows by point, which older files name by its quality alone."""
    rows: dict[int, list[Row]] = {}
    for values in objects:
        if "point" in values:
            at = int(values["point"])
        else:
            at = list(qualities).index(values["quality"]) if "quality" in values else 0
        rows.setdefault(at, []).append(_row(str(values["name"]), values))
    return rows
