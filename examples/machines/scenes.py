"""Photographs with numbers on them, like signs in a street: what the detector is to read.

The photographs are those in the wheels of scikit-image and matplotlib, the fonts matplotlib's
DejaVu. Those of training and of the test have nothing in common but the fonts.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CLASSES = 10
"""The digits 0 to 9."""

TRAINING = (
    "brick.png", "grass.png", "gravel.png", "camera.png", "coins.png", "moon.png",
    "hubble_deep_field.jpg", "retina.jpg", "ihc.png", "grace_hopper.jpg",
)  # fmt: skip

TEST = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")

FONTS = tuple(
    f"DejaVuSans{style}.ttf" for style in ("", "-Bold", "-Oblique", "Mono", "Mono-Bold")
) + ("DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf")

HEIGHTS = (11, 20)
"""Of digits, in pixels: the smallest and the largest."""

LENGTHS = (2, 3, 4)
"""How many digits a number has."""

SIGNS = 3
"""Numbers in a scene of the test."""

MOST_SIGNS = 6
"""Numbers in a crop for training; those that do not fit are left out."""

LEAST_CONTRAST = 70
"""Between digits and what they stand on, in gray levels."""

_CAP_HEIGHT = 0.73  # of digits in DejaVu, in relation to the size of the font


class SceneError(ValueError):
    """A scene cannot be made. The message says what is missing."""


class Digit(NamedTuple):
    """A digit in an image: its value, the center and the height in pixels."""

    value: int
    row: float
    column: float
    height: float


class Scene(NamedTuple):
    """An image uint8 [H, W, 3] and the digits in it."""

    name: str
    pixels: np.ndarray
    digits: tuple[Digit, ...]


def test_scenes(seed: int, per_photograph: int, largest_side: int | None = None) -> list[Scene]:
    """Scenes of the photographs for tests; `largest_side` cuts them."""
    rng = np.random.default_rng(seed)
    found = []
    for name in TEST:
        for number in range(per_photograph):
            pixels = photograph(name)[:largest_side, :largest_side].copy()
            if number % 2:
                pixels = pixels[:, ::-1].copy()
            found.append(Scene(f"{name.split('.')[0]}-{number}", *with_signs(rng, pixels, SIGNS)))
    return found


def training_crop(rng: np.random.Generator, side: int) -> tuple[np.ndarray, tuple[Digit, ...]]:
    """A crop uint8 [side, side, 3] of a training photograph, with up to `MOST_SIGNS` numbers."""
    source = photograph(TRAINING[rng.integers(len(TRAINING))])
    row, column = (rng.integers(extent - side + 1) for extent in source.shape[:2])
    crop = source[row : row + side, column : column + side].astype(np.float64)
    # Many of the photographs are gray: colors of one's own keep the detector from relying on that.
    crop = crop * rng.uniform(0.6, 1.2, 3) + rng.uniform(-30, 30, 3)
    pixels = np.clip(crop, 0, 255).astype(np.uint8)
    return with_signs(rng, pixels, int(rng.integers(MOST_SIGNS + 1)))


@functools.cache
def photograph(name: str) -> np.ndarray:
    """A photograph uint8 [H, W, 3] of a wheel. Raises `SceneError`."""
    import matplotlib
    import skimage.data

    if name == "grace_hopper.jpg":
        path = resources.files(matplotlib) / "mpl-data" / "sample_data" / name
    else:
        path = resources.files(skimage.data) / name
    try:
        with path.open("rb") as file:
            return np.asarray(Image.open(file).convert("RGB"))
    except FileNotFoundError as error:
        raise SceneError(f"{path}: this version of the package does not ship it") from error


@functools.lru_cache(maxsize=128)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    path = resources.files(matplotlib) / "mpl-data" / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), size)


def with_signs(
    rng: np.random.Generator, pixels: np.ndarray, count: int
) -> tuple[np.ndarray, tuple[Digit, ...]]:
    """An image with numbers that do not overlap, at most `count`, and their digits."""
    image = Image.fromarray(pixels)
    digits: list[Digit] = []
    taken: list[tuple[int, int, int, int]] = []
    for _ in range(count):
        height = int(rng.integers(HEIGHTS[0], HEIGHTS[1] + 1))
        font = _font(FONTS[rng.integers(len(FONTS))], round(height / _CAP_HEIGHT))
        values = rng.integers(CLASSES, size=rng.choice(LENGTHS))
        text = "".join(map(str, values))
        margin = 4
        width, full = round(font.getlength(text)) + 2 * margin, height + 2 * margin
        margins = image.height - full, image.width - width
        if min(margins) < 1:
            continue
        top, left = (int(rng.integers(extent)) for extent in margins)
        box = (left, top, left + width, top + full)
        if any(_overlap(box, other) for other in taken):
            continue
        taken.append(box)
        digits.extend(_draw(rng, image, font, values, box, margin))
    return np.asarray(image), tuple(digits)


def _overlap(box: Sequence[int], other: Sequence[int]) -> bool:
    return all(box[axis] < other[axis + 2] and other[axis] < box[axis + 2] for axis in (0, 1))


def _draw(
    rng: np.random.Generator,
    image: Image.Image,
    font: ImageFont.FreeTypeFont,
    values: np.ndarray,
    box: tuple[int, int, int, int],
    margin: int,
) -> list[Digit]:
    """Draws a number, half of the time on a plate; its digits."""
    draw = ImageDraw.Draw(image)
    left, _, _, bottom = box
    if rng.random() < 0.5:
        plate = rng.integers(256, size=3)
        draw.rectangle(box, tuple(map(int, plate)))
        ground = float(plate @ _LUMA)
    else:
        ground = float((np.asarray(image.crop(box)) @ _LUMA).mean())
    color = _contrasting(rng, ground)
    digits = []
    x, baseline = float(left + margin), bottom - margin
    for value in values:
        text = str(value)
        draw.text((x, baseline), text, color, font, anchor="ls")
        near, top, far, end = draw.textbbox((x, baseline), text, font, anchor="ls")
        digits.append(Digit(int(value), (top + end) / 2, (near + far) / 2, end - top))
        x += font.getlength(text)
    return digits


_LUMA = np.array([0.299, 0.587, 0.114])


def _contrasting(rng: np.random.Generator, ground: float) -> tuple[int, int, int]:
    """A color whose luma differs from that of the ground."""
    while True:
        color = rng.integers(256, size=3)
        if abs(float(color @ _LUMA) - ground) >= LEAST_CONTRAST:
            return tuple(map(int, color))
