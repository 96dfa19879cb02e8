"""Image files as 8-bit sRGB arrays, uint8 [H, W, 3], for training and evaluation.

Files that cannot be converted faithfully are refused, with one sentence that names the file. Files
are written under another name and then renamed, so they are never incomplete.
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

from rdonet_jax.core import files
from rdonet_jax.core.defaults import MAX_METADATA
from rdonet_jax.core.json_values import truncate
from rdonet_jax.imaging.errors import ExistingFileError, ImageError
from rdonet_jax.imaging.formats import file_kinds, tiff_reader
from rdonet_jax.imaging.formats.writable import WRITABLE_FORMATS
from rdonet_jax.imaging.metadata import exif, icc

# Pillow's own limit is 1 MiB. It applies to color profiles of PNG too, and calls the file damaged.
PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, MAX_METADATA)

_LONGEST_REASON = 200
"""Characters of the message of an exception."""

READABLE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
READABLE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")

_SAMPLE_FORMAT, _SIGNED = 339, 2
"""A tag of TIFF and its value for signed numbers, which Pillow reads as unsigned ones."""

LARGEST_SIDES = {"WEBP": 16383, "JPEG": 65500}
"""The largest width and height, in pixels, that these formats allow."""


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
    image = _without_alpha(_open(path), path)
    return icc.as_srgb(image, image.info.get("icc_profile") or b"")


def read_content(content: bytes, name: str) -> Image.Image:
    """As `read`, for the content of a file. `name` is for messages. Raises ImageError."""
    with opened(name, READABLE_FORMATS, _require_still_8_bit, content) as found:
        image = ImageOps.exif_transpose(found)
    image = _without_alpha(image, name)
    return icc.as_srgb(image, image.info.get("icc_profile") or b"")


def inspect(path: str | os.PathLike) -> tuple[int, int]:
    """Width and height of the image that `read` gives.

    Only the header is read, except for images with alpha, which are decoded to check that they are
    opaque. Raises ImageError as `read` does, but does not notice damage after the header.
    """
    with opened(path, READABLE_FORMATS, _require_still_8_bit) as image:
        if not _has_alpha(image):
            return _upright_size(image)
    return read(path).size


def inspect_content(content: bytes, name: str) -> tuple[int, int]:
    """As `inspect`, for the content of a file. `name` is for messages. Raises ImageError."""
    with opened(name, READABLE_FORMATS, _require_still_8_bit, content) as image:
        if not _has_alpha(image):
            return _upright_size(image)
    return read_content(content, name).size


def load_mask(path: str | os.PathLike) -> np.ndarray:
    """The level map in a file, uint8 [rows, columns].

    The file is an .npy array of integers, or an 8-bit image, whose gray values or palette indices
    are the levels. Whether they form a valid quadtree is not checked here.

    Raises ImageError for any other file.
    """
    if Path(path).suffix.lower() == ".npy":
        return _load_array(path)
    image = _open(path)
    if image.mode not in ("L", "P"):
        raise ImageError(
            f"{path}: a mask must be a gray or palette image of 8 bits, but this is {image.mode}"
        )
    return np.array(image)


def load_roi(path: str | os.PathLike) -> np.ndarray:
    """The mask of regions in a file, [rows, columns], for `rdonet_jax.rdo.roi`.

    The file is an .npy array, whose numbers are not checked here, or an 8-bit gray image.

    Raises ImageError for any other file.
    """
    if Path(path).suffix.lower() == ".npy":
        return _read_array(path)
    image = _open(path)
    if image.mode not in ("1", "L"):
        raise ImageError(
            f"{path}: a mask of regions must be a gray image of 8 bits, but this is {image.mode}"
        )
    return np.array(image.convert("L"))


def check_target(path: str | os.PathLike, force: bool = False) -> None:
    """Raises ImageError if `write_bytes` would refuse the path. Callers check before long work."""
    folder = Path(path).parent
    if not os.path.isdir(folder):
        raise ImageError(f"{path}: the folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImageError(f"{path}: the folder {folder} cannot be written to")
    if os.path.exists(path) and not os.path.isfile(path):
        raise ImageError(f"{path}: exists and is not a regular file")
    if os.path.exists(path) and not force:
        raise ExistingFileError(f"{path}: exists already and is not overwritten without --force")


def check_image_target(
    path: str | os.PathLike, force: bool = False, size: tuple[int, int] | None = None
) -> None:
    """Raises ImageError if `save` would refuse the path. Callers check before long work.

    `size`: (height, width) of the image, if it is known. It must not exceed the format's limits.
    """
    if Path(path).suffix.lower() not in WRITABLE_FORMATS:
        raise ImageError(
            f"{path}: the suffix names no format that can be written, "
            f"which are {' '.join(WRITABLE_FORMATS)}"
        )
    if size is not None:
        _require_fit(path, size)
    check_target(path, force)


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
    check_image_target(path, force, array.shape[:2])
    image_format, options = WRITABLE_FORMATS[Path(path).suffix.lower()]
    image = Image.fromarray(np.ascontiguousarray(array))
    replace(path, lambda file: image.save(file, image_format, **options))


def write_bytes(
    path: str | os.PathLike,
    data: bytes,
    force: bool = False,
    like: os.stat_result | None = None,
) -> None:
    """Writes a file, with the times and permissions of `like`. No incomplete file is left.

    Raises ImageError for an existing file without `force`, and if writing fails.
    """
    check_target(path, force)
    replace(path, lambda file: file.write(data), like)


def _require_fit(path: str | os.PathLike, size: tuple[int, int]) -> None:
    """Raises ImageError for a size, (height, width), over the limits of the suffix's format."""
    image_format, _ = WRITABLE_FORMATS[Path(path).suffix.lower()]
    largest = LARGEST_SIDES.get(image_format)
    if largest is not None and max(size) > largest:
        raise ImageError(
            f"{path}: {image_format} holds no image of {size[1]}x{size[0]} pixels, "
            f"its sides are {largest} at most"
        )


def replace(
    path: str | os.PathLike,
    write: Callable[[BinaryIO], object],
    like: os.stat_result | None = None,
) -> None:
    """Writes a file with `write`, as `core.files.replace` does.

    Raises ImageError for whatever `write` raises, and if writing fails.
    """
    try:
        files.replace(path, write, like)
    except Exception as error:  # Pillow's writers raise almost anything on odd metadata
        raise ImageError(f"{path}: cannot be written: {_reason(error)}") from error


def _open(path: str | os.PathLike) -> Image.Image:
    """The decoded, upright image of a file. Raises ImageError unless it is a still 8-bit image."""
    with opened(path, READABLE_FORMATS, _require_still_8_bit) as image:
        return ImageOps.exif_transpose(image)


@contextlib.contextmanager
def opened(
    path: str | os.PathLike,
    formats: Sequence[str],
    check: Callable[[Image.Image, str | os.PathLike], None],
    content: bytes | None = None,
) -> Iterator[Image.Image]:
    """Opens an image file with Pillow, without decoding its pixels. `content` is what it holds,
    where there is no such file.

    `check` gets the image and the path. It raises ImageError for images to refuse. Any error within
    the context becomes an ImageError.
    """
    try:
        image = Image.open(path if content is None else io.BytesIO(content), formats=formats)
    except Image.UnidentifiedImageError as error:
        if content is not None:
            raise ImageError(f"{path}: {_no_image_in(formats)}") from error
        raise ImageError(
            f"{path}: {file_kinds.why_not(path) or _unknown(path, formats)}"
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: claims to be far too large: {_reason(error)}") from error
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {_reason(error)}") from error
    except Exception as error:  # Pillow's readers raise almost anything on damaged headers
        raise ImageError(f"{path}: cannot be read as an image: {_reason(error)}") from error
    with damage_named(path), image:
        check(image, path)
        yield image


@contextlib.contextmanager
def damage_named(path: str | os.PathLike) -> Iterator[None]:
    """Turns any error within the context, which reads a file, into an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(f"{path}: there is not enough memory for this image") from error
    except Exception as error:  # readers raise almost anything on damaged contents
        raise ImageError(f"{path}: is damaged: {_reason(error)}") from error


def _unknown(path: str | os.PathLike, formats: Sequence[str]) -> str:
    if not os.path.getsize(path):
        return "is empty"
    return _no_image_in(formats)


def _no_image_in(formats: Sequence[str]) -> str:
    return f"is damaged or no image in any of {', '.join(formats)}"


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height once the orientation is applied."""
    size = image.size
    if image.format == "TIFF":  # some versions of Pillow swap its width and height already
        size = (image.tag_v2[ExifTags.Base.ImageWidth], image.tag_v2[ExifTags.Base.ImageLength])
    # The base class's method, since that of PNG reads the whole file in search of more.
    orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    return size[::-1] if orientation in exif.SIDEWAYS else size


def frames_of(image: Image.Image) -> int:
    """How many frames or pages an image has."""
    # The further frames of an MPO file are previews and gain maps that cameras add to a JPEG.
    return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)


def require_still(image: Image.Image, path: str | os.PathLike) -> None:
    """Raises ImageError for an image of more than one frame."""
    if (count := frames_of(image)) > 1:
        raise ImageError(f"{path}: has {count} frames, only still images are read")


def _require_still_8_bit(image: Image.Image, path: str | os.PathLike) -> None:
    require_still(image, path)
    if image.format == "TIFF":
        if os.path.isfile(path):  # and not a part of a shard
            tiff_reader.main_page(path)
        tiff_reader.check_contents(path, image.tag_v2)
        if _SIGNED in image.tag_v2.get(_SAMPLE_FORMAT, ()):
            raise ImageError(
                f"{path}: holds signed numbers, convert it to unsigned ones of 8 bits first"
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
        least_alpha, _ = image.convert("RGBA").getchannel("A").getextrema()
        if least_alpha < 255:
            raise ImageError(f"{path}: has transparent pixels, flatten it on a background first")
    return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")


def _read_array(path: str | os.PathLike) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {_reason(error)}") from error
    except Exception as error:  # a damaged header may raise almost anything
        raise ImageError(f"{path}: is no readable .npy file") from error
    if not isinstance(array, np.ndarray):
        raise ImageError(f"{path}: is no .npy file of one array")
    return array


def _load_array(path: str | os.PathLike) -> np.ndarray:
    array = _read_array(path)
    if array.ndim != 2 or array.dtype.kind not in "biu":
        raise ImageError(f"{path}: a mask must be a two-dimensional array of whole numbers")
    if array.size and (array.min() < 0 or array.max() > 255):
        raise ImageError(f"{path}: a mask's numbers must lie in 0 ... 255")
    return array.astype(np.uint8)


def _reason(error: Exception) -> str:
    """The message of an exception on one short line, without the file name, which the caller adds.

    Messages of libraries may hold bytes of the file, and as many as it has.
    """
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return truncate(line, _LONGEST_REASON)
