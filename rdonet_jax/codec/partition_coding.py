"""The partition in the stream: adaptive coding of the quadtree's split flags.

Neighbouring blocks are alike, so each flag is coded with the frequency of ones among the flags
that were coded before it in the same context, that is, with the same surroundings. Encoder and
decoder take one walk over the diagonals of the grid of 64x64 blocks: the blocks of a diagonal
need only earlier ones and are coded together. A stream starts with a flag that says whether the
whole image has one level; if so, that level is all that follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from rdonet_jax.codec.bitstream import FormatError, Header, Sections
from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition, PartitionError
from rdonet_jax.entropy import range_coder
from rdonet_jax.entropy.distributions import TOTAL, binary_index, binary_tables

# Flags a context starts with, as (ones, total): fitted to variance masks of photographs at many
# thresholds, each worth about as much as a few to a few dozen flags of the image itself.
# 64x64 blocks, by the depth of the tree along the left plus that along the upper edge (0 to 4);
# then the first block, which has no neighbors.
_START64 = ((1, 5), (3, 7), (6, 7), (10, 10), (22, 22), (3, 5))
# 32x32 blocks, by how many of the left and the upper neighbor are split; then the first block.
_START32 = ((2, 8), (10, 15), (9, 10), (4, 8))

_UNIFORM = (1, 8)
_SPLIT_ALL = ((2, 3), (1, 2))
"""Fixed frequencies of the first flag and of the two that give the level of the whole image."""

_STEPS = (((0, 0),), ((0, 1), (1, 0)), ((1, 1),))
"""32x32 blocks of a 64x64 block as (down, right), in steps that are coded together."""

_MISSING = -1

Position = tuple[np.ndarray, np.ndarray]
"""Rows and columns of blocks."""

Answer = Callable[[int, Position, np.ndarray], np.ndarray]
"""(field of Partition, where, table indices) -> the flags there, 0 or 1."""


def encode(p: Partition, height: int, width: int, coder_name: str = "constriction") -> bytes:
    """Code the partition of an image of `height` x `width` pixels, without batch axes.

    Splits of 32x32 blocks wholly outside the image are not coded: what comes back is
    `partition.trim(p, height, width)`. Raises PartitionError when `p` belongs to another size
    or splits a 32x32 block whose parent is not split.
    """
    p = partition.trim(Partition(*(np.asarray(splits, bool) for splits in p)), height, width)
    if p.split64.ndim != 2 or p.split32.ndim != 2:
        raise PartitionError("only the partition of a single image can be coded")
    if (p.split32 & ~np.kron(p.split64, np.ones((2, 2), bool))).any():
        raise PartitionError("a 32x32 block is split although its 64x64 block is not")
    level = _uniform_level(p, height, width)
    if level is None:
        runs = [_run([0], [_UNIFORM]), *_adaptive_runs(p, height, width)]
    else:
        runs = [_run([1], [_UNIFORM]), _run([level < 2, level < 1], _SPLIT_ALL)]
    return range_coder.encode(runs, binary_tables(), coder_name)


def bits(p: Partition, height: int, width: int) -> np.ndarray:
    """What every 64x64 block's flags cost in the stream, float64 [rows, columns].

    As `encode` codes them adaptively; an image of one level, which has a shorter form, is charged
    for its blocks all the same. Raises PartitionError as `encode` does.
    """
    p = partition.trim(Partition(*(np.asarray(splits, bool) for splits in p)), height, width)
    cost = np.zeros(p.split64.shape)
    cdfs = binary_tables().cdfs
    ones = np.log2([(cdf[2] - cdf[1]) / TOTAL for cdf in cdfs])
    zeros = np.log2([cdf[1] / TOTAL for cdf in cdfs])

    def answer(grid: int, at: Position, indices: np.ndarray) -> np.ndarray:
        flags = p[grid][at]
        blocks = tuple(side >> grid for side in at)
        np.add.at(cost, blocks, -np.where(flags, ones[indices], zeros[indices]))
        return flags.astype(np.int32)

    _walk(height, width, answer)
    return cost


def decode(data: bytes, height: int, width: int, coder_name: str = "constriction") -> Partition:
    """The partition that `encode` was given, as NumPy arrays.

    Raises CoderError when the bytes cannot come from `encode`; other wrong bytes give some valid
    partition. Raises PartitionError when the size is not positive.
    """
    take = range_coder.decoder(data, binary_tables(), coder_name)
    if not take(_indices([_UNIFORM]))[0]:
        return _walk(height, width, lambda grid, at, indices: take(indices))
    split, split_again = take(_indices(_SPLIT_ALL))
    if split_again and not split:
        raise range_coder.CoderError(
            "the coded partition gives the image a level that does not exist"
        )
    return _uniform(2 - int(split) - int(split_again), height, width)


def read(header: Header, sections: Sections) -> Partition:
    """The partition of a parsed file; needs no weights.

    Raises FormatError, also for a range coder that is not installed.
    """
    name = range_coder.NAMES[header.coder]
    try:
        return decode(sections.partition, header.height, header.width, name)
    except (range_coder.CoderError, PartitionError) as error:
        raise FormatError(f"the file's partition is invalid: {error}") from error
    except range_coder.MissingCoderError as error:
        raise FormatError(str(error)) from error


def _run(flags, frequencies) -> range_coder.Run:
    return np.array(flags, np.int32), _indices(frequencies)


def _indices(frequencies) -> np.ndarray:
    return binary_index(*np.array(frequencies).T)


def _uniform(level: int, height: int, width: int) -> Partition:
    rows, cols = partition.block_grid(height, width)
    split64 = np.full((rows, cols), level < 2)
    split32 = np.full((2 * rows, 2 * cols), level < 1)
    return partition.trim(Partition(split64, split32), height, width)


def _uniform_level(p: Partition, height: int, width: int) -> int | None:
    for level in range(3):
        if all(map(np.array_equal, p, _uniform(level, height, width))):
            return level
    return None


def _adaptive_runs(p: Partition, height: int, width: int) -> list[range_coder.Run]:
    """The walk's questions, answered from `p`: the flags and the tables they are coded with."""
    runs = []

    def answer(grid: int, at: Position, indices: np.ndarray) -> np.ndarray:
        flags = p[grid][at].astype(np.int32)
        runs.append((flags, indices))
        return flags

    _walk(height, width, answer)
    return runs


def _walk(height: int, width: int, answer: Answer) -> Partition:
    """Ask for all flags inside the image, diagonal by diagonal; returns what they make."""
    rows, cols = partition.block_grid(height, width)
    inside = partition.inside_masks(height, width)[1]
    # The depth of the tree at each 32x32 block, in a frame of blocks that do not exist.
    framed = np.full((2 * rows + 2, 2 * cols + 2), _MISSING)
    depth = framed[1:-1, 1:-1]
    counts = np.array(_START64), np.array(_START32)
    for row, col in _diagonals(rows, cols):
        contexts = _contexts64(framed, row, col)
        split = _ask(answer, counts, 0, (row, col), contexts)
        for down, right in np.ndindex(2, 2):
            depth[2 * row + down, 2 * col + right] = split
        for step in _STEPS:
            at = _children(row[split], col[split], step)
            at = tuple(side[inside[at]] for side in at)
            depth[at] += _ask(answer, counts, 1, at, _contexts32(framed, *at))
    return Partition(depth[::2, ::2] > 0, depth == 2)


def _diagonals(rows: int, cols: int) -> Iterator[Position]:
    """Rows and columns of the blocks on each diagonal, row + column = constant."""
    for diagonal in range(rows + cols - 1):
        row = np.arange(max(0, diagonal - cols + 1), min(rows, diagonal + 1))
        yield row, diagonal - row


def _children(row: np.ndarray, col: np.ndarray, step: tuple[tuple[int, int], ...]) -> Position:
    """Where the 32x32 blocks of a step lie, for 64x64 blocks at (row, col)."""
    downs, rights = np.array(step).T[:, :, None]
    return (2 * row + downs).ravel(), (2 * col + rights).ravel()


def _ask(
    answer: Answer,
    counts: tuple[np.ndarray, np.ndarray],
    grid: int,
    at: Position,
    contexts: np.ndarray,
) -> np.ndarray:
    """The flags at some positions, bool; they are counted in their contexts afterwards."""
    ones, total = counts[grid][contexts].T
    flags = answer(grid, at, binary_index(ones, total)) == 1
    np.add.at(counts[grid], contexts, np.stack([flags, np.ones_like(flags)], axis=-1))
    return flags


def _contexts64(framed: np.ndarray, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """Row of _START64 for the 64x64 blocks at (row, col)."""
    top, left = 2 * row, 2 * col
    left_edge = np.maximum(framed[top + 1, left], framed[top + 2, left])
    upper_edge = np.maximum(framed[top, left + 1], framed[top, left + 2])
    return _combined(left_edge, upper_edge, first=5)


def _contexts32(framed: np.ndarray, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """Row of _START32 for the 32x32 blocks at (row, col)."""
    left, above = framed[row + 1, col], framed[row, col + 1]
    return _combined(*(np.where(d == _MISSING, d, d == 2) for d in (left, above)), first=3)


def _combined(left: np.ndarray, above: np.ndarray, first: int) -> np.ndarray:
    """left + above, one standing in for the other where it is missing; `first` without both."""
    total = np.where(left == _MISSING, above, left) + np.where(above == _MISSING, left, above)
    return np.where(total < 0, first, total)
