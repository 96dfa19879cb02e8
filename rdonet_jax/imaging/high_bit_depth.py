"""Reads files of more than 8 bits per channel.

For images of several channels Pillow keeps only the high byte of each 16-bit sample. If its decoder
is given the other byte order, it keeps the low byte instead. So a file is decoded twice, and both
bytes are joined. All of Pillow's decoders can be used that way, for interlaced PNG as well as for
any compression of TIFF.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.imaging.formats import avif, file_metadata, jpeg_2000, plug_ins
from rdonet_jax.imaging.formats.file_metadata import Metadata
from rdonet_jax.imaging.metadata import exif

Channels = tuple[np.ndarray, np.ndarray | None]
"""Pixels [H, W] or [H, W, 3], and alpha [H, W] of the same depth."""

_NATIVE = "L" if sys.byteorder == "little" else "B"
_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if _NATIVE == "L" else "L"}
_TAGS = {"bits": 258, "photometric": 262}
_WHITE_IS_ZERO = 0
JPEG_FRAMES_OF_12_BITS = (0xC1, 0xC2)
"""Markers of JPEG frames that may have 12 bits: extended sequential and progressive, Huffman."""


def bits(image: Image.Image, path: str | os.PathLike) -> int:
    """Bits per channel (the largest number) of an opened file whose pixels are not read yet."""
    if image.format in plug_ins.FORMATS:
        return plug_ins.bits(image, path)
    if image.format == "JPEG2000":
        return jpeg_2000.bits(path)
    if image.mode.startswith("I;16") and image.format != "TIFF":
        return 16
    if image.format == "TIFF":
        return max(image.tag_v2.get(_TAGS["bits"], (1,)))
    if image.format == "PNG":
        return 16 if raw_mode(image).endswith(";16B") else 8
    if image.format == "PPM":
        arguments = image.tile[0].args
        largest = arguments[1] if isinstance(arguments, tuple) else 255
        return 16 if largest > 255 or raw_mode(image) == "I;16B" else 8
    if image.format == "AVIF":
        return avif.kind(path).bits
    return 8


def raw_mode(image: Image.Image) -> str:
    """Pillow's raw mode of an opened file, which names the layout of its samples; or empty."""
    if not image.tile:
        return ""
    arguments = image.tile[0].args
    return arguments[0] if isinstance(arguments, tuple) else arguments or ""


def channels(image: Image.Image, bits: int, path: str | os.PathLike) -> Channels:
    """Pixels and alpha of an opened file of more than 8 `bits`, upright, as uint16.

    Raises ImageError for kinds of files that cannot be read, and Pillow's errors for damaged ones.
    """
    if image.format == "AVIF":
        return _split(_avif(image, bits, path))
    if image.format in plug_ins.FORMATS:
        return split(plug_ins.samples(image, bits, path), bits)
    if image.format == "JPEG2000":
        return split(jpeg_2000.decode(path), bits)
    if image.format == "PPM" and image.mode == "RGB":
        return _ppm(image, path), None
    if image.mode in ("RGB", "RGBA"):
        return _split(_both_bytes(image, path))
    pixels = _scaled(np.array(ImageOps.exif_transpose(image)), bits)
    inverted = image.format == "TIFF" and _tag(image, "photometric") == _WHITE_IS_ZERO
    return np.uint16(65535) - pixels if inverted else pixels, None


def _tag(image: Image.Image, name: str) -> int | None:
    return image.tag_v2.get(_TAGS[name])


def _both_bytes(image: Image.Image, path: str | os.PathLike) -> np.ndarray:
    """The samples of a PNG or TIFF file, uint16 [H, W, 2 to 4]."""
    mode = raw_mode(image)
    if mode == "LA;16B":  # 32 bits per pixel, so it can be unpacked as four channels of 8
        four = _unpacked(path, image, "RGBA").astype(np.uint16)
        return four[..., ::2] << 8 | four[..., 1::2]
    other = mode[:-1] + _OTHER_ORDER[mode[-1]]
    if premultiplied := mode.startswith("RGBa"):
        mode, other = (name.replace("a", "A") for name in (mode, other))
    high, low = (_unpacked(path, image, name).astype(np.uint16) for name in (mode, other))
    samples = high << 8 | low
    return divided(samples) if premultiplied else samples


def _unpacked(path: str | os.PathLike, image: Image.Image, mode: str) -> np.ndarray:
    """The upright pixels of the file of `image`, decoded with another raw mode."""
    with Image.open(path, formats=[str(image.format)]) as again:
        if image.format == "TIFF":
            again.seek(image.tell())
        again.tile = [
            tile._replace(args=(mode, *tile.args[1:]) if isinstance(tile.args, tuple) else mode)
            for tile in again.tile
        ]
        exif.drop_false(again)
        return np.array(ImageOps.exif_transpose(again))


def divided(samples: np.ndarray) -> np.ndarray:
    """Premultiplied samples of all of uint8 or uint16, [H, W, 2 or 4], divided by alpha."""
    most = np.iinfo(samples.dtype).max
    wide = samples.astype(np.uint64)
    alpha = wide[..., -1:]
    colors = (wide[..., :-1] * most + alpha // 2) // np.maximum(alpha, 1)
    return np.concatenate([np.minimum(colors, most), alpha], axis=2).astype(samples.dtype)


def _ppm(image: Image.Image, path: str | os.PathLike) -> np.ndarray:
    """The samples of a binary PPM file of two bytes per sample."""
    name, (_, largest) = image.tile[0].codec_name, image.tile[0].args
    if name == "ppm_plain":
        raise ImageError(f"{path}: is PPM in plain text of 16 bits, convert it to PNG first")
    count = image.width * image.height * 3
    with open(path, "rb") as file:
        file.seek(image.tile[0].offset)
        data = file.read(2 * count)
    if len(data) < 2 * count:
        raise ImageError(f"{path}: is damaged: it ends before its last pixel")
    samples = np.frombuffer(data, ">u2").reshape(image.height, image.width, 3)
    return _scaled(samples, largest=largest)


def _avif(image: Image.Image, bits: int, path: str | os.PathLike) -> np.ndarray:
    """The samples of an AVIF file of 10 or 12 bits, uint16 [H, W, 1 to 4]."""
    try:
        samples = avif.decode(path, (image.height, image.width))
    except avif.MissingDecoderError as error:
        raise ImageError(
            f"{path}: is AVIF of {bits} bits, which is read with imagecodecs: "
            "pip install 'rdonet-jax[avif]'"
        ) from error
    if samples.shape[:2] != (image.height, image.width):
        raise ImageError(f"{path}: is damaged: its pixels are not of the size that it claims")
    upright = exif.turned(samples, image.getexif().get(ExifTags.Base.Orientation, 1))
    return _scaled(upright, bits)


def jpeg_of_12_bits(path: str | os.PathLike, precision_at: int) -> tuple[np.ndarray, Metadata]:
    """Upright samples [H, W, 1 or 3] up to 4095 of a 12-bit JPEG file, and its metadata.

    `precision_at` is the offset of the byte that holds the number of bits. Raises ImageError if
    imagecodecs, which decodes the file, is not installed, and the errors of imagecodecs for
    damaged files.
    """
    data = Path(path).read_bytes()
    try:
        import imagecodecs
    except ImportError as error:
        raise ImageError(
            f"{path}: is JPEG of 12 bits, which is read with imagecodecs: pip install imagecodecs"
        ) from error
    samples = imagecodecs.jpeg8_decode(data)
    # Pillow refuses 12 bits. With the number changed to 8 it reads the metadata.
    as_8_bits = data[:precision_at] + b"\x08" + data[precision_at + 1 :]
    with Image.open(io.BytesIO(as_8_bits), formats=["JPEG"]) as header:
        false_exif = exif.drop_false(header)
        metadata = file_metadata.of_image(header, path, samples.ndim == 2, false_exif)
        orientation = header.getexif().get(ExifTags.Base.Orientation, 1)
    if samples.ndim == 3 and samples.shape[2] != 3:
        raise ImageError(f"{path}: is a CMYK image, convert it to RGB first")
    return exif.turned(np.atleast_3d(samples), orientation), metadata


def split(samples: np.ndarray, bits: int = 16, largest: int | None = None) -> Channels:
    """Pixels and alpha of samples [H, W, 1 to 4], scaled from 0 ... `largest` to all of uint8 or
    uint16. `largest` is 2**bits - 1 by default; up to 255 the result has 8 bits."""
    largest = largest or 2**bits - 1
    if largest > 255:
        return _split(_scaled(samples, largest=largest))
    wide = samples.astype(np.uint16)
    return _split(((wide * 255 + largest // 2) // largest).astype(np.uint8))


def _split(samples: np.ndarray) -> Channels:
    """Pixels and alpha of samples [H, W, 1 to 4], unscaled."""
    count = samples.shape[2]
    pixels = samples[..., 0] if count < 3 else samples[..., :3]
    return pixels, np.ascontiguousarray(samples[..., -1]) if count in (2, 4) else None


def _scaled(samples: np.ndarray, bits: int = 16, largest: int | None = None) -> np.ndarray:
    """Samples scaled from 0 ... `largest` to all of uint16."""
    largest = largest or 2**bits - 1
    if largest == 65535:
        return samples.astype(np.uint16)
    wide = np.minimum(samples, largest).astype(np.uint32)
    return ((wide * 65535 + largest // 2) // largest).astype(np.uint16)
