"""Rate at equal quality against everyday codecs, on a folder of pictures, by real files.

    python benchmarks/bd_rate.py kodak --model standard
    python benchmarks/bd_rate.py kodak --curve standard.json --anchors jpeg webp jpeg2000 avif

Prints the curves and the Bjøntegaard rates (Akima interpolation) of the mean curves: bits per pixel
and quality averaged over the pictures at every setting. MS-SSIM counts in dB. `--curve` takes a
curve that eval.py has written instead of coding the pictures.
"""

from __future__ import annotations

import argparse
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import bjontegaard
import numpy as np
import PIL
from PIL import Image, features

from rdonet_jax import evaluation, images, objective, results, zoo
from rdonet_jax.results import Row

QUALITIES = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)


class Curve(NamedTuple):
    """Means over the pictures, by rising rate."""

    bpp: tuple[float, ...]
    psnr: tuple[float, ...]
    ms_ssim_db: tuple[float, ...]


class Anchor(NamedTuple):
    """An everyday codec as Pillow offers it."""

    settings: Sequence[Any]
    options: Callable[[Any], Mapping[str, Any]]  # of Image.save
    words: str


ANCHORS: Mapping[str, Anchor] = {
    "jpeg": Anchor(
        (4, 6, 8, 10, 15, 20, 30, 40, 50, 60, 70, 80, 85, 90, 93),
        lambda q: {"format": "JPEG", "quality": q, "subsampling": "4:2:0", "optimize": True},
        "4:2:0, optimised Huffman tables",
    ),
    "webp": Anchor(
        (0, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95),
        lambda q: {"format": "WEBP", "quality": q, "method": 6},
        "method 6",
    ),
    "jpeg2000": Anchor(
        (160, 110, 80, 56, 40, 28, 20, 14, 10, 8),
        lambda ratio: {
            "format": "JPEG2000", "quality_mode": "rates", "quality_layers": [ratio],
            "irreversible": True, "mct": 1,
        },
        "irreversible, colour transform",
    ),
    "avif": Anchor(
        (10, 20, 30, 40, 50, 60, 70, 80, 90),
        lambda q: {
            "format": "AVIF", "quality": q, "speed": 4, "subsampling": "4:4:4",
            "advanced": {"tune": "psnr"},
        },
        "4:4:4, speed 4, tune=psnr",
    ),
}  # fmt: skip


def coded(image: np.ndarray, options: Mapping[str, Any]) -> tuple[int, np.ndarray]:
    """The size of a picture's file by an everyday codec, and what is in it, uint8 [H, W, 3]."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, **options)
    return file.tell(), np.asarray(Image.open(file).convert("RGB"))


def anchor_curve(anchor: Anchor, pictures: Mapping[str, np.ndarray]) -> Curve:
    """An everyday codec's curve over the pictures."""
    points = []
    for setting in anchor.settings:
        rows = []
        for name, image in pictures.items():
            size, decoded = coded(image, anchor.options(setting))
            bpp = 8 * size / math.prod(image.shape[:2])
            rows.append(Row(name, bpp, *evaluation.measure(image, decoded)))
        points.append(results.mean(rows))
    return curve_of([p.bpp for p in points], [p.psnr for p in points], [p.ms_ssim for p in points])


def curve_of(bpp: Sequence[float], psnr: Sequence[float], ms_ssim: Sequence[float]) -> Curve:
    """Points in any order as a curve."""
    decibels = [float(objective.ms_ssim_db(value)) for value in ms_ssim]
    return Curve(*map(tuple, zip(*sorted(zip(bpp, psnr, decibels, strict=True)), strict=True)))


def model_curve(name: str, folders: Sequence[str], qualities: Sequence[float]) -> Curve:
    """A model's curve by real files."""
    model = zoo.load(name)
    points = []
    for quality in qualities:
        settings = evaluation.Settings(quality=quality)
        points.append(results.mean(evaluation.evaluate(model, folders, settings)))
        print(f"quality {quality:g}: {results.table([points[-1]])}", flush=True)
    return curve_of([p.bpp for p in points], [p.psnr for p in points], [p.ms_ssim for p in points])


def stored_curve(path: Path) -> Curve:
    """A curve of eval.py, or another in CompressAI's schema."""
    values = json.loads(path.read_text())["results"]
    return curve_of(values["bpp"], values["psnr-rgb"], values["ms-ssim-rgb"])


def compared(curve: Curve, anchor: Curve) -> str:
    """Rate of `curve` over `anchor`'s at equal quality, in percent, and where they overlap."""
    words = []
    for name, ours, theirs in (
        ("PSNR", curve.psnr, anchor.psnr),
        ("MS-SSIM", curve.ms_ssim_db, anchor.ms_ssim_db),
    ):
        low, high = max(ours[0], theirs[0]), min(ours[-1], theirs[-1])
        rate = bjontegaard.bd_rate(
            anchor.bpp, theirs, curve.bpp, ours, method="akima",
            require_matching_points=False, min_overlap=0,
        )  # fmt: skip
        words.append(f"{name} {rate:+.1f} % ({low:.1f} to {high:.1f} dB)")
    return ", ".join(words)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--model", default="standard")
    parser.add_argument("--qualities", nargs="+", type=float, default=QUALITIES)
    parser.add_argument("--curve", type=Path, help="JSON of eval.py, instead of coding")
    parser.add_argument("--anchors", nargs="+", choices=list(ANCHORS), default=["jpeg", "webp"])
    options = parser.parse_args()
    if options.curve:
        curve = stored_curve(options.curve)
    else:
        curve = model_curve(options.model, options.folders, options.qualities)
    for row in zip(*curve, strict=True):
        print("  {:.4f} bpp, {:.2f} dB, MS-SSIM {:.2f} dB".format(*row))
    paths = evaluation.named_pictures(options.folders)
    pictures = {name: images.load(path) for name, path in paths.items()}
    print(f"{len(pictures)} pictures; Pillow {PIL.__version__}")
    for name in options.anchors:
        if name == "avif" and not features.check("avif"):
            print("avif: this Pillow cannot write it")
            continue
        anchor = anchor_curve(ANCHORS[name], pictures)
        print(f"against {name} ({ANCHORS[name].words}): {compared(curve, anchor)}", flush=True)


if __name__ == "__main__":
    main()
