"""What images of Pillow hold besides the samples of their arrays: EXIF data, transparent colors.

These are images in memory, whose files may be closed. `reader` reads files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import ExifTags, Image

from rdonet_jax.imaging import pixel_format
from rdonet_jax.imaging.metadata import exif

_RAW_PROFILE = "Raw profile type exif"
_SIDES = (ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength)
_NARROW_GRAY = {85: 3, 17: 15}
"""By the step between samples of 2 and of 4 bits in 8: the largest sample in the file."""


class TransparentColorError(ValueError):
    """A transparent color of which it is not known which pixels it hides."""


def exif_in_info(image: Image.Image) -> bytes:
    """The EXIF data in `info`, unchanged, from its TIFF header on; it need not be valid.

    That is where Pillow looks: at `exif`, and at the text of a PNG file that ImageMagick has
    written. Empty if there is none. See `exif_of` for TIFF files, which Pillow turns upright
    itself.
    """
    if image.info.get("exif") is not None:
        return exif.found_in(image)
    text = image.info.get(_RAW_PROFILE)
    if not isinstance(text, str):
        return b""
    try:  # after an empty line, a name and a length
        data = bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return text.encode()
    return data.removeprefix(exif.PREFIX)


def exif_of(image: Image.Image) -> bytes:
    """The EXIF data of an image, as `exif_in_info`, or of the tags of its TIFF file.

    Raises Pillow's errors, which are almost any, for damaged tags.
    """
    data = exif_in_info(image)
    if data or not hasattr(image, "tag_v2"):
        return data
    # Pillow has turned the pixels, and no longer says so.
    stored = tuple(image.tag_v2.get(tag) for tag in _SIDES)
    lies = exif.SIDEWAYS[0] if image.size == stored[::-1] != stored else None
    return exif.of_block(image.getexif(), exif.RESOLUTION, lies)


def alpha_of_key(image: Image.Image, samples: np.ndarray) -> np.ndarray | None:
    """Alpha [H, W] by the transparent color in `info`; None where it hides no pixel.

    Pillow names the color by the samples of the file, which may have 1 to 16 bits, and a loaded
    image no longer says how many. `samples` are those of a mode 1, L, RGB or I;16.

    Raises TransparentColorError for what is no color of the image, and where a color that is not
    among the 8-bit samples may be one of another depth.
    """
    key = image.info["transparency"]
    color = _color(key, 3 if samples.ndim == 3 else 1)
    if color is None:
        raise TransparentColorError(f"the transparent color is none: {repr(key)[:60]}")
    if image.mode == "1":
        color = 255 * (color > 0)
    alpha = pixel_format.keyed(samples, color)
    if not alpha.all():
        return alpha
    if samples.dtype == np.uint8 and image.mode != "1" and _may_hide(samples, color):
        raise TransparentColorError(
            "no pixel has the transparent color as it is given; its file may have had more or "
            "fewer bits, and `rdonet compress` reads such files"
        )
    return None


def _color(key: Any, channels: int) -> np.ndarray | None:
    """The color as integers [channels]; None for anything else."""
    try:
        color = np.array(key)
    except ValueError:
        return None
    return color if color.dtype.kind in "iu" and color.size == channels else None


def _may_hide(samples: np.ndarray, color: np.ndarray) -> bool:
    """Whether a color hides pixels if it has another depth than 8 bits."""
    if samples.ndim == 3:  # of 16 bits, of which Pillow keeps the upper 8
        return not pixel_format.keyed(samples, color >> 8).all()
    return any(
        bool(color <= most)
        and not (samples % step).any()
        and not pixel_format.keyed(samples, step * color).all()
        for step, most in _NARROW_GRAY.items()
    )
