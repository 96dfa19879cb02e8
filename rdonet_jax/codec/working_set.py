"""Estimates of the memory for coding: the sizes of the arrays that exist at the peak.

"Scalars per block" are float32 values per 64x64 block, without the pixels of the image.
"""

from __future__ import annotations

import math
from itertools import pairwise

from rdonet_jax.codec import tiles
from rdonet_jax.core.config import BaselineConfig, PortableConfig, RDONetConfig
from rdonet_jax.core.partition import BLOCK, STRIDES

_SCALAR_BYTES = 4
_TAPS = 9
"""Inputs of a 3×3 convolution, which libraries gather for every output."""
_POSITION_BYTES = 24
"""Indices of a coded position in the lists of `codec.portable.state`."""
_GRADIENT_PASSES = 2
"""What the gradient of a pass keeps, in terms of what the pass takes at its peak."""
_ORIGINAL_MAPS = 5
"""Arrays of the size of the image that MS-SSIM keeps of the original, of all scales."""
_SIMILARITY_MAPS = 7
"""Those that it holds at the peak besides: a decoded image, its moments, and what is compared."""


def untiled_bytes(scalars: int, grid: tuple[int, int]) -> int:
    """Bytes for an image of `grid` 64x64 blocks, coded as a whole with these scalars per block."""
    return math.prod(grid) * (_SCALAR_BYTES * scalars + 3 * BLOCK**2)


def tiled_bytes(config: PortableConfig, grid: tuple[int, int]) -> int:
    """Bytes for an image that is coded in tiles, with all of it coded at the finest level."""
    most_blocks = max(*map(math.prod, tiles.TILE_SHAPES), tiles.LARGEST_SIDE**2)
    tile = most_blocks * _SCALAR_BYTES * portable_scalars(config)
    return math.prod(grid) * (_host_bytes(config) + 3 * BLOCK**2) + tile


def search_bytes(features: tuple[int, ...], scalars: int, grid: tuple[int, ...]) -> int:
    """Bytes for evaluating `grid` blocks at once in a search.

    The features of all levels and what MS-SSIM keeps of the original exist all the time. The peak
    is in the network, which has `scalars` per block, or in MS-SSIM at full size.
    """
    kept = _level_scalars(features) + _ORIGINAL_MAPS * 3 * BLOCK**2
    peak = kept + max(scalars, _SIMILARITY_MAPS * 3 * BLOCK**2)
    return math.prod(grid) * (_SCALAR_BYTES * peak + 2 * 3 * BLOCK**2)


def tiled_search_bytes(config: PortableConfig, grid: tuple[int, int], part: tuple[int, ...]) -> int:
    """Bytes for a search in tiles of `part` blocks: as for coding, and the decoded image."""
    evaluation = search_bytes(config.features, portable_scalars(config), part)
    return tiled_bytes(config, grid) + math.prod(grid) * 3 * BLOCK**2 + evaluation


def refining_bytes(config: PortableConfig, grid: tuple[int, int], tile_blocks: int) -> int:
    """Bytes for a refinement of latents, in tiles of so many blocks.

    Coding the image, two copies of its latents, and the decoded image. In a tile, the gradient
    keeps what the whole pass and MS-SSIM compute.
    """
    held = 2 * _SCALAR_BYTES * _level_scalars(config.latents) + 3 * BLOCK**2
    computed = portable_scalars(config) + _SIMILARITY_MAPS * 3 * BLOCK**2
    per_block = _GRADIENT_PASSES * computed + _ORIGINAL_MAPS * 3 * BLOCK**2
    tile = tile_blocks * _SCALAR_BYTES * per_block
    return tiled_bytes(config, grid) + math.prod(grid) * held + tile


def rdonet_scalars(config: RDONetConfig) -> int:
    """Scalars per block of a fixed-rate model, at the peak.

    The peak is in one of the transposed convolutions of g_s (those of g_a mirror them). It holds
    its input and its output, or the output before and after depth-to-space. The state before g_s
    and the symbols of all levels exist all the time.
    """
    first, second, third = config.trunk
    # Activations at 1/8, 1/4, 1/2 and the full size of the image.
    sides = (BLOCK // 8, BLOCK // 4, BLOCK // 2, BLOCK)
    sizes = [n * side**2 for n, side in zip((third, second, first, 3), sides, strict=True)]
    peak = max(after + max(before, after) for before, after in pairwise(sizes))
    return peak + sizes[0] + _level_scalars(config.latents)


def baseline_scalars(config: BaselineConfig) -> int:
    """Scalars per block of a baseline, at the peak.

    The peak is in a transposed convolution of g_s as in `rdonet_scalars`. But its input is kept
    during the GDN that follows, and the squares in the GDN are one more copy. y, y_hat, mu,
    symbols, scale indices and the hyperprior features (twice the channels of y) exist all the time.
    """
    sides = (BLOCK // 8, BLOCK // 4) if len(config.trunk) == 2 else (8, 16, 32)
    sizes = [n * side**2 for n, side in zip(reversed(config.trunk), sides, strict=True)]
    sizes = [config.latents * (BLOCK // STRIDES[0]) ** 2, *sizes, 3 * BLOCK**2]
    peak = max(before + 2 * after for before, after in pairwise(sizes))
    return peak + 7 * sizes[0]


def _host_bytes(config: PortableConfig) -> int:
    """Bytes per 64x64 block of the arrays on the host, without the pixels, at the peak.

    The peak is in the encoder when it computes the latents of the finest level. There are the
    features, their prediction d, and the latents as floats. Later there are symbols of 16 bits and
    scale indices of all levels, which take less since the features are gone. Embeddings and context
    features are 8-bit integers, and there are the lists of positions.
    """
    floats = 2 * config.features[0] + config.latents[0]
    integers = config.embedding + 2 * config.conditioning + _POSITION_BYTES
    positions = (BLOCK // STRIDES[0]) ** 2
    # The state of the next coarser level takes a quarter of the integers.
    return positions * (_SCALAR_BYTES * floats + integers + integers // 4)


def portable_scalars(config: PortableConfig) -> int:
    """Scalars per block of a portable model, in a tile or a whole image, at the peak.

    That is the largest of three:

    - the analysis: the image as floats before and after space-to-depth, the trunk, and the features
      of all levels;
    - from the finest level to the trunk: latents (y, mu, symbols, y_hat in steps and in units),
      features and embeddings;
    - from the trunk to pixels, with the last filter before depth-to-space.

    In each, libraries of convolutions gather the 3×3 inputs of every output.
    """
    trunk = config.trunk * (BLOCK // 8) ** 2
    features = config.features[0] * (BLOCK // STRIDES[0]) ** 2
    analysis = 2 * 3 * BLOCK**2 + trunk + _level_scalars(config.features) + _TAPS * trunk
    per_position = 5 * config.latents[0] + 2 * config.features[0] + config.embedding
    finest = per_position * (BLOCK // STRIDES[0]) ** 2 + trunk + _TAPS * features
    pixels = (2 + (_TAPS if config.finish else 0)) * 3 * BLOCK**2
    synthesis = trunk + pixels + config.finish * (BLOCK // 4) ** 2
    return max(analysis, finest, synthesis) + 2 * _level_scalars(config.latents)


def _level_scalars(channels: tuple[int, ...]) -> int:
    """Scalars per block of one array for each level, from their channels."""
    return sum(n * (BLOCK // s) ** 2 for n, s in zip(channels, STRIDES, strict=True))
