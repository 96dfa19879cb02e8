"""The metadata of an opened image file, and notes about what of it cannot be kept."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image

from rdonet_jax.core.json_values import short_repr
from rdonet_jax.imaging.formats import heif_boxes, jpeg_2000, jxl, png
from rdonet_jax.imaging.metadata import cicp, exif, icc_writer, resolution, xmp
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.resolution import Resolution

_BOXED = ("AVIF", "HEIF")
_LIGHT = {
    **dict.fromkeys((b"mDCV", b"mDCv"), "mastering display (mDCV)"),
    **dict.fromkeys((b"cLLI", b"cLLi"), "content light level (cLLI)"),
}
_COLOR_CHUNKS = (b"cICP", b"gAMA", b"cHRM", b"sRGB", *_LIGHT)

_GAMMA_OF_SRGB, _GAMMA_TOLERANCE = 45455, 100
_POINT_TOLERANCE = 100
"""Tolerance of chromaticities, in the unit of PNG files, 1 / 100000."""
_SCALE = 100000
_POINTS_OF_SRGB = tuple(
    round(number * _SCALE)
    for point in (icc_writer.D65, *icc_writer.BT709_POINTS)
    for number in point
)


class Metadata(NamedTuple):
    """The fields of `pixel_format.ImageData` of the same names."""

    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    cicp: Cicp | None = None
    resolution: Resolution | None = None
    notes: tuple[str, ...] = ()


class _Colors(NamedTuple):
    """The color space of a file."""

    icc: bytes = b""
    cicp: Cicp | None = None
    left_out: tuple[str, ...] = ()  # what is not kept, in words


_XMP_TEXT, _RAW_PROFILE = "XML:com.adobe.xmp", "Raw profile type "
"""How the keys begin of text entries of PNG files that hold metadata."""
_RAW_PROFILES = {"exif": "", "iptc": "IPTC data", "xmp": "XMP as a raw profile"}
"""Names of the contents of raw profiles by their type. Pillow reads EXIF data."""

IPTC_TAGS = frozenset({33723, 34377})
"""Of TIFF files: IPTC data by themselves, and as Photoshop stores them."""


def of_image(
    image: Image.Image, path: str | os.PathLike, gray: bool, false_exif: bool = False
) -> Metadata:
    """The metadata of an opened file, whose pixels have been read.

    Its orientation is upright, as the pixels are by then.

    Args:
      image: the opened file.
      path: of the file.
      gray: whether the pixels are kept as one channel.
      false_exif: the result of `exif.drop_false`.

    Raises Pillow's errors for damaged EXIF data.
    """
    if image.format == "PNG":
        image.load()  # Pillow reads the chunks behind the pixels then
    colors = _colors(image, path, gray)
    text = _xmp(image, path)
    is_text = xmp.is_text(text)
    left_out = (*colors.left_out, *_other_images(image, text), *_texts(image, path))
    notes = [f"without its {what}" for what in left_out]
    if false_exif:
        notes.append("without what it calls EXIF data, which is none")
    if not is_text:
        notes.append("without its XMP, which is no text")
    elif image.format in ("JPEG", "MPO") and xmp.is_extended(text):
        notes.append("without the second part of its XMP")
    return Metadata(
        colors.icc,
        exif.of_image(image, _orientation(image, path)),
        xmp.upright(text) if is_text else b"",
        colors.cicp,
        _resolution(image, path),
        tuple(dict.fromkeys(notes)),
    )


def _xmp(image: Image.Image, path: str | os.PathLike) -> bytes:
    own = jxl.xmp(path).rstrip(b"\0") if image.format == "JXL" else b""
    return own or xmp.of_image(image)  # that of a JPEG file which is stored as JPEG XL


def _other_images(image: Image.Image, text: bytes) -> Iterator[str]:
    """Names of what a JPEG file holds after its image, such as a gain map or a video."""
    if image.format not in ("JPEG", "MPO"):
        return
    named = xmp.further_content(text)
    yield from named
    others = getattr(image, "n_frames", 1) - 1
    if others > sum(word != "video" for word in named):
        plural = "s" if others > 1 else ""
        yield f"{others} further image{plural} (a gain map, a preview or another view)"


def _texts(image: Image.Image, path: str | os.PathLike) -> Iterator[str]:
    """Names of data about the image that is not kept."""
    if image.format == "PNG":
        yield from _texts_of_png(image.text)
    elif image.format == "JXL":
        missing = jxl.compressed_metadata(path)
        yield from (words for name, words in missing.items() if not image.info.get(name))
    elif image.format == "TIFF":
        if IPTC_TAGS & set(image.tag_v2):
            yield "IPTC data"
    else:
        if image.format in _UNREAD_PROFILES and _UNREAD_PROFILES[image.format](path):
            yield "color profile"
        if image.info.get("comment"):
            yield "comment"
        if image.info.get("photoshop"):
            yield "IPTC data and other data of Photoshop"


def _bmp_has_profile(path: str | os.PathLike) -> bool:
    """Whether the header of a BMP file, of the fifth version, names a profile in or beside it."""
    with open(path, "rb") as file:
        start = file.read(14 + 124)
    size = int.from_bytes(start[14:18], "little")
    return size >= 124 and start[14 + 56 : 14 + 60] in (b"DEBM", b"KNIL")  # MBED, LINK reversed


def _gif_has_profile(path: str | os.PathLike) -> bool:
    return b"\x21\xff\x0bICCRGBG1012" in Path(path).read_bytes()


_UNREAD_PROFILES = {"BMP": _bmp_has_profile, "GIF": _gif_has_profile}
"""Whether files of formats whose profiles Pillow does not read have one."""


def _texts_of_png(keys: Iterable[str]) -> Iterator[str]:
    count = sum(not key.startswith((_XMP_TEXT, _RAW_PROFILE)) for key in keys)
    if count:
        yield "text entry" if count == 1 else f"{count} text entries"
    for key in keys:
        if key.startswith(_RAW_PROFILE):
            kind = key.removeprefix(_RAW_PROFILE)
            words = _RAW_PROFILES.get(kind, f"raw profile of the type {short_repr(kind)}")
            if words:
                yield words


def _resolution(image: Image.Image, path: str | os.PathLike) -> Resolution | None:
    """The resolution of the upright image."""
    found = resolution.of_image(image)
    if found is None or found.x == found.y:
        return found
    lies = _orientation(image, path)
    return resolution.turned(found) if lies in exif.SIDEWAYS else found


def _orientation(image: Image.Image, path: str | os.PathLike) -> int:
    """The orientation of the stored image, 1 to 8 if it is a valid one."""
    if image.format != "TIFF":
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    # Pillow removes the orientation when it reads the pixels.
    with Image.open(path, formats=["TIFF"]) as again:
        again.seek(image.tell())
        return again.getexif().get(ExifTags.Base.Orientation, 1)


def _colors(image: Image.Image, path: str | os.PathLike, gray: bool) -> _Colors:
    """The color space of a file. Without any entry a file is sRGB."""
    icc = bytes(image.info.get("icc_profile") or b"")
    if image.format == "PNG":
        with open(path, "rb") as file:
            return _of_chunks(png.leading(file, _COLOR_CHUNKS), icc, gray)
    if image.format in _BOXED:
        facts = heif_boxes.facts(Path(path).read_bytes())
        # A profile takes precedence over code points, and unknown code points are ignored.
        named = facts.cicp if facts.cicp and facts.cicp.known and not icc else None
        return _Colors(icc, None if named and named.srgb else named, facts.further_content)
    if image.format == "JPEG2000":
        header = jpeg_2000.header(path)
        return _Colors(header.icc, None, header.left_out)
    return _Colors(icc)


def _of_chunks(chunks: dict[bytes, bytes], icc: bytes, gray: bool) -> _Colors:
    """The color space by chunks of PNG, whose precedence is cICP, iCCP, sRGB, gAMA and cHRM."""
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
    return _Colors(left_out=tuple(left))


def _of_gamma(chunks: dict[bytes, bytes], gray: bool) -> bytes:
    """An ICC profile of the gamma and chromaticities in gAMA and cHRM; empty if they are sRGB's.

    Raises ColorError and `struct.error` for invalid numbers.
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


def _near(numbers: Sequence[int], others: Sequence[int], tolerance: int) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(numbers, others, strict=True))
