"""The resolution of an image, in pixels per meter, as PNG, JPEG, TIFF and BMP store it."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from PIL import Image

BYTES = 9
MOST = 2**31 - 1
"""The largest number of pixels per unit."""

_INCH = 0.0254
_PER_UNIT = {0: False, 1: True}
_JFIF_MOST = 2**16 - 1
_TIFF_TAGS = (282, 283)
_NO_UNIT, _CENTIMETER = 1, 3
"""Of TIFF."""


class Resolution(NamedTuple):
    """Pixels per unit in x and y. The unit is a meter if `metric`, else unknown: only the aspect
    ratio of pixels is known then."""

    x: int
    y: int
    metric: bool

    @property
    def words(self) -> str:
        """The resolution in words."""
        if not self.metric:
            return f"pixels of {self.y}:{self.x}"
        x, y = (f"{value * _INCH:.5g}" for value in self[:2])
        return f"{x} dpi" if x == y else f"{x} x {y} dpi"


def pack(resolution: Resolution) -> bytes:
    """The content of PNG's chunk pHYs."""
    return struct.pack(">IIB", resolution.x, resolution.y, resolution.metric)


def parse(data: bytes) -> Resolution | None:
    """The inverse of `pack`; None for invalid bytes."""
    if len(data) != BYTES:
        return None
    x, y, unit = struct.unpack(">IIB", data)
    if unit not in _PER_UNIT or not (1 <= x <= MOST and 1 <= y <= MOST):
        return None
    return Resolution(x, y, _PER_UNIT[unit])


def of_image(image: Image.Image) -> Resolution | None:
    """The resolution of an opened file, before it is turned upright; None if it has none.

    Square pixels of no unit count as none. The resolution in EXIF data is not used, it stays there.
    """
    info = image.info
    if image.format in ("JPEG", "MPO") and "jfif_density" not in info:
        return None
    if image.format == "TIFF" and not all(tag in image.tag_v2 for tag in _TIFF_TAGS):
        return None  # Pillow assumes 1 then
    metric = "dpi" in info and info.get("jfif_unit") != 0
    if metric:
        pair: Any = [value / _INCH for value in info["dpi"]]
    elif image.format in ("JPEG", "MPO"):
        pair = info["jfif_density"] if info["jfif_unit"] == 0 else (0, 0)
    else:
        pair = info.get("aspect") or info.get("resolution") or (0, 0)
    across, down = map(float, pair)
    return _made(across, down, metric)


def of_dpi(x: float, y: float) -> Resolution | None:
    """From pixels per inch; None for invalid numbers."""
    return _made(x / _INCH, y / _INCH, True)


def of_tiff(x: float, y: float, unit: object) -> Resolution | None:
    """From the tags of TIFF, whose unit is an inch by default; None for invalid numbers."""
    if unit == _NO_UNIT:
        return of_aspect(x, y)
    return _made(100 * x, 100 * y, True) if unit == _CENTIMETER else of_dpi(x, y)


def of_aspect(x: float, y: float) -> Resolution | None:
    """From pixels per unknown unit; None for invalid numbers and for square pixels."""
    return _made(x, y, False)


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
    """The resolution with x and y exchanged."""
    return None if resolution is None else Resolution(resolution.y, resolution.x, resolution.metric)


def dpi(resolution: Resolution) -> tuple[float, float]:
    """Pixels per inch in x and y; int where a whole number is exact."""
    x, y = (_per_inch(value) for value in resolution[:2])
    return x, y


def _per_inch(per_meter: int) -> float:
    whole = round(per_meter * _INCH)
    return whole if round(whole / _INCH) == per_meter else per_meter * _INCH


def jfif(resolution: Resolution) -> bytes | None:
    """Unit and density as JFIF stores them, in whole numbers; None if that is not possible."""
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
