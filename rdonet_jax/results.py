"""Results of an evaluation: rows, their mean, CompressAI's JSON and a table for people."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rdonet_jax import images, objective


class Row(NamedTuple):
    """The result of one picture, or a mean."""

    name: str
    bpp: float
    psnr: float | None  # dB; None for an exact copy, whose PSNR is infinite
    ms_ssim: float | None  # None for pictures too small for it
    encoding_time: float | None = None  # seconds; None for an estimate
    decoding_time: float | None = None


RESULTS = {
    "bpp": "bpp",
    "psnr": "psnr-rgb",
    "ms_ssim": "ms-ssim-rgb",
    "encoding_time": "encoding_time",
    "decoding_time": "decoding_time",
}
"""CompressAI's names for the fields of `Row`."""


def mean(rows: Sequence[Row]) -> Row:
    """The means over pictures, each over those that have the value; None where none has."""
    columns = zip(*(row[1:] for row in rows), strict=True)
    known = ([value for value in column if value is not None] for column in columns)
    return Row("mean", *(math.fsum(values) / len(values) if values else None for values in known))


def notes(rows: Sequence[Row]) -> list[str]:
    """Which pictures the means leave out."""
    too_small = f"short side under {objective.smallest_side()}"
    left_out = (
        ("PSNR", sum(row.psnr is None for row in rows), "exact copies"),
        ("MS-SSIM", sum(row.ms_ssim is None for row in rows), too_small),
    )
    return [f"{name} leaves out {n} of {len(rows)}, {why}" for name, n, why in left_out if n]


def is_estimate(rows: Sequence[Row]) -> bool:
    """Whether the rates are estimates; those have no times, and the two are never mixed."""
    return all(row.encoding_time is None for row in rows)


def to_json(
    name: str, description: str, rows: Sequence[Row], per_image: bool = False
) -> dict[str, Any]:
    """The results in CompressAI's schema: one operating point, the mean over pictures.

    A value that no picture has is null. Estimates have no times. With `per_image`, "images" holds
    one object per picture under the same names.
    """
    fields = [field for field in RESULTS if not (is_estimate(rows) and field.endswith("time"))]

    def named(row: Row) -> dict[str, float | None]:
        return {RESULTS[field]: getattr(row, field) for field in fields}

    result: dict[str, Any] = {
        "name": name,
        "description": description,
        "results": {name: [value] for name, value in named(mean(rows)).items()},
    }
    if per_image:
        result["images"] = [{"name": row.name, **named(row)} for row in rows]
    return result


def joined(points: Sequence[dict[str, Any]], qualities: Sequence[float | None]) -> dict[str, Any]:
    """Results of `to_json` as one curve: a list of values per name, in their order.

    "quality" holds what the points were made with, and so does every picture; a single point of a
    model without qualities stays as it is.
    """
    if list(qualities) == [None]:
        return points[0]
    names = points[0]["results"]
    curve = {name: [value for p in points for value in p["results"][name]] for name in names}
    first = points[0]
    result = {
        "name": first["name"],
        "description": first["description"],
        "results": {"quality": list(qualities), **curve},
    }
    if "images" in first:
        result["images"] = [
            {"quality": quality, **row}
            for point, quality in zip(points, qualities, strict=True)
            for row in point["images"]
        ]
    return result


def write_json(path: Path, result: dict[str, Any], force: bool = False) -> None:
    """Writes the results whole or not at all. Raises `ImageError` when the path cannot be."""
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    images.write_bytes(path, text.encode(), force)


def table(rows: Sequence[Row], per_image: bool = False) -> str:
    """The rows and their mean for people to read."""
    columns = [("bpp", ".4f"), ("PSNR dB", ".3f"), ("MS-SSIM", ".5f")]
    if is_estimate(rows):
        columns[0] = ("bpp (est.)", ".4f")
    else:
        columns += [("encode s", ".3f"), ("decode s", ".3f")]
    shown = [*(rows if per_image else []), mean(rows)]
    width = max(len(row.name) for row in shown)
    lines = [" ".join([" " * width, *(f"{title:>10}" for title, _ in columns)])]
    for row in shown:
        values = (
            f"{'-':>10}" if value is None else f"{value:>10{form}}"
            for value, (_, form) in zip(row[1:], columns, strict=False)
        )
        lines.append(" ".join([f"{row.name:<{width}}", *values]))
    return "\n".join(lines)
