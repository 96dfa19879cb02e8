"""`rdonet thumbnail`: a small PNG of the image in a compressed file, for file managers."""

from __future__ import annotations

import argparse
import io
import os
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from rdonet_jax.cli.commands import decoding
from rdonet_jax.cli.errors import CommandError, TargetExists, explained
from rdonet_jax.cli.files import streams
from rdonet_jax.cli.files.file_result import FilePath
from rdonet_jax.cli.files.input_output_checks import check_paths
from rdonet_jax.core.defaults import IMAGE_SUFFIX
from rdonet_jax.imaging import output_files, pixel_format
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.imaging.metadata import icc
from rdonet_jax.models.library import ModelLibrary

if TYPE_CHECKING:
    from rdonet_jax.imaging.pixel_format import ImageData

MARK = ("Software", "rdonet thumbnail")
"""The text of a PNG that tells a thumbnail of this command from other images."""

CACHED = "Thumb::URI"
"""The text that thumbnails of file managers have, by the specification of freedesktop.org."""


def run(options: argparse.Namespace) -> None:
    """Writes the thumbnail that the options ask for."""
    with (
        streams.target(options.target, IMAGE_SUFFIX) as target,
        streams.source(options.source) as source,
    ):
        make(source, target, options.size, ModelLibrary(), options.force)


def make(
    source: FilePath, target: FilePath, side: int, library: ModelLibrary, force: bool = False
) -> tuple[int, int]:
    """Writes the thumbnail; returns its width and height.

    The file is a PNG whatever its name is. It replaces an empty file and a thumbnail, since
    programs that ask for thumbnails name such a file. Raises `CommandError` for what else is there,
    unless it is to be overwritten, and OSError.
    """
    check_paths(source, target)
    _require_replaceable(target, force)
    with explained(ImageError):
        output_files.check_target(target, force=True)
    image, _ = decoding.load_image(source, library)
    small = reduced(image, side)
    text = PngInfo()
    text.add_text(*MARK)
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True, pnginfo=text)
    with explained(ImageError):
        output_files.write_bytes(target, file.getvalue(), force=True)
    return small.size


def _require_replaceable(target: FilePath, force: bool) -> None:
    """Refuses a file that no thumbnail may replace. A compressed file is never replaced."""
    if not os.path.isfile(target) or not os.path.getsize(target):
        return
    with open(target, "rb") as file:
        if decoding.is_compressed(file.read(4)):
            raise CommandError(f"{target}: is a compressed file, and not overwritten")
    if not force and not _is_thumbnail(target):
        raise TargetExists(
            f"{target}: exists already, is no thumbnail, and is not overwritten without --force"
        )


def _is_thumbnail(path: FilePath) -> bool:
    try:
        with Image.open(path, formats=("PNG",)) as image:
            name, value = MARK
            return image.info.get(name) == value or CACHED in image.info
    except Exception:  # Pillow raises almost anything on damaged files
        return False


def reduced(image: ImageData, side: int) -> Image.Image:
    """The image in 8-bit sRGB, scaled down until no side is longer than `side` pixels."""
    colors = Image.fromarray(np.ascontiguousarray(pixel_format.to_uint8(image.pixels)))
    small = icc.as_srgb(colors, image.icc)
    if image.alpha is not None:
        small.putalpha(Image.fromarray(np.ascontiguousarray(pixel_format.to_uint8(image.alpha))))
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small
