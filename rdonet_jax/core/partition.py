"""The partition of an image: a quadtree that selects the level that codes each block.

A 64x64 block is coded at level 2 or split into four 32x32 blocks. Each of these is coded at level 1
or split into four 16x16 blocks of level 0. The partition gives the masks of the LS-Units of RDONet
(Brand, Fischer, Kaup, "Rate-Distortion Optimized Learned Image Compression Using Variable-Size
Latent Space Units"). All functions are array operations over leading batch axes and may be traced
by jit, except those marked "Host". NumPy arrays give NumPy arrays, and JAX is loaded only where its
arrays are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:
    import jax
    from numpy.typing import ArrayLike

Array = TypeVar("Array", bound=Any)
"""The arrays of a partition: JAX's or NumPy's, whose operations are the same here."""

BLOCK = 64
STRIDES = (16, 32, 64)
"""Pixels per latent position and side, by level."""

HYPER_STRIDE = 4
"""Latent positions per hyper-latent and side."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G, B in the luma of ITU-R BT.601."""


class PartitionError(ValueError):
    """A partition, or the input of one, breaks the rules of the quadtree."""


class Partition(NamedTuple, Generic[Array]):
    """The split decisions of all blocks of an image of H x W pixels.

    `split32` must be False wherever the parent block is not split.
    """

    split64: Array  # bool [..., H/64, W/64]: True = four 32x32 blocks
    split32: Array  # bool [..., H/32, W/32]: True = four 16x16 blocks


def block_grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of 64x64 blocks that cover an image of `height` x `width` pixels.

    Raises PartitionError for an empty image.
    """
    if height < 1 or width < 1:
        raise PartitionError(f"an image of {height}x{width} pixels has no blocks")
    return -(-height // BLOCK), -(-width // BLOCK)


def uniform(
    level: int, grid: tuple[int, int], batch: tuple[int, ...] = ()
) -> Partition[np.ndarray]:
    """The partition that codes every block at `level`; `grid` = (rows, columns) of blocks.

    Raises PartitionError when the level is not 0, 1 or 2.
    """
    if level not in (0, 1, 2):
        raise PartitionError(f"there is no level {level}: levels are 0, 1 and 2")
    rows, cols = grid
    return Partition(
        np.full((*batch, rows, cols), level < 2),
        np.full((*batch, 2 * rows, 2 * cols), level < 1),
    )


def uniform_of_image(level: int, height: int, width: int) -> Partition:
    """The trimmed partition that codes a whole image at `level`. Raises PartitionError for an image
    without pixels, and for a level that is not 0, 1 or 2."""
    return trim(uniform(level, block_grid(height, width)), height, width)


def random(
    key: jax.Array,
    grid: tuple[int, int],
    batch: tuple[int, ...] = (),
    p64: float = 2 / 3,
    p32: float = 1 / 2,
) -> Partition[jax.Array]:
    """A partition with independent random split decisions, as in the first training stage.

    `p64` and `p32` are the probabilities that a 64x64 block and a 32x32 block (of a split
    parent) are split; with the defaults each level covers a third of the area on average.
    """
    import jax

    rows, cols = grid
    key64, key32 = jax.random.split(key)
    split64 = jax.random.bernoulli(key64, p64, (*batch, rows, cols))
    split32 = jax.random.bernoulli(key32, p32, (*batch, 2 * rows, 2 * cols))
    return obey_parents(Partition(split64, split32))


def variance(x: Array, thresholds: tuple[float, float]) -> Partition[Array]:
    """The variance-based partition: a block is split if its variance exceeds a threshold.

    `x` is [..., H, W, 3] in [0, 1]; `thresholds` = (for 64x64 blocks, for 32x32 blocks), in
    squared gray levels of 8 bits. Raises PartitionError when H or W is no multiple of 64.
    """
    variance64, variance32 = block_variances(x)
    threshold64, threshold32 = thresholds
    split64 = variance64 > threshold64
    return obey_parents(Partition(split64, variance32 > threshold32))


def obey_parents(p: Partition[Array]) -> Partition[Array]:
    """`p` without splits of 32x32 blocks whose 64x64 block is not split."""
    return Partition(p.split64, p.split32 & _enlarge(p.split64, 2))


def block_variances(x: Array) -> tuple[Array, Array]:
    """Luma variance of every 64x64 and every 32x32 block, in squared gray levels of 8 bits.

    `x` is [..., H, W, 3] in [0, 1]; returns [..., H/64, W/64] and [..., H/32, W/32].
    Raises PartitionError when H or W is no multiple of 64.
    """
    if x.ndim < 3 or x.shape[-1] != 3 or x.shape[-3] % BLOCK or x.shape[-2] % BLOCK:
        raise PartitionError(
            f"images must be [..., H, W, 3] with H and W multiples of {BLOCK}, not {x.shape}"
        )
    red, green, blue = (255.0 * weight for weight in LUMA)
    luma = red * x[..., 0] + green * x[..., 1] + blue * x[..., 2]
    return _variances(luma, 64), _variances(luma, 32)


def level_masks(p: Partition[Array]) -> tuple[Array, Array, Array]:
    """By level, where it codes: bool [..., H/16, W/16], [..., H/32, W/32], [..., H/64, W/64].

    The arrays are NumPy's or JAX's as those of `p` are.
    """
    return (
        _enlarge(p.split32, 2),
        _enlarge(p.split64, 2) & ~p.split32,
        ~p.split64,
    )


def level_map(p: Partition[Array]) -> Array:
    """The level that codes each 16x16 pixels: uint8 [..., H/16, W/16], NumPy or JAX as `p` is."""
    splits = _enlarge(p.split64, 4).astype(np.uint8) + _enlarge(p.split32, 2)
    return (2 - splits).astype(np.uint8)


def from_level_map(levels: ArrayLike) -> Partition[np.ndarray]:
    """The inverse of `level_map`: from integers [H/16, W/16], NumPy arrays. Host.

    Raises PartitionError, which names the block, if `levels` is not that of a quadtree.
    """
    levels = np.asarray(levels)
    if levels.ndim != 2 or not levels.size or levels.shape[0] % 4 or levels.shape[1] % 4:
        raise PartitionError(
            "a level map needs one value per 16x16 pixels and whole 64x64 blocks, that is two"
            f" axes, both multiples of 4; its shape is {levels.shape}"
        )
    if levels.dtype.kind not in "iu":
        raise PartitionError(f"a level map holds integers, not {levels.dtype}")
    _raise_at_first(
        (levels < 0) | (levels > 2),
        16,
        lambda row, col: f"has level {levels[row, col]}, but levels are 0, 1 and 2",
    )
    split64 = _reduce(levels, 4, np.min) < 2
    _raise_at_first(
        split64 & (_reduce(levels, 4, np.max) == 2),
        64,
        lambda row, col: "is at level 2 (64x64) in one part and at a finer level in another",
    )
    split32 = _reduce(levels, 2, np.min) < 1
    _raise_at_first(
        split32 & (_reduce(levels, 2, np.max) == 1),
        32,
        lambda row, col: "is at level 1 (32x32) in one part and at level 0 in another",
    )
    return Partition(split64, split32)


def latent_size(size: Any, level: int) -> Any:
    """Rows or columns of latent positions of a level that contain a pixel of an image.

    `size` is the height or width of the image in pixels, without padding: a number, or an array of
    any shape.
    """
    return -(-size // STRIDES[level])


def extent_mask(extent: Any, grid: tuple[int, ...]) -> Any:
    """Which positions of a grid lie in its first rows and columns, bool [..., h, w].

    `extent` [..., 2]: how many rows and columns.
    """
    rows, cols = (np.arange(side) < extent[..., axis, None] for axis, side in enumerate(grid))
    return rows[..., :, None] & cols[..., None, :]


def inside_masks(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By level, which latent positions of the padded image contain a pixel of the image. Host.

    bool, shaped as `level_masks` for `height` x `width` padded to multiples of 64. Positions that
    contain only padding are never coded.
    """
    rows, cols = block_grid(height, width)
    size = np.array([height, width])
    return tuple(
        extent_mask(latent_size(size, level), (rows * BLOCK // stride, cols * BLOCK // stride))
        for level, stride in enumerate(STRIDES)
    )


def exclude_padding(
    masks: tuple[jax.Array, ...], sizes: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`level_masks` [B, h, w], False at positions that contain only padding.

    `sizes` int32 [B, 2] are the heights and widths of the images. `inside_masks` is the same for
    one image on the host.
    """
    return tuple(
        mask & extent_mask(latent_size(sizes, level), mask.shape[1:])
        for level, mask in enumerate(masks)
    )


def check_and_trim(p: Any, height: int, width: int) -> Partition[np.ndarray]:
    """A partition that somebody else has made, as NumPy arrays, trimmed to an image. Host.

    Raises PartitionError for what is no partition of an image of this size.
    """
    if not isinstance(p, Partition):
        raise PartitionError(f"a partition is a Partition, not {type(p).__name__}")
    p = Partition(*map(np.asarray, p))
    if any(splits.dtype != bool or splits.ndim != 2 for splits in p):
        raise PartitionError("a partition's splits are arrays of bool, [rows, columns]")
    trimmed = trim(p, height, width)
    if np.any(p.split32 & ~_enlarge(p.split64, 2)):
        raise PartitionError("a partition splits 32x32 blocks only where it splits the 64x64 block")
    return trimmed


def trim(p: Partition[Array], height: int, width: int) -> Partition[Array]:
    """`p` without the splits of 32x32 blocks that lie wholly in the padding.

    Those blocks are not coded, and neither are their splits. Raises PartitionError if `p` has not
    the size of such an image.
    """
    rows, cols = block_grid(height, width)
    shapes = p.split64.shape[-2:], p.split32.shape[-2:]
    if shapes != ((rows, cols), (2 * rows, 2 * cols)):
        raise PartitionError(
            f"an image of {height}x{width} pixels has {rows}x{cols} blocks of 64x64 pixels;"
            f" the partition has {shapes[0]} and {shapes[1]} split decisions"
        )
    return Partition(p.split64, p.split32 & inside_masks(height, width)[1])


def hyper_mask(mask: Array) -> Array:
    """Which hyper-latents are coded: those with a coded position among their 4x4 latents.

    bool [..., h, w] to bool [..., ceil(h/4), ceil(w/4)], NumPy or JAX as `mask` is.
    """
    return _tiles(_padded(mask, HYPER_STRIDE), HYPER_STRIDE).any(axis=(-3, -1))


def pad_image(image: np.ndarray) -> np.ndarray:
    """Pixels [H, W, 3] padded by replication at the bottom and the right, [1, ·, ·, 3].

    Height and width become multiples of 64.
    """
    bottom, right = ((-side) % BLOCK for side in image.shape[:2])
    return np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge")[None]


def tile_sums(values: Array, size: int) -> Array:
    """Sums over every size x size tile of the last two axes, NumPy or JAX as `values` are."""
    return _tiles(values, size).sum(axis=(-3, -1))


def bits_by_area(
    masks: tuple[jax.Array, ...], y_bits: tuple[jax.Array, ...], z_bits: tuple[jax.Array, ...]
) -> jax.Array:
    """The bits of every 16x16 pixels, [..., H/16, W/16], from the bits per position.

    The bits of a latent are spread evenly over its area. The bits of a hyper-latent are shared by
    the coded ones among its 4x4 latents, so no area without coded latents has bits. `masks` and
    `y_bits` are [..., H/s, W/s] by level, with stride s; `z_bits` have the shapes of `hyper_mask`.
    """
    total: Any = 0.0
    for level, (mask, y, z) in enumerate(zip(masks, y_bits, z_bits, strict=True)):
        rows, cols = mask.shape[-2:]
        coded_count = tile_sums(_padded(mask, HYPER_STRIDE), HYPER_STRIDE)
        shared = _enlarge(z / coded_count.clip(1), HYPER_STRIDE)[..., :rows, :cols]
        factor = 2**level
        total = total + _enlarge((y + mask * shared) / factor**2, factor)
    return total


def block_shares(p: Partition, height: int, width: int) -> tuple[float, float, float]:
    """By level, the share of the image's area that it codes, without padding. Host.

    `p` has no batch axes. Raises PartitionError if it has not the size of such an image.
    """
    levels = np.asarray(level_map(trim(p, height, width)))
    rows, cols = (
        np.clip(side - 16 * np.arange(count), 0, 16)
        for side, count in zip((height, width), levels.shape, strict=True)
    )
    area = np.bincount(levels.ravel(), weights=np.outer(rows, cols).ravel(), minlength=3)
    return tuple((area / (height * width)).tolist())


def _enlarge(values: Array, factor: int) -> Array:
    """Nearest-neighbor enlargement of the last two axes."""
    return values.repeat(factor, axis=-2).repeat(factor, axis=-1)


def _padded(mask: Any, size: int) -> Any:
    """`mask` padded with False at the end of the last two axes, to multiples of `size`."""
    rows, cols = mask.shape[-2:]
    padding = [(0, 0)] * (mask.ndim - 2) + [(0, -rows % size), (0, -cols % size)]
    if isinstance(mask, np.ndarray):
        return np.pad(mask, padding)
    import jax.numpy as jnp

    return jnp.pad(mask, padding)


def _tiles(values, size: int):
    """[..., h, w] to [..., h/size, size, w/size, size]."""
    *batch, rows, cols = values.shape
    return values.reshape(*batch, rows // size, size, cols // size, size)


def _reduce(values, size: int, function):
    """`function` over every size x size tile of the last two axes."""
    return function(_tiles(values, size), axis=(-3, -1))


def _variances(luma: Any, size: int) -> Any:
    """Population variance of every size x size tile of the last two axes."""
    tiles = _tiles(luma, size)
    # Relative to one of its own pixels, so that a flat block has exactly zero variance.
    tiles = tiles - tiles[..., :1, :, :1]
    return tiles.var(axis=(-3, -1))


def _raise_at_first(bad: np.ndarray, size: int, reason: Callable[[int, int], str]) -> None:
    """Raises PartitionError for the first True of `bad`, a map with one entry per block."""
    if bad.any():
        row, col = map(int, np.unravel_index(np.argmax(bad), bad.shape))
        raise PartitionError(
            f"the {size}x{size} block in row {row}, column {col} (pixels from row {row * size},"
            f" column {col * size}) {reason(row, col)}"
        )
