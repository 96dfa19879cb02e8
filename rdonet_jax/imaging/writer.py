"""Writes images to files. The suffix decides the format.

What the format cannot hold, such as 16 bits or metadata, is left out and reported.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, features

from rdonet_jax.imaging import output_files, pixel_format
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.imaging.formats import amendments, png, tiff_writer
from rdonet_jax.imaging.formats.file_metadata import Metadata
from rdonet_jax.imaging.formats.writable import WRITABLE_FORMATS
from rdonet_jax.imaging.metadata import cicp, exif, resolution, xmp
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.resolution import Resolution
from rdonet_jax.imaging.pixel_format import ImageData


class Abilities(NamedTuple):
    """What files of a format can hold besides 8-bit colors."""

    is_16bit: bool = False
    alpha: bool = False
    icc: int = 0  # the largest number of bytes, as in the next two
    exif: int = 0
    xmp: int = 0
    cicp: Callable[[Cicp], bool] = lambda _: False  # whether it can hold these code points
    resolution: Callable[[Resolution], bool] = lambda _: False  # and this resolution


_OPTIONAL = {"AVIF": "avif", "WEBP": "webp"}
"""Formats that some builds of Pillow lack, with Pillow's names of these features."""

_ANY = 2**32
ABILITIES = {
    "PNG": Abilities(True, True, _ANY, _ANY, _ANY, lambda _: True, lambda _: True),
    "TIFF": Abilities(True, True, _ANY, _ANY, _ANY, resolution=lambda _: True),
    "PPM": Abilities(is_16bit=True),
    "WEBP": Abilities(False, True, _ANY, _ANY, _ANY),
    # The samples that decoders give are always of the whole range.
    "AVIF": Abilities(False, True, _ANY, _ANY, _ANY, lambda named: named.full_range),
    # A profile may fill 255 segments, EXIF data and XMP one each.
    "JPEG": Abilities(
        icc=255 * 65519,
        exif=65533 - len(exif.PREFIX),
        xmp=65533 - len(b"http://ns.adobe.com/xap/1.0/\0"),
        resolution=lambda size: resolution.jfif(size) is not None,
    ),
    "BMP": Abilities(resolution=lambda size: size.metric),
}
"""By Pillow's names of the formats."""


def check(path: str | os.PathLike, force: bool, size: tuple[int, int], alpha: bool = False) -> None:
    """Raises ImageError if `save` would refuse an image of this size, (height, width), at a path.

    `alpha`: whether the image has an alpha channel. Callers check before long work.
    """
    output_files.check_image_target(path, force, size)
    if _format(path) in _OPTIONAL and not features.check(_OPTIONAL[_format(path)]):
        raise ImageError(f"{path}: this installation of Pillow cannot write {_format(path)}")
    if alpha and not _abilities(path).alpha:
        suffixes = [s for s, (name, _) in WRITABLE_FORMATS.items() if ABILITIES[name].alpha]
        raise ImageError(
            f"{path}: {_format(path)} cannot hold the image's transparency: take another suffix "
            f"({' '.join(suffixes)}) or give a --background to flatten it on"
        )


def save(
    path: str | os.PathLike,
    image: ImageData,
    force: bool = False,
    like: os.stat_result | None = None,
) -> tuple[str, ...]:
    """Writes an image. Returns what the format could not hold, a few words each.

    The file is written under another name and then renamed, so it is never incomplete. It gets the
    times and permissions of `like`. Raises ImageError as `check` does, and if writing fails.
    """
    check(path, force, image.size, image.alpha is not None)
    name, able = _format(path), _abilities(path)
    notes = []
    samples = np.atleast_3d(pixel_format.samples(image))
    if name == "TIFF" and image.is_16bit and samples.shape[2] == 2:
        samples = samples[..., [0, 0, 0, 1]]  # few programs read 16-bit gray with alpha
    if image.is_16bit and not able.is_16bit:
        samples = pixel_format.to_uint8(samples)
        notes.append(f"8 bits, since {name} is written with no more")
    gray = samples.shape[2] < 3 and name != "WEBP"
    kept, lost = _fitting(image, name, gray)
    output_files.replace(path, lambda file: _write(file, path, samples, kept), like)
    return (*notes, *lost)


def _fitting(image: ImageData, name: str, gray: bool) -> tuple[Metadata, tuple[str, ...]]:
    """The metadata that a format can hold, and notes about the rest. `gray`: the file's form."""
    able = ABILITIES[name]
    icc, named, notes = _fitting_colors(image, name, gray)
    kept = {"icc": icc, "exif": image.exif, "xmp": image.xmp}
    for field, what, most in (
        ("icc", "color profile", able.icc),
        ("exif", "EXIF data", able.exif),
        ("xmp", "XMP", able.xmp),
    ):
        if len(kept[field]) > most:
            kept[field] = b""
            notes.append(f"without its {what}, which {name} cannot hold")
    if kept["icc"][16:20] == b"GRAY" and not gray:
        kept["icc"] = b""
        notes.append("without its color profile for gray, since its colors become RGB")
    if kept["exif"] and not exif.is_exif(kept["exif"]):
        kept["exif"] = b""
        notes.append("without its EXIF data, which is none")
    if kept["exif"] and name in ("TIFF", "AVIF") and not exif.is_sound(kept["exif"]):
        kept["exif"] = b""
        notes.append(f"without its EXIF data, which is damaged and would spoil {name}")
    if not xmp.is_text(kept["xmp"]):
        kept["xmp"] = b""
        notes.append("without its XMP, which is no text")
    size = image.resolution
    if size is not None and not able.resolution(size):
        size = None
        notes.append(f"without its resolution, which {name} cannot hold")
    fitting = Metadata(kept["icc"], kept["exif"], kept["xmp"], cicp=named, resolution=size)
    return fitting, tuple(notes)


def _fitting_colors(
    image: ImageData, name: str, gray: bool
) -> tuple[bytes, Cicp | None, list[str]]:
    """The profile and the code points that describe the colors in a format, and notes."""
    icc, named = image.icc, image.cicp
    if named is None:
        return icc, None, []
    if not ABILITIES[name].cicp(named):
        profile = cicp.as_icc(named, gray) if ABILITIES[name].icc else b""
        if profile:
            return profile, None, []
        note = f"without what its colors are ({named.words}), which {name} cannot hold"
        return icc, None, [note]
    if icc and named.known and name == "AVIF":  # the profile would take precedence there
        note = f"without its color profile, since {name} says what its colors are"
        return b"", named, [note]
    return icc, named, []


def _format(path: str | os.PathLike) -> str:
    return WRITABLE_FORMATS[Path(path).suffix.lower()][0]


def _abilities(path: str | os.PathLike) -> Abilities:
    return ABILITIES[_format(path)]


def _write(
    file: BinaryIO, path: str | os.PathLike, samples: np.ndarray, metadata: Metadata
) -> None:
    name = _format(path)
    if name == "TIFF":
        tiff_writer.write(
            file, samples, metadata.icc, metadata.exif, metadata.xmp, metadata.resolution
        )
    elif samples.dtype == np.uint8:
        _write_8_bits(file, path, samples, metadata)
    elif name == "PNG":
        file.writelines(png.encode(samples, _chunks(metadata)))
    else:
        kind = b"P5" if samples.shape[2] == 1 else b"P6"
        file.write(b"%s\n%d %d\n65535\n" % (kind, samples.shape[1], samples.shape[0]))
        file.write(samples.astype(">u2").tobytes())


def _chunks(metadata: Metadata) -> list[png.Chunk]:
    """The metadata as chunks of PNG."""
    named = b"" if metadata.cicp is None else cicp.pack(metadata.cicp)
    size = b"" if metadata.resolution is None else resolution.pack(metadata.resolution)
    return png.metadata(metadata.icc, metadata.exif, metadata.xmp, named, size)


def _write_8_bits(
    file: BinaryIO, path: str | os.PathLike, samples: np.ndarray, metadata: Metadata
) -> None:
    name, options = WRITABLE_FORMATS[Path(path).suffix.lower()]
    single = samples.shape[2] == 1
    extra: dict[str, object] = {}
    if metadata.icc:
        extra["icc_profile"] = metadata.icc
    if metadata.exif:
        extra["exif"] = exif.PREFIX + metadata.exif
    if metadata.xmp and name != "PNG":
        extra["xmp"] = metadata.xmp
    if metadata.resolution and name == "BMP":
        extra["dpi"] = resolution.dpi(metadata.resolution)
    if name == "WEBP":
        extra["exact"] = True  # keep the colors of pixels with alpha 0
    if name == "AVIF" and samples.shape[2] < 3:
        extra["subsampling"] = "4:0:0"
    image = Image.fromarray(np.ascontiguousarray(samples[..., 0] if single else samples))
    buffer = io.BytesIO()
    image.save(buffer, name, **{**options, **extra})
    file.writelines(_amended(name, buffer.getbuffer(), metadata))


def _amended(name: str, data: memoryview, metadata: Metadata) -> list[bytes | memoryview]:
    """A file that Pillow has written, in parts, with the metadata that Pillow does not write."""
    if name == "PNG":
        return amendments.of_png(data, _chunks(metadata._replace(icc=b"", exif=b"")))
    if name == "JPEG":
        return amendments.of_jpeg(data, metadata.resolution)
    if name == "AVIF":
        return amendments.of_avif(data, metadata.cicp)
    return [data]
