"""Draws partitions, maps of bits, and comparisons of original and decoded images."""

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rdonet_jax.core import partition

LEVEL_COLORS = ((214, 34, 40), (250, 200, 30), (36, 165, 52))
"""Red, yellow and green, for blocks of 16, 32 and 64 pixels."""

TINT_OPACITY = 0.45
DARKEST_GRAY = 60.0  # black becomes this gray, so that tints of dark areas can be told apart
BORDER_OPACITY = 0.9
BORDER_SHADE = 0.6  # the color of a border is that of its block times this factor
SMALLEST_BORDERED_BLOCK = 5  # in drawn pixels; smaller blocks have no border

BITS_COLORS = (
    (6, 6, 28),
    (50, 18, 110),
    (115, 33, 130),
    (180, 55, 110),
    (225, 92, 72),
    (243, 137, 45),
    (250, 188, 45),
    (250, 232, 90),
    (255, 254, 205),
)
"""Colors of 1/64, 1/32 ... 4 bits per pixel, from dark to bright in equal steps of luma."""

FEWEST_BITS = 1 / 64  # per pixel; this and less has the first of BITS_COLORS
SCALE_STEP = 64  # drawn pixels from one of BITS_COLORS to the next in their legend
SCALE_HEIGHT = 28

PANEL_SIDE = 640  # longer side of a panel, drawn pixels
WIDE_PANEL_SIDE = 1280  # the same for wide images, whose panels are stacked
WIDE_ASPECT = 2.0
LARGEST_ENLARGEMENT = 16

MARGIN = 24
LINE_GAP = 10
HEADING_SIZE = 26
TEXT_SIZE = 22
PAPER = (255, 255, 255)
INK = (24, 24, 24)
QUIET_INK = (96, 96, 96)


def draw_mask(image: np.ndarray, level_map: np.ndarray) -> np.ndarray:
    """The image, uint8 [H, W, 3], with its blocks tinted by level and outlined.

    `level_map` is the level of each 16x16 position, [ceil(H/64)*4, ceil(W/64)*4]. Raises
    PartitionError if it is no quadtree, and ValueError if it does not fit the image, and for an
    image of another type or shape.
    """
    _require_rgb8(image)
    _require_fit(image.shape, level_map)
    height, width = image.shape[:2]
    return _tint(image, level_map, np.arange(height), np.arange(width))


def draw_bits(density: np.ndarray, level_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map of the bits of an image of `size` = (H, W), uint8 [H, W, 3], with outlined blocks.

    `density` is the bits per pixel spent in each 16x16 area, on the grid of `level_map` (see
    `draw_mask`). The colors are those of `bits_colors`, the same for every image. Raises as
    `draw_mask` does, and ValueError for a density of another shape.
    """
    _require_fit(size, level_map)
    if density.shape != level_map.shape:
        raise ValueError(
            f"the level map is {list(level_map.shape)} but the bits are {list(density.shape)}"
        )
    rows, cols = (np.arange(side) for side in size)
    cells = np.ix_(rows // partition.STRIDES[0], cols // partition.STRIDES[0])
    colors = bits_colors(density)[cells]
    shade = np.where(_borders(level_map[cells], rows, cols), BORDER_SHADE, 1.0)
    return np.round(shade[..., None] * colors).astype(np.uint8)


def draw_bits_scale() -> np.ndarray:
    """The legend of `draw_bits`, uint8 [h, w, 3]: colors, and the bits per pixel below them."""
    stops = len(BITS_COLORS)
    octaves = np.arange(stops * SCALE_STEP) / SCALE_STEP - 0.5
    strip = np.round(bits_colors(FEWEST_BITS * np.exp2(octaves))).astype(np.uint8)
    height = SCALE_HEIGHT + TEXT_SIZE + 2 * LINE_GAP
    sheet = Image.new("RGB", (len(octaves), height), PAPER)
    sheet.paste(Image.fromarray(np.repeat(strip[None], SCALE_HEIGHT, axis=0)), (0, 0))
    canvas = ImageDraw.Draw(sheet)
    for i in range(stops):
        label = str(Fraction(FEWEST_BITS) * 2**i) + (" bpp" if i == stops - 1 else "")
        middle = (i + 0.5) * SCALE_STEP - _text_width(label, TEXT_SIZE) / 2
        canvas.text((middle, SCALE_HEIGHT + LINE_GAP), label, fill=INK, font=_font(TEXT_SIZE))
    return np.array(sheet)


def bits_colors(density: np.ndarray) -> np.ndarray:
    """The colors [..., 3], 0 to 255, of bits per pixel [...], on a logarithmic scale.

    Colors between the `BITS_COLORS` are interpolated. Values outside of the scale are clipped.
    """
    octaves = np.log2(np.maximum(density, FEWEST_BITS) / FEWEST_BITS)
    stops = np.arange(len(BITS_COLORS))
    channels = np.array(BITS_COLORS, np.float64).T
    return np.stack([np.interp(octaves, stops, channel) for channel in channels], axis=-1)


def quality_caption(bpp: float, psnr: float, ms_ssim: float | None = None) -> str:
    """A line of text with bits per pixel, PSNR in dB and, if given, MS-SSIM (linear, up to 1)."""
    parts = [f"{bpp:.3f} bpp", f"{psnr:.2f} dB PSNR"]
    if ms_ssim is not None:
        parts.append(f"{ms_ssim:.4f} MS-SSIM")
    return " · ".join(parts)


def comparison(
    original: np.ndarray,
    decoded: np.ndarray,
    level_map: np.ndarray,
    name: str = "",
    caption: str = "",
) -> np.ndarray:
    """Original, decoded image and block sizes side by side with captions, uint8 [h, w, 3].

    Both images are uint8 [H, W, 3], `level_map` is that of `draw_mask`.
    Wide images are stacked instead. Large images are reduced, small ones enlarged by an integer
    factor. `name` is the line below the original, `caption` (see `quality_caption`) the line
    below the decoded image. Below the blocks is a legend with the share of each level in the
    image's area.

    Raises ValueError if the arrays do not fit each other, and for images of another type or shape,
    and PartitionError if `level_map` is no quadtree.
    """
    for image in (original, decoded):
        _require_rgb8(image)
    if original.shape != decoded.shape:
        raise ValueError(
            f"the original is {list(original.shape)} but the decoded image {list(decoded.shape)}"
        )
    tree = _require_fit(original.shape, level_map)
    height, width = original.shape[:2]
    is_wide = width > WIDE_ASPECT * height
    size = _panel_size(height, width, WIDE_PANEL_SIDE if is_wide else PANEL_SIDE)
    backdrop = _resize(original, size)
    mask = _tint(backdrop, level_map, _source(size[0], height), _source(size[1], width))
    name_line = f"{name} · {width} x {height}" if name else f"{width} x {height}"
    shares = partition.block_shares(tree, height, width)
    panels = (
        _Panel(backdrop, "Original", _Text(name_line)),
        _Panel(_resize(decoded, size), "Decoded", _Text(caption)),
        _Panel(mask, "Block sizes", _Legend(shares)),
    )
    return _arrange(panels, is_wide)


class _Text(NamedTuple):
    """One line of text."""

    text: str

    def width(self) -> int:
        return _text_width(self.text, TEXT_SIZE)

    def draw(self, canvas: ImageDraw.ImageDraw, x: int, y: int) -> None:
        canvas.text((x, y), self.text, fill=QUIET_INK, font=_font(TEXT_SIZE))


class _Legend(NamedTuple):
    """For each level a square of its color, the size of its blocks and its share of the area."""

    shares: tuple[float, float, float]

    def _labels(self) -> list[str]:
        return [
            f"{stride} px: {100 * share:.0f} %"
            for stride, share in zip(partition.STRIDES, self.shares, strict=True)
        ]

    def _steps(self) -> list[int]:
        """The width of each entry with the gap that follows it."""
        return [2 * TEXT_SIZE + _text_width(label, TEXT_SIZE) for label in self._labels()]

    def width(self) -> int:
        return sum(self._steps())

    def draw(self, canvas: ImageDraw.ImageDraw, x: int, y: int) -> None:
        swatch = round(0.8 * TEXT_SIZE)
        top = y + round(0.15 * TEXT_SIZE)
        for color, label, step in zip(LEVEL_COLORS, self._labels(), self._steps(), strict=True):
            outline = _darkened(color)
            canvas.rectangle((x, top, x + swatch, top + swatch), fill=color, outline=outline)
            canvas.text((x + swatch + 8, y), label, fill=QUIET_INK, font=_font(TEXT_SIZE))
            x += step


class _Panel(NamedTuple):
    """An image with a heading and one more line below it."""

    image: np.ndarray
    heading: str
    line: _Text | _Legend

    def width(self) -> int:
        heading = _text_width(self.heading, HEADING_SIZE)
        return max(self.image.shape[1], heading, self.line.width())

    def height(self) -> int:
        return self.image.shape[0] + HEADING_SIZE + TEXT_SIZE + 2 * LINE_GAP


def _arrange(panels: tuple[_Panel, ...], one_above_the_other: bool) -> np.ndarray:
    widths, heights = [p.width() for p in panels], [p.height() for p in panels]
    gaps = MARGIN * (len(panels) + 1)
    if one_above_the_other:
        size = (max(widths) + 2 * MARGIN, sum(heights) + gaps)
    else:
        size = (sum(widths) + gaps, max(heights) + 2 * MARGIN)
    sheet = Image.new("RGB", size, PAPER)
    canvas = ImageDraw.Draw(sheet)
    x = y = MARGIN
    for panel, width, height in zip(panels, widths, heights, strict=True):
        sheet.paste(Image.fromarray(panel.image), (x, y))
        below = y + panel.image.shape[0] + LINE_GAP
        canvas.text((x, below), panel.heading, fill=INK, font=_font(HEADING_SIZE))
        panel.line.draw(canvas, x, below + HEADING_SIZE + LINE_GAP)
        if one_above_the_other:
            y += height + MARGIN
        else:
            x += width + MARGIN
    return np.array(sheet)


def _require_rgb8(image: np.ndarray) -> None:
    """Raises ValueError unless the image is uint8 [H, W, 3]."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            "an image to be drawn is uint8 [height, width, 3], "
            f"not {image.dtype} {list(image.shape)}"
        )


def _require_fit(shape: tuple[int, ...], level_map: np.ndarray) -> partition.Partition:
    """The partition of a level map. Raises as `draw_mask` does for an image of this shape."""
    rows, cols = partition.block_grid(*shape[:2])
    if level_map.shape != (4 * rows, 4 * cols):
        raise ValueError(
            f"an image of {shape[0]} x {shape[1]} pixels has a level map of {4 * rows} x "
            f"{4 * cols}, not of shape {list(level_map.shape)}"
        )
    return partition.from_level_map(level_map)


def _panel_size(height: int, width: int, longer_side: int) -> tuple[int, int]:
    """Height and width of a drawn image: reduced to fit, or enlarged by an integer factor."""
    scale = longer_side / max(height, width)
    if scale >= 1:
        scale = min(int(scale), LARGEST_ENLARGEMENT)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    is_larger = size[0] >= image.shape[0] and size[1] >= image.shape[1]
    method = Image.Resampling.NEAREST if is_larger else Image.Resampling.LANCZOS
    return np.array(Image.fromarray(np.ascontiguousarray(image)).resize(size[::-1], method))


def _source(drawn: int, pixels: int) -> np.ndarray:
    """The row (or column) of the image that each of the `drawn` rows shows."""
    return ((np.arange(drawn) + 0.5) * pixels / drawn).astype(int)


def _tint(
    image: np.ndarray, level_map: np.ndarray, rows: np.ndarray, cols: np.ndarray
) -> np.ndarray:
    """Draws blocks over an image [h, w, 3] whose pixels show these rows and columns."""
    levels = level_map[np.ix_(rows // partition.STRIDES[0], cols // partition.STRIDES[0])]
    is_border = _borders(levels, rows, cols)
    colors = np.array(LEVEL_COLORS, np.float32)
    tint = np.where(is_border[..., None], np.float32(BORDER_SHADE) * colors[levels], colors[levels])
    opacity = np.where(is_border, BORDER_OPACITY, TINT_OPACITY).astype(np.float32)[..., None]
    return np.round((1 - opacity) * _gray(image) + opacity * tint).astype(np.uint8)


def _borders(levels: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """True on the first row and column of every block, given the level of each drawn pixel."""
    is_border = np.zeros(levels.shape, bool)
    drawn_per_pixel = len(rows) / (rows[-1] + 1)
    for level, stride in enumerate(partition.STRIDES):
        if stride * drawn_per_pixel >= SMALLEST_BORDERED_BLOCK:
            edges = _starts(rows // stride)[:, None] | _starts(cols // stride)[None, :]
            is_border |= (levels == level) & edges
    return is_border


def _starts(indices: np.ndarray) -> np.ndarray:
    """True where an index differs from the one before it."""
    return np.diff(indices, prepend=-1) != 0


def _gray(image: np.ndarray) -> np.ndarray:
    """The luma [h, w, 1], scaled to DARKEST_GRAY ... white. Only the blocks have a color."""
    luma = image @ np.array(partition.LUMA, np.float32)
    return (DARKEST_GRAY + (255.0 - DARKEST_GRAY) / 255.0 * luma)[..., None]


def _darkened(color: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = (round(BORDER_SHADE * c) for c in color)
    return red, green, blue


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text_width(text: str, size: int) -> int:
    return int(np.ceil(_font(size).getlength(text)))
