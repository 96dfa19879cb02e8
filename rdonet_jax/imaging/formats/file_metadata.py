"""What goes along with the pixels of an opened image file, and what has to stay behind."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image

from rdonet_jax.imaging.formats import heif_boxes, png
from rdonet_jax.imaging.metadata import cicp, exif, icc_writer, resolution, xmp
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.resolution import Resolution

_BOXED = ("AVIF", "HEIF")
_SIDEWAYS = (5, 6, 7, 8)
_LIGHT = {
    **dict.fromkeys((b"mDCV", b"mDCv"), "mastering display (mDCV)"),
    **dict.fromkeys((b"cLLI", b"cLLi"), "content light level (cLLI)"),
}
_COLOR_CHUNKS = (b"cICP", b"gAMA", b"cHRM", b"sRGB", *_LIGHT)

_GAMMA_OF_SRGB, _GAMMA_TOLERANCE = 45455, 100
_POINT_TOLERANCE = 100
"""Of numbers in a file, which are 100000 times what they stand for."""
_SCALE = 100000
_POINTS_OF_SRGB = tuple(
    round(number * _SCALE)
    for point in (icc_writer.D65, *icc_writer.BT709_POINTS)
    for number in point
)


class Metadata(NamedTuple):
    """As the fields of `pixel_format.Picture` of these names."""

    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    cicp: Cicp | None = None
    resolution: Resolution | None = None
    notes: tuple[str, ...] = ()


class _Colors(NamedTuple):
    icc: bytes = b""
    cicp: Cicp | None = None
    left: tuple[str, ...] = ()  # what stays behind, in words


def of_image(
    image: Image.Image, path: str | os.PathLike, gray: bool, false_exif: bool = False
) -> Metadata:
    """Of an opened file, whose pixels have been read; `gray` as they are to be kept.

    Everything says then that the image stands upright. `false_exif`: whether `exif.drop_false` has
    found some. Raises what Pillow raises for damaged EXIF data.
    """
    colors = _colors(image, path, gray)
    text = _xmp(image)
    is_text = xmp.is_text(text)
    notes = [f"without its {what}" for what in (*colors.left, *_other_images(image, text))]
    if false_exif:
        notes.append("without what it calls EXIF data, which is none")
    if not is_text:
        notes.append("without its XMP, which is no text")
    elif image.format in ("JPEG", "MPO") and xmp.is_extended(text):
        notes.append("without the second part of its XMP")
    return Metadata(
        colors.icc,
        exif.of_image(image),
        xmp.upright(text) if is_text else b"",
        colors.cicp,
        _resolution(image, path),
        tuple(dict.fromkeys(notes)),
    )


def _xmp(image: Image.Image) -> bytes:
    data = image.info.get("xmp") or b""
    data = data.encode() if isinstance(data, str) else bytes(data)
    return data.rstrip(b"\0")


def _other_images(image: Image.Image, text: bytes) -> Iterator[str]:
    """What a file holds behind its image."""
    if image.format not in ("JPEG", "MPO"):
        return
    named = xmp.besides(text)
    yield from named
    others = getattr(image, "n_frames", 1) - 1
    if others > sum(word != "video" for word in named):
        plural = "s" if others > 1 else ""
        yield f"{others} further image{plural} (a gain map, a preview or another view)"


def _resolution(image: Image.Image, path: str | os.PathLike) -> Resolution | None:
    """That of the image as it stands upright."""
    found = resolution.of_image(image)
    if found is None or found.x == found.y:
        return found
    tag = ExifTags.Base.Orientation
    if image.format == "TIFF":  # once it has read the pixels, Pillow has forgotten it
        with Image.open(path, formats=["TIFF"]) as again:
            lies = again.tag_v2.get(tag, 1)
    else:
        lies = image.getexif().get(tag, 1)
    return resolution.turned(found) if lies in _SIDEWAYS else found


def _colors(image: Image.Image, path: str | os.PathLike, gray: bool) -> _Colors:
    """What the colors mean, where that is not sRGB without a word."""
    icc = bytes(image.info.get("icc_profile") or b"")
    if image.format == "PNG":
        with open(path, "rb") as file:
            return _of_chunks(png.leading(file, _COLOR_CHUNKS), icc, gray)
    if image.format in _BOXED:
        facts = heif_boxes.facts(Path(path).read_bytes())
        # The profile counts where there is one, and numbers that name nothing say nothing.
        named = facts.cicp if facts.cicp and facts.cicp.known and not icc else None
        return _Colors(icc, None if named and named.srgb else named, facts.besides)
    return _Colors(icc)


def _of_chunks(chunks: dict[bytes, bytes], icc: bytes, gray: bool) -> _Colors:
    """By the order in which PNG's specification ranks them: cICP, iCCP, sRGB, gAMA and cHRM."""
    left = [words for kind, words in _LIGHT.items() if kind in chunks]
    if b"cICP" in chunks:
        named = cicp.parse(chunks[b"cICP"])
        if named is not None:
            return _Colors(icc, named if icc or not named.srgb else None, tuple(left))
        left.append("code points of colors (cICP), which are illegal")
    if icc or b"sRGB" in chunks or not {b"gAMA", b"cHRM"} & set(chunks):
        return _Colors(icc, None, tuple(left))
    try:
        return _Colors(_of_gamma(chunks, gray), None, tuple(left))
    except (struct.error, icc_writer.ColorError):
        left.append("gamma and chromaticities (gAMA, cHRM), which make no sense")
    return _Colors(left=tuple(left))


def _of_gamma(chunks: dict[bytes, bytes], gray: bool) -> bytes:
    """A profile that says what gAMA and cHRM say; empty where that is sRGB, as far as they can.

    Raises ColorError and `struct.error` for numbers that mean no colors.
    """
    points, curve, name = _POINTS_OF_SRGB, icc_writer.SRGB_CURVE, "sRGB curve"
    if b"cHRM" in chunks:
        points = struct.unpack(">8I", chunks[b"cHRM"])
    if b"gAMA" in chunks:
        (gamma,) = struct.unpack(">I", chunks[b"gAMA"])
        if not gamma:
            raise icc_writer.ColorError("the gamma is 0")
        curve, name = (_SCALE / gamma,), f"gamma {_SCALE / gamma:.3g}"
    usual = _near(points, _POINTS_OF_SRGB, _POINT_TOLERANCE)
    if (usual or gray) and (
        b"gAMA" not in chunks or _near([gamma], [_GAMMA_OF_SRGB], _GAMMA_TOLERANCE)
    ):
        return b""
    white, *primaries = [(x / _SCALE, y / _SCALE) for x, y in zip(*[iter(points)] * 2, strict=True)]
    if not usual and not gray:
        name += " with primaries of its own"
    return icc_writer.profile(name, curve, primaries, white, gray)


def _near(numbers: tuple[int, ...], others: tuple[int, ...], tolerance: int) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(numbers, others, strict=True))
