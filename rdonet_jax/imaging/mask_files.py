"""Masks in files: the level of every block, or the regions that matter more or less."""

import os
from pathlib import Path

import numpy as np

from rdonet_jax.core import messages
from rdonet_jax.imaging import srgb
from rdonet_jax.imaging.errors import ImageError


def load_mask(path: str | os.PathLike) -> np.ndarray:
    """The level map in a file, uint8 [rows, columns].

    The file is an .npy array of integers, or an 8-bit image, whose gray values or palette indices
    are the levels. Whether they form a valid quadtree is not checked here.

    Raises ImageError for any other file.
    """
    if Path(path).suffix.lower() == ".npy":
        return _load_array(path)
    image = srgb.read_unconverted(path)
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
    image = srgb.read_unconverted(path)
    if image.mode not in ("1", "L"):
        raise ImageError(
            f"{path}: a mask of regions must be a gray image of 8 bits, but this is {image.mode}"
        )
    return np.array(image.convert("L"))


def _read_array(path: str | os.PathLike) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {messages.reason(error)}") from error
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
