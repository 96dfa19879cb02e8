"""AVIF files that are gray or have 10 or 12 bits. Pillow reads all of them as 8-bit RGB."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rdonet_jax.imaging.formats import heif_boxes

_CONFIGURATION = b"av1C"
_VERSION = 0x81
_HIGH, _TWELVE, _GRAY = 0x40, 0x20, 0x10


class MissingDecoderError(Exception):
    """imagecodecs, which decodes more than 8 bits, is not installed."""


class Kind(NamedTuple):
    """The form of the coded image in a file."""

    bits: int
    gray: bool


def kind(path: str | os.PathLike) -> Kind:
    """The kind of a file by its AV1 configuration boxes; 8-bit color if there are none."""
    data = Path(path).read_bytes()
    found = heif_boxes.properties(data, _CONFIGURATION) or list(_anywhere(data))
    flags = [each[2] for each in found if len(each) > 2 and each[0] == _VERSION]
    bits = max(((12 if f & _TWELVE else 10) if f & _HIGH else 8 for f in flags), default=8)
    return Kind(bits, bool(flags) and all(f & _GRAY for f in flags))


def _anywhere(data: bytes) -> Iterator[bytes]:
    """What follows the name of the box wherever it occurs. A sequence has its boxes elsewhere."""
    position = data.find(_CONFIGURATION)
    while position >= 0:
        position += len(_CONFIGURATION)
        yield data[position : position + 4]
        position = data.find(_CONFIGURATION, position)


def decode(path: str | os.PathLike, size: tuple[int, int]) -> np.ndarray:
    """The samples of a file of more than 8 bits, uint16 [H, W, 1 to 4], not yet upright.

    `size` is height and width. Of a sequence these are the samples of the first image. Raises
    MissingDecoderError, and what imagecodecs raises for damaged files.
    """
    try:
        import imagecodecs
    except ImportError as error:
        raise MissingDecoderError from error
    # All images of a sequence: imagecodecs ends the process if it is to decode the first alone.
    samples = imagecodecs.avif_decode(Path(path).read_bytes())
    if samples.shape[:2] != size and samples.shape[1:3] == size:
        samples = samples[0]
    return samples[..., None] if samples.ndim == 2 else samples
