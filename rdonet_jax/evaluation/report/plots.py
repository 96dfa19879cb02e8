"""Figures of curves, PNG or SVG, by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rdonet_jax.evaluation import curves as curve_files
from rdonet_jax.evaluation import mean_points
from rdonet_jax.evaluation.curves import Curve
from rdonet_jax.imaging import output_files

SUFFIXES = (".png", ".svg")

COLORS = (
    "#1f5fa8", "#b2531c", "#2b7d4f", "#8a3f9c", "#a8870b", "#c2335a", "#2a8c93", "#6b6b6b",
)  # fmt: skip
"""Colors of the curves, in turn. They differ in hue and lightness."""

MARKERS = "osD^vPX*"
"""Markers of the curves, in turn, for readers who cannot distinguish the colors."""

MOST_COLUMNS = 3
"""Axes next to each other in a figure."""

RATE_TICKS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class PlotError(ValueError):
    """A figure cannot be drawn. The message says why."""


def rate_distortion(path: Path, curves: Sequence[Curve], force: bool = False) -> None:
    """Every metric of quality over the rate, next to each other.

    Raises `PlotError` without matplotlib or for another suffix, and `ImageError` if the file cannot
    be written.
    """
    metrics = curve_files.metrics_of(curves)
    columns = min(len(metrics), MOST_COLUMNS)
    lines = -(-len(metrics) // columns)
    figure = new_figure((5 * columns, 4.2 * lines), path)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for unused in panels[len(metrics) :]:
        unused.remove()
    for axes, metric in zip(panels[: len(metrics)], metrics, strict=True):
        for number, curve in enumerate(curves):
            points = sorted(point for point in mean_points.on_curve(curve, metric) if point)
            axes.plot(
                *zip(*points, strict=True) if points else ([], []),
                marker=MARKERS[number % len(MARKERS)], color=COLORS[number % len(COLORS)],
                markersize=3.5, linewidth=1.4, label=_legend_text(curve.name),
            )  # fmt: skip
        axes.set_xlabel("bits per pixel")
        axes.set_ylabel(metric.curve_title)
        axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    write(figure, path, force)


def _legend_text(name: str) -> str:
    """As it is: matplotlib leaves out labels with a leading _, and sets $...$ as a formula."""
    return ("\u200b" if name.startswith("_") else "") + name.replace("$", r"\$")


def over_quality(path: Path, curve: Curve, force: bool = False) -> None:
    """Plots rate and PSNR over the quality setting of a model.

    Raises as `rate_distortion` does, and `PlotError` for a curve without qualities.
    """
    points = [p for p in curve.points if p.quality is not None]
    if not points:
        raise PlotError(f"{path}: the curve {curve.name} has no qualities to plot over")
    figure = new_figure((6, 3.4), path)
    axes = figure.subplots()
    qualities, rates = [p.quality for p in points], [p.mean.bpp for p in points]
    axes.set_xlabel("--quality")
    axes.plot(qualities, rates, "o-", color=COLORS[0], markersize=3)
    axes.set_ylabel("bits per pixel", color=COLORS[0])
    axes.set_yscale("log")
    axes.set_yticks(RATE_TICKS, [f"{tick:g}" for tick in RATE_TICKS])
    axes.set_ylim(0.9 * min(rates), 1.1 * max(rates))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    other = axes.twinx()
    other.plot(
        qualities, [p.mean.quality["psnr"] for p in points], "s-", color=COLORS[1], markersize=3
    )
    other.set_ylabel("PSNR in dB", color=COLORS[1])
    write(figure, path, force)


def require(path: Path) -> Any:
    """Matplotlib's class of figures, to draw one that this file can hold.

    Raises `PlotError` without matplotlib or for another suffix.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise PlotError(f"{path}: figures are written as {' or '.join(SUFFIXES)}")
    try:
        from matplotlib.figure import Figure  # here, since most evaluations draw nothing
    except ImportError as error:
        raise PlotError(f"{path}: figures need the package matplotlib (extra report)") from error
    return Figure


def new_figure(size: tuple[float, float], path: Path) -> Any:
    """An empty figure, `size` in inches. Raises `PlotError` as `require` does."""
    return require(path)(size, layout="constrained")


def write(figure: Any, path: Path, force: bool) -> None:
    """Writes a figure, with the same bytes each time: no date, and ids from the file name."""
    import matplotlib

    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": path.name}):
        is_svg = path.suffix.lower() == ".svg"
        metadata = {"Date": None} if is_svg else {}
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=150, metadata=metadata)
    output_files.write_bytes(path, file.getvalue(), force)
