"""What a file holds of an image: pixels, alpha, color profile and EXIF, and pure functions of it.

An image's *form* is what its arrays look like: gray or color, 8 or 16 bits. The network knows
color only: gray is R = G = B to it, and 16 bits are a finer scale of the same [0, 1].
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from rdonet_jax.core import decibels
from rdonet_jax.imaging import push_pull
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.resolution import Resolution

MAX_PIXELS = 2**27
"""Pixels of the largest image that is written, and that is read unless the caller asks for more.
"""

DEPTHS = (np.dtype(np.uint8), np.dtype(np.uint16))

_ROWS = 256
"""Of an image at a time, where numbers are wide."""

_STEPS = 257
"""Of 16 bits in one of 8: 65535 / 255."""


class PixelFormatError(ValueError):
    """Arrays that are no image."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An image in the form in which it came, or is to be written.

    pixels: uint8 or uint16, [H, W, 3], or [H, W] where it is gray; in the color space of its
    profile. alpha: of the same depth, [H, W], not premultiplied; None where everything is opaque.
    icc: the color profile, exif: the EXIF data from its TIFF header on, xmp: the XMP text; empty
    where there is none. cicp: what the colors mean by their code points, which counts more than
    the profile. resolution: how large pixels are. notes: what its file held besides and is not
    here, in a few words each.

    Raises PixelFormatError for arrays of any other kind.
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
                f"not {self.pixels.dtype} {shape}"
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
        return self.pixels.ndim == 2

    @property
    def is_16bit(self) -> bool:
        """Whether it has 16 bits."""
        return self.pixels.dtype == np.uint16


def of_samples(
    samples: np.ndarray,
    icc: bytes = b"",
    exif: bytes = b"",
    xmp: bytes = b"",
    cicp: Cicp | None = None,
    resolution: Resolution | None = None,
) -> Picture:
    """An image from [H, W] gray, [H, W, 2] with alpha, [H, W, 3] RGB or [H, W, 4] with alpha.

    Raises PixelFormatError for any other array.
    """
    if samples.ndim != 3 or samples.shape[2] not in (1, 2, 4):
        return Picture(samples, None, icc, exif, xmp, cicp, resolution)
    channels = samples.shape[2]
    pixels = samples[..., :3] if channels == 4 else samples[..., 0]
    alpha = None if channels == 1 else samples[..., -1]
    return Picture(pixels, alpha, icc, exif, xmp, cicp, resolution)


def samples(image: Picture) -> np.ndarray:
    """The inverse of `of_samples`, [H, W] or [H, W, 2 to 4]."""
    if image.alpha is None:
        return image.pixels
    pixels = image.pixels[..., None] if image.gray else image.pixels
    return np.concatenate([pixels, image.alpha[..., None]], axis=2)


def as_picture(image: Picture | np.ndarray) -> Picture:
    """An image, from one or from its pixels alone. Raises PixelFormatError as `Picture` does."""
    return image if isinstance(image, Picture) else Picture(image)


def fill_hidden(image: Picture) -> Picture:
    """As it is coded: without an alpha channel that is opaque everywhere, and with a smooth
    continuation of what can be seen in place of what cannot. Doing it twice changes nothing."""
    if image.alpha is None:
        return image
    if image.alpha.min() == np.iinfo(image.alpha.dtype).max:
        return dataclasses.replace(image, alpha=None)
    pixels = push_pull.fill(image.pixels, image.alpha > 0)
    return dataclasses.replace(image, pixels=pixels)


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Pixels as the network sees them, [H, W, 3] of the same depth."""
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def to_uint8(array: np.ndarray) -> np.ndarray:
    """Samples in 8 bits, the nearest ones, whatever depth they have."""
    if array.dtype == np.uint8:
        return array
    return ((array.astype(np.uint32) + _STEPS // 2) // _STEPS).astype(np.uint8)


def to_uint16(array: np.ndarray) -> np.ndarray:
    """Samples in 16 bits: those of 8 bits spread over the same [0, 1]."""
    return array if array.dtype == np.uint16 else array.astype(np.uint16) * np.uint16(_STEPS)


def as_rgb8(image: Picture | np.ndarray) -> np.ndarray:
    """The pixels as uint8 [H, W, 3], by which partitions are chosen and priced."""
    return to_uint8(as_rgb(as_picture(image).pixels))


def mean_gray(pixels: np.ndarray, is_16bit: bool) -> np.ndarray:
    """uint16 [H, W, 3] -> the mean of the three, [H, W], in 16 bits or the nearest of 8."""
    total = pixels.sum(axis=2, dtype=np.uint32)
    if is_16bit:
        return ((total + 1) // 3).astype(np.uint16)
    return ((total + 3 * _STEPS // 2) // (3 * _STEPS)).astype(np.uint8)


def psnr(pixels: np.ndarray, decoded: np.ndarray) -> float:
    """In dB, of two arrays of pixels of one form; infinite for equal ones."""
    peak = float(np.iinfo(pixels.dtype).max)
    squares = np.square(pixels.astype(np.float32) - decoded.astype(np.float32))
    mean = float(np.mean(squares, dtype=np.float64))
    return decibels.psnr(mean, peak)


def flatten(image: Picture, background: tuple[int, int, int]) -> Picture:
    """Without alpha, on a background of 8-bit RGB; a gray image stays so on a gray one."""
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
    for first in range(0, len(mixed), _ROWS):  # wide integers take much memory
        rows = slice(first, first + _ROWS)
        alpha = image.alpha[rows, :, None].astype(np.uint32)
        mixed[rows] = (alpha * pixels[rows] + (most - alpha) * ground + most // 2) // most
    pixels = mixed[..., 0] if mixed.shape[2] == 1 else mixed
    return dataclasses.replace(image, pixels=pixels, alpha=None)
