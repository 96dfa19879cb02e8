"""Writes TIFF files of 8 and 16 bits per sample.

Pillow writes RGB of 8 bits only, and lets EXIF data overwrite the tags of the image's size.
"""

from __future__ import annotations

import zlib
from typing import BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin, TiffTags

from rdonet_jax.imaging.metadata import exif, resolution
from rdonet_jax.imaging.metadata.resolution import Resolution

_DEFLATE = 8
_DIFFERENCES = 2
_BLACK_IS_ZERO, _RGB = 1, 2
_NOT_PREMULTIPLIED = 2
_NO_UNIT, _INCH, _CM = 1, 2, 3
_STRIP_BYTES = 2**18
_MOST_BYTES = 2**32 - 2**26
"""Of compressed pixels. Offsets in TIFF have 32 bits, and metadata precedes the pixels."""


def write(
    file: BinaryIO,
    samples: np.ndarray,
    icc: bytes,
    exif_data: bytes,
    xmp: bytes = b"",
    size: Resolution | None = None,
) -> None:
    """Writes samples, uint8 or uint16 [H, W, 1 to 4], with Deflate and horizontal differences.

    The EXIF entries about the image and the camera become tags of the file. `size` is the
    resolution. Raises ValueError if the file would be larger than TIFF allows.
    """
    height, width, channels = samples.shape
    rows = max(1, _STRIP_BYTES // (width * channels * samples.itemsize))
    strips = [_deflated(samples[first : first + rows]) for first in range(0, height, rows)]
    sizes = [len(strip) for strip in strips]
    if sum(sizes) > _MOST_BYTES:
        raise ValueError("TIFF holds no image of so many bytes")
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    _take_exif(directory, exif_data)
    directory[TiffImagePlugin.IMAGEWIDTH] = width
    directory[TiffImagePlugin.IMAGELENGTH] = height
    directory[TiffImagePlugin.BITSPERSAMPLE] = (8 * samples.itemsize,) * channels
    directory[TiffImagePlugin.COMPRESSION] = _DEFLATE
    directory[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = _RGB if channels > 2 else _BLACK_IS_ZERO
    directory[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    directory[TiffImagePlugin.ROWSPERSTRIP] = rows
    directory[TiffImagePlugin.PLANAR_CONFIGURATION] = 1
    directory[TiffImagePlugin.PREDICTOR] = _DIFFERENCES
    if channels in (2, 4):
        directory[TiffImagePlugin.EXTRASAMPLES] = _NOT_PREMULTIPLIED
    if icc:
        directory.tagtype[TiffImagePlugin.ICCPROFILE] = TiffTags.UNDEFINED
        directory[TiffImagePlugin.ICCPROFILE] = icc
    if xmp:
        directory.tagtype[TiffImagePlugin.XMP] = TiffTags.BYTE
        directory[TiffImagePlugin.XMP] = xmp
    if size is not None:
        _take_resolution(directory, size)
    for tag, numbers in (
        (TiffImagePlugin.STRIPBYTECOUNTS, sizes),
        # Relative to the first strip. The directory adds its offset.
        (TiffImagePlugin.STRIPOFFSETS, [0, *np.cumsum(sizes[:-1]).tolist()]),
    ):
        directory.tagtype[tag] = TiffTags.LONG
        directory[tag] = tuple(numbers)
    directory.save(file)
    file.writelines(strips)


def _take_exif(directory: TiffImagePlugin.ImageFileDirectory_v2, data: bytes) -> None:
    """Adds the EXIF entries that do not describe how a file stores its pixels."""
    block = Image.Exif()
    block.load(data)
    for tag, value in exif.entries(block):
        directory[tag] = value


def _take_resolution(directory: TiffImagePlugin.ImageFileDirectory_v2, size: Resolution) -> None:
    """Adds the resolution, in whole pixels per inch if that is exact, else per cm."""
    pair: list[float | TiffImagePlugin.IFDRational] = list(resolution.dpi(size))
    unit = _INCH
    if not size.metric:
        unit, pair = _NO_UNIT, list(size[:2])
    elif not all(isinstance(value, int) for value in pair):
        unit, pair = _CM, [TiffImagePlugin.IFDRational(value, 100) for value in size[:2]]
    directory[TiffImagePlugin.RESOLUTION_UNIT] = unit
    directory[TiffImagePlugin.X_RESOLUTION], directory[TiffImagePlugin.Y_RESOLUTION] = pair


def _deflated(strip: np.ndarray) -> bytes:
    differences = strip.copy()
    differences[:, 1:] -= strip[:, :-1]
    return zlib.compress(differences.astype(strip.dtype.newbyteorder("<")).tobytes(), 6)
