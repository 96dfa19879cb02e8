"""The images that a benchmark measures with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rdonet_jax.imaging import dataset, srgb

IMAGES_HELP = (
    "at least so many of them: every k-th with the largest k that gives them; default: all"
)


def load_images(folder: Path, least: int | None) -> list[np.ndarray]:
    """Images below a folder, see PICTURES_HELP."""
    paths = dataset.find([folder])
    step = max(1, len(paths) // least) if least else 1
    return [srgb.load(path) for path in paths[::step]]
