"""EXIF data as it travels: from its TIFF header on, and upright."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from rdonet_jax.imaging.metadata import exif_block, exif_thumbnail

PREFIX = b"Exif\0\0"
"""Stands before EXIF data in JPEG files."""

OF_THE_FILE = frozenset(
    {
        *(254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281),
        *(284, 288, 289, 290, 291, 292, 293, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324),
        *(325, 330, 332, 333, 334, 336, 338, 339, 340, 341, 342, 343, 347, 512, 513, 514, 515),
        *(517, 518, 519, 520, 521, 529, 530, 531, 532, 559, 700, 33723, 34377, 34675, 37724),
        *(42112, 42113, 50838, 50839),
    }
)
"""Tags that say how a TIFF file stores its pixels, or hold what is no EXIF data."""

DIRECTORIES = frozenset(int(tag) for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo))
"""Tags that stand for more of them."""

RESOLUTION = (282, 283, 296)
"""Tags that say how large a pixel is."""


def is_sound(data: bytes) -> bool:
    """Whether every entry can be read and written anew, as it is where formats store it apart."""
    block = Image.Exif()
    try:
        block.load(data)
        for tag in block:
            if tag in DIRECTORIES:
                block.get_ifd(tag)
        directory = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, value in entries(block):
            directory[tag] = value
        directory.tobytes()
        block.tobytes()
    except Exception:  # Pillow raises almost anything on damaged data
        return False
    return True


def entries(block: Image.Exif) -> Iterator[tuple[int, Any]]:
    """The entries that do not say how a file stores its pixels, with those of directories."""
    for tag, value in block.items():
        if tag not in OF_THE_FILE:
            yield tag, block.get_ifd(tag) if tag in DIRECTORIES else value


def orientation(data: bytes) -> int:
    """How the image lies, 1 to 8; 1, upright, where that is not said in a legal way."""
    block = Image.Exif()
    try:
        block.load(data)
        found = block.get(ExifTags.Base.Orientation, 1)
    except Exception:  # likewise
        return 1
    return int(found) if found in range(1, 9) else 1


def turned(samples: np.ndarray, orientation: int) -> np.ndarray:
    """[H, W, ...] upright, by the orientation."""
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(0, 1)
    vertical = -1 if orientation in (3, 4, 7, 8) else 1
    horizontal = -1 if orientation in (2, 3, 6, 7) else 1
    return samples[::vertical, ::horizontal]


def is_exif(data: bytes) -> bool:
    """Whether it begins as EXIF data does, and has a directory of entries."""
    return exif_block.byte_order(data) is not None


def found_in(image: Image.Image) -> bytes:
    """What an opened file has in the place of EXIF data, from the TIFF header on, as it is there.

    Empty where it has none, or holds its EXIF data in another way.
    """
    data = image.info.get("exif") or b""
    return data.removeprefix(PREFIX).removeprefix(PREFIX)  # some files have it twice


def drop_false(image: Image.Image) -> bool:
    """Lets an opened file forget what it calls EXIF data and is none; whether there was such."""
    data = found_in(image)
    if not data or is_exif(data):
        return False
    del image.info["exif"]
    # The base class's method, since that of PNG reads the pixels in search of more.
    Image.Image.getexif(image).clear()
    return True


def of_image(image: Image.Image) -> bytes:
    """The EXIF data of an opened file, upright; empty where it has none.

    TIFF files, whose EXIF data lies among their own tags, and PNG files that hold it as text give
    the same entries in a block of Pillow's making. Raises what Pillow raises for damaged data.
    """
    if data := found_in(image):
        return upright(data)
    return of_block(image.getexif(), RESOLUTION if image.format == "TIFF" else ())


def of_block(block: Image.Exif, without: Collection[int] = ()) -> bytes:
    """The entries of a block as EXIF data, upright; `without` some tags.

    Those that EXIF cannot hold are left out: numbers of 64 bits, which BigTIFF has alone.
    """
    kept = Image.Exif()
    for tag, value in entries(block):
        if _is_short(value):
            kept[tag] = value
    for tag in (ExifTags.Base.Orientation, *without):
        if tag in kept:
            del kept[tag]
    return kept.tobytes().removeprefix(PREFIX) if len(kept) else b""


def _is_short(value: Any) -> bool:
    """Whether a value's whole numbers fit in 32 bits."""
    numbers = value if isinstance(value, tuple | list) else (value,)
    return all(-(2**31) <= n < 2**32 for n in numbers if isinstance(n, int))


def upright(data: bytes) -> bytes:
    """EXIF data whose orientation, if it names one, says that the image stands upright.

    Where it said otherwise, the thumbnail is turned like the image, or dropped. Nothing else is
    touched. What has not the layout of EXIF data is given back as it is.
    """
    order = exif_block.byte_order(data)
    if order is None:
        return data
    changed = bytearray(data)
    lies = orientation(data)
    if lies != 1:
        exif_thumbnail.turn(changed, order, lies)
    exif_block.set_upright(changed, order, exif_block.first_directory(data, order))
    return bytes(changed)


def called_upright(data: bytes) -> bytes:
    """As `upright`, without a look at the thumbnail: for data of an image that was turned."""
    order = exif_block.byte_order(data)
    if order is None:
        return data
    changed = bytearray(data)
    exif_block.set_upright(changed, order, exif_block.first_directory(data, order))
    return bytes(changed)
