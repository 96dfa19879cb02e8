"""How large pixels are, as PNG, JPEG, TIFF and BMP say it."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL import Image

BYTES = 9
MOST = 2**31 - 1
"""Pixels per unit."""

_INCH = 0.0254
_PER_UNIT = {0: False, 1: True}
_JFIF_MOST = 2**16 - 1
_TIFF_TAGS = (282, 283)


class Resolution(NamedTuple):
    """Pixels per meter in both directions, or of no known unit: how their sizes are related."""

    x: int
    y: int
    metric: bool

    @property
    def words(self) -> str:
        """For people."""
        if not self.metric:
            return f"pixels of {self.y}:{self.x}"
        x, y = (f"{value * _INCH:.5g}" for value in self[:2])
        return f"{x} dpi" if x == y else f"{x} x {y} dpi"


def pack(resolution: Resolution) -> bytes:
    """As PNG's chunk pHYs has it."""
    return struct.pack(">IIB", resolution.x, resolution.y, resolution.metric)


def parse(data: bytes) -> Resolution | None:
    """The inverse of `pack`; None for bytes that it never gives."""
    if len(data) != BYTES:
        return None
    x, y, unit = struct.unpack(">IIB", data)
    if unit not in _PER_UNIT or not (1 <= x <= MOST and 1 <= y <= MOST):
        return None
    return Resolution(x, y, _PER_UNIT[unit])


def of_picture(picture: Image.Image) -> Resolution | None:
    """What an opened file says of its pixels as they are stored; None if they are just squares.

    That of EXIF data is not asked for: it stays where it is.
    """
    info = picture.info
    if picture.format in ("JPEG", "MPO") and "jfif_density" not in info:
        return None
    if picture.format == "TIFF" and not all(tag in picture.tag_v2 for tag in _TIFF_TAGS):
        return None  # Pillow takes it for 1 then
    metric = "dpi" in info and info.get("jfif_unit") != 0
    if metric:
        pair = [value / _INCH for value in info["dpi"]]
    elif picture.format in ("JPEG", "MPO"):
        pair = info["jfif_density"] if info["jfif_unit"] == 0 else (0, 0)
    else:
        pair = info.get("aspect") or info.get("resolution") or (0, 0)
    across, down = map(float, pair)
    return _made(across, down, metric)


def of_dpi(x: float, y: float) -> Resolution | None:
    """From pixels per inch; None for what is no number of them."""
    return _made(x / _INCH, y / _INCH, True)


def _made(x: float, y: float, metric: bool) -> Resolution | None:
    if not (math.isfinite(x) and math.isfinite(y)):
        return None
    if not metric and (x % 1 or y % 1):  # small numbers with fractions
        x, y = 1000 * x, 1000 * y
    x, y = round(x), round(y)
    if not (1 <= x <= MOST and 1 <= y <= MOST) or (not metric and x == y):
        return None
    return Resolution(x, y, metric)


def turned(resolution: Resolution | None) -> Resolution | None:
    """Of pixels that lie on their side."""
    return None if resolution is None else Resolution(resolution.y, resolution.x, resolution.metric)


def dpi(resolution: Resolution) -> tuple[float, float]:
    """Pixels per inch; whole numbers where these mean the same."""
    x, y = (_per_inch(value) for value in resolution[:2])
    return x, y


def _per_inch(per_meter: int) -> float:
    whole = round(per_meter * _INCH)
    return whole if round(whole / _INCH) == per_meter else per_meter * _INCH


def jfif(resolution: Resolution) -> bytes | None:
    """Unit and density as JFIF has them, in whole numbers; None if these do not tell it."""
    unit, pair = 1, [round(value) for value in dpi(resolution)]
    if not resolution.metric:
        divisor = math.gcd(*resolution[:2])
        unit, pair = 0, [value // divisor for value in resolution[:2]]
    elif not all(isinstance(value, int) for value in dpi(resolution)) and not any(
        value % 100 for value in resolution[:2]
    ):
        unit, pair = 2, [value // 100 for value in resolution[:2]]
    if not all(1 <= value <= _JFIF_MOST for value in pair):
        return None
    return struct.pack(">BHH", unit, *pair)
