"""Checks of the names of input and output files, before any work."""

from __future__ import annotations

import os
from pathlib import Path

from rdonet_jax.cli.errors import CommandError
from rdonet_jax.cli.files.file_result import FilePath
from rdonet_jax.core.defaults import COMPRESSED_SUFFIX
from rdonet_jax.imaging.formats.writable import WRITABLE_FORMATS

OTHER_IMAGE_SUFFIXES = frozenset((".heic", ".heif", ".jxl", ".exr", ".pam", ".svg"))
"""Suffixes of image formats that Pillow does not know by itself."""


def check_paths(source: FilePath, target: FilePath) -> os.stat_result:
    """Returns the status of the input.

    Raises OSError for an input that is not there, and `CommandError` for an output that is the
    input or whose name can only be that of a folder.
    """
    status = os.stat(source)
    if os.fspath(target).endswith(tuple(filter(None, (os.sep, os.altsep)))):
        raise CommandError(
            f"{target}: is the name of a folder, not of a file; say with --out-dir where results "
            "are to go"
        )
    if os.path.exists(target) and os.path.samefile(source, target):
        raise CommandError(f"{target}: is the input, and must not become the output")
    return status


def has_image_suffix(path: FilePath) -> bool:
    """Whether a file of this name is an image, as far as its suffix tells."""
    suffix = Path(path).suffix.lower()
    if suffix in ("", COMPRESSED_SUFFIX):
        return False
    from PIL import Image

    Image.init()
    return suffix in {*Image.EXTENSION, *WRITABLE_FORMATS, *OTHER_IMAGE_SUFFIXES}
