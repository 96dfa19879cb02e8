"""Types of command-line arguments: functions from a text to a value, for argparse.

Each raises `argparse.ArgumentTypeError` for a text that is no such value.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path

from rdonet_jax.core.shard import Shard
from rdonet_jax.imaging.formats.writable import WRITABLE_FORMATS
from rdonet_jax.storage import urls

MOST_BYTES = 2**62
"""The largest size of a file that can be asked for."""


def name(text: str) -> str:
    """An argument that names something."""
    if not text:
        raise argparse.ArgumentTypeError("a name must not be empty")
    return text


def local_path(text: str) -> Path:
    """An argument that is a local path where URLs are not taken."""
    if urls.is_url(text):
        raise argparse.ArgumentTypeError(f"{text} is a URL, and a local path is needed here")
    return Path(text)


def suffix(text: str) -> str:
    """An argument that is the suffix of a format that is written, with or without its dot."""
    found = "." + name(text.removeprefix(".")).lower()
    if found not in WRITABLE_FORMATS:
        raise argparse.ArgumentTypeError(
            f"{text!r} names no format that can be written, which are {' '.join(WRITABLE_FORMATS)}"
        )
    return found


def quality(text: str) -> float:
    """An argument that is a quality."""
    return _limited(text, "is no number from 0 to 100", lambda value: 0 <= value <= 100)


def positive_number(text: str) -> float:
    """An argument that is a positive number."""
    return _limited(text, "is no positive number", lambda value: 0 < value < math.inf)


def similarity(text: str) -> float:
    """An argument that is an MS-SSIM."""
    return _limited(text, "is no number between 0 and 1", lambda value: 0 < value < 1)


def score(text: str) -> float:
    """An argument that is a SSIMULACRA2."""
    return _limited(text, "is no positive number up to 100", lambda value: 0 < value <= 100)


def _limited(text: str, what: str, is_valid: Callable[[float], bool]) -> float:
    """A number. Refuses another one by saying `what` it is."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not is_valid(value):
        raise argparse.ArgumentTypeError(f"{text!r} {what}")
    return value


def roi_box(text: str) -> tuple[int, int, int, int, float | None]:
    """An argument that is a box of an image, X,Y,W,H with or without :GAIN."""
    parts = re.fullmatch(r"(\d{1,9}),(\d{1,9}),(\d{1,9}),(\d{1,9})(?::(.*))?", text, re.ASCII)
    if not parts:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no box X,Y,WIDTH,HEIGHT or X,Y,WIDTH,HEIGHT:GAIN in whole pixels"
        )
    x, y, width, height = map(int, parts.groups()[:4])
    if parts[5] is None:
        return x, y, width, height, None
    what = "is no gain from -100 to 100"
    return x, y, width, height, _limited(parts[5], what, lambda value: -100 <= value <= 100)


def shard(text: str) -> Shard:
    """An argument that is a part of a list, such as 2/4."""
    parts = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    found = Shard(*map(int, parts.groups())) if parts else Shard(0, 0)
    if not 1 <= found.number <= found.count:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no part of a whole: I/N with I from 1 to N, such as 2/4"
        )
    return found


def byte_count(text: str) -> int:
    """An argument that is a number of bytes: 40000, 40k, 40 kB, 39KiB, 1.5M, ... in any case."""
    parts = re.fullmatch(r"(.*?)\s*(?:([kmg])(i?))?b?", text, re.IGNORECASE | re.DOTALL)
    number, unit, binary = parts.groups()
    factor = (1024 if binary else 1000) ** " kmg".index((unit or " ").lower())
    try:
        return int(min(positive_number(number) * factor, MOST_BYTES)) or 1
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size, such as 40000, 40k or 40KiB"
        ) from error


def iterations(text: str) -> int:
    """An argument that counts iterations of a refinement; 0 is none."""
    from rdonet_jax.core.defaults import MAX_REFINEMENTS

    if not (text.isascii() and text.isdigit() and int(text) <= MAX_REFINEMENTS):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {MAX_REFINEMENTS}")
    return int(text)


def positive_integer(text: str) -> int:
    """An argument that counts something."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


def color(text: str) -> tuple[int, int, int]:
    """An argument that is a color, as 8-bit RGB."""
    from PIL import ImageColor

    try:
        red, green, blue = tuple(ImageColor.getrgb(text))
    except ValueError as error:  # of four numbers too
        raise argparse.ArgumentTypeError(f"{text!r} is no opaque color") from error
    return red, green, blue
