"""AVIF files that are gray or have 10 or 12 bits. Pillow reads all of them as 8-bit RGB."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

_CONFIGURATION = b"av1C"
_VERSION = 0x81
_HIGH, _TWELVE, _GRAY = 0x40, 0x20, 0x10


class MissingDecoderError(Exception):
    """imagecodecs, which decodes more than 8 bits, is not installed."""


class Kind(NamedTuple):
    """The form of the coded images in a file, of color and of alpha."""

    bits: int
    gray: bool


def kind(path: str | Path) -> Kind:
    """The kind of a file by its AV1 configuration boxes; 8-bit color if there are none."""
    data = Path(path).read_bytes()
    flags = []
    position = data.find(_CONFIGURATION)
    while 0 <= position < len(data) - 6:
        if data[position + 4] == _VERSION:
            flags.append(data[position + 6])
        position = data.find(_CONFIGURATION, position + 4)
    bits = max(((12 if f & _TWELVE else 10) if f & _HIGH else 8 for f in flags), default=8)
    return Kind(bits, bool(flags) and all(f & _GRAY for f in flags))


def decode(path: str | Path) -> np.ndarray:
    """The samples of a file of more than 8 bits, uint16 [H, W, 1 to 4], not yet upright.

    Raises MissingDecoderError, and what imagecodecs raises for damaged files.
    """
    try:
        import imagecodecs
    except ImportError as error:
        raise MissingDecoderError from error
    samples = imagecodecs.avif_decode(Path(path).read_bytes())
    return samples[..., None] if samples.ndim == 2 else samples
