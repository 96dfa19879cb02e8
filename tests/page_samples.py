"""A page with curves and images made without a model, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rdonet_jax.evaluation.curves import Curve
from rdonet_jax.evaluation.report.showcase import Example, Version
from rdonet_jax.metrics import quality
from tests import curve_samples

LEVELS = np.array(
    [[0, 0, 1, 1, 2, 2, 2, 2], [0, 0, 1, 1, 2, 2, 2, 2], [1, 1, 0, 0, 2, 2, 2, 2],
     [1, 1, 0, 0, 2, 2, 2, 2]], np.uint8,
)  # fmt: skip
"""Of an image of 128x64 pixels: eight small blocks, two of 32x32, one of 64x64."""

DENSITY = 0.25 * 2.0 ** np.arange(8)[None].repeat(4, 0) / 16


def curves() -> list[Curve]:
    return [
        curve_samples.curve("ours", 0.6, weights=["0011aabb"], rate="real files"),
        curve_samples.curve("jpeg", label="JPEG", options={"optimize": True}),
        curve_samples.curve("</script><b>&", 1.5),
    ]


def example(name: str, pixels: np.ndarray, gray: int = 16) -> Example:
    """An image [64, 128, 3] and two coarse versions of it."""
    versions = []
    for number, step in enumerate((gray, 3 * gray)):
        decoded = (pixels // step * step).astype(np.uint8)
        seen = {"psnr": quality.psnr(pixels, decoded), "ms_ssim": None}
        versions.append(
            Version(("ours", "JPEG")[number], f"quality {step}", 900, 0.9, seen, decoded)
        )
    return Example(name, pixels, tuple(versions), LEVELS, (0.25, 0.25, 0.5), DENSITY)


def images(photograph: np.ndarray) -> Sequence[Example]:
    parts = [photograph[top : top + 64, :128] for top in (0, 96)]
    return [example("a.png", parts[0]), example("<i>b.png", parts[1])]
