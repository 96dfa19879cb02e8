"""Accuracy over rate: what is measured, as a table, as JSON and as a figure."""

from __future__ import annotations

import io
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from examples.machines import accuracy
from examples.machines.methods import METHODS, Coder, Subject
from rdonet_jax.evaluation.report.plots import COLORS, MARKERS
from rdonet_jax.imaging import output_files

ACCURACIES = (0.4, 0.5, 0.6, 0.7)
"""At which rates are compared."""


class Point(NamedTuple):
    """One setting of a method: bits per pixel of all files, and the average precision."""

    setting: float
    bpp: float
    precision: float


Curves = dict[str, list[Point]]
"""By method."""


def measure(coder: Coder, subjects: Sequence[Subject], method: str, setting: float) -> Point:
    """Codes all scenes, and lets the detector read what is decoded."""
    bits = pixels = 0
    found = []
    for subject in subjects:
        coded = METHODS[method].code(coder, subject, setting)
        bits += 8 * coded.size
        pixels += subject.scene.pixels.shape[0] * subject.scene.pixels.shape[1]
        found.append(coder.detector.detect(coded.decoded))
    truth = [subject.scene.digits for subject in subjects]
    return Point(setting, bits / pixels, accuracy.average_precision(found, truth))


def rate_at(points: Sequence[Point], precision: float) -> float | None:
    """The bits per pixel at which a curve first reaches a precision; None where it does not.

    Between two points the logarithm of the rate is interpolated.
    """
    points = sorted(points, key=lambda point: point.bpp)
    if not points or points[0].precision >= precision:
        return None
    for low, high in itertools.pairwise(points):
        if high.precision >= precision:
            share = (precision - low.precision) / (high.precision - low.precision)
            return math.exp((1 - share) * math.log(low.bpp) + share * math.log(high.bpp))
    return None


def comparison(curves: Curves) -> list[str]:
    """Lines: the rate of each method at some precisions, and in relation to no regions."""
    lines = ["bpp at precision      " + "".join(f"{at:>16g}" for at in ACCURACIES)]
    for name, points in curves.items():
        cells = ""
        for at in ACCURACIES:
            rate, plain = rate_at(points, at), rate_at(curves.get("plain", []), at)
            change = f" ({rate / plain - 1:+.0%})" if rate and plain and name != "plain" else ""
            cells += f"{f'{rate:.3f}{change}' if rate else '-':>16}"
        lines.append(f"{METHODS[name].label:<22}{cells}")
    return lines


def write_json(path: Path, facts: dict[str, Any], curves: Curves) -> None:
    """Writes what was measured, over a file that is there."""
    listed = {name: [point._asdict() for point in points] for name, points in curves.items()}
    rates = {
        name: {f"{at:g}": rate_at(points, at) for at in ACCURACIES}
        for name, points in curves.items()
    }
    text = json.dumps({**facts, "curves": listed, "bpp_at_precision": rates}, indent=1)
    output_files.write_bytes(path, text.encode() + b"\n", force=True)


def draw(path: Path, curves: Curves, original: float) -> None:
    """Draws the curves as a PNG; a line marks the precision on the originals."""
    from matplotlib.figure import Figure

    figure = Figure((6, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (name, points) in enumerate(curves.items()):
        ordered = sorted(points, key=lambda point: point.bpp)
        axes.plot(
            [point.bpp for point in ordered],
            [point.precision for point in ordered],
            marker=MARKERS[number], color=COLORS[number], markersize=4, label=METHODS[name].label,
        )  # fmt: skip
    axes.axhline(original, color="#6b6b6b", linestyle=":", label="originals")
    axes.set_xscale("log")
    ticks = (0.05, 0.1, 0.2, 0.5, 1, 2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("bits per pixel")
    axes.set_ylabel("average precision of the detector")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    output_files.write_bytes(path, file.getvalue(), force=True)
