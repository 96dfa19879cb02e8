"""How much memory coding takes, counted by the arrays that exist at the peak, family by family."""

from __future__ import annotations

import math
from itertools import pairwise

from rdonet_jax.codec.portable import tiles
from rdonet_jax.core.config import BaselineConfig, PortableConfig, RDONetConfig
from rdonet_jax.core.partition import BLOCK, STRIDES

_SCALAR_BYTES = 4
_TAPS = 9
_POSITION_BYTES = 24
_SIMILARITY_MAPS = 21


def in_one_piece(scalars: int, grid: tuple[int, int]) -> int:
    """Bytes for an image of `grid` 64x64 blocks, coded as a whole with so many scalars a block."""
    return math.prod(grid) * (_SCALAR_BYTES * scalars + 3 * BLOCK**2)


def in_tiles(config: PortableConfig, grid: tuple[int, int]) -> int:
    """Bytes for an image that is coded in tiles, with everything coded at the finest level."""
    tile = max(map(math.prod, tiles.TILE_SHAPES)) * _SCALAR_BYTES * tile_scalars(config)
    return math.prod(grid) * (_held_bytes(config) + 3 * BLOCK**2) + tile


def of_search(features: tuple[int, ...], scalars: int, grid: tuple[int, int]) -> int:
    """Bytes that the search takes, which evaluates whole images.

    Their features are there all the time. The most is taken by the network, which has so many
    scalars a block, or behind it by MS-SSIM at the image's full size: both images, their products
    and what becomes of these in filtering and comparing them.
    """
    similarity = _SIMILARITY_MAPS * 3 * BLOCK**2
    most = _of_levels(features) + max(scalars, similarity)
    return math.prod(grid) * (_SCALAR_BYTES * most + 2 * 3 * BLOCK**2)


def rdonet_scalars(config: RDONetConfig) -> int:
    """Of a 64x64 block, besides its pixels, at the peak.

    The most is taken by one of the transposed convolutions of g_s (those of g_a mirror them), which
    holds its input and its output, or the output before and after its phases become pixels. The
    state before g_s and the symbols of all levels are there all the time.
    """
    first, second, third = config.trunk
    # Scalars per block of the activations at 1/8, 1/4, 1/2 and the whole of the image's size.
    sides = (BLOCK // 8, BLOCK // 4, BLOCK // 2, BLOCK)
    sizes = [n * side**2 for n, side in zip((third, second, first, 3), sides, strict=True)]
    peak = max(after + max(before, after) for before, after in pairwise(sizes))
    return peak + sizes[0] + _of_levels(config.latents)


def baseline_scalars(config: BaselineConfig) -> int:
    """Of a 64x64 block, besides its pixels, at the peak.

    A transposed convolution of g_s as in `rdonet_scalars`, but its input stays for the GDN behind
    it, whose squares are one more copy. y, y_hat, mu, symbols and table indices, and twice as much
    that z tells, are there all the time.
    """
    sides = (BLOCK // 8, BLOCK // 4) if len(config.trunk) == 2 else (8, 16, 32)
    sizes = [n * side**2 for n, side in zip(reversed(config.trunk), sides, strict=True)]
    sizes = [config.latents * (BLOCK // STRIDES[0]) ** 2, *sizes, 3 * BLOCK**2]
    peak = max(before + 2 * after for before, after in pairwise(sizes))
    return peak + 7 * sizes[0]


def _held_bytes(config: PortableConfig) -> int:
    """Of a 64x64 block, on the host besides its pixels, at the peak.

    The encoder's, where it learns what the finest level is to say: the features, the guess of them
    and the latents as floats. Symbols of 16 bits and table indices of all levels wait for the range
    coder when the features are gone, and take less. Embeddings and what is known are 8-bit
    integers, and there are the indices of positions.
    """
    floats = 2 * config.features[0] + config.latents[0]
    small = config.embedding + 2 * config.conditioning + _POSITION_BYTES
    positions = (BLOCK // STRIDES[0]) ** 2
    # A quarter more for the level before, which is remembered.
    return positions * (_SCALAR_BYTES * floats + small + small // 4)


def tile_scalars(config: PortableConfig) -> int:
    """Of a 64x64 block of a window, or of an image that is coded as a whole, at the peak.

    That is the analysis, which holds the image as floats before and after its pixels become
    channels, the trunk and the features of all levels; or the way past the finest level with its
    latents (wanted, predicted, as symbols, in steps, in units), features and embeddings, to the
    trunk; or the way from the trunk to pixels, with the filter before they are put in place.
    Besides, libraries of convolutions gather the 3×3 inputs of every output.
    """
    trunk = config.trunk * (BLOCK // 8) ** 2
    features = config.features[0] * (BLOCK // STRIDES[0]) ** 2
    analysis = 2 * 3 * BLOCK**2 + trunk + _of_levels(config.features) + _TAPS * trunk
    per_position = 5 * config.latents[0] + 2 * config.features[0] + config.embedding
    finest = per_position * (BLOCK // STRIDES[0]) ** 2 + trunk + _TAPS * features
    pixels = (2 + (_TAPS if config.finish else 0)) * 3 * BLOCK**2
    last = trunk + pixels + config.finish * (BLOCK // 4) ** 2
    return max(analysis, finest, last) + 2 * _of_levels(config.latents)


def _of_levels(channels: tuple[int, ...]) -> int:
    """Scalars of a 64x64 block with so many channels at the positions of each level."""
    return sum(n * (BLOCK // s) ** 2 for n, s in zip(channels, STRIDES, strict=True))
