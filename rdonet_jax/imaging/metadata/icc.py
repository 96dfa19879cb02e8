"""ICC color profiles: their names, and the conversion of images to sRGB."""

from __future__ import annotations

import functools
import io
from typing import cast

import numpy as np
from PIL import Image, ImageCms

from rdonet_jax.imaging.metadata import icc_tables

PROFILE_TOLERANCE = 2
"""A profile that changes no color by more than so many 8-bit levels counts as sRGB."""

_NAME_LENGTH = 64


def as_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """An image of mode L or RGB as RGB, converted to sRGB if its profile is another color space."""
    conversion = _to_srgb(profile, image.mode)
    if conversion is None:
        return image.convert("RGB")
    mode, transform = conversion
    converted = ImageCms.applyTransform(image.convert(mode), transform)
    return cast(Image.Image, converted)  # None only where it is changed in place


def is_srgb(profile: bytes, mode: str) -> bool:
    """Whether `as_srgb` leaves the colors of an image of this mode and profile unchanged."""
    return _to_srgb(profile, mode) is None


@functools.lru_cache(maxsize=16)
def _to_srgb(profile: bytes, image_mode: str) -> tuple[str, ImageCms.ImageCmsTransform] | None:
    """The mode to convert an image to, and the transform to apply then; None for sRGB.

    Cached, since it takes as long as decoding a small image. Unreadable profiles and those of
    another kind than RGB and gray are ignored, as viewers do.
    """
    if not profile:
        return None
    try:
        source = _opened(profile)
        mode = {"RGB": "RGB", "GRAY": "L"}.get(source.profile.xcolor_space.strip(), "")
        if mode not in ("RGB", image_mode):
            return None
        transform = ImageCms.buildTransform(source, _srgb_profile(), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return None if _changes_little(transform, mode) else (mode, transform)


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    """Raises ValueError if tables of the profile do not fit in it, and OSError if it is damaged."""
    if not icc_tables.fit(profile):
        raise ValueError("tables of the profile claim more than it holds")
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


@functools.cache
def _srgb_profile() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _changes_little(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a color transform is the identity except for rounding, as for profiles of sRGB."""
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(len(steps), -1, 3)
    probe = Image.fromarray(cube).convert(mode)
    before = np.asarray(probe.convert("RGB")).astype(int)
    after = np.asarray(ImageCms.applyTransform(probe, transform)).astype(int)
    return bool(np.abs(after - before).max() <= PROFILE_TOLERANCE)


def name(profile: bytes) -> str:
    """The description in a profile, in printable characters; empty if it has none."""
    try:
        text = ImageCms.getProfileDescription(_opened(profile))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return ""
    return "".join(c for c in text if c.isprintable()).strip()[:_NAME_LENGTH]
