"""The arguments of benchmarks that measure on a folder of images, and these images."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from rdonet_jax.imaging import dataset


def parser(description: str, images: int | None = None) -> argparse.ArgumentParser:
    """A parser with a folder and `--images`, which is `images` by default. None means all."""
    made = argparse.ArgumentParser(description=description.splitlines()[0])
    made.add_argument("folder", type=Path)
    made.add_argument(
        "--images", "--pictures", dest="images", type=int, default=images,
        help="at least so many of them, evenly spread: every k-th for the largest k; default: all",
    )  # fmt: skip
    return made


def named_images(options: argparse.Namespace) -> dict[str, np.ndarray]:
    """The images that the arguments of `parser` choose, uint8 [H, W, 3] each, by their path below
    the folder."""
    paths = dataset.find([options.folder])
    step = max(1, len(paths) // options.images) if options.images else 1
    return {
        dataset.relative_name(path, [options.folder]): dataset.load(path) for path in paths[::step]
    }


def load_images(options: argparse.Namespace) -> list[np.ndarray]:
    """The images that the arguments of `parser` choose, uint8 [H, W, 3] each."""
    return list(named_images(options).values())
