"""Curves and masks of a study as images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot

from experiments.reproduce_table import tables
from rdonet_jax import visualize
from rdonet_jax.imaging import srgb

GAP = 8
"""Pixels between masks."""


def draw_curves(results: tables.Results, metric: str, target: Path) -> None:
    """Plots the mean rate and quality of all columns. The suffix of `target` decides the format."""
    pyplot.rcParams["svg.hashsalt"] = target.name
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for column, images in results.items():
        if mean := tables.mean_curve(images, metric):
            style = "k--" if column == tables.ANCHOR else "-"
            axes.plot(*mean, style, marker="o", markersize=3, label=column)
    axes.set_xlabel("bits per pixel")
    axes.set_ylabel({"psnr": "PSNR in dB", "ms_ssim": "MS-SSIM in dB"}[metric])
    axes.grid(alpha=0.3)
    if results:
        axes.legend(fontsize=7)
    figure.savefig(target, dpi=150, metadata={"Date": None} if target.suffix == ".svg" else None)
    pyplot.close(figure)


def draw_masks(path: Path, maps: Sequence[Path], columns: Sequence[str], target: Path) -> None:
    """Draws an image's masks: a row for each file of `evaluations.evaluate`, a column per name."""
    image = srgb.load(path)
    rows = []
    for file in maps:
        with np.load(file) as levels:
            masks = [visualize.draw_mask(image, levels[column]) for column in columns]
        rows.append(_beside(masks, axis=1))
    srgb.save(target, _beside(rows, axis=0), force=True)


def _beside(images: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Images in a row (axis 1) or one below the other (axis 0), white between them."""
    parts: list[np.ndarray] = []
    for image in images:
        gap = list(image.shape)
        gap[axis] = GAP
        parts += [image, np.full(gap, 255, np.uint8)]
    return np.concatenate(parts[:-1], axis)
