"""Arrays to files' bytes and back, for other programs.

data = rdonet_jax.compress(pixels, quality=40)
pixels = rdonet_jax.decompress(data)
"""

from __future__ import annotations

import functools

import numpy as np

from rdonet_jax import bitstream, codec, content, rdo, targets, zoo
from rdonet_jax.bitstream import FormatError
from rdonet_jax.cicp import Cicp
from rdonet_jax.content import Picture
from rdonet_jax.exif import is_exif, orientation
from rdonet_jax.partition import Partition
from rdonet_jax.rdo import Plan
from rdonet_jax.resolution import Resolution
from rdonet_jax.targets import Target
from rdonet_jax.xmp import is_text, upright
from rdonet_jax.zoo import Model

DEFAULT_MODEL = "standard"


def compress(
    pixels: np.ndarray,
    quality: float | None = None,
    *,
    target: Target | None = None,
    model: str = DEFAULT_MODEL,
    rdo_passes: int = 0,
    init: str | Partition = "variance",
    icc: bytes = b"",
    exif: bytes = b"",
    xmp: bytes = b"",
    cicp: Cicp | None = None,
    resolution: Resolution | None = None,
) -> bytes:
    """The bytes of a file that holds the picture.

    Args:
      pixels: uint8 or uint16, [H, W] gray, [H, W, 2] with alpha, [H, W, 3] RGB, [H, W, 4] with
        alpha, which is lossless.
      quality: 0 (smallest file) to 100 (best picture), None for 50.
      target: a size or a PSNR instead of a quality.
      model: the name of a bundled model, or the path of a weights file.
      rdo_passes, init: of the search for the partition, see `rdonet_jax.rdo`.
      icc, exif: colour profile and EXIF data (from its TIFF header on), to go along. EXIF data must
        say that the picture is upright, or nothing about it.
      xmp, cicp, resolution: likewise XMP, in which an orientation becomes upright, what the
        colours mean (`rdonet_jax.cicp.Cicp`), and how large pixels are
        (`rdonet_jax.resolution.Resolution`).

    Raises `ValueError` for what cannot be coded, `ZooError` for a model that is not there.
    """
    if target is not None and quality is not None:
        raise ValueError("give a quality or a target, not both")
    if orientation(exif) != 1:
        raise ValueError(
            "the EXIF data says that the picture does not stand upright: turn it first"
        )
    if exif and not is_exif(exif):
        raise ValueError("the EXIF data is none: it does not begin with a TIFF header")
    if not is_text(xmp):
        raise ValueError("the XMP is none: it is no text in UTF-8")
    samples = np.asarray(pixels)
    picture = content.of_samples(samples, icc, exif, upright(xmp), cicp, resolution)
    plan = Plan(init, rdo_passes)
    if target is not None:
        found = targets.encode(_model(model), picture, plan, target)
    else:
        found = rdo.encode(_model(model), picture, plan, quality)
    return found.encoded.data


def decompress(
    data: bytes, *, model: str | None = None, max_pixels: int = bitstream.MAX_PIXELS
) -> np.ndarray:
    """The picture in a file's bytes, an array as `compress` takes it.

    `model` is the path of a weights file for files of models that are not bundled. Raises
    `FormatError`, a `ValueError`, for bytes that cannot be decoded.
    """
    return content.samples(restored(data, model, max_pixels))


def restored(
    data: bytes, model: str | None = None, max_pixels: int = bitstream.MAX_PIXELS
) -> Picture:
    """What `decompress` gives, with colour profile, EXIF data and the like."""
    if model is None:
        header, _ = bitstream.parse(data, max_pixels)
        path = zoo.find(header.weights)
        if path is None:
            raise FormatError(f"needs the weights {header.weights.hex()}, which are not bundled")
        model = str(path)
    return codec.decode(_model(model), data, max_pixels=max_pixels).content


@functools.lru_cache(maxsize=4)
def _model(name: str) -> Model:
    return zoo.load(name)
