"""Draws the network as docs/network.svg: `python docs/diagram.py [FILE]`, PNG too by its suffix."""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

INK, LINE, GUESS = "#222222", "#555555", "#2f6f9f"
ENCODER, DECODER, SHARED, CODED, PANEL = "#e3eefa", "#e7f3e4", "#fdf3dc", "#f3e6f5", "#fafafa"

WIDTH, HEIGHT = 132, 86
PIXELS = (16, 32, 64)
ROWS = (60, 36, 12)
"""The middle of each level's row, finest first."""

HALF = 9.5
"""Half of a row's height."""


def box(
    ax: Axes, x: float, y: float, text: str, color: str, width: float = 13, height: float = 6
) -> None:
    """A box around the point (x, y)."""
    shape = FancyBboxPatch(
        (x - width / 2, y - height / 2), width, height,
        boxstyle="round,pad=0,rounding_size=0.9", facecolor=color, edgecolor=LINE, linewidth=0.7,
    )  # fmt: skip
    ax.add_patch(shape)
    ax.text(x, y, text, ha="center", va="center", fontsize=7.5, color=INK, linespacing=1.15)


def arrow(ax: Axes, *points: tuple[float, float], color: str = LINE, dashed: bool = False) -> None:
    """An arrow along straight lines through the points."""
    style = {"color": color, "linewidth": 0.9, "linestyle": (0, (3, 2)) if dashed else "-"}
    if len(points) > 2:
        ax.plot(*zip(*points[:-1], strict=True), solid_capstyle="butt", **style)
    ax.add_patch(
        FancyArrowPatch(
            points[-2],
            points[-1],
            arrowstyle="-|>",
            mutation_scale=7,
            shrinkA=0,
            shrinkB=0,
            **style,
        )
    )


def label(ax: Axes, x: float, y: float, text: str, **how: object) -> None:
    ax.text(x, y, text, **{"fontsize": 7, "color": INK, "ha": "center", "va": "center"} | how)


def unit(ax: Axes, level: int) -> None:
    """The LS-Unit of a level: the latent above, its hyperprior below."""
    middle = ROWS[level]
    above, below = middle + 3.2, middle - 5
    panel = FancyBboxPatch(
        (24, middle - HALF), 84, 2 * HALF, boxstyle="round,pad=0,rounding_size=1.2",
        facecolor=PANEL, edgecolor="#bbbbbb", linewidth=0.7,
    )  # fmt: skip
    ax.add_patch(panel)
    label(
        ax, 25, middle + HALF - 1.5,
        f"LS-Unit, level {level}: one position per {PIXELS[level]}×{PIXELS[level]} pixels",
        ha="left", fontsize=7, fontweight="bold",
    )  # fmt: skip
    box(ax, 33, above, "latent $y$", ENCODER, 12)
    box(ax, 50, above, "mask,\nquantize", ENCODER, 12)
    box(ax, 70, above, "range coder", CODED, 14)
    box(ax, 91, above, r"$\hat{y}$ where coded," + "\nelse its prediction", DECODER, 18)
    box(ax, 33, below, "hyper-\nencoder", ENCODER, 12)
    box(ax, 50, below, r"range coder: $\hat{z}$", CODED, 15)
    box(ax, 70, below, "prior: μ, scale", SHARED, 14)
    arrow(ax, (39, above), (44, above))
    arrow(ax, (56, above), (63, above))
    arrow(ax, (77, above), (82, above))
    arrow(ax, (33, above - 3), (33, below + 3))
    arrow(ax, (39, below), (42.5, below))
    arrow(ax, (57.5, below), (63, below))
    arrow(ax, (70, below + 3), (70, above - 3))
    arrow(ax, (91, above - 3), (91, below), (77, below), color=GUESS, dashed=True)
    label(ax, 92, below, "decoded neighbors", fontsize=6.5, color=GUESS, ha="left")


def condition(ax: Axes, level: int, height: float) -> None:
    """What latent and prior of a level take from the coarser ones."""
    latent, prior = ROWS[level] + 1.6, ROWS[level] - 8
    arrow(ax, (121, height), (70, height), (70, prior), color=GUESS, dashed=True)
    arrow(ax, (70, height), (25.5, height), (25.5, latent), (27, latent), color=GUESS, dashed=True)
    label(
        ax, 91, height + 1.3, "the coarser levels condition latent and prior",
        fontsize=6.5, color=GUESS,
    )  # fmt: skip


def main(target: Path) -> None:
    plt.rcParams.update(
        {"svg.fonttype": "none", "svg.hashsalt": "rdonet", "font.family": "sans-serif"}
    )
    figure = plt.figure(figsize=(10.2, 10.2 * HEIGHT / WIDTH))
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, HEIGHT))
    ax.axis("off")
    label(ax, 11, 82.5, "image $x$", fontsize=9)
    box(ax, 11, 75, "analysis $g_a$", ENCODER, 15, 7)
    arrow(ax, (11, 81), (11, 78.5))
    label(ax, 121, 82.5, r"image $\hat{x}$", fontsize=9)
    box(ax, 121, 75, "synthesis $g_s$", DECODER, 15, 7)
    arrow(ax, (121, 78.5), (121, 81))
    for level, middle in enumerate(ROWS):
        above = middle + 3.2
        unit(ax, level)
        box(ax, 11, above, f"features $e_{level}$", ENCODER, 15)
        arrow(ax, (11, ROWS[level - 1] + 0.2 if level else 71.5), (11, above + 3))
        arrow(ax, (18.5, above), (27, above))
        box(ax, 121, above, f"correct $d_{level}$", DECODER, 15)
        arrow(ax, (100, above), (113.5, above))
        arrow(ax, (121, above + 3), (121, ROWS[level - 1] + 0.2 if level else 71.5))
        if level:
            label(ax, 12, middle + 15.2, "half the size", ha="left", fontsize=6.5)
            label(ax, 122, middle + 15.2, "upsample", ha="left", fontsize=6.5)
            condition(ax, level - 1, middle + 12)
    label(ax, 121, ROWS[2] - 6, "$d_2$ begins as 0", fontsize=6.5)
    caption = "The mask says which level codes which block. Decoding goes from level 2 to level 0."
    label(ax, 66, 82.5, caption, fontsize=8)
    for x, color, text in (
        (31, ENCODER, "encoder only"), (52, SHARED, "encoder and decoder"),
        (80, CODED, "bitstream"), (97, DECODER, "reconstruction"),
    ):  # fmt: skip
        box(ax, x, 75, "", color, 3, 2.4)
        label(ax, x + 2.5, 75, text, ha="left")
    figure.savefig(target, dpi=150, metadata={"Date": None} if target.suffix == ".svg" else None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "target", nargs="?", type=Path, default=Path(__file__).with_name("network.svg")
    )
    main(parser.parse_args().target)
