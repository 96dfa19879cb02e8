"""Turns the thumbnail in EXIF data upright, as its image is turned."""

from __future__ import annotations

import io
import struct

from PIL import Image, ImageOps, JpegImagePlugin

from rdonet_jax.imaging.metadata import exif_block

MAX_PIXELS = 2**20
"""Larger thumbnails are removed."""

_START, _LENGTH = 513, 514
"""Tags of the second directory: offset and length of the thumbnail, a JPEG file."""

_LONG = 4


def turn(data: bytearray, order: str, orientation: int) -> None:
    """Turns the thumbnail by `orientation`, or by that of its own directory if it has one.

    A thumbnail that is no readable JPEG file, or too large, is removed: the pointer to its
    directory is set to 0.
    """
    pointer = exif_block.next_pointer(data, order, exif_block.first_directory(data, order))
    if pointer is None:
        return
    (directory,) = struct.unpack_from(order + "I", data, pointer)
    fields = {entry.tag: entry for entry in exif_block.entries(data, order, directory)}
    numbers = {tag: exif_block.number(data, order, entry) for tag, entry in fields.items()}
    start, length = numbers.get(_START) or 0, numbers.get(_LENGTH) or 0
    own = numbers.get(exif_block.ORIENTATION)
    own = own if own is not None and 1 <= own <= 8 else orientation
    turned = _turned(bytes(data[start : start + length]), own)
    if turned is None:
        struct.pack_into(order + "I", data, pointer, 0)
        return
    if len(turned) <= length:
        data[start : start + length] = turned.ljust(length, b"\0")
    else:
        data[start : start + length] = bytes(length)
        start = len(data)
        data.extend(turned)
    for tag, value in ((_START, start), (_LENGTH, len(turned))):
        struct.pack_into(order + "HII", data, fields[tag].at + 2, _LONG, 1, value)
    exif_block.set_upright(data, order, directory)


def _turned(file: bytes, orientation: int) -> bytes | None:
    """A JPEG file turned and coded with the same quantization; None if that fails."""
    try:
        with Image.open(io.BytesIO(file), formats=["JPEG"]) as image:
            if image.mode not in ("L", "RGB") or image.width * image.height > MAX_PIXELS:
                return None
            how = {"qtables": image.quantization}
            if image.mode == "RGB":
                how["subsampling"] = JpegImagePlugin.get_sampling(image)
            image.getexif()[exif_block.ORIENTATION] = orientation
            turned = ImageOps.exif_transpose(image)
        buffer = io.BytesIO()
        turned.save(buffer, "JPEG", optimize=True, exif=b"", **how)
    except Exception:  # Pillow raises almost anything on damaged files
        return None
    return buffer.getvalue()
