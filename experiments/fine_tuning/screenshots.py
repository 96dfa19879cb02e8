"""Images unlike photographs: screens with text, code, tables and charts, drawn with free fonts.

Everything is drawn from a seed. The fonts are those that Matplotlib brings (DejaVu, STIX, Computer
Modern), and the words are made of syllables.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""

SIZES = ((640, 480), (800, 600), (1024, 640), (960, 720))
"""Widths and heights of the images."""

_FONTS = Path(matplotlib.get_data_path()) / "fonts/ttf"
_PROPORTIONAL = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSerif-Italic",
                 "STIXGeneral", "cmr10", "cmss10")  # fmt: skip
_MONOSPACED = ("DejaVuSansMono", "DejaVuSansMono-Bold", "cmtt10")
_SYLLABLES = (
    "ba", "co", "de", "fi", "gu", "ha", "in", "jo", "ka", "lo", "me", "no", "ou", "pa", "que",
    "ri", "so", "ta", "un", "ve", "wi", "xy", "zo", "str", "ent", "ing",
)  # fmt: skip


class _Screen:
    """What is drawn into: an image with its colors and its source of chance."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.rng = rng
        self.is_dark = bool(rng.random() < 0.4)
        low, high = (20, 60) if self.is_dark else (225, 256)
        self.paper: Color = tuple(int(v) for v in rng.integers(low, high, 3))
        self.ink: Color = (225, 225, 220) if self.is_dark else (20, 20, 25)
        self.image = Image.new("RGB", size, self.paper)
        self.draw = ImageDraw.Draw(self.image)

    def accent(self) -> Color:
        """A color that stands out from the paper."""
        low, high = (120, 256) if self.is_dark else (0, 170)
        return tuple(int(v) for v in self.rng.integers(low, high, 3))

    def font(
        self, names: tuple[str, ...], least: int = 10, most: int = 18
    ) -> ImageFont.FreeTypeFont:
        name = names[self.rng.integers(len(names))]
        return ImageFont.truetype(_FONTS / f"{name}.ttf", int(self.rng.integers(least, most)))

    def word(self) -> str:
        count = self.rng.integers(1, 5)
        word = "".join(_SYLLABLES[i] for i in self.rng.integers(len(_SYLLABLES), size=count))
        return word.capitalize() if self.rng.random() < 0.15 else word

    def line(self, font: ImageFont.FreeTypeFont, width: int) -> str:
        """As many words as fit."""
        line = self.word()
        while font.getlength(longer := f"{line} {self.word()}") <= width:
            line = longer
        return line


def _paragraphs(screen: _Screen, box: Box) -> None:
    font = screen.font(_PROPORTIONAL)
    height = int(1.4 * font.size)
    for y in range(box[1], box[3] - height, height):
        if screen.rng.random() < 0.9:
            color = screen.ink if screen.rng.random() < 0.95 else screen.accent()
            screen.draw.text((box[0], y), screen.line(font, box[2] - box[0]), color, font)


def _code(screen: _Screen, box: Box) -> None:
    font = screen.font(_MONOSPACED, 10, 15)
    height, step = int(1.35 * font.size), font.getlength("m")
    colors = [screen.ink, *(screen.accent() for _ in range(3))]
    indent = 0
    for y in range(box[1], box[3] - height, height):
        indent = int(np.clip(indent + screen.rng.integers(-1, 2), 0, 4))
        x = box[0] + 4 * indent * step
        for _ in range(screen.rng.integers(0, 7)):
            word = screen.word() + ("() = ", ", ", ": ", " ")[screen.rng.integers(4)]
            if x + font.getlength(word) > box[2]:
                break
            screen.draw.text((x, y), word, colors[screen.rng.integers(len(colors))], font)
            x += font.getlength(word)


def _table(screen: _Screen, box: Box) -> None:
    font = screen.font(_PROPORTIONAL, 10, 15)
    height, columns = int(1.8 * font.size), int(screen.rng.integers(2, 6))
    width, line = (box[2] - box[0]) // columns, screen.accent()
    for row, y in enumerate(range(box[1], box[3] - height, height)):
        if row % 2 and screen.rng.random() < 0.8:
            shade = tuple(int(0.9 * p + 0.1 * q) for p, q in zip(screen.paper, line, strict=True))
            screen.draw.rectangle((box[0], y, box[0] + columns * width, y + height), shade)
        for column in range(columns):
            text = f"{screen.rng.normal() * 100:.2f}" if row and column else screen.word()
            screen.draw.text((box[0] + column * width + 5, y + 3), text, screen.ink, font)
        screen.draw.line((box[0], y, box[0] + columns * width, y), line)


def _chart(screen: _Screen, box: Box) -> None:
    left, top, right, bottom = box
    screen.draw.line((left, top, left, bottom, right, bottom), screen.ink, 2)
    count = int(screen.rng.integers(6, 30))
    xs = np.linspace(left + 5, right - 5, count)
    if screen.rng.random() < 0.5:
        color, width = screen.accent(), (right - left) / count * 0.35
        for x, y in zip(xs, screen.rng.uniform(top, bottom - 2, count), strict=True):
            screen.draw.rectangle((x - width, y, x + width, bottom - 2), color)
        return
    for _ in range(screen.rng.integers(1, 4)):
        values = np.cumsum(screen.rng.normal(size=count))
        ys = bottom - 4 - (values - values.min()) / max(np.ptp(values), 1e-6) * (bottom - top - 8)
        points = list(zip(xs.tolist(), ys.tolist(), strict=True))
        screen.draw.line(points, screen.accent(), int(screen.rng.integers(1, 4)))


_PANES: tuple[Callable[[_Screen, Box], None], ...] = (_paragraphs, _code, _table, _chart)


def _bar(screen: _Screen, height: int) -> None:
    """A title bar with its buttons and its menu."""
    width, color, font = screen.image.width, screen.accent(), screen.font(_PROPORTIONAL, 11, 15)
    screen.draw.rectangle((0, 0, width, height), color)
    over = (255, 255, 255) if sum(color) < 380 else (0, 0, 0)
    screen.draw.text((10, 4), screen.line(font, width // 3), over, font)
    for number in range(3):
        right = width - 10 - 24 * number
        screen.draw.ellipse((right - 14, 6, right, 20), over, color)


def screenshot(rng: np.random.Generator) -> Image.Image:
    """An image of a screen with one to four panes."""
    screen = _Screen(rng, SIZES[rng.integers(len(SIZES))])
    width, height, bar = *screen.image.size, 26
    across, down = (int(rng.integers(1, 3)) for _ in range(2))
    for column in range(across):
        for row in range(down):
            left, top = column * width // across, bar + row * (height - bar) // down
            right, bottom = (column + 1) * width // across, bar + (row + 1) * (height - bar) // down
            pane = _PANES[rng.integers(len(_PANES))]
            pane(screen, (left + 12, top + 10, right - 12, bottom - 10))
            screen.draw.rectangle((left, top, right, bottom), None, screen.accent())
    _bar(screen, bar)
    return screen.image


def write(folder: Path, count: int, seed: int) -> None:
    """Writes so many images into a new folder, as PNG. Raises `OSError` if it exists."""
    folder.mkdir(parents=True)
    for number in range(count):
        screenshot(np.random.default_rng([seed, number])).save(folder / f"{number:03}.png")
