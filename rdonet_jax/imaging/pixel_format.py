"""An image as a value: pixels, alpha and metadata, and pure functions of them.

The *form* of an image is gray or color, with 8 or 16 bits per sample. The networks work on RGB in
[0, 1]. A gray image is coded as R = G = B. Samples of 8 and of 16 bits are scaled to the same
range.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from rdonet_jax.core import decibels
from rdonet_jax.imaging import push_pull
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.resolution import Resolution

DEPTHS = (np.dtype(np.uint8), np.dtype(np.uint16))

_ROWS = 256
"""Rows that are computed at a time where the intermediate numbers need much memory."""

_STEPS = 257
"""65535 / 255: one step of an 8-bit sample, in steps of a 16-bit sample."""


class PixelFormatError(ValueError):
    """Arrays of a type or a shape that no image has."""


@dataclass(frozen=True, eq=False)
class ImageData:
    """An image in the form that its file has.

    Attributes:
      pixels: uint8 or uint16, [H, W, 3] for RGB or [H, W] for gray, in the color space of `icc`.
      alpha: [H, W] of the same type, not premultiplied. None if all pixels are opaque.
      icc: the ICC color profile. Empty if there is none, as `exif` and `xmp`.
      exif: the EXIF data, from the TIFF header on.
      xmp: the XMP text, UTF-8.
      cicp: the color space by code points. It takes precedence over `icc`.
      resolution: the size of a pixel.
      notes: what else the file held, which is not part of this value. A few words each.

    Raises PixelFormatError for arrays of another type or shape.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    cicp: Cicp | None = None
    resolution: Resolution | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if (
            self.pixels.dtype not in DEPTHS
            or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3))
            or not self.pixels.size
        ):
            raise PixelFormatError(
                "an image is a uint8 or uint16 array [height, width, 3] or [height, width], "
                f"not {_in_words(self.pixels)}"
            )
        alpha = self.alpha
        if alpha is not None and (alpha.dtype != self.pixels.dtype or alpha.shape != self.size):
            raise PixelFormatError(
                f"alpha is {self.pixels.dtype} {self.size} as the pixels are, "
                f"not {alpha.dtype} {alpha.shape}"
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[:2]

    @property
    def gray(self) -> bool:
        """Whether there is one channel, apart from alpha."""
        return self.pixels.ndim == 2

    @property
    def is_16bit(self) -> bool:
        """Whether the samples have 16 bits."""
        return self.pixels.dtype == np.uint16


def of_samples(
    samples: np.ndarray,
    icc: bytes = b"",
    exif: bytes = b"",
    xmp: bytes = b"",
    cicp: Cicp | None = None,
    resolution: Resolution | None = None,
) -> ImageData:
    """An image from one array: gray [H, W] or [H, W, 1], gray and alpha [H, W, 2], RGB
    [H, W, 3], or RGB and alpha [H, W, 4].

    Raises PixelFormatError for any other array.
    """
    channels = samples.shape[2] if samples.ndim == 3 else 1
    if (
        samples.dtype not in DEPTHS
        or samples.ndim not in (2, 3)
        or channels not in range(1, 5)
        or not samples.size
    ):
        raise PixelFormatError(
            "an image is a uint8 or uint16 array [height, width] or [height, width, 1 to 4], which "
            "is gray, gray and alpha, RGB, or RGB and alpha, in this order, "
            f"not {_in_words(samples)}"
        )
    if samples.ndim == 2 or channels == 3:
        return ImageData(samples, None, icc, exif, xmp, cicp, resolution)
    pixels = samples[..., :3] if channels == 4 else samples[..., 0]
    alpha = None if channels == 1 else samples[..., -1]
    return ImageData(pixels, alpha, icc, exif, xmp, cicp, resolution)


def _in_words(array: np.ndarray) -> str:
    """The type and shape of an array that is no image, and what to do about floats."""
    hint = "; scale floats to 0...255 and round them" if array.dtype.kind == "f" else ""
    return f"{array.dtype} {array.shape}{hint}"


def samples(image: ImageData) -> np.ndarray:
    """All channels in one array, [H, W] or [H, W, 2 to 4]; the inverse of `of_samples`."""
    if image.alpha is None:
        return image.pixels
    pixels = image.pixels[..., None] if image.gray else image.pixels
    return np.concatenate([pixels, image.alpha[..., None]], axis=2)


def as_image_data(image: ImageData | np.ndarray) -> ImageData:
    """The image itself, or an image without metadata from an array of pixels.

    Raises PixelFormatError as `ImageData` does.
    """
    return image if isinstance(image, ImageData) else ImageData(image)


def fill_hidden(image: ImageData) -> ImageData:
    """The image with invisible pixels (alpha 0) replaced by a smooth continuation of the others.

    Smooth areas take few bits. An alpha channel that is opaque everywhere is removed. The function
    is idempotent.
    """
    if image.alpha is None:
        return image
    if image.alpha.min() == np.iinfo(image.alpha.dtype).max:
        return dataclasses.replace(image, alpha=None)
    pixels = push_pull.fill(image.pixels, image.alpha > 0)
    return dataclasses.replace(image, pixels=pixels)


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Gray or RGB pixels as RGB [H, W, 3] of the same type."""
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def keyed(pixels: np.ndarray, key: np.ndarray | int) -> np.ndarray:
    """The alpha channel in which the pixels of one color, `key`, are transparent."""
    same = pixels == np.asarray(key)
    hidden = same.all(axis=2) if pixels.ndim == 3 else same
    return np.where(hidden, 0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)


def to_uint8(array: np.ndarray) -> np.ndarray:
    """uint8 or uint16 samples, rounded to the nearest of 8 bits."""
    if array.dtype == np.uint8:
        return array
    return ((array.astype(np.uint32) + _STEPS // 2) // _STEPS).astype(np.uint8)


def to_uint16(array: np.ndarray) -> np.ndarray:
    """uint8 or uint16 samples with 16 bits: 255 becomes 65535."""
    return array if array.dtype == np.uint16 else array.astype(np.uint16) * np.uint16(_STEPS)


def as_rgb8(image: ImageData | np.ndarray) -> np.ndarray:
    """The pixels as uint8 [H, W, 3]. Partitions are chosen by these, whatever the image's form."""
    return to_uint8(as_rgb(as_image_data(image).pixels))


def mean_gray(pixels: np.ndarray, is_16bit: bool) -> np.ndarray:
    """The mean [H, W] of the channels of uint16 [H, W, 3], as uint16 or rounded to uint8."""
    total = pixels.sum(axis=2, dtype=np.uint32)
    if is_16bit:
        return ((total + 1) // 3).astype(np.uint16)
    return ((total + 3 * _STEPS // 2) // (3 * _STEPS)).astype(np.uint8)


def psnr(pixels: np.ndarray, decoded: np.ndarray) -> float:
    """PSNR in dB of two integer arrays of one type and shape; infinite for equal ones.

    For floats in [0, 1] as JAX arrays there is `metrics.distortion.psnr`.
    """
    peak = float(np.iinfo(pixels.dtype).max)
    squares = np.square(pixels.astype(np.float32) - decoded.astype(np.float32))
    mean = float(np.mean(squares, dtype=np.float64))
    return decibels.psnr(mean, peak)


def flatten(image: ImageData, background: tuple[int, int, int]) -> ImageData:
    """The image blended with a background color, 8-bit RGB, and without alpha.

    A gray image stays gray if the background is gray.
    """
    if image.alpha is None:
        return image
    ground = np.array(background, np.uint8)
    pixels = image.pixels[..., None] if image.gray else image.pixels
    if image.gray:
        ground = ground[:1] if len(set(background)) == 1 else ground
    most = int(np.iinfo(pixels.dtype).max)
    if image.is_16bit:
        ground = to_uint16(ground)
    mixed = np.empty((*pixels.shape[:2], max(pixels.shape[2], len(ground))), pixels.dtype)
    for first in range(0, len(mixed), _ROWS):  # the 32-bit integers need much memory
        rows = slice(first, first + _ROWS)
        alpha = image.alpha[rows, :, None].astype(np.uint32)
        mixed[rows] = (alpha * pixels[rows] + (most - alpha) * ground + most // 2) // most
    pixels = mixed[..., 0] if mixed.shape[2] == 1 else mixed
    return dataclasses.replace(image, pixels=pixels, alpha=None)
