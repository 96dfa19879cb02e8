"""Shards of an evaluation: what is recorded of them, and how their curves are joined."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import Any

from rdonet_jax.core.shard import WHOLE, Shard
from rdonet_jax.evaluation import curves, results
from rdonet_jax.evaluation.curve_schema import ALL_IMAGES, SHARD
from rdonet_jax.evaluation.curves import Curve, CurveError, Point
from rdonet_jax.evaluation.results import Row

THREADS = "threads"
"""The setting that may differ between shards, since the times alone depend on it."""


def shard_settings(shard: Shard, names: Sequence[str]) -> dict[str, Any]:
    """The settings of a shard of images with these names; empty for the whole."""
    return {} if shard == WHOLE else {SHARD: list(shard), ALL_IMAGES: _images(names)}


def merge(measured: Sequence[Curve]) -> list[Curve]:
    """The curves, those of shards of the same evaluation joined.

    Raises `CurveError` for shards that are missing, doubled, or of different images, settings or
    points.
    """
    found: dict[str, list[Curve]] = {}
    for curve in measured:
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
    name = parts[0].name
    _require_each_once(name, parts)
    _require_equal(name, parts)
    points = [
        curves.point(same[0].quality, _rows_of_all(name, same))
        for same in zip(*(curve.points for curve in parts), strict=True)
    ]
    _require_all_images(name, points, parts)
    kind = parts[0].description.partition(f"; {results.MEAN_OVER}")[0]
    settings = _settings(parts[0]) | _threads(parts)
    return Curve(name, curves.description(kind, points), tuple(points), settings)


def _require_each_once(name: str, parts: Sequence[Curve]) -> None:
    """Raises `CurveError` unless these are all the shards of one count that have images."""
    there = sorted(Shard(*curve.settings[SHARD]) for curve in parts)
    count = there[0].count
    images = next((found["count"] for c in parts if (found := c.settings.get(ALL_IMAGES))), count)
    needed = min(count, images)
    if there != [Shard(n + 1, count) for n in range(needed)]:
        listed = ", ".join(map(str, there))
        raise CurveError(
            f"{name}: needs each of its {count} shards once, there are {listed}"
            if needed == count
            else f"{name}: needs each of the {needed} of its {count} shards that have images once, "
            f"there are {listed}"
        )


def _require_equal(name: str, parts: Sequence[Curve]) -> None:
    """Raises `CurveError` for shards of different images, settings or qualities."""
    recorded = [found for curve in parts if (found := curve.settings.get(ALL_IMAGES))]
    if any(found != recorded[0] for found in recorded):
        raise CurveError(f"{name}: its shards are not of the same set of images")
    same = [(_settings(curve), [point.quality for point in curve.points]) for curve in parts]
    if any(one != same[0] for one in same):
        raise CurveError(f"{name}: its shards have different settings or qualities")


def _settings(curve: Curve) -> dict[str, Any]:
    """The settings that the shards of an evaluation have in common."""
    own = (SHARD, ALL_IMAGES, THREADS)
    return {key: value for key, value in curve.settings.items() if key not in own}


def _threads(parts: Sequence[Curve]) -> dict[str, Any]:
    """The number of threads, or all numbers if they differ; empty if it was not recorded."""
    found: list[Any] = []
    for curve in parts:
        if THREADS in curve.settings and curve.settings[THREADS] not in found:
            found.append(curve.settings[THREADS])
    return {THREADS: found[0] if len(found) == 1 else found} if found else {}


def _rows_of_all(name: str, shards: Sequence[Point]) -> list[Row]:
    """The rows of the same point of all shards, by name. Raises `CurveError` for none, or for an
    image that is in two shards."""
    rows = sorted((row for one in shards for row in one.rows), key=lambda row: row.name)
    if not all(one.rows for one in shards):
        raise CurveError(f"{name}: a shard has no results of its images, which are joined")
    for row, following in itertools.pairwise(rows):
        if row.name == following.name:
            raise CurveError(f"{name}: the image {row.name} is in more than one shard")
    return rows


def _require_all_images(name: str, points: Sequence[Point], parts: Sequence[Curve]) -> None:
    """Raises `CurveError` unless every point has the images that the shards share."""
    names = [[row.name for row in point.rows] for point in points]
    for other in names:
        if odd := sorted(set(other) ^ set(names[0])):
            raise CurveError(f"{name}: the image {odd[0]} is not at every point")
    recorded = next((found for one in parts if (found := one.settings.get(ALL_IMAGES))), None)
    if recorded and recorded != _images(names[0]):
        raise CurveError(
            f"{name}: its shards have {len(names[0])} images, which are not the "
            f"{recorded['count']} of the evaluation"
        )


def _images(names: Sequence[str]) -> dict[str, Any]:
    """The number of images and a hash of their names, in any order."""
    text = "\n".join(sorted(names))
    sha256 = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return {"count": len(names), "sha256": sha256[:16]}
