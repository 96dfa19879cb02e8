"""Reads image files for coding: gray or color, 8 or 16 bits, alpha, palettes, metadata.

Colors stay in the color space of the file's profile. Files whose pixels cannot be kept faithfully
are refused. For training and evaluation, `imaging.srgb` reads files as 8-bit sRGB instead.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from rdonet_jax.core.defaults import MAX_PIXELS
from rdonet_jax.imaging import high_bit_depth, pillow_files, pixel_format, srgb
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.imaging.formats import (
    avif,
    file_kinds,
    file_metadata,
    jpeg,
    jpeg_2000,
    pam,
    plug_ins,
    png,
    tiff_reader,
)
from rdonet_jax.imaging.formats.file_metadata import Metadata
from rdonet_jax.imaging.metadata import cicp, exif
from rdonet_jax.imaging.metadata import icc as imaging_icc
from rdonet_jax.imaging.pixel_format import ImageData

FORMATS = (*srgb.READABLE_FORMATS, "AVIF", "JPEG2000", "TGA", "QOI")
"""Formats by Pillow's names. Icons and formats that run other programs are left out."""

MORE_SUFFIXES = (".pam", ".mpo", *(s for found in plug_ins.SUFFIXES.values() for s in found))
"""Suffixes of files that are read without Pillow, with plug-ins of Pillow, or as JPEG (MPO)."""

Channels = tuple[np.ndarray, np.ndarray | None]
"""Pixels and alpha, as in `ImageData`."""


def load(
    path: str | os.PathLike,
    strip: bool = False,
    max_pixels: int = MAX_PIXELS,
    first_frame: bool = False,
) -> ImageData:
    """The image in a file, upright.

    Palettes become RGB. Samples of 1 to 7 bits become 8 bits, those of 9 to 15 bits become 16. An
    alpha channel that is opaque everywhere is dropped. The notes of the result list what else is
    dropped.

    Args:
      path: the file.
      strip: whether to drop all metadata and to convert the colors to sRGB.
      max_pixels: larger images are refused.
      first_frame: whether to take the first frame of an animation, or the first page of a
        document. They are refused otherwise.

    Raises ImageError for missing, unreadable, damaged and refused files, and for images that are
    neither gray nor RGB nor have a palette, such as CMYK and floats.
    """
    notes: list[str] = []
    options = _Options(max_pixels, first_frame, notes.append)
    with pillow_files.damage_named(path):
        image = _READERS.get(file_kinds.kind_of(path) or "", _by_pillow)(path, options)
    image = dataclasses.replace(image, notes=(*notes, *image.notes))
    return _stripped(image, path) if strip else image


class _Options(NamedTuple):
    """The options of `load`. `note` takes what is left out, in words."""

    max_pixels: int
    first_frame: bool
    note: Callable[[str], object]

    def check_size(self, path: str | os.PathLike, height: int, width: int) -> None:
        if width * height > self.max_pixels:
            raise ImageError(
                f"{path}: has {width} x {height} pixels, more than the limit of {self.max_pixels}"
            )

    def check_frames(self, path: str | os.PathLike, count: int, what: str = "frames") -> None:
        if count <= 1:
            return
        if not self.first_frame:
            raise ImageError(
                f"{path}: has {count} {what}, only still images are read; "
                f"--first-frame takes the first of them"
            )
        self.note(f"the first of {count} {what} is coded, the others are left out")


def _by_pillow(
    path: str | os.PathLike,
    options: _Options,
    page: tiff_reader.Page | None = None,
    formats: Sequence[str] = FORMATS,
) -> ImageData:
    def check(image: Image.Image, path: str | os.PathLike) -> None:
        if page is not None:
            image.seek(page.number)
        options.check_size(path, image.height, image.width)
        _check_mode(image, path)
        if image.format == "JPEG2000":
            jpeg_2000.check(path)
        if page is None:
            options.check_frames(path, pillow_files.frames_of(image))

    with pillow_files.opened(path, formats, check) as image:
        plug_ins.correct_orientation(image)
        false_exif = exif.drop_false(image)
        exif.load_nested(image)
        bits = high_bit_depth.bits(image, path)
        if bits > 8:
            pixels, alpha = _with_key(image, *high_bit_depth.channels(image, bits, path))
        elif plug_ins.is_animated(image, path):
            frame = plug_ins.first_frame(image, path, "of several frames")
            pixels, alpha = high_bit_depth.split(frame, 8)
        else:
            pixels, alpha = _channels_of_8_bits(image, path)
        if image.format == "PNG":
            png.require_all_rows(path)
        if image.format == "AVIF" and avif.kind(path).gray and pixels.ndim == 3:
            pixels = pixels[..., 0]
        metadata = file_metadata.of_image(image, path, pixels.ndim == 2, false_exif)
    return _image(pixels, alpha, metadata)


def _tiff(path: str | os.PathLike, options: _Options) -> ImageData:
    page = tiff_reader.main_page(path)
    if page is None:  # a damaged file: Pillow gives the reason
        return _by_pillow(path, options)
    options.check_size(path, *tiff_reader.size_of(page))
    options.check_frames(path, page.count, "pages")
    if tiff_reader.by_pillow(path, page):
        return _by_pillow(path, options, page)
    samples, bits = tiff_reader.samples(path, page)
    pixels, alpha = high_bit_depth.split(samples, bits)
    if alpha is not None and tiff_reader.is_premultiplied(page):
        both = np.concatenate([np.atleast_3d(pixels), alpha[..., None]], axis=2)
        pixels, alpha = high_bit_depth.split(high_bit_depth.divided(both), 8 * both.itemsize)
    return _image(pixels, alpha, tiff_reader.metadata(path, page))


def _pam(path: str | os.PathLike, options: _Options) -> ImageData:
    try:
        samples, largest = pam.read(path, options.max_pixels)
    except pam.PamError as error:
        raise ImageError(f"{path}: {error}") from error
    return _image(*high_bit_depth.split(samples, largest=largest), Metadata())


def _jpeg(path: str | os.PathLike, options: _Options) -> ImageData:
    frame = file_kinds.jpeg_frame(path)
    if frame is None:
        return _by_pillow(path, options)
    # Every block takes at least one bit. Without this check libjpeg fills missing blocks with gray.
    if frame.huffman and frame.blocks() > 8 * os.path.getsize(path):
        raise ImageError(
            f"{path}: is damaged: it is too short for the {frame.width} x {frame.height} pixels "
            "that it claims"
        )
    if frame.bits != 12 or frame.marker not in high_bit_depth.JPEG_FRAMES_OF_12_BITS:
        image = _by_pillow(path, options)
        if frame.huffman:
            jpeg.require_all_blocks(path)
        return image
    options.check_size(path, frame.height, frame.width)
    samples, metadata = high_bit_depth.jpeg_of_12_bits(path, frame.precision_at)
    return _image(*high_bit_depth.split(samples, 12), metadata)


def _by_plug_in(name: str) -> Callable[[str | os.PathLike, _Options], ImageData]:
    def read(path: str | os.PathLike, options: _Options) -> ImageData:
        plug_ins.register(path, name, options.max_pixels)
        if name == "JXL" and plug_ins.jxl_header(path).animated:
            if not options.first_frame:
                raise ImageError(
                    f"{path}: is an animation, only still images are read; "
                    "--first-frame takes its first frame"
                )
            options.note("the first frame is coded, the others are left out")
        return _by_pillow(path, options, formats=[name])

    return read


_READERS = {
    "TIFF": _tiff,
    "PAM": _pam,
    "JPEG": _jpeg,
    "HEIF": _by_plug_in("HEIF"),
    "JXL": _by_plug_in("JXL"),
}
"""Readers by the kind of file. All other kinds are read by Pillow alone."""


def _image(pixels: np.ndarray, alpha: np.ndarray | None, metadata: Metadata) -> ImageData:
    """The image, without an alpha channel that is opaque everywhere."""
    if alpha is not None:
        opaque = alpha.min() == np.iinfo(alpha.dtype).max
        alpha = None if opaque else np.ascontiguousarray(alpha)
    return ImageData(np.ascontiguousarray(pixels), alpha, **metadata._asdict())


def _check_mode(image: Image.Image, path: str | os.PathLike) -> None:
    gray_of_16_bits = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")
    if image.mode not in srgb.READABLE_MODES and not gray_of_16_bits:
        if image.mode == "F":
            raise ImageError(f"{path}: holds floating-point numbers, which are not coded")
        raise ImageError(
            f"{path}: is a {image.mode} image, convert it to gray or RGB of 8 or 16 bits first"
        )


def _channels_of_8_bits(image: Image.Image, path: str | os.PathLike) -> Channels:
    """Pixels and alpha of an opened image of up to 8 bits."""
    steps = {"L;2": 85, "L;4": 17}.get(high_bit_depth.raw_mode(image), 1)
    if image.format == "JPEG2000":
        image = jpeg_2000.rescaled(image, path)
    image = ImageOps.exif_transpose(image)
    key = image.info.get("transparency")
    if image.mode in ("P", "PA"):
        image, key = image.convert("RGBA" if image.has_transparency_data else "RGB"), None
    if image.mode in ("LA", "RGBA"):
        samples = np.array(image)
        return samples[..., 0] if image.mode == "LA" else samples[..., :3], samples[..., -1]
    if image.mode == "1":
        pixels = np.array(image.convert("L"))
        return pixels, None if key is None else pixel_format.keyed(pixels, 255 * bool(key))
    pixels = np.array(image)
    if key is not None:
        key = steps * (np.array(key) & (255 if steps == 1 else 255 // steps))
    return pixels, None if key is None else pixel_format.keyed(pixels, key)


def _with_key(image: Image.Image, pixels: np.ndarray, alpha: np.ndarray | None) -> Channels:
    """Pixels and alpha of a 16-bit image, whose file may name a transparent color."""
    key = image.info.get("transparency")
    return pixels, alpha if key is None else pixel_format.keyed(pixels, np.array(key))


def _stripped(image: ImageData, path: str | os.PathLike) -> ImageData:
    """The image without metadata, its colors converted to sRGB."""
    bare = ImageData(image.pixels, image.alpha, notes=image.notes)
    mode = "L" if image.gray else "RGB"
    icc = _profile_of(image, path)
    if imaging_icc.is_srgb(icc, mode):
        return bare
    if image.is_16bit:
        raise ImageError(
            f"{path}: has 16 bits in another color space than sRGB, which is converted for "
            "images of 8 bits only: keep its profile"
        )
    colors = np.array(imaging_icc.as_srgb(Image.fromarray(image.pixels), icc))
    pixels = np.ascontiguousarray(colors[..., 1]) if image.gray else colors
    return dataclasses.replace(bare, pixels=pixels)


def _profile_of(image: ImageData, path: str | os.PathLike) -> bytes:
    """An ICC profile of the image's color space, from `cicp` or `icc`; empty for sRGB."""
    named = image.cicp
    if named is None or not named.known:
        return image.icc
    if named.srgb:
        return b""
    profile = cicp.as_icc(named, image.gray)
    if not profile:
        raise ImageError(
            f"{path}: has colors of {named.words}, which are not converted to sRGB: "
            "keep the metadata"
        )
    return profile
