"""Results of an evaluation: rows, their mean and tables for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rdonet_jax.metrics import distortion


class Row(NamedTuple):
    """The result of one image, or a mean."""

    name: str
    bpp: float
    psnr: float | None  # dB; None for an exact copy, whose PSNR is infinite
    ms_ssim: float | None  # None for images too small for it
    encoding_time: float | None = None  # seconds; None for an estimate
    decoding_time: float | None = None


def mean(rows: Sequence[Row]) -> Row:
    """The means over images, each over those that have the value; None where none has."""
    columns = zip(*(row[1:] for row in rows), strict=True)
    known = ([value for value in column if value is not None] for column in columns)
    return Row("mean", *(math.fsum(values) / len(values) if values else None for values in known))


def notes(rows: Sequence[Row]) -> list[str]:
    """Which images the means leave out."""
    too_small = f"short side under {distortion.smallest_side()}"
    left_out = (
        ("PSNR", sum(row.psnr is None for row in rows), "exact copies"),
        ("MS-SSIM", sum(row.ms_ssim is None for row in rows), too_small),
    )
    return [f"{name} leaves out {n} of {len(rows)}, {why}" for name, n, why in left_out if n]


def is_estimate(rows: Sequence[Row]) -> bool:
    """Whether the rates are estimates; those have no times, and the two are never mixed."""
    return all(row.encoding_time is None for row in rows)


def table(rows: Sequence[Row], per_image: bool = False) -> str:
    """The rows and their mean for people to read."""
    shown = [*(rows if per_image else []), mean(rows)]
    return aligned(shown, max(len(row.name) for row in shown))


def aligned(
    rows: Sequence[Row], width: int, head: bool = True, estimate: bool | None = None
) -> str:
    """The rows below each other, with names of `width` letters, and a line of titles if asked for.

    `estimate` says which kind of rates they are; None looks for times. A table that grows takes
    its later rows without the titles.
    """
    columns = [("bpp", ".4f"), ("PSNR dB", ".3f"), ("MS-SSIM", ".5f")]
    if is_estimate(rows) if estimate is None else estimate:
        columns[0] = ("bpp (est.)", ".4f")
    else:
        columns += [("encode s", ".3f"), ("decode s", ".3f")]
    titles = " ".join([" " * width, *(f"{title:>10}" for title, _ in columns)])
    lines = [titles] if head else []
    for row in rows:
        values = (
            f"{'-':>10}" if value is None else f"{value:>10{form}}"
            for value, (_, form) in zip(row[1:], columns, strict=False)
        )
        lines.append(" ".join([f"{row.name:<{width}}", *values]))
    return "\n".join(lines)
