"""What Pillow, to which every AVIF file is RGB of 8 bits, does not tell: gray, 10 and 12 bits."""

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
    """What the coded images of a file are, colors and alpha together."""

    bits: int
    gray: bool


def kind(path: str | Path) -> Kind:
    """Of a file, by the AV1 configurations in it; 8-bit color where there are none."""
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
