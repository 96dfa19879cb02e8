"""Image files as 8-bit sRGB arrays, uint8 [H, W, 3], for training and evaluation.

Files that cannot be converted faithfully are refused, with one sentence that names the file.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from rdonet_jax.imaging import output_files, pillow_files
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.imaging.formats import tiff_reader
from rdonet_jax.imaging.formats.writable import WRITABLE_FORMATS
from rdonet_jax.imaging.metadata import exif, icc

READABLE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
READABLE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")

_SAMPLE_FORMAT, _SIGNED = 339, 2
"""A tag of TIFF and its value for signed numbers, which Pillow reads as unsigned ones."""


def load(path: str | os.PathLike) -> np.ndarray:
    """The image in a file as uint8 [H, W, 3], sRGB, as a viewer shows it.

    Gray, palette and 1-bit images become RGB. The EXIF orientation is applied. Colors of other
    color spaces are converted to sRGB. An alpha channel that is opaque everywhere is dropped.

    Raises ImageError for missing, unreadable and damaged files, animations, more than 8 bits per
    channel, color spaces such as CMYK, and images with real transparency.
    """
    return np.array(read(path))


def read(path: str | os.PathLike) -> Image.Image:
    """As `load`, but an image of Pillow in mode RGB, which can be cropped and resized cheaply.

    Raises ImageError as `load` does.
    """
    image = _without_alpha(read_unconverted(path), path)
    return icc.as_srgb(image, image.info.get("icc_profile") or b"")


def read_unconverted(path: str | os.PathLike) -> Image.Image:
    """The decoded, upright image of a file, in the mode and the color space that it is stored in.

    Raises ImageError unless it is a still 8-bit image.
    """
    with pillow_files.opened(path, READABLE_FORMATS, _require_still_8_bit) as image:
        return ImageOps.exif_transpose(image)


def read_content(content: bytes, name: str) -> Image.Image:
    """As `read`, for the content of a file. `name` is for messages. Raises ImageError."""
    with pillow_files.opened(name, READABLE_FORMATS, _require_still_8_bit, content) as found:
        image = ImageOps.exif_transpose(found)
    image = _without_alpha(image, name)
    return icc.as_srgb(image, image.info.get("icc_profile") or b"")


def inspect(path: str | os.PathLike) -> tuple[int, int]:
    """Width and height of the image that `read` gives.

    Only the header is read, except for images with alpha, which are decoded to check that they are
    opaque. Raises ImageError as `read` does, but does not notice damage after the header.
    """
    with pillow_files.opened(path, READABLE_FORMATS, _require_still_8_bit) as image:
        if not _has_alpha(image):
            return _upright_size(image)
    return read(path).size


def inspect_content(content: bytes, name: str) -> tuple[int, int]:
    """As `inspect`, for the content of a file. `name` is for messages. Raises ImageError."""
    with pillow_files.opened(name, READABLE_FORMATS, _require_still_8_bit, content) as image:
        if not _has_alpha(image):
            return _upright_size(image)
    return read_content(content, name).size


def save(path: str | os.PathLike, array: np.ndarray, force: bool = False) -> None:
    """Writes an image, uint8 [H, W, 3], in the format of the suffix (see WRITABLE_FORMATS).

    Raises ImageError for an unknown suffix, for an existing file without `force`, and if writing
    fails. No incomplete file is left.
    """
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ImageError(
            f"{path}: an image is uint8 [H, W, 3], but this array is {array.dtype} "
            f"{list(array.shape)}"
        )
    output_files.check_image_target(path, force, array.shape[:2])
    image_format, options = WRITABLE_FORMATS[Path(path).suffix.lower()]
    image = Image.fromarray(np.ascontiguousarray(array))
    output_files.replace(path, lambda file: image.save(file, image_format, **options))


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height once the orientation is applied."""
    size = image.size
    if image.format == "TIFF":  # some versions of Pillow swap its width and height already
        size = (image.tag_v2[ExifTags.Base.ImageWidth], image.tag_v2[ExifTags.Base.ImageLength])
    # The base class's method, since that of PNG reads the whole file in search of more.
    orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    return size[::-1] if orientation in exif.SIDEWAYS else size


def _require_still_8_bit(image: Image.Image, path: str | os.PathLike) -> None:
    pillow_files.require_still(image, path)
    if image.format == "TIFF":
        if os.path.isfile(path):  # and not a part of a shard
            tiff_reader.main_page(path)
        tiff_reader.check_contents(path, image.tag_v2)
        if _SIGNED in image.tag_v2.get(_SAMPLE_FORMAT, ()):
            raise ImageError(
                f"{path}: holds signed numbers, convert it to unsigned ones of 8 bits first"
            )
        if tiff_reader.is_webp(image.tag_v2):
            raise ImageError(
                f"{path}: is TIFF compressed by WebP, which is not read here: save it with another "
                "compression first"
            )
    if _has_more_than_8_bits(image):
        raise ImageError(f"{path}: has more than 8 bits per channel, convert it to 8 bits first")
    if image.mode not in READABLE_MODES:
        raise ImageError(f"{path}: is a {image.mode} image, convert it to RGB first")


def _has_more_than_8_bits(image: Image.Image) -> bool:
    """Whether the file has more than 8 bits per channel. Pillow may reduce them silently."""
    if image.mode.startswith(("I", "F")):
        return True
    if image.format == "TIFF":
        bits_per_sample = image.tag_v2.get(258, (1,))
        return max(bits_per_sample) > 8
    decoder_options = image.tile[0][3] if image.tile else None
    if image.format == "PNG":
        return decoder_options.endswith(";16B")
    if image.format == "PPM" and isinstance(decoder_options, tuple):
        return decoder_options[1] > 255
    return False


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info


def _without_alpha(image: Image.Image, path: str | os.PathLike) -> Image.Image:
    """The image in mode L or RGB. Raises ImageError if a pixel is transparent."""
    if _has_alpha(image):
        extrema: Any = image.convert("RGBA").getchannel("A").getextrema()
        if extrema[0] < 255:
            raise ImageError(f"{path}: has transparent pixels, flatten it on a background first")
    return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
