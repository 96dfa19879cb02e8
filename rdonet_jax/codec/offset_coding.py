"""Adaptive coding of the quality offsets of 64x64 blocks, for files that have them.

An offset is predicted from its neighbors to the left and above. Whether it differs from that, in
which direction and by how much are flags, each coded with the frequency of ones among earlier flags
of the same context. As with the partition, the blocks of a diagonal depend on earlier ones only and
are coded together, and encoder and decoder share one pass.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rdonet_jax.codec import partition_coding
from rdonet_jax.codec.bitstream import FormatError, Header, Sections
from rdonet_jax.codec.qualities import MAX_OFFSET
from rdonet_jax.core import partition
from rdonet_jax.entropy import range_coder
from rdonet_jax.entropy.adaptive_flags import FlagCounts
from rdonet_jax.entropy.distributions import binary_tables
from rdonet_jax.entropy.runs import CoderError, Run

_DIFFERS = ((1, 12), (1, 3), (1, 2))
"""Initial counts (ones, total) of whether an offset differs from its prediction, by context: the
neighbors are alike, they differ, there are none."""

_IS_LARGER = ((1, 2), (1, 2), (1, 2))
"""The same of whether it is larger, by the sign of the prediction: -1, 0, 1."""

SIZE_BITS = 8
"""Bits of the size of a difference minus 1. The context of a bit is those before it."""

CodeFlags = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(flags of a run, table indices) -> the flags, 0 or 1. A decoder reads them, and is given zeros in
their place."""


def encode(offsets: np.ndarray, coder_name: str = "constriction") -> bytes:
    """The section of offsets int [rows, columns], each within ±`MAX_OFFSET`."""
    runs: list[Run] = []

    def encode_flags(flags: np.ndarray, indices: np.ndarray) -> np.ndarray:
        runs.append((flags.astype(np.int32), indices))
        return flags

    _code(offsets.shape, encode_flags, np.asarray(offsets, np.int64))
    return range_coder.encode(runs, binary_tables(), coder_name)


def decode(data: bytes, grid: tuple[int, int], coder_name: str = "constriction") -> np.ndarray:
    """The offsets of `grid` = (rows, columns) blocks, int32: the inverse of `encode`.

    Raises `CoderError` for bytes that cannot come from it. Other wrong bytes decode to some valid
    offsets.
    """
    read_symbols = range_coder.decoder(data, binary_tables(), coder_name)
    return _code(grid, lambda _, indices: read_symbols(indices), None)


def read(header: Header, sections: Sections) -> np.ndarray | None:
    """The offsets of a parsed file, None if it has none. No weights are needed.

    Raises FormatError for invalid data, and for a range coder that is not installed.
    """
    if not sections.offsets:
        return None
    grid = partition.block_grid(header.height, header.width)
    try:
        offsets = decode(sections.offsets, grid, range_coder.NAMES[header.coder])
    except CoderError as error:
        raise FormatError(f"the file's quality offsets are invalid: {error}") from error
    except range_coder.MissingCoderError as error:
        raise FormatError(str(error)) from error
    if not offsets.any():
        raise FormatError("the file's quality offsets are all 0, and such a file has none")
    return offsets


def _code(grid: tuple[int, int], code_flags: CodeFlags, offsets: np.ndarray | None) -> np.ndarray:
    """Codes the offsets of a grid, or those that a decoder reads, and returns them, int32."""
    differs, is_larger = FlagCounts(_DIFFERS), FlagCounts(_IS_LARGER)
    size_bits = FlagCounts(np.zeros((2**SIZE_BITS, 2)))

    def code(counts: FlagCounts, flags: np.ndarray, contexts: np.ndarray) -> np.ndarray:
        return counts.code(contexts, lambda indices: code_flags(flags.astype(np.int32), indices))

    def code_sizes(sizes: np.ndarray) -> np.ndarray:
        """Numbers of `SIZE_BITS` bits, the highest first."""
        prefix = np.ones_like(sizes)  # a one, and the bits so far
        for bit in reversed(range(SIZE_BITS)):
            prefix = 2 * prefix + code(size_bits, sizes >> bit & 1, prefix)
        return prefix - 2**SIZE_BITS

    coded = np.zeros((grid[0] + 1, grid[1] + 1), np.int64)  # with a row and a column before it
    for row, column in partition_coding.diagonals(*grid):
        predicted, contexts = _prediction(coded, row, column)
        actual = predicted if offsets is None else offsets[row, column]
        here = code(differs, actual != predicted, contexts)
        start, difference = predicted[here], (actual - predicted)[here]
        sign = np.where(code(is_larger, difference > 0, np.sign(start) + 1), 1, -1)
        values = predicted.copy()
        values[here] += sign * (1 + code_sizes(np.abs(difference) - 1))
        if np.any(np.abs(values) > MAX_OFFSET):
            raise CoderError(f"there is one beyond {MAX_OFFSET}")
        coded[row + 1, column + 1] = values
    return coded[1:, 1:].astype(np.int32)


def _prediction(
    coded: np.ndarray, row: np.ndarray, column: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of the offsets at (row, column), and contexts, rows of `_DIFFERS`.

    A prediction is the median of the left neighbor, the upper one, and the plane through them and
    the one between (LOCO-I, Weinberger, Seroussi, Sapiro 2000). At the border it is the one
    neighbor there is, and 0 for the first block.
    """
    left, above, corner = coded[row + 1, column], coded[row, column + 1], coded[row, column]
    left, above = np.where(column == 0, above, left), np.where(row == 0, left, above)
    corner = np.where((row == 0) | (column == 0), left, corner)
    low, high = np.minimum(left, above), np.maximum(left, above)
    predicted = np.clip(left + above - corner, low, high)
    contexts = np.where((left == above) & (above == corner), 0, 1)
    return predicted, np.where(row + column == 0, 2, contexts)
