"""Compression of arrays to the bytes of a file and back, for other programs.

data = rdonet_jax.compress(pixels, quality=40)
pixels = rdonet_jax.decompress(data)
"""

from __future__ import annotations

import numbers
import os

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from rdonet_jax.codec import compressed_file
from rdonet_jax.codec.compressed_file import Bytes, CompressedFile
from rdonet_jax.codec.engine_choice import EngineError
from rdonet_jax.core import optional_packages, partition
from rdonet_jax.core.defaults import DEFAULT_ENGINE, DEFAULT_MODEL, MAX_PIXELS
from rdonet_jax.core.partition import Partition
from rdonet_jax.imaging import pillow_images, pixel_format
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.exif import is_exif, orientation
from rdonet_jax.imaging.metadata.resolution import Resolution
from rdonet_jax.imaging.metadata.xmp import is_text
from rdonet_jax.imaging.metadata.xmp import of_image as xmp_in
from rdonet_jax.imaging.metadata.xmp import orientation as xmp_orientation
from rdonet_jax.imaging.pixel_format import ImageData
from rdonet_jax.models.library import ModelLibrary
from rdonet_jax.rdo import coding
from rdonet_jax.rdo import effort as effort_levels
from rdonet_jax.rdo import roi as roi_masks
from rdonet_jax.rdo.encode_options import EncodeOptions, Target

_MODES = ("L", "LA", "RGB", "RGBA", "I;16")
"""Modes of Pillow whose arrays are gray or RGB, with or without alpha."""
_TURN = "turn it first, as PIL.ImageOps.exif_transpose does"

_library = ModelLibrary(capacity=4)
"""The models of the calls before, so that each is loaded once."""


def compress(
    pixels: ArrayLike | Image.Image,
    quality: float | None = None,
    *,
    target: Target | None = None,
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    rdo_passes: int | None = None,
    init: str | Partition = "variance",
    icc: Bytes = b"",
    exif: Bytes = b"",
    xmp: Bytes = b"",
    cicp: Cicp | None = None,
    resolution: Resolution | None = None,
    engine: str = DEFAULT_ENGINE,
    refinements: int | None = None,
    effort: int | None = None,
    roi: ArrayLike | None = None,
) -> bytes:
    """The bytes of a file that holds the image.

    Args:
      pixels: an array of uint8 or uint16, or what NumPy makes one of: [H, W] gray, [H, W, 2] with
        alpha, [H, W, 3] RGB, [H, W, 4] with alpha, which is lossless. Also an upright image of
        Pillow in the mode L, LA, RGB, RGBA or I;16, without what is in its `info`.
      quality: 0 (smallest file) to 100 (best image), None for 50.
      target: a size or the value of a metric instead of a quality.
      model: the name of a bundled model, or the path of a weights file.
      rdo_passes, init: of the search for the partition, see `rdonet_jax.rdo.encode_options.Plan`.
        None is 0 passes.
      icc, exif: color profile and EXIF data (from its TIFF header on), which are stored with the
        image. EXIF data must not give another orientation than upright.
      xmp, cicp, resolution: likewise XMP, of which the same is true, the code points of the colors
        (`rdonet_jax.imaging.metadata.cicp.Cicp`), and the size of pixels
        (`rdonet_jax.imaging.metadata.resolution.Resolution`).
      engine: what computes the model: "numpy", "jax", or "auto" for the one that is usually faster.
      refinements: iterations of latent refinement, for portable models; None is 0.
      effort: 0 (no search) to 9 (the smallest files) instead of `rdo_passes` and `refinements`,
        see `rdonet_jax.rdo.effort.EFFORTS`.
      roi: a mask of regions that matter more or less, numbers from 0 to 255 in an array of any size
        that scales to the image. 128 is the quality as asked; two more are a point better, two less
        a point worse. See `rdonet_jax.rdo.roi`.

    Raises `ValueError` for what cannot be coded and for other values than these. For a model
    that is not there that is a `ZooError`, for work that needs JAX where that is not installed an
    `EngineError`. Raises OSError for a weights file that cannot be read. A KeyboardInterrupt ends a
    search or a refinement too: there is no file then.
    """
    icc, exif, xmp = _bytes("icc", icc), _bytes("exif", exif), _bytes("xmp", xmp)
    if target is not None and not isinstance(target, Target):
        raise ValueError(f"a target is a rdonet_jax.Target, not {type(target).__name__}")
    for words, number in ("EXIF data", orientation(exif)), ("XMP", xmp_orientation(xmp)):
        if number != 1:
            raise ValueError(f"the {words} says that the image does not stand upright: {_TURN}")
    samples = _samples(pixels)
    if exif and not is_exif(exif):
        raise ValueError("the EXIF data is none: it has no TIFF header and directory")
    if not is_text(xmp):
        raise ValueError("the XMP is none: it is no text in UTF-8")
    image = pixel_format.of_samples(samples, icc, exif, xmp, cicp, resolution)
    if not isinstance(init, str):
        init = partition.check_and_trim(init, *image.size)
    plan = effort_levels.chosen_plan(effort, init, rdo_passes, refinements)
    gains = roi_masks.gains(image.size, roi)
    options = EncodeOptions(quality, target, plan, engine=engine, gains=gains)
    with optional_packages.missing_as(EngineError):
        result = coding.encode(_library.load(model), image, options)
    if result.searched is not None and result.searched.interrupted:
        raise KeyboardInterrupt
    return result.encoded.data


def decompress(
    data: Bytes,
    *,
    model: str | os.PathLike[str] | None = None,
    max_pixels: int = MAX_PIXELS,
    engine: str = DEFAULT_ENGINE,
) -> np.ndarray:
    """The image in a file's bytes, an array as `compress` takes it.

    `model` is as in `compress`, for files of models that are neither bundled nor registered.
    `max_pixels` is how many pixels the file may claim. `engine` is as in `compress`.

    Raises `FormatError`, a `ValueError`, for data that is not bytes or cannot be decoded,
    `ValueError` for a limit that is no number, and for a model what `compress` raises.
    """
    image = decompress_image(data, model=model, max_pixels=max_pixels, engine=engine)
    return pixel_format.samples(image)


def decompress_image(
    data: Bytes,
    *,
    model: str | os.PathLike[str] | None = None,
    max_pixels: int = MAX_PIXELS,
    engine: str = DEFAULT_ENGINE,
) -> ImageData:
    """The image in a file's bytes, with all that `compress` stores: `pixels`, `alpha`, `icc`,
    `exif`, `xmp`, `cicp` and `resolution`.

    Arguments and what is raised are as in `decompress`.
    """
    if not isinstance(max_pixels, numbers.Real) or max_pixels != max_pixels:  # NaN
        raise ValueError(f"max_pixels is a number, not {max_pixels!r}")
    return decode_file(compressed_file.parse(data, max_pixels), model, engine)


def register_model(path: str | os.PathLike[str]) -> None:
    """Lets this process read the files of a model that is not bundled, as if it were.

    `path` is that of its weights file, which stays where it is. It is for `decompress` without a
    model, and for Pillow, which has no way to name one. Raises as `compress` does for a model.
    """
    _library.register(path)


def decode_file(
    file: CompressedFile, model: str | os.PathLike[str] | None = None, engine: str = DEFAULT_ENGINE
) -> ImageData:
    """The image in a parsed file, with color profile, EXIF data and the like.

    `model`, `engine` and what is raised are as in `decompress`.
    """
    with optional_packages.missing_as(EngineError):
        return coding.decode(file, _library, model, engine=engine).content


def _samples(pixels: ArrayLike | Image.Image) -> np.ndarray:
    """The array, in the byte order of this machine. Raises `ValueError` for what is none."""
    try:
        samples = np.asarray(pixels)
    except MemoryError:
        raise
    # Pillow may read its file only now, and raises almost anything for a damaged one. So do arrays
    # of other libraries, such as those of JAX after they were deleted.
    except Exception as error:
        raise ValueError(f"these are no pixels: {error}") from error
    if isinstance(pixels, Image.Image):
        _check_pillow(pixels)
    if np.ma.is_masked(pixels):
        raise ValueError("pixels of a masked array are missing: fill them first")
    return samples.astype(samples.dtype.newbyteorder("="), copy=False)


def _check_pillow(image: Image.Image) -> None:
    """Raises `ValueError` for a decoded image of Pillow whose array is not what it shows."""
    if image.mode not in _MODES:
        raise ValueError(
            f"an image of Pillow has the mode {', '.join(_MODES[:-1])} or {_MODES[-1]}, not "
            f"{image.mode}: convert it first"
        )
    if "transparency" in image.info and not image.mode.endswith("A"):
        raise ValueError(
            "the image of Pillow has a transparent color, which its array lacks: "
            f"{_how_to_keep_key(image)}"
        )
    if orientation(pillow_images.exif_in_info(image), xmp_in(image)) != 1:
        raise ValueError(f"the image of Pillow does not stand upright: {_TURN}")


def _how_to_keep_key(image: Image.Image) -> str:
    """What to do with an image that has a transparent color. `convert` may lose it in silence."""
    if image.mode.startswith("I;16"):
        return "pass an array [height, width, 2] with an alpha channel, or save it with the plug-in"
    try:
        pillow_images.alpha_of_key(image, np.asarray(image))
    except pillow_images.TransparentColorError as error:
        return str(error)
    return "give it an alpha channel first"


def _bytes(name: str, value: Bytes) -> bytes:
    """Raises `ValueError` for an argument that is none."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise ValueError(f"{name} is bytes, not {type(value).__name__}")
    return bytes(value)
