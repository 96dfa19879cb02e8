"""Draws bits per pixel and PSNR over quality, from a curve that eval.py has written.

python eval.py --data kodak --model standard --quality 0 5 10 ... 100 -o curve.json
python benchmarks/quality_plot.py curve.json docs/quality.svg
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

COLOURS = ("#1f5fa8", "#b2531c")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("curve", type=Path)
    parser.add_argument("output", type=Path, help="SVG or PNG")
    options = parser.parse_args()
    values = json.loads(options.curve.read_text())["results"]
    pyplot.rcParams["svg.hashsalt"] = options.output.name
    figure, axes = pyplot.subplots(figsize=(6, 3.4), layout="constrained")
    axes.set_xlabel("--quality")
    axes.plot(values["quality"], values["bpp"], "o-", color=COLOURS[0], markersize=3)
    axes.set_ylabel("bits per pixel", color=COLOURS[0])
    axes.set_yscale("log")
    ticks = [0.05, 0.1, 0.2, 0.5, 1, 2]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    other = axes.twinx()
    other.plot(values["quality"], values["psnr-rgb"], "s-", color=COLOURS[1], markersize=3)
    other.set_ylabel("PSNR in dB", color=COLOURS[1])
    figure.savefig(options.output, dpi=150, metadata={"Date": None})


if __name__ == "__main__":
    main()
