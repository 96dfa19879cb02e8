"""constriction's range coder, for `range_coder`: entries of integer tables <-> bytes.

The library codes entries of one table per call. So the entries of a run are sorted by their table
before they are coded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from rdonet_jax.entropy import constriction_library
from rdonet_jax.entropy.distributions import PRECISION, CdfTables
from rdonet_jax.entropy.runs import CoderError, Run, chunks

# RangeEncoder and RangeDecoder have 32-bit words, a 64-bit state and probabilities of 24 bits.
# Categorical(w, perfect=False) makes the lower cumulative of entry i the integer
#     trunc((w[0] + ... + w[i-1]) * ((2**24 - len(w)) / sum(w))) + i,
# in float64. With w = count * 2**8 - 1 the weights sum to 2**24 - len(w): the factor is exactly
# 1, all numbers are integers below 2**24, and the model is exactly the table's cumulative counts
# times 2**8. No rounding takes place, so no platform can differ.


@functools.lru_cache(maxsize=16)
def _models(tables: CdfTables, library: constriction_library.Library) -> tuple:
    return tuple(library.Categorical(model_weights(c), perfect=False) for c in tables.cdfs)


def model_weights(cdf: np.ndarray) -> np.ndarray:
    """The float64 weights for which constriction's 24-bit model equals the 16-bit table."""
    return np.diff(cdf).astype(np.float64) * (1 << (24 - PRECISION)) - 1


def _groups(indices: np.ndarray, count: int) -> list[tuple[int, slice]]:
    """Each table in use, with its slice of the run after sorting by table."""
    lengths = np.zeros(count, np.int64)
    for part in chunks(len(indices)):
        lengths += np.bincount(indices[part], minlength=count)
    used = np.flatnonzero(lengths)
    ends = np.cumsum(lengths[used]).tolist()
    return [
        (table, slice(start, end))
        for table, start, end in zip(used.tolist(), [0, *ends], ends, strict=False)
    ]


def _by_table(
    indices: np.ndarray, groups: list[tuple[int, slice]]
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Sorts a run by table, stably: (chunk of the run, order in it, positions after sorting)."""
    count = 1 + max((table for table, _ in groups), default=0)
    next_position = np.zeros(count, np.int64)
    for table, part in groups:
        next_position[table] = part.start
    for part in chunks(len(indices)):
        tables_of = indices[part].astype(np.uint16)
        order = np.argsort(tables_of, kind="stable")
        lengths = np.bincount(tables_of, minlength=count)
        shifts = next_position - (np.cumsum(lengths) - lengths)
        yield part, order, np.arange(len(order)) + np.repeat(shifts, lengths)
        next_position += lengths


def encode_entries(entry_runs: Iterable[Run], tables: CdfTables) -> bytes:
    """Codes runs of (entries, table indices)."""
    library = constriction_library.load()
    models = _models(tables, library)
    encoder = library.RangeEncoder()
    for entries, indices in entry_runs:
        groups = _groups(indices, len(models))
        sorted_entries = np.empty(len(entries), np.int32)
        for part, order, positions in _by_table(indices, groups):
            sorted_entries[positions] = entries[part][order]
        for table, part in groups:
            encoder.encode(sorted_entries[part], models[table])
    return _shortest(encoder)


def _shortest(encoder) -> bytes:
    """The shortest bytes that, followed by zeros, lie in the encoder's final interval."""
    words = encoder.get_compressed().astype(">u4").tobytes()
    if not words:
        return b""
    position, (lower, extent) = encoder.pos()
    bits = 32 * position + 64
    inside = int.from_bytes(words, "big") << (bits - 8 * len(words))
    low = inside - (inside - lower) % 2**64
    shift = 0
    while shift < 64 and _round_up(low, shift + 8) < low + extent:
        shift += 8
    return _round_up(low, shift).to_bytes(bits // 8, "big").rstrip(b"\0")


def _round_up(number: int, bits: int) -> int:
    return -(-number >> bits) << bits


def entry_decoder(data: bytes, tables: CdfTables) -> Callable[[np.ndarray], np.ndarray]:
    """Returns read(table indices of the next run) -> its entries.

    `read` raises `CoderError` for data that cannot come from `encode_entries`.
    """
    library = constriction_library.load()
    models = _models(tables, library)
    words = np.frombuffer(data + bytes(-len(data) % 4), ">u4").astype(np.uint32)
    range_decoder = library.RangeDecoder(words)

    def decode(table: int, count: int) -> np.ndarray:
        try:
            return range_decoder.decode(models[table], count)
        except AssertionError as error:
            raise CoderError("the coded data is invalid") from error

    def read(indices: np.ndarray) -> np.ndarray:
        groups = _groups(indices, len(models))
        if len(groups) == 1:
            return decode(groups[0][0], len(indices))
        sorted_entries = np.empty(len(indices), np.int32)
        for table, part in groups:
            sorted_entries[part] = decode(table, part.stop - part.start)
        entries = np.empty(len(indices), np.int32)
        for part, order, positions in _by_table(indices, groups):
            entries[part][order] = sorted_entries[positions]
        return entries

    return read
