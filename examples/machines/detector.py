"""A small detector of digits.

It is fully convolutional. For every 4x4 pixels it has the logit of every class that the center of
such a digit is there ("Objects as points", Zhou et al. 2019, https://arxiv.org/abs/1904.07850).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from flax.errors import FlaxError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from examples.machines.scenes import CLASSES
from rdonet_jax.runtime import compilation

STRIDE = 4
"""Pixels per position of the detector, on both axes."""

LEAST_SCORE = 0.02
"""Of a detection. All count for the average precision, in the order of their scores."""


class DetectorError(ValueError):
    """A file is no detector."""


class Network(nn.Module):
    """Images [B, H, W, 3] in [0, 1], sides multiples of 4, to logits [B, H/4, W/4, classes]."""

    width: int = 32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(self.width // 2, (3, 3), (2, 2))(x - 0.5))
        x = nn.relu(nn.Conv(self.width, (3, 3), (2, 2))(x))
        for dilation in (1, 2, 2, 1):
            inner = nn.relu(nn.Conv(self.width, (3, 3), kernel_dilation=dilation)(x))
            x = x + nn.Conv(self.width, (1, 1))(inner)
        # Almost all positions have no digit.
        return nn.Conv(CLASSES, (1, 1), bias_init=nn.initializers.constant(-4.0))(nn.relu(x))


class Detection(NamedTuple):
    """A digit that was found, and how sure the detector is, 0 to 1."""

    value: int
    row: float
    column: float
    score: float


@dataclasses.dataclass(frozen=True, eq=False)
class Detector:
    """The network with its parameters. One detector equals itself alone."""

    params: Any
    width: int

    def logits(self, x: jax.Array) -> jax.Array:
        """Of images [B, H, W, 3] in [0, 1]; see `Network`."""
        return Network(self.width).apply({"params": self.params}, x)

    @functools.cached_property
    def _compiled(self) -> Callable[[jax.Array], jax.Array]:
        return compilation.jit(self.logits)

    def scores(self, pixels: np.ndarray) -> np.ndarray:
        """The scores [H/4, W/4, classes] of an image uint8 [H, W, 3] of any size."""
        return np.asarray(jax.nn.sigmoid(self._compiled(batch_of(pixels))[0]))

    def detect(self, pixels: np.ndarray) -> list[Detection]:
        """The digits in an image: local maxima of the scores, the best class at each position."""
        scores = self.scores(pixels)
        best = scores.max(-1)
        padded = np.pad(best, 1)
        around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).max((-2, -1))
        found = (best == around) & (best >= LEAST_SCORE)
        return [
            Detection(
                int(scores[row, column].argmax()),
                STRIDE * (row + 0.5),
                STRIDE * (column + 0.5),
                float(best[row, column]),
            )
            for row, column in zip(*np.nonzero(found), strict=True)
        ]


def batch_of(pixels: np.ndarray) -> jax.Array:
    """An image uint8 [H, W, 3] as a batch of one in [0, 1], continued to whole blocks of 64."""
    missing = [(0, -side % 64) for side in pixels.shape[:2]]
    return jnp.asarray(np.pad(pixels, (*missing, (0, 0)), mode="edge")[None] / 255.0, jnp.float32)


def save(path: Path, detector: Detector) -> None:
    """Writes the parameters as safetensors."""
    flat = traverse_util.flatten_dict(detector.params, sep="/")
    save_file({name: np.asarray(value) for name, value in flat.items()}, path)


def load(path: Path) -> Detector:
    """A detector that `save` has written. Raises OSError and `DetectorError`."""
    try:
        flat = load_file(path)
        width = int(flat["Conv_1/bias"].shape[0])
        detector = Detector(traverse_util.unflatten_dict(flat, sep="/"), width)
        detector.scores(np.zeros((64, 64, 3), np.uint8))
    except (SafetensorError, KeyError, ValueError, TypeError, FlaxError) as error:
        raise DetectorError(f"{path}: holds no detector of this program") from error
    return detector
