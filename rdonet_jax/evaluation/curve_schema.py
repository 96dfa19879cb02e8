"""The values of a file of curves, checked: CompressAI's schema, with settings and images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rdonet_jax.core.json_values import short_repr
from rdonet_jax.evaluation.results import Row
from rdonet_jax.metrics.quality import METRICS, QualityMetric

TIMES = ("encoding_time", "decoding_time")
"""CompressAI's names for the times of `Row`."""

OTHER_NAMES = {"psnr-rgb": "psnr", "ms-ssim-rgb": "ms-ssim"}
"""Names of these fields in earlier versions of CompressAI."""

SHARD = "shard"
"""The setting that says of which part of the images a curve is: its number and the count."""

ALL_IMAGES = "images"
"""The setting that says which images the shards share: their count and a hash of their names."""


class Fields(NamedTuple):
    """The fields of a curve. Those of its points are in the order of the points."""

    name: str
    description: str
    qualities: list[float | None]
    means: list[Row]
    rows: list[list[Row]]  # of the images
    settings: dict[str, Any]


def parse(values: Any) -> Fields:
    """The fields of a JSON value. Raises ValueError with the cause if it is no curve."""
    curve = _object(values, "the curve")
    results = _object(_required(curve, "results"), "results")
    columns = _columns(results)
    count = len(columns["bpp"])
    means = [_row("mean", {name: c[n] for name, c in columns.items()}) for n in range(count)]
    qualities = [_number(value, "quality") for value in columns.get("quality", [None] * count)]
    return Fields(
        _text(_required(curve, "name"), "the name of the curve"),
        _text(curve.get("description", ""), "the description"),
        qualities,
        means,
        _images(_list(curve.get("images", []), "images"), qualities),
        _settings(_object(curve.get("settings", {}), "settings")),
    )


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{what}: {short_repr(value)} is no object")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{what}: {short_repr(value)} is no list")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what}: {short_repr(value)} is no text")
    return value


def _number(value: Any, what: str) -> float | None:
    """A finite number as it is; None where it is missing."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{what}: {short_repr(value)} is no number")
    try:
        is_finite = math.isfinite(value)
    except OverflowError:
        is_finite = False
    if not is_finite:
        raise ValueError(f"{what} is {short_repr(value)}")
    return value


def _integer(value: Any, what: str, least: int, most: float = math.inf) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        limits = f"from {least} on" if most == math.inf else f"from {least} to {most}"
        raise ValueError(f"{what}: {short_repr(value)} is no integer {limits}")
    return value


def _required(values: Mapping[str, Any], name: str) -> Any:
    if name not in values:
        raise ValueError(f"{name!r} is missing")
    return values[name]


def _columns(results: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The columns that are read, all of the length of the rates.

    A metric or time that the file does not have is a column of None. Without qualities there is no
    column of them.
    """
    rates = _list(_required(results, "bpp"), "bpp")
    columns = {"bpp": rates}
    for name in (*(metric.key for metric in _metrics_in(results)), *TIMES, "quality"):
        key = name if name in results else OTHER_NAMES.get(name, name)
        if key in results:
            columns[name] = _list(results[key], key)
            if len(columns[name]) != len(rates):
                raise ValueError(
                    f"{key} has {len(columns[name])} values, but there are {len(rates)} rates"
                )
    return columns


def _metrics_in(values: Mapping[str, Any]) -> list[QualityMetric]:
    """The default metrics, and the others that the fields of a file are of."""
    return [m for m in METRICS.values() if m.is_default or m.key in values]


def _row(name: str, values: Mapping[str, Any]) -> Row:
    metrics = _metrics_in(values)
    numbers = {
        key: _number(values.get(key), key) for key in ("bpp", *(m.key for m in metrics), *TIMES)
    }
    bpp = numbers["bpp"]
    if bpp is None or bpp <= 0:
        raise ValueError("a rate is missing or not positive")
    for metric in metrics:
        value = numbers[metric.key]
        if value is not None and value > metric.highest:
            raise ValueError(
                f"an {metric.label} over {metric.highest:g}; it is expected on the linear scale"
            )
    measured = {metric.name: numbers[metric.key] for metric in metrics}
    return Row(name, bpp, measured, *(numbers[key] for key in TIMES))


def _images(objects: Sequence[Any], qualities: Sequence[float | None]) -> list[list[Row]]:
    """The rows of the images, by point."""
    rows: list[dict[str, Row]] = [{} for _ in qualities]
    for one in objects:
        values = _object(one, "an image")
        name = _text(_required(values, "name"), "the name of an image")
        at = rows[_point_of(values, qualities)]
        if name in at:
            raise ValueError(f"a point has the image {name} twice")
        at[name] = _row(name, values)
    return [list(at.values()) for at in rows]


def _point_of(values: Mapping[str, Any], qualities: Sequence[float | None]) -> int:
    """The point that the row of an image belongs to. In older files its quality says so, or there
    is only one."""
    if "point" in values:
        return _integer(values["point"], "the point of an image", 0, len(qualities) - 1)
    if "quality" in values:
        if values["quality"] not in qualities:
            raise ValueError(
                f"no point has the quality {short_repr(values['quality'])} of an image"
            )
        return list(qualities).index(values["quality"])
    if len(qualities) != 1:
        raise ValueError("an image has neither a point nor a quality")
    return 0


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings. Those of a shard are checked, since they are computed with."""
    if SHARD in values:
        shard = _list(values[SHARD], SHARD)
        if len(shard) != 2:
            raise ValueError(f"{SHARD}: {short_repr(shard)} is not a number and a count")
        count = _integer(shard[1], "the count of shards", 1)
        _integer(shard[0], "the number of a shard", 1, count)
    if ALL_IMAGES in values:
        images = _object(values[ALL_IMAGES], ALL_IMAGES)
        _integer(_required(images, "count"), "the count of images", 1)
        _text(_required(images, "sha256"), "the hash of images")
    return dict(values)
