"""Picture files in the form in which they come: gray, alpha, 16 bits, palettes, ICC, EXIF.

`images` reads what networks are trained and judged with, sRGB of 8 bits. This is for coding: the
colours stay in the space of their profile, and what cannot be kept of them is refused.
"""

from __future__ import annotations

import dataclasses
import functools
import os

import numpy as np
from PIL import Image, ImageOps

from rdonet_jax import (
    avif,
    cicp,
    colour_profiles,
    content,
    deep_files,
    exif,
    file_metadata,
    images,
)
from rdonet_jax.content import Picture
from rdonet_jax.images import ImageError

FORMATS = (*images.READABLE_FORMATS, "AVIF", "JPEG2000", "TGA", "QOI")
"""By Pillow's names. Left out are those that run other programs, and icons."""

Channels = tuple[np.ndarray, np.ndarray | None]
"""Pixels as in `Picture`, and alpha."""


def load(
    path: str | os.PathLike, strip: bool = False, max_pixels: int = content.MAX_PIXELS
) -> Picture:
    """The picture in a file, upright.

    Palettes become RGB, what has 1 to 7 bits per channel 8, and 9 to 15 bits 16. Alpha that is
    opaque everywhere is dropped. With `strip` the profile and all other metadata are dropped too,
    and the colours are converted to sRGB. What stays behind without being asked is in the notes.

    Raises ImageError for missing, unreadable and damaged files, animations, pictures of more than
    `max_pixels`, and modes that are none of gray, RGB and palette, such as CMYK and floats.
    """
    check = functools.partial(_check, max_pixels=max_pixels)
    with images.opened(path, FORMATS, check) as picture:
        false_exif = exif.drop_false(picture)
        bits = deep_files.bits(picture, path)
        pixels, alpha = (
            _shallow(picture)
            if bits <= 8
            else _with_key(picture, *deep_files.channels(picture, bits, path))
        )
        if picture.format == "AVIF" and avif.kind(path).gray and pixels.ndim == 3:
            pixels = pixels[..., 0]
        gray = pixels.ndim == 2
        along = file_metadata.of_picture(picture, path, gray, false_exif)
    pixels = np.ascontiguousarray(pixels)
    if alpha is not None:
        opaque = alpha.min() == np.iinfo(alpha.dtype).max
        alpha = None if opaque else np.ascontiguousarray(alpha)
    whole = Picture(pixels, alpha, **along._asdict())
    return _stripped(whole, path) if strip else whole


def _check(picture: Image.Image, path: str | os.PathLike, max_pixels: int) -> None:
    images.require_still(picture, path)
    if picture.width * picture.height > max_pixels:
        raise ImageError(
            f"{path}: has {picture.width} x {picture.height} pixels, more than the limit of "
            f"{max_pixels}"
        )
    gray_of_16_bits = picture.mode.startswith("I;16") or (
        picture.mode == "I" and picture.format == "PPM"
    )
    if picture.mode not in images.READABLE_MODES and not gray_of_16_bits:
        raise ImageError(
            f"{path}: is a {picture.mode} picture, convert it to gray or RGB of 8 or 16 bits first"
        )


def _shallow(picture: Image.Image) -> Channels:
    """Of a picture of up to 8 bits."""
    steps = {"L;2": 85, "L;4": 17}.get(deep_files.raw_mode(picture), 1)
    picture = ImageOps.exif_transpose(picture)
    key = picture.info.get("transparency")
    if picture.mode in ("P", "PA"):
        transparent = picture.mode == "PA" or key is not None
        picture, key = picture.convert("RGBA" if transparent else "RGB"), None
    if picture.mode in ("LA", "RGBA"):
        samples = np.array(picture)
        return samples[..., 0] if picture.mode == "LA" else samples[..., :3], samples[..., -1]
    if picture.mode == "1":
        pixels = np.array(picture.convert("L"))
        return pixels, None if key is None else _keyed(pixels, 255 * bool(key))
    pixels = np.array(picture)
    if key is not None:
        key = steps * (np.array(key) & (255 if steps == 1 else 255 // steps))
    return pixels, None if key is None else _keyed(pixels, key)


def _keyed(pixels: np.ndarray, key: np.ndarray | int) -> np.ndarray:
    """Alpha of pixels of which those of one colour are transparent."""
    same = pixels == np.asarray(key)
    hidden = same.all(axis=2) if pixels.ndim == 3 else same
    return np.where(hidden, 0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)


def _with_key(picture: Image.Image, pixels: np.ndarray, alpha: np.ndarray | None) -> Channels:
    """Of a picture of 16 bits, whose file may name a transparent colour."""
    key = picture.info.get("transparency")
    return pixels, alpha if key is None else _keyed(pixels, np.array(key))


def _stripped(picture: Picture, path: str | os.PathLike) -> Picture:
    """Without what goes along, in sRGB."""
    bare = Picture(picture.pixels, picture.alpha, notes=picture.notes)
    mode = "L" if picture.gray else "RGB"
    icc = _meaning(picture, path)
    if colour_profiles.is_srgb(icc, mode):
        return bare
    if picture.deep:
        raise ImageError(
            f"{path}: has 16 bits in another colour space than sRGB, which is converted for "
            "pictures of 8 bits only: keep its profile"
        )
    colours = np.array(colour_profiles.as_srgb(Image.fromarray(picture.pixels), icc))
    pixels = np.ascontiguousarray(colours[..., 1]) if picture.gray else colours
    return dataclasses.replace(bare, pixels=pixels)


def _meaning(picture: Picture, path: str | os.PathLike) -> bytes:
    """The profile of what the colours are; empty where that is sRGB."""
    named = picture.cicp
    if named is None or not named.known:
        return picture.icc
    if named.srgb:
        return b""
    profile = cicp.as_icc(named, picture.gray)
    if not profile:
        raise ImageError(
            f"{path}: has colours of {named.words}, which are not converted to sRGB: "
            "keep what says so"
        )
    return profile
