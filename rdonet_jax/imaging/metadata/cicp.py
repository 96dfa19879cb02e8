"""Color spaces by the code points of ITU-T H.273 (CICP), as PNG, AVIF and HEIF have them."""

from __future__ import annotations

from typing import NamedTuple

from rdonet_jax.imaging.metadata import icc_writer

BYTES = 4

_BT709, _SRGB = 1, 13
_D65 = icc_writer.D65
_C, _DCI, _E = (0.310, 0.316), (0.314, 0.351), (1 / 3, 1 / 3)
_PRIMARIES = {
    1: ("BT.709", icc_writer.BT709_POINTS, _D65),
    4: ("BT.470 M", ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08)), _C),
    5: ("BT.601 625", ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)), _D65),
    6: ("BT.601 525", ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)), _D65),
    7: ("SMPTE 240M", ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)), _D65),
    8: ("film", ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049)), _C),
    9: ("BT.2020", ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), _D65),
    10: ("XYZ", ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0)), _E),
    11: ("DCI-P3", ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), _DCI),
    12: ("Display P3", ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), _D65),
    22: ("EBU 3213", ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077)), _D65),
}
"""Name, primaries and white point by code point."""

_BT709_CURVE = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
_CURVES: dict[int, tuple[str, icc_writer.Curve]] = {
    **{number: ("BT.709", _BT709_CURVE) for number in (1, 6, 14, 15)},
    4: ("gamma 2.2", (2.2,)),
    5: ("gamma 2.8", (2.8,)),
    8: ("linear", (1.0,)),
    _SRGB: ("sRGB", icc_writer.SRGB_CURVE),
}
"""Name and curve by code point of the transfer characteristics that ICC profiles can express."""

_HDR = {16: "PQ", 18: "HLG"}


class Cicp(NamedTuple):
    """The code points of primaries and transfer characteristics, of RGB samples.

    full_range: whether samples use the whole range. In video range, black is 16 and white is 235.
    """

    primaries: int
    transfer: int
    full_range: bool = True

    @property
    def srgb(self) -> bool:
        """Whether this is sRGB, the default of all files."""
        return self == (_BT709, _SRGB, True)

    @property
    def known(self) -> bool:
        """Whether both code points are defined. Some stand for "unspecified"."""
        return self.primaries in _PRIMARIES and (self.transfer in _CURVES or self.transfer in _HDR)

    @property
    def words(self) -> str:
        """The color space in words."""
        primaries = _PRIMARIES.get(self.primaries, (f"primaries {self.primaries}",))[0]
        curve = _CURVES.get(self.transfer, (_HDR.get(self.transfer, f"curve {self.transfer}"),))[0]
        return f"{primaries} with {curve}" + ("" if self.full_range else " of video range")


def pack(cicp: Cicp) -> bytes:
    """The content of PNG's chunk cICP, with the matrix coefficients of RGB."""
    return bytes([cicp.primaries, cicp.transfer, 0, cicp.full_range])


def parse(data: bytes) -> Cicp | None:
    """The inverse of `pack`; None for invalid bytes."""
    if len(data) != BYTES or data[2] != 0 or data[3] > 1:
        return None
    return Cicp(data[0], data[1], bool(data[3]))


def as_icc(cicp: Cicp, gray: bool) -> bytes:
    """An ICC profile of the same color space; empty if there is none, as for HDR."""
    if not cicp.full_range or cicp.primaries not in _PRIMARIES or cicp.transfer not in _CURVES:
        return b""
    _, primaries, white = _PRIMARIES[cicp.primaries]
    _, curve = _CURVES[cicp.transfer]
    return icc_writer.profile(cicp.words, curve, primaries, white, gray)
