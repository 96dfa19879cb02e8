"""`rdonet thumbnail`: a small PNG of the image in a compressed file, for file managers."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from rdonet_jax.cli.commands import decoding
from rdonet_jax.cli.console import explained
from rdonet_jax.imaging import pixel_format, srgb
from rdonet_jax.imaging.metadata import icc
from rdonet_jax.models.library import ModelLibrary

if TYPE_CHECKING:
    from rdonet_jax.imaging.pixel_format import ImageData

SIDE = 256
"""Pixels of the longer side, unless something else is asked for."""


def make(source: str, target: str, side: int, library: ModelLibrary) -> tuple[int, int]:
    """Writes the thumbnail; returns its width and height.

    The file is a PNG whatever its name is, and replaces what is there: programs that ask for
    thumbnails name a file that they have just created. Raises `CommandError`.
    """
    with explained(srgb.ImageError):
        srgb.check_target(target, force=True)
    image, _ = decoding.load_image(source, library)
    small = reduced(image, side)
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    with explained(srgb.ImageError):
        srgb.write_bytes(target, file.getvalue(), force=True)
    return small.size


def reduced(image: ImageData, side: int) -> Image.Image:
    """The image in 8-bit sRGB, scaled down until no side is longer than `side` pixels."""
    colors = Image.fromarray(np.ascontiguousarray(pixel_format.to_uint8(image.pixels)))
    small = icc.as_srgb(colors, image.icc)
    if image.alpha is not None:
        small.putalpha(Image.fromarray(np.ascontiguousarray(pixel_format.to_uint8(image.alpha))))
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small
