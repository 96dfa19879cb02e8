"""Writes ICC profiles (version 4.3) from three primaries, a white point and one curve.

A curve has the parameters of the specification's type "parametricCurveType": (g,) is Y = X^g, and
(g, a, b, c, d) is Y = (a X + b)^g for X >= d and Y = c X below.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

Curve = tuple[float, ...]
Point = tuple[float, float]
"""CIE chromaticity coordinates x and y."""

SRGB_CURVE: Curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
BT709_POINTS: tuple[Point, Point, Point] = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
"""The primaries of BT.709 and sRGB."""
D65: Point = (0.3127, 0.3290)

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_LARGEST = 2.0**15 - 1
_FUNCTIONS = {1: 0, 5: 3}
"""The function type of a curve by its number of parameters."""


class ColorError(ValueError):
    """Invalid primaries, white point or curve."""


def profile(
    name: str, curve: Curve, primaries: Sequence[Point], white: Point, gray: bool = False
) -> bytes:
    """A display profile for RGB, or for gray, which does not use the primaries.

    Raises ColorError for invalid numbers.
    """
    to_d50 = _adaptation(_of_white(white))
    tags = {
        b"desc": _text(name),
        b"cprt": _text("CC0"),
        b"wtpt": _xyz(_D50),
        b"chad": b"sf32\0\0\0\0" + _fixed(to_d50.ravel()),
    }
    if gray:
        tags[b"kTRC"] = _curve(curve)
    else:
        colorants = to_d50 @ _matrix(primaries, white)
        for letter, column in zip(b"rgb", colorants.T, strict=True):
            tags[bytes([letter]) + b"XYZ"] = _xyz(column)
            tags[bytes([letter]) + b"TRC"] = _curve(curve)
    return _file(b"GRAY" if gray else b"RGB ", tags)


def _of_white(white: Point) -> np.ndarray:
    """XYZ of a white point, of luminance 1."""
    x, y = white
    if not (0 < x < 1 and 0 < y < 1 and x + y <= 1):
        raise ColorError("the white point is no color")
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _matrix(primaries: Sequence[Point], white: Point) -> np.ndarray:
    """The matrix from linear RGB to XYZ."""
    points = np.array([(x, y, 1 - x - y) for x, y in primaries]).T
    if abs(np.linalg.det(points)) < 1e-6:
        raise ColorError("the primaries are on a line")
    return points * np.linalg.solve(points, _of_white(white))


def _adaptation(white: np.ndarray) -> np.ndarray:
    """The matrix of the Bradford adaptation from a white point, in XYZ, to D50."""
    scale = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    return np.linalg.inv(_BRADFORD) @ (scale[:, None] * _BRADFORD)


def _fixed(values: Sequence[float] | np.ndarray) -> bytes:
    """Numbers in the format s15Fixed16."""
    if not np.all(np.abs(values) < _LARGEST):
        raise ColorError("the colors are out of all bounds")
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(values)


def _curve(numbers: Curve) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">HH", _FUNCTIONS[len(numbers)], 0) + _fixed(numbers)


def _text(text: str) -> bytes:
    data = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(data), 28) + data


def _file(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """The bytes of the profile. Tags of equal content share it."""
    start = 128 + 4 + 12 * len(tags)
    table, contents, places = struct.pack(">I", len(tags)), b"", {}
    for tag, content in tags.items():
        if content not in places:
            places[content] = start + len(contents)
            contents += content + bytes(-len(content) % 4)
        table += tag + struct.pack(">II", places[content], len(content))
    header = (
        struct.pack(">I", start + len(contents))
        + struct.pack(">4sI4s4s4s", b"", 0x04300000, b"mntr", space, b"XYZ ")
        + struct.pack(">6H", 2024, 1, 1, 0, 0, 0)  # any valid date
        + b"acsp".ljust(28 + 4, b"\0")
        + _fixed(_D50)
    )
    return header.ljust(128, b"\0") + table + contents
