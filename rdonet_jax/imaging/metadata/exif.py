"""EXIF data, stored from its TIFF header on and with an upright orientation."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from rdonet_jax.imaging.metadata import exif_block, exif_thumbnail

PREFIX = b"Exif\0\0"
"""The bytes before EXIF data in JPEG files."""

OF_THE_FILE = frozenset(
    {
        *(254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281),
        *(284, 288, 289, 290, 291, 292, 293, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324),
        *(325, 330, 332, 333, 334, 336, 338, 339, 340, 341, 342, 343, 347, 512, 513, 514, 515),
        *(517, 518, 519, 520, 521, 529, 530, 531, 532, 559, 700, 33723, 34377, 34675, 37724),
        *(32997, 42112, 42113, 50706, 50707, 50838, 50839),
    }
)
"""Tags that describe how a TIFF file stores its pixels, or that are no EXIF data."""

DIRECTORIES = frozenset(int(tag) for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo))
"""Tags of nested directories."""

_INTEROPERABILITY = ExifTags.IFD.Interop

SIDEWAYS = (5, 6, 7, 8)
"""The orientations that exchange width and height."""

RESOLUTION = (282, 283, 296)
"""Tags of the size of a pixel."""

_SIDES = ((256, 257), (282, 283))
_SIDES_IN_EXIF = ((0xA002, 0xA003), (0xA20E, 0xA20F))
"""Tags of widths and heights, and of resolutions across and down: of the image's directory, and of
the nested one (pixels of the image, resolution of the sensor)."""


def is_sound(data: bytes) -> bool:
    """Whether Pillow can read and rewrite every entry. Some formats store entries one by one."""
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
    """The entries that do not describe how a file stores its pixels; directories as dicts."""
    for tag, value in block.items():
        if tag not in OF_THE_FILE:
            yield tag, _nested(block, tag) if tag in DIRECTORIES else value


def _nested(block: Image.Exif, tag: int) -> dict[int, Any]:
    """The entries of a nested directory. The one of interoperability within it is a dict too."""
    inner = dict(block.get_ifd(tag))
    if tag == ExifTags.IFD.Exif and _INTEROPERABILITY in inner:
        # Pillow gives its offset in the file that it was read from.
        inner[_INTEROPERABILITY] = block.get_ifd(_INTEROPERABILITY)
        if not inner[_INTEROPERABILITY]:
            del inner[_INTEROPERABILITY]
    return inner


def orientation(data: bytes, xmp_text: bytes = b"") -> int:
    """The orientation of the image, 1 to 8; 1, upright, if the entry is invalid.

    If the entry is missing, it is that of the XMP text, where that has one of the two notations
    that Pillow recognizes. So it is the one from which `ImageOps.exif_transpose` turns an image.
    """
    probe = Image.new("L", (1, 1))
    probe.info.update(exif=data, xmp=xmp_text)
    try:
        found = probe.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # almost anything, as above
        return 1
    return int(found) if found in range(1, 9) else 1


def turned(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Samples [H, W, ...] turned upright from this orientation."""
    if orientation in SIDEWAYS:
        samples = samples.swapaxes(0, 1)
    vertical = -1 if orientation in (3, 4, 7, 8) else 1
    horizontal = -1 if orientation in (2, 3, 6, 7) else 1
    return samples[::vertical, ::horizontal]


def is_exif(data: bytes) -> bool:
    """Whether the data starts as EXIF data does and has a directory of entries."""
    return exif_block.byte_order(data) is not None


def found_in(image: Image.Image) -> bytes:
    """The EXIF data of an opened file, unchanged, from the TIFF header on.

    It need not be valid. Empty if the file has none, or stores it in another way (see `of_image`).
    """
    data = image.info.get("exif") or b""
    return data.removeprefix(PREFIX).removeprefix(PREFIX)  # some files have it twice


def drop_false(image: Image.Image) -> bool:
    """Removes invalid EXIF data from an opened file. Returns whether there was any."""
    data = found_in(image)
    if not data or is_exif(data):
        return False
    del image.info["exif"]
    # The base class's method, since that of PNG reads the pixels in search of more.
    Image.Image.getexif(image).clear()
    return True


def load_nested(image: Image.Image) -> None:
    """Reads the nested directories of an opened TIFF file, which is not possible after its pixels:
    Pillow closes the file then."""
    if image.format == "TIFF":
        for _ in entries(image.getexif()):
            pass


def of_image(image: Image.Image, lies: int | None = None) -> bytes:
    """The EXIF data of an opened file, upright; empty if it has none.

    TIFF files store EXIF entries among their own tags, and some PNG files store them as text. Their
    entries are put into a new block, see `of_block` for `lies`. Raises Pillow's errors for damaged
    data.
    """
    if data := found_in(image):
        return upright(data)
    return of_block(image.getexif(), RESOLUTION if image.format == "TIFF" else (), lies)


def of_block(block: Image.Exif, without: Collection[int] = (), lies: int | None = None) -> bytes:
    """The entries of a block as EXIF data, upright, without some tags.

    `lies` is the orientation of the stored image, where the block does not have it any more: Pillow
    removes that of a TIFF file when it reads the pixels. Entries with 64-bit numbers, which only
    BigTIFF can hold, are left out.
    """
    if lies is None:
        lies = block.get(ExifTags.Base.Orientation, 1)
    kept = Image.Exif()
    for tag, value in entries(block):
        if _is_short(value):
            kept[tag] = value
    for tag in (ExifTags.Base.Orientation, *without):
        if tag in kept:
            del kept[tag]
    if not len(kept):
        return b""
    data = bytearray(kept.tobytes().removeprefix(PREFIX))
    if lies in SIDEWAYS and (order := exif_block.byte_order(data)):
        _swap_sides(data, order)
    return bytes(data)


def _is_short(value: Any) -> bool:
    """Whether all integers of a value fit in 32 bits."""
    numbers = value if isinstance(value, tuple | list) else (value,)
    return all(-(2**31) <= n < 2**32 for n in numbers if isinstance(n, int))


def upright(data: bytes) -> bytes:
    """The EXIF data with its orientation, if it has one, set to upright.

    A thumbnail is turned in the same way, or removed if that fails. Where the image is turned on
    its side, widths and heights are exchanged. Nothing else is changed. Data without the layout of
    EXIF is returned as it is.
    """
    order = exif_block.byte_order(data)
    if order is None:
        return data
    changed = bytearray(data)
    lies = orientation(data)
    if lies != 1:
        exif_thumbnail.turn(changed, order, lies)
    if lies in SIDEWAYS:
        _swap_sides(changed, order)
    exif_block.set_upright(changed, order, exif_block.first_directory(data, order))
    return bytes(changed)


def _swap_sides(data: bytearray, order: str) -> None:
    """Swaps what the data say of widths and of heights."""
    directory = exif_block.first_directory(data, order)
    exif_block.swap_values(data, order, directory, _SIDES)
    for entry in exif_block.entries(data, order, directory):
        if entry.tag == ExifTags.IFD.Exif:
            nested = exif_block.number(data, order, entry)
            if nested is not None:
                exif_block.swap_values(data, order, nested, _SIDES_IN_EXIF)


def called_upright(data: bytes) -> bytes:
    """As `upright`, but the thumbnail stays: for data of an image that has been turned already."""
    order = exif_block.byte_order(data)
    if order is None:
        return data
    changed = bytearray(data)
    exif_block.set_upright(changed, order, exif_block.first_directory(data, order))
    return bytes(changed)
