"""How close a compressed image is to its source, and what the user is warned of.

The PSNR takes no decoding: the encoder computes the decoder's own steps, so it only has to add the
synthesis. The PSNR is measured where it is asked for or where it may be a surprise.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from rdonet_jax.core.defaults import DEFAULT_ENGINE

if TYPE_CHECKING:
    import numpy as np

    from rdonet_jax.codec.codec import Encoded
    from rdonet_jax.models.zoo import Model
    from rdonet_jax.rdo.encoder import EncodeResult

HIGH_QUALITY = 90.0
"""From here on users expect an image that is close to its source."""

LEAST_PSNR = 30.0
"""In dB; photographs have more at high qualities."""


class Fidelity(NamedTuple):
    """The PSNR of a result, and the warnings about it."""

    psnr: float | None  # in dB, infinite for an exact one; None where it was not measured
    warnings: tuple[str, ...]  # without the file's name


def is_measured(quality: float | None, asked: bool) -> bool:
    """Whether the PSNR of a file of this quality is worth a synthesis."""
    return asked or (quality is not None and quality >= HIGH_QUALITY)


def judge(
    model: Model,
    result: EncodeResult,
    source_bytes: int | None,
    asked: bool,
    engine: str = DEFAULT_ENGINE,
) -> Fidelity:
    """Judges an encoded image; `source_bytes` is the size of its file, None where it was no file.

    The reconstruction of the encoder is used where there is one. After rate control for a size
    there is none, and the file is decoded.
    """
    encoded = result.encoded
    decoded = encoded.image
    if decoded is None and is_measured(encoded.quality, asked):
        decoded = _decoded(model, encoded, engine)
    psnr = None if decoded is None else result.prepared.psnr(decoded)
    return Fidelity(psnr, warnings(len(encoded.data), source_bytes, encoded.quality, psnr))


def _decoded(model: Model, encoded: Encoded, engine: str) -> np.ndarray:
    from rdonet_jax.codec import codec

    return codec.decode(model, encoded.data, engine=engine).image


def warnings(
    size: int, source_bytes: int | None, quality: float | None, psnr: float | None
) -> tuple[str, ...]:
    """Warnings about a file of `size` bytes, each without the file's name."""
    found = []
    if source_bytes is not None and size > source_bytes:
        found.append(f"is larger than its source: {size} bytes, and that has {source_bytes}")
    if psnr is not None and psnr < LEAST_PSNR and quality is not None and quality >= HIGH_QUALITY:
        found.append(
            f"has {psnr_text(psnr)} only, at quality {quality:g}: the network was trained on "
            "photographs, not on text, screenshots or dithered images"
        )
    return tuple(found)


def psnr_text(psnr: float) -> str:
    """A PSNR for people."""
    return "no difference" if math.isinf(psnr) else f"{psnr:.2f} dB"
