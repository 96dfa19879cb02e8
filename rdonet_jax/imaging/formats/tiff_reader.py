"""TIFF files: the page that is the image, reasons to refuse a file, and kinds beyond Pillow.

Pillow reads most files. tifffile, if it is installed, reads the others: separate planes of 16 bits,
16-bit gray with alpha, unusual numbers of bits, premultiplied alpha of gray or in planes, and
WebP's compression.
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin

from rdonet_jax.core.json_values import short_repr
from rdonet_jax.imaging.errors import ImageError
from rdonet_jax.imaging.formats.file_metadata import IPTC_TAGS, Metadata
from rdonet_jax.imaging.metadata import exif, resolution, xmp
from rdonet_jax.imaging.metadata.resolution import Resolution

_NEW_SUBFILE, _OLD_SUBFILE, _WIDTH, _LENGTH, _BITS, _COMPRESSION = 254, 255, 256, 257, 258, 259
_PHOTOMETRIC, _ORIENTATION, _SAMPLES, _PLANES, _EXTRA, _FORMAT = 262, 274, 277, 284, 338, 339
_PROFILE = 34675
_XMP = 700
_SUB_DIRECTORIES, _DEPTH, _DNG_VERSION = 330, 32997, 50706

_REDUCED, _MASK = 1, 4
"""Flags of NewSubfileType: a copy of lower resolution, and a mask."""
_OLD_REDUCED = 2

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_COUNTS: Mapping[Any, int] = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _PALETTE: 1, _RGB: 3, _YCBCR: 3}
"""How many channels colors have."""
_UNSPECIFIED, _PREMULTIPLIED = 0, 1
_SEPARATE = 2
_BIG = 43
_BIG_ENDIAN_BIG = b"MM\0+"
_CANON_RAW = b"CR"
"""At offset 8 of CR2 files, in whose first pages are previews."""
_MOST_PAGES = 2**16

_RAW = "is the raw data of a camera, develop it first"
_RAW_COLORS = (32803, 34892)
_MORE_CHANNELS = "has channels besides colors and alpha, save it without them"
_COLORS = {
    4: "is a transparency mask",
    5: "is CMYK, convert it to RGB first",
    8: "is CIE L*a*b*, convert it to RGB first",
    9: "is ICC L*a*b*, convert it to RGB first",
    10: "is ITU L*a*b*, convert it to RGB first",
    32844: "is LogL, whose numbers are no gray levels: convert it first",
    32845: "is LogLuv, whose numbers are no colors: convert it first",
    **dict.fromkeys(_RAW_COLORS, _RAW),
}
_NUMBERS = {
    2: "holds signed numbers, and does not say which of them is black: "
    "convert it to unsigned ones of 8 or 16 bits first",
    3: "holds floating-point numbers, and does not say which of them is white: "
    "convert it to whole ones of 8 or 16 bits first",
    5: "holds complex numbers",
    6: "holds complex numbers",
}
_WEBP = 50001
"""A compression that the libtiff of Pillow's wheels lacks: opening succeeds, and decoding fails."""
_RATIOS = {1: 1, 5: 4096, 8: 1032, 32773: 128, 32946: 1032}
"""The largest compression ratio by the number of the method: none, LZW, Deflate, PackBits."""


class Page(NamedTuple):
    """The page that is the image of a file. `count`: pages that are not reduced copies or masks."""

    number: int
    tags: dict[int, Any]
    count: int  # type: ignore[assignment]


def main_page(path: str | os.PathLike) -> Page | None:
    """The first page that is neither a reduced copy nor a mask; None for a damaged file.

    Raises ImageError, with the reason, for samples that cannot be coded.
    """
    try:
        pages = _pages(path)
        if not pages:
            return None
        whole = [n for n, tags in enumerate(pages) if not _is_copy(tags)]
        _refuse_raw(path, pages, bool(whole))
        page = Page(whole[0], pages[whole[0]], len(whole)) if whole else Page(0, pages[0], 1)
        _refuse(path, page.tags)
        size_of(page)
    except ImageError:
        raise
    except Exception:  # Pillow raises almost anything on damaged directories
        return None
    return page


def by_pillow(path: str | os.PathLike, page: Page) -> bool:
    """Whether Pillow reads the page without loss."""
    if is_webp(page.tags):
        return False
    separate = _numbers(page.tags, _PLANES)[:1] == (_SEPARATE,)
    if separate and (max(_numbers(page.tags, _BITS)) > 8 or is_premultiplied(page)):
        return False
    if is_premultiplied(page) and _COUNTS.get(page.tags.get(_PHOTOMETRIC)) == 1:
        return False
    try:
        with Image.open(path, formats=["TIFF"]) as image:
            image.seek(page.number)
    except Exception:  # again almost anything
        return False
    return True


def samples(path: str | os.PathLike, page: Page) -> tuple[np.ndarray, int]:
    """Upright samples [H, W, 1 to 4], read by tifffile, and their number of bits.

    Raises ImageError for kinds that are not read, and the errors of tifffile for damaged files.
    """
    tags, bits = page.tags, max(_numbers(page.tags, _BITS))
    colors = 3 if tags.get(_PHOTOMETRIC) == _RGB else 1
    extra = _numbers(tags, _EXTRA)
    if tags.get(_PHOTOMETRIC) not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        kind = short_repr(tags.get(_PHOTOMETRIC))
        raise ImageError(f"{path}: has colors of the kind {kind}, convert it")
    if tags.get(_SAMPLES, 1) != colors + len(extra):
        raise ImageError(f"{path}: {_MORE_CHANNELS}")
    try:
        import tifffile
    except ImportError as error:
        raise ImageError(
            f"{path}: is TIFF of a kind that is read with tifffile: pip install 'rdonet-jax[tiff]'"
        ) from error
    try:
        with tifffile.TiffFile(path) as file:
            found = file.pages[page.number]
            array, axes = found.asarray(), found.axes
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        raise ImageError(
            f"{path}: is TIFF of a kind that is read with imagecodecs: "
            "pip install 'rdonet-jax[tiff]'"
        ) from error
    if axes == "SYX":
        array = np.moveaxis(array, 0, 2)
    elif axes == "YX":
        array = array[..., None]
    elif axes != "YXS":
        raise ImageError(f"{path}: has the axes {axes}, which are not those of an image")
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        array = np.concatenate([2**bits - 1 - array[..., :1], array[..., 1:]], axis=2)
    return exif.turned(array, tags.get(_ORIENTATION, 1)), bits


def is_webp(tags: Mapping[int, Any]) -> bool:
    """Whether samples are compressed by WebP, which Pillow does not read within TIFF."""
    return tags.get(_COMPRESSION) == _WEBP


def is_premultiplied(page: Page) -> bool:
    """Whether colors are stored multiplied by alpha."""
    return _numbers(page.tags, _EXTRA) == (_PREMULTIPLIED,)


def metadata(path: str | os.PathLike, page: Page) -> Metadata:
    """The metadata of a page that Pillow does not open, and notes about what of it is not kept.

    Pillow cannot read the EXIF data of big-endian BigTIFF. A note says that it is missing then.
    """
    profile = bytes(page.tags.get(_PROFILE, b""))
    text = bytes(page.tags.get(_XMP, b"")).rstrip(b"\0")
    notes = ["without its IPTC data"] if IPTC_TAGS & set(page.tags) else []
    if not xmp.is_text(text):
        text = b""
        notes.append("without its XMP, which is no text")
    entries = _exif(path, page)
    if entries is None:
        notes.append("without its EXIF data, which cannot be read")
    return Metadata(
        profile,
        entries or b"",
        xmp.upright(text),
        resolution=_resolution(page.tags),
        notes=tuple(notes),
    )


def _exif(path: str | os.PathLike, page: Page) -> bytes | None:
    """The EXIF data of a page; None for big-endian BigTIFF."""
    block = Image.Exif()
    with open(path, "rb") as file:
        head = file.read(4)
        if head == _BIG_ENDIAN_BIG:
            return None
        block.endian, block.bigtiff = "<" if head[:2] == b"II" else ">", _BIG in head[2:]
        block.load_from_fp(file, _offsets(file)[page.number])
        return exif.of_block(block, exif.RESOLUTION)


def _resolution(tags: dict[int, Any]) -> Resolution | None:
    """The resolution of the upright image."""
    across, down, unit = (tags.get(tag) for tag in exif.RESOLUTION)
    if not isinstance(across, numbers.Real) or not isinstance(down, numbers.Real):
        return None
    found = resolution.of_tiff(float(across), float(down), unit)
    return resolution.turned(found) if tags.get(_ORIENTATION) in exif.SIDEWAYS else found


def size_of(page: Page) -> tuple[int, int]:
    """Height and width before the orientation is applied."""
    return page.tags[_LENGTH], page.tags[_WIDTH]


def _pages(path: str | os.PathLike) -> list[dict[int, Any]]:
    with open(path, "rb") as file:
        return [_entries(file, offset) for offset in _offsets(file)]


def _entries(file: Any, offset: int) -> dict[int, Any]:
    """The entries of the directory at an offset in an open file."""
    directory = _directory(file)
    file.seek(offset)
    directory.load(file)
    return dict(directory)


def _offsets(file: Any) -> list[int]:
    """The offsets of the directories in an open file."""
    directory = _directory(file)
    found: list[int] = []
    while directory.next and directory.next not in found and len(found) < _MOST_PAGES:
        found.append(directory.next)
        file.seek(directory.next)
        directory.load(file)
    return found


def _directory(file: Any) -> TiffImagePlugin.ImageFileDirectory_v2:
    """An empty directory with the file's byte order and the offset of its first directory."""
    file.seek(0)
    head = file.read(8)
    if _BIG in head[2:4]:
        head += file.read(8)
    if head.startswith(_BIG_ENDIAN_BIG):  # Pillow recognizes only the little-endian signature
        return TiffImagePlugin.ImageFileDirectory_v2(b"II+\0" + head[4:], prefix=b"MM")
    return TiffImagePlugin.ImageFileDirectory_v2(head)


def _is_copy(tags: dict[int, Any]) -> bool:
    return bool(tags.get(_NEW_SUBFILE, 0) & (_REDUCED | _MASK)) or (
        tags.get(_OLD_SUBFILE) == _OLD_REDUCED
    )


def _numbers(tags: Mapping[int, Any], tag: int) -> tuple[int, ...]:
    """The value of a tag as a tuple. The default is (1,) for the bits per sample, else empty."""
    value = tags.get(tag, (1,) if tag == _BITS else ())
    return tuple(value) if isinstance(value, tuple) else (value,)


def _refuse_raw(path: str | os.PathLike, pages: list[dict[int, Any]], whole: bool) -> None:
    """Raises ImageError for camera raw, whose pages are previews of data in subdirectories.

    `whole`: whether a page is neither a reduced copy nor a mask. A file without such a page may
    have its image in a subdirectory without being raw. It is refused as well, since Pillow reads
    the chained pages alone.
    """
    with open(path, "rb") as file:
        is_canon = file.read(10)[8:] == _CANON_RAW
        if is_canon or any(_DNG_VERSION in tags for tags in pages):
            raise ImageError(f"{path}: {_RAW}")
        offsets = [] if whole else [n for tags in pages for n in _numbers(tags, _SUB_DIRECTORIES)]
        inner = [_entries(file, offset) for offset in offsets[:_MOST_PAGES]]
    if any(tags.get(_PHOTOMETRIC) in _RAW_COLORS for tags in inner):
        raise ImageError(f"{path}: {_RAW}")
    if not all(map(_is_copy, inner)):
        raise ImageError(
            f"{path}: has its image in a subdirectory (SubIFD), which is not read: "
            "save it as TIFF without a thumbnail first"
        )


def _refuse(path: str | os.PathLike, tags: dict[int, Any]) -> None:
    """Raises ImageError for samples that cannot be coded, and for a file too short for its size."""
    for number in _numbers(tags, _FORMAT):
        if number in _NUMBERS:
            raise ImageError(f"{path}: {_NUMBERS[number]}")
    if tags.get(_PHOTOMETRIC) in _COLORS:
        raise ImageError(f"{path}: {_COLORS[tags[_PHOTOMETRIC]]}")
    bits = _numbers(tags, _BITS)
    if max(bits) > 16:
        raise ImageError(f"{path}: has {max(bits)} bits per channel, 16 are the most that are read")
    if len(set(bits)) > 1:
        numbers = short_repr(bits)
        raise ImageError(f"{path}: has channels of different numbers of bits, {numbers}")
    check_contents(path, tags)
    ratio = _RATIOS.get(tags.get(_COMPRESSION, 1))
    claimed = tags.get(_WIDTH, 0) * tags.get(_LENGTH, 0) * tags.get(_SAMPLES, 1) * bits[0] // 8
    subsampled = 3 if tags.get(_PHOTOMETRIC) == _YCBCR else 1
    if ratio and claimed > ratio * os.path.getsize(path) * subsampled:
        raise ImageError(
            f"{path}: is damaged: it is too short for the {tags[_WIDTH]} x {tags[_LENGTH]} pixels "
            "that it claims"
        )


def check_contents(path: str | os.PathLike, tags: Mapping[int, Any]) -> None:
    """Raises ImageError for previews of camera raw, for channels that are neither colors nor alpha,
    and for volumes. Pillow reads a part of them without an error."""
    if _DNG_VERSION in tags:
        raise ImageError(f"{path}: {_RAW}")
    extra = _numbers(tags, _EXTRA)
    colors = _COUNTS.get(tags.get(_PHOTOMETRIC))
    more = len(extra) if colors is None else max(len(extra), tags.get(_SAMPLES, 1) - colors)
    if more > 1 or _UNSPECIFIED in extra:
        raise ImageError(f"{path}: {_MORE_CHANNELS}")
    if (depth := tags.get(_DEPTH, 1)) != 1:
        raise ImageError(
            f"{path}: is a volume of {short_repr(depth)} slices, save them as images of their own"
        )
