"""Files that commands write: checked before the work, and never incomplete.

They are written under another name and then renamed. Images, compressed files, curves and reports
are all written like that.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from rdonet_jax.core import messages
from rdonet_jax.imaging.errors import ExistingFileError, ImageError
from rdonet_jax.imaging.formats.writable import WRITABLE_FORMATS
from rdonet_jax.storage import files

LARGEST_SIDES = {"WEBP": 16383, "JPEG": 65500}
"""The largest width and height, in pixels, that these formats allow."""


def check_target(path: str | os.PathLike, force: bool = False) -> None:
    """Raises ImageError if `write_bytes` would refuse the path. Callers check before long work."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except OSError as error:  # such as a name that is too long
        raise ImageError(f"{path}: cannot be written: {error.strerror}") from error
    # Behind a link, it is the file that the link leads to.
    folder = Path(os.path.realpath(path) if os.path.islink(path) else path).parent
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
    """Writes a file with `write`, as `storage.files.replace` does.

    Raises ImageError for whatever `write` raises, and if writing fails.
    """
    try:
        files.replace(path, write, like)
    except Exception as error:  # Pillow's writers raise almost anything on odd metadata
        raise ImageError(f"{path}: cannot be written: {messages.reason(error)}") from error
