"""Image files opened with Pillow: whatever it raises becomes one sentence that names the file."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence

from PIL import Image, PngImagePlugin

from rdonet_jax.core import messages
from rdonet_jax.core.defaults import MAX_METADATA
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.imaging.formats import file_kinds

# Pillow's own limit is 1 MiB. It applies to color profiles of PNG too, and calls the file damaged.
PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, MAX_METADATA)


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
        image = Image.open(path if content is None else io.BytesIO(content), formats=tuple(formats))
    except Image.UnidentifiedImageError as error:
        if content is not None:
            raise ImageError(f"{path}: {_no_image_in(formats)}") from error
        # A file that one format alone is tried for is of that kind.
        kind = file_kinds.why_not(path) if len(formats) > 1 else None
        raise ImageError(f"{path}: {kind or _unknown(path, formats)}") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: claims to be far too large: {messages.reason(error)}") from error
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {messages.reason(error)}") from error
    except Exception as error:  # Pillow's readers raise almost anything on damaged headers
        if tuple(formats) == ("JXL",):  # whose plug-in says how it is to be built
            raise ImageError(f"{path}: is damaged") from error
        raise ImageError(f"{path}: cannot be read as an image: {messages.reason(error)}") from error
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
        raise ImageError(f"{path}: is damaged: {messages.reason(error)}") from error


def _unknown(path: str | os.PathLike, formats: Sequence[str]) -> str:
    if not os.path.getsize(path):
        return "is empty"
    return _no_image_in(formats)


def _no_image_in(formats: Sequence[str]) -> str:
    return f"is damaged or no image in any of {', '.join(formats)}"


def frames_of(image: Image.Image) -> int:
    """How many frames or pages an image has."""
    # The further frames of an MPO file are previews and gain maps that cameras add to a JPEG.
    return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)


def require_still(image: Image.Image, path: str | os.PathLike) -> None:
    """Raises ImageError for an image of more than one frame."""
    if (count := frames_of(image)) > 1:
        raise ImageError(f"{path}: has {count} frames, only still images are read")
