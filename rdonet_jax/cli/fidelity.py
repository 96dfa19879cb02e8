"""How near a compressed image comes to its source, and what the user should be told of it.

The PSNR costs no decoding: the encoder walks through the decoder's own steps and has only to
synthesize at their end. It is measured where it is asked for or where it may be a surprise.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from rdonet_jax.codec.codec import Encoded
    from rdonet_jax.imaging.pixel_format import Picture
    from rdonet_jax.models.zoo import Model

HIGH_QUALITY = 90.0
"""From here on users expect an image that is close to its source."""

LEAST_PSNR = 30.0
"""In dB; photographs have more at high qualities."""


class Fidelity(NamedTuple):
    """What is known of a result."""

    psnr: float | None  # in dB, infinite for an exact one; None where it was not measured
    warnings: tuple[str, ...]  # without the file's name


def is_measured(quality: float | None, asked: bool) -> bool:
    """Whether the PSNR of a file of this quality is worth a synthesis."""
    return asked or (quality is not None and quality >= HIGH_QUALITY)


def judge(
    model: Model,
    picture: Picture,
    encoded: Encoded,
    quality: float | None,
    source_bytes: int | None,
    asked: bool,
) -> Fidelity:
    """Of a compressed image; `source_bytes` are those of its source, None where it was no file.

    The reconstruction of the encoder is used where it has one. After a search for a size it has
    none, and the file is decoded.
    """
    decoded = encoded.picture
    if decoded is None and is_measured(quality, asked):
        decoded = _decoded(model, encoded)
    psnr = None if decoded is None else _psnr(picture, decoded)
    return Fidelity(psnr, warnings(len(encoded.data), source_bytes, quality, psnr))


def _decoded(model: Model, encoded: Encoded) -> np.ndarray:
    from rdonet_jax.codec import codec

    return codec.decode(model, encoded.data).picture


def _psnr(picture: Picture, decoded: np.ndarray) -> float:
    from rdonet_jax.imaging import pixel_format

    return pixel_format.psnr(pixel_format.fill_hidden(picture).pixels, decoded)


def warnings(
    size: int, source_bytes: int | None, quality: float | None, psnr: float | None
) -> tuple[str, ...]:
    """What may surprise about a file of so many bytes, each as half a sentence."""
    found = []
    if source_bytes is not None and size > source_bytes:
        found.append(f"is larger than its source: {size} bytes, and that has {source_bytes}")
    if psnr is not None and psnr < LEAST_PSNR and quality is not None and quality >= HIGH_QUALITY:
        found.append(
            f"has {words(psnr)} only, at quality {quality:g}: the network was trained on "
            "photographs, not on text, screenshots or dithered images"
        )
    return tuple(found)


def words(psnr: float) -> str:
    """A PSNR for people."""
    return "no difference" if math.isinf(psnr) else f"{psnr:.2f} dB"
