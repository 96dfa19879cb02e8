"""The arguments of benchmarks that measure on a folder of images, these images and a model."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from rdonet_jax.imaging import dataset
from rdonet_jax.imaging.dataset import ImageFile
from rdonet_jax.models import zoo


def parser(
    description: str, images: int | None = None, model: str | None = None
) -> argparse.ArgumentParser:
    """A parser with a folder, and with `--images`, which is `images` by default. None means all.

    With a `model` it has the option `--model`, of which this is the default.
    """
    made = argparse.ArgumentParser(description=description.splitlines()[0])
    made.add_argument("folder", type=Path)
    made.add_argument(
        "--images", dest="images", type=int, default=images,
        help="at least so many of them, evenly spread: every k-th for the largest k; default: all",
    )  # fmt: skip
    if model is not None:
        made.add_argument("--model", default=model, help="name or file (default: %(default)s)")
    return made


def named_files(options: argparse.Namespace) -> dict[str, ImageFile]:
    """The files that the arguments of `parser` choose, by their path below the folder."""
    files = dataset.find([options.folder])
    step = max(1, len(files) // options.images) if options.images else 1
    return {dataset.relative_name(file, [options.folder]): file for file in files[::step]}


def named_images(options: argparse.Namespace) -> dict[str, np.ndarray]:
    """The images of `named_files`, uint8 [H, W, 3] each."""
    return {name: dataset.load(file) for name, file in named_files(options).items()}


def load_images(options: argparse.Namespace) -> list[np.ndarray]:
    """The images that the arguments of `parser` choose, uint8 [H, W, 3] each."""
    return list(named_images(options).values())


def model_and_images(options: argparse.Namespace) -> tuple[zoo.Model, list[np.ndarray]]:
    """The model and the images that the arguments of a `parser` with a model choose."""
    return zoo.load(options.model), load_images(options)
