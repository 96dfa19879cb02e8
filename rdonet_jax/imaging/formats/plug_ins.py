"""HEIC and JPEG XL, which Pillow reads with plug-ins.

A plug-in is imported when the first such file is read. Both reduce images to 8 bits. Images of more
bits are read with another function of the HEIC plug-in, and with imagecodecs for JPEG XL.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.imaging.formats import jxl
from rdonet_jax.imaging.metadata import exif

FORMATS = ("HEIF", "JXL")
"""Pillow's names of the formats."""

SUFFIXES = {"HEIF": (".heic", ".heif", ".hif"), "JXL": (".jxl",)}

_HEIF_BITS = 16
"""The plug-in shifts samples of 10 and 12 bits to so many."""


def register(path: str | os.PathLike, name: str, max_pixels: int) -> None:
    """Registers the plug-in for the file `path`, which is of the format `name`.

    Raises ImageError if the plug-in is not installed. Damaged and too large JPEG XL files are
    refused here too, since their plug-in decodes the pixels as soon as it opens a file.
    """
    try:
        if name == "HEIF":
            import pillow_heif

            pillow_heif.register_heif_opener()
        else:
            import pillow_jxl  # noqa: F401  registers itself
    except ImportError as error:
        kind, package = {
            "HEIF": ("HEIC", "pillow-heif"), "JXL": ("JPEG XL", "pillow-jxl-plugin")
        }[name]  # fmt: skip
        raise ImageError(
            f"{path}: is {kind}, which is read with {package}: pip install {package}"
        ) from error
    if name == "JXL":
        found = jxl_header(path)
        if found.height * found.width > max_pixels:
            raise ImageError(
                f"{path}: has {found.width} x {found.height} pixels, more than the limit of "
                f"{max_pixels}"
            )


def jxl_header(path: str | os.PathLike) -> jxl.Header:
    """The header of a JPEG XL file. Raises ImageError for a damaged one."""
    try:
        return jxl.header(path)
    except jxl.JxlError as error:
        raise ImageError(f"{path}: is damaged: {error}") from error


def correct_orientation(image: Image.Image) -> None:
    """Sets the EXIF orientation of an opened JPEG XL file to upright.

    The plug-in turns the pixels upright but leaves the EXIF data. Files that are transcoded JPEG
    are excepted: the plug-in does not turn them.
    """
    if image.format == "JXL" and not image.jpeg and (data := image.info.get("exif")):
        image.info["exif"] = exif.PREFIX + exif.upright(data.removeprefix(exif.PREFIX))


def bits(image: Image.Image, path: str | os.PathLike) -> int:
    """Bits per channel of an opened file."""
    if image.format == "HEIF":
        return image.info.get("bit_depth", 8)
    return 8 if image.mode == "F" else jxl_header(path).bits


def samples(image: Image.Image, bits: int, path: str | os.PathLike) -> np.ndarray:
    """The upright samples of a file of more than 8 bits, [H, W, 1 to 4], up to 2**bits - 1.

    Raises ImageError if the decoder is not installed.
    """
    if image.format == "HEIF":
        import pillow_heif

        found = np.asarray(pillow_heif.open_heif(path, convert_hdr_to_8bit=False))
        if found.dtype != np.uint16:
            raise ImageError(f"{path}: is HEIC of {bits} bits, of which 8 alone can be had here")
        return _with_channels(found >> (_HEIF_BITS - bits))
    found = first_frame(image, path, f"of {bits} bits")
    if found.dtype != np.uint16 or bits > 16:
        raise ImageError(f"{path}: is JPEG XL of {bits} bits, 16 are the most that are read")
    return found


def is_animated(image: Image.Image, path: str | os.PathLike) -> bool:
    """Whether an opened file is an animation of JPEG XL, of which the plug-in has the last frame.

    Its plug-in knows of one frame alone.
    """
    return image.format == "JXL" and jxl_header(path).animated


def first_frame(image: Image.Image, path: str | os.PathLike, what: str) -> np.ndarray:
    """The upright samples of the first frame of a JPEG XL file, [H, W, 1 to 4].

    `what` it is, for users. Raises ImageError if imagecodecs is not installed.
    """
    try:
        import imagecodecs
    except ImportError as error:
        raise ImageError(
            f"{path}: is JPEG XL {what}, which is read with imagecodecs: pip install imagecodecs"
        ) from error
    found = imagecodecs.jpegxl_decode(Path(path).read_bytes(), index=0)
    if found.shape[:2] != (image.height, image.width):
        raise ImageError(f"{path}: is damaged: its pixels are not of the size that it claims")
    return _with_channels(found)


def _with_channels(samples: np.ndarray) -> np.ndarray:
    return samples[..., None] if samples.ndim == 2 else samples
