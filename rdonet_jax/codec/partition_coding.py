"""Adaptive coding of the partition: the split flags of the quadtrees.

Neighboring blocks are alike, so each flag is coded with the frequency of ones among earlier flags
of the same context. The context is the depth of the trees to the left and above. Encoder and
decoder share one pass over the diagonals of the grid of 64x64 blocks. The blocks of a diagonal
depend on earlier ones only and are coded together. The first flag of a stream says whether the
whole image has one level. If so, only that level follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from rdonet_jax.codec.bitstream import FormatError, Header, Sections
from rdonet_jax.core import partition
from rdonet_jax.core.partition import Partition, PartitionError
from rdonet_jax.entropy import range_coder
from rdonet_jax.entropy.adaptive_flags import FlagCounts
from rdonet_jax.entropy.distributions import TOTAL, binary_index, binary_tables
from rdonet_jax.entropy.runs import CoderError, Run

_START64 = ((1, 5), (3, 7), (6, 7), (10, 10), (22, 22), (3, 5))
"""Initial counts (ones, total) of the flags of 64x64 blocks, by context.

Fitted to variance masks of photographs at many thresholds. Each is worth a few to a few dozen flags
of the image itself. The context is the depth of the tree along the left edge plus that along the
upper edge (0 to 4). The last one is for the first block, which has no neighbors.
"""

_START32 = ((2, 8), (10, 15), (9, 10), (4, 8))
"""The same for 32x32 blocks.

The context is how many of the left and the upper neighbor are split (0 to 2). The last one is for
the first block.
"""

_UNIFORM = (1, 8)
_SPLIT_ALL = ((2, 3), (1, 2))
"""Fixed frequencies of the first flag and of the two for the level of the whole image."""

_CHILD_ORDER = (((0, 0),), ((0, 1), (1, 0)), ((1, 1),))
"""32x32 blocks of a 64x64 block as (down, right), in groups that are coded together."""

_MISSING = -1
"""Depth of the tree at blocks outside the image."""

Positions = tuple[np.ndarray, np.ndarray]
"""Rows and columns of blocks, integers [n]."""

CodeFlags = Callable[[int, Positions, np.ndarray], np.ndarray]
"""(field of Partition, positions, table indices) -> the flags there, 0 or 1: codes a run."""


def encode(p: Partition, height: int, width: int, coder_name: str = "constriction") -> bytes:
    """The coded partition, without batch axes, of an image of `height` x `width` pixels.

    Splits of 32x32 blocks wholly outside the image are not coded: `decode` returns
    `partition.trim(p, height, width)`. Raises PartitionError as `partition.check_and_trim` does.
    """
    p = partition.check_and_trim(p, height, width)
    level = _uniform_level(p, height, width)
    if level is None:
        runs = [_run([0], [_UNIFORM]), *_adaptive_runs(p, height, width)]
    else:
        runs = [_run([1], [_UNIFORM]), _run([level < 2, level < 1], _SPLIT_ALL)]
    return range_coder.encode(runs, binary_tables(), coder_name)


def bits(p: Partition, height: int, width: int) -> np.ndarray:
    """The bits of the flags of every 64x64 block, float64 [rows, columns].

    They are those of the adaptive code. An image of one level has a shorter code, but its blocks
    have these bits all the same. Raises PartitionError if `p` belongs to another size.
    """
    p = partition.trim(Partition(*(np.asarray(splits, bool) for splits in p)), height, width)
    cost = np.zeros(p.split64.shape)
    cdfs = binary_tables().cdfs
    ones = np.log2([(cdf[2] - cdf[1]) / TOTAL for cdf in cdfs])
    zeros = np.log2([cdf[1] / TOTAL for cdf in cdfs])

    def count_bits(field: int, positions: Positions, indices: np.ndarray) -> np.ndarray:
        flags = p[field][positions]
        blocks = tuple(side >> field for side in positions)
        np.add.at(cost, blocks, -np.where(flags, ones[indices], zeros[indices]))
        return flags.astype(np.int32)

    _code_adaptively(height, width, count_bits)
    return cost


def decode(data: bytes, height: int, width: int, coder_name: str = "constriction") -> Partition:
    """The inverse of `encode`, as NumPy arrays.

    Raises CoderError if the bytes cannot come from `encode`. Other wrong bytes decode to some valid
    partition. Raises PartitionError if the size is not positive.
    """
    read_symbols = range_coder.decoder(data, binary_tables(), coder_name)
    if not read_symbols(_indices([_UNIFORM]))[0]:
        return _code_adaptively(height, width, lambda field, _, indices: read_symbols(indices))
    split, split_again = read_symbols(_indices(_SPLIT_ALL))
    if split_again and not split:
        raise CoderError("the coded partition gives the image a level that does not exist")
    return partition.uniform_of_image(2 - int(split) - int(split_again), height, width)


def read(header: Header, sections: Sections) -> Partition:
    """The partition of a parsed file, for which no weights are needed.

    Raises FormatError for invalid data, and for a range coder that is not installed.
    """
    name = range_coder.NAMES[header.coder]
    try:
        return decode(sections.partition, header.height, header.width, name)
    except (CoderError, PartitionError) as error:
        raise FormatError(f"the file's partition is invalid: {error}") from error
    except range_coder.MissingCoderError as error:
        raise FormatError(str(error)) from error


def _run(flags, frequencies) -> Run:
    return np.array(flags, np.int32), _indices(frequencies)


def _indices(frequencies) -> np.ndarray:
    return binary_index(*np.array(frequencies).T)


def _uniform_level(p: Partition, height: int, width: int) -> int | None:
    for level in range(3):
        if all(map(np.array_equal, p, partition.uniform_of_image(level, height, width))):
            return level
    return None


def _adaptive_runs(p: Partition, height: int, width: int) -> list[Run]:
    """The runs of the adaptive code of `p`."""
    runs = []

    def encode_flags(field: int, positions: Positions, indices: np.ndarray) -> np.ndarray:
        flags = p[field][positions].astype(np.int32)
        runs.append((flags, indices))
        return flags

    _code_adaptively(height, width, encode_flags)
    return runs


def _code_adaptively(height: int, width: int, code_flags: CodeFlags) -> Partition:
    """Codes all flags inside the image, diagonal by diagonal. Returns their partition."""
    rows, cols = partition.block_grid(height, width)
    inside = partition.inside_masks(height, width)[1]
    # The depth of the tree at each 32x32 block, with a border of missing blocks.
    padded = np.full((2 * rows + 2, 2 * cols + 2), _MISSING)
    depth = padded[1:-1, 1:-1]
    counts = FlagCounts(_START64), FlagCounts(_START32)

    def code(field: int, positions: Positions, contexts: np.ndarray) -> np.ndarray:
        return counts[field].code(contexts, lambda indices: code_flags(field, positions, indices))

    for row, col in diagonals(rows, cols):
        split = code(0, (row, col), _contexts64(padded, row, col))
        for down, right in np.ndindex(2, 2):
            depth[2 * row + down, 2 * col + right] = split
        for group in _CHILD_ORDER:
            children = _children(row[split], col[split], group)
            children = tuple(side[inside[children]] for side in children)
            depth[children] += code(1, children, _contexts32(padded, *children))
    return Partition(depth[::2, ::2] > 0, depth == 2)


def diagonals(rows: int, cols: int) -> Iterator[Positions]:
    """Rows and columns of the blocks on each diagonal, row + column = constant."""
    for diagonal in range(rows + cols - 1):
        row = np.arange(max(0, diagonal - cols + 1), min(rows, diagonal + 1))
        yield row, diagonal - row


def _children(row: np.ndarray, col: np.ndarray, group: tuple[tuple[int, int], ...]) -> Positions:
    """The 32x32 blocks of a group of `_CHILD_ORDER`, for 64x64 blocks at (row, col)."""
    downs, rights = np.array(group).T[:, :, None]
    return (2 * row + downs).ravel(), (2 * col + rights).ravel()


def _contexts64(padded: np.ndarray, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """The contexts of the 64x64 blocks at (row, col), rows of `_START64`."""
    top, left = 2 * row, 2 * col
    left_edge = np.maximum(padded[top + 1, left], padded[top + 2, left])
    upper_edge = np.maximum(padded[top, left + 1], padded[top, left + 2])
    return _sum_neighbors(left_edge, upper_edge, first=5)


def _contexts32(padded: np.ndarray, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """The contexts of the 32x32 blocks at (row, col), rows of `_START32`."""
    depths = padded[row + 1, col], padded[row, col + 1]
    left, above = (np.where(depth == _MISSING, depth, depth == 2) for depth in depths)
    return _sum_neighbors(left, above, first=3)


def _sum_neighbors(left: np.ndarray, above: np.ndarray, first: int) -> np.ndarray:
    """left + above. A missing one counts as the other; `first` where both are missing."""
    total = np.where(left == _MISSING, above, left) + np.where(above == _MISSING, left, above)
    return np.where(total < 0, first, total)
