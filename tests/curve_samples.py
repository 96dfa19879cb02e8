"""Curves made up for tests: logarithmic in the rate, with images that differ from each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rdonet_jax.evaluation import curves
from rdonet_jax.evaluation.curves import Curve
from rdonet_jax.evaluation.results import Row

RATES = (0.1, 0.2, 0.4, 0.8, 1.6)


def row(name: str, bpp: float, offset: float = 0.0, factor: float = 1.0) -> Row:
    """An image at `factor` times a rate, with the quality of the rate itself."""
    decibels = 5.0 * math.log2(bpp / 0.05) + offset
    seen = {"psnr": 20.0 + decibels, "ms_ssim": 1 - 10 ** (-decibels / 10)}
    return Row(name, factor * bpp, seen, 0.5, 0.25)


def curve(
    name: str,
    factor: float = 1.0,
    names: Sequence[str] = ("a.png", "b.png"),
    rates: Sequence[float] = RATES,
    **settings: object,
) -> Curve:
    """A codec that takes `factor` times the rate of the plain curve."""
    points = []
    for number, rate in enumerate(rates):
        rows = [row(n, rate, offset, factor) for offset, n in enumerate(names)]
        points.append(curves.point(10.0 * number, rows))
    return Curve(name, f"made up, {name}", tuple(points), settings)
