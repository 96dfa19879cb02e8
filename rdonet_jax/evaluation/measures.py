"""One image of an evaluation and its quality, whichever codec it went through."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rdonet_jax.evaluation.results import Row
from rdonet_jax.metrics import quality


class EvaluationError(ValueError):
    """An evaluation that cannot be made, or whose result cannot be trusted."""


class NamedImage(NamedTuple):
    """An image to evaluate."""

    name: str  # its path below the folder that all images share
    pixels: np.ndarray  # uint8 [H, W, 3]


class Evaluated(NamedTuple):
    """An image's result and what came out of the decoder."""

    row: Row
    decoded: np.ndarray  # uint8 [H, W, 3]


@contextlib.contextmanager
def naming(image: str) -> Iterator[None]:
    """Raises what a codec says against an image as an `EvaluationError` that names the image."""
    try:
        yield
    except ValueError as error:
        raise EvaluationError(f"{image}: cannot be coded: {error}") from error


def bits_per_pixel(file_bytes: int, image: np.ndarray) -> float:
    """The rate of a whole file of an image [H, W, 3]."""
    return 8 * file_bytes / math.prod(image.shape[:2])


def software_settings(metrics: Sequence[str]) -> dict[str, dict[str, str]]:
    """What computes these metrics, as an entry of a curve's settings; empty for none."""
    found = quality.software(metrics)
    return {"metrics": found} if found else {}
