"""Range coders behind an interface of two functions: symbols + table indices <-> bytes.

`encode` takes all runs. `decoder` returns them one by one, so that the table indices of a run may
depend on earlier runs. Any int32 symbol can be coded: one that its table does not have is coded as
the table's escape entry, and how far outside the table it lies is coded at the end of the run.

A range coder behind this interface (a row of _BACKENDS) codes entries of integer tables. All of
them code the same entries, escapes included, into bytes of their own.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from rdonet_jax.entropy import constriction_coder, tfc
from rdonet_jax.entropy.distributions import PRECISION, TOTAL, CdfTables
from rdonet_jax.entropy.runs import CoderError, Run, chunks

_ESCAPE_CHUNK = 2**12

# Numbers of the coders in the header of a file, and names by number.
CODERS = {"constriction": 1, "tfc": 2}
NAMES = {number: name for name, number in CODERS.items()}

# Escapes, an Exp-Golomb code of order m (see `escape_orders`): the excess e >= 0 over the table's
# end plus 2**m has 1 + m + n bits. n, the class of 0 to 32, in unary where probable, is coded by
# this table. Then come a flag for "below the table" and the m + n bits under the leading one,
# highest first, all equiprobable.
_CLASS_COUNTS = [1 << (15 - n) for n in range(11)] + [11] + [1] * 21
_CLASS_CDF = np.concatenate([[0], np.cumsum(_CLASS_COUNTS)]).astype(np.int32)
ESCAPE_CLASS_BITS = (PRECISION - np.log2(_CLASS_COUNTS)).astype(np.float32)
"""Bits of the class of an escape, by class."""

_BIT_CDF = np.array([0, TOTAL // 2, TOTAL], np.int32)


class MissingCoderError(Exception):
    """A range coder is not installed; the message says what to install."""


def encode(runs: Iterable[Run], tables: CdfTables, name: str = "constriction") -> bytes:
    """Code runs of (symbols, table indices), both 1-D integer arrays of equal length.

    Raises ValueError for anything else, for symbols that are no int32, for symbols outside a table
    when the tables have no escape, and for a name that is not in CODERS; MissingCoderError as
    `require` does.
    """
    encode_entries, _ = _backend(name)
    return encode_entries(_entry_runs(runs, tables), _entry_tables(tables))


def decoder(
    data: bytes,
    tables: CdfTables,
    name: str = "constriction",
    max_excess_bits: float = math.inf,
) -> Callable[[np.ndarray], np.ndarray]:
    """Returns read_symbols(table indices of the next run) -> its symbols, int32.

    The work depends on the indices alone, whatever the bytes are. Bytes past the end count as
    zeros, so a truncated stream may decode to wrong symbols, which the container's checksum
    detects. Raises CoderError, here or in read_symbols, when the bytes cannot come from `encode`,
    or the symbols so far cost `max_excess_bits` more than there are bits. Raises MissingCoderError
    as `require` does.
    """
    _, entry_decoder = _backend(name)
    if data.endswith(b"\0"):
        raise CoderError("the coded data ends in a needless zero byte")
    read_entries = entry_decoder(data, _entry_tables(tables))
    if max_excess_bits < math.inf:
        max_bits = 8 * len(data) + max_excess_bits
        read_entries = _limit_bits(read_entries, _entry_tables(tables), max_bits)

    def read_symbols(indices: np.ndarray) -> np.ndarray:
        indices = _check_indices(indices, tables)
        symbols = read_entries(indices)
        if _are_entries(tables):
            return symbols
        escaped: list[np.ndarray] = []
        for part in chunks(len(indices)):
            entries, tables_of = symbols[part], indices[part]
            if tables.has_escape:
                escaped.append(np.flatnonzero(entries == _escapes(tables)[tables_of]) + part.start)
            symbols[part] = entries + _offsets(tables)[tables_of]
        positions = np.concatenate([np.empty(0, np.int64), *escaped])
        if positions.size:
            values = _read_escapes(read_entries, indices[positions], tables)
            if values.min() < -(2**31) or values.max() >= 2**31:
                raise CoderError("an escaped symbol does not fit in 32 bits")
            symbols[positions] = values
        return symbols

    return read_symbols


def _limit_bits(
    read_entries: Callable[[np.ndarray], np.ndarray], tables: CdfTables, max_bits: float
) -> Callable[[np.ndarray], np.ndarray]:
    """`read_entries` that raises CoderError once its entries cost more than `max_bits`."""
    starts, bits = _entry_bits(tables)
    left = max_bits

    def read(indices: np.ndarray) -> np.ndarray:
        nonlocal left
        entries = read_entries(indices)
        for part in chunks(len(indices)):
            left -= bits[starts[indices[part]] + entries[part]].sum(dtype=np.float64)
        if left < 0:
            raise CoderError("it ends long before its last symbol")
        return entries

    return read


@functools.lru_cache(maxsize=16)
def _entry_bits(tables: CdfTables) -> tuple[np.ndarray, np.ndarray]:
    """Where each table begins in a list of the entries of all tables, and the entries' bits."""
    lengths = [len(cdf) - 1 for cdf in tables.cdfs]
    counts = np.concatenate([np.diff(cdf) for cdf in tables.cdfs])
    starts = np.cumsum(lengths) - lengths
    return starts, (PRECISION - np.log2(counts)).astype(np.float32)


def require(name: str) -> None:
    """Raises MissingCoderError when a coder of CODERS is not installed."""
    if name != "tfc":
        return
    try:
        tfc.load()
    except tfc.LoadError as error:
        raise MissingCoderError(
            f"the range coder {name} needs TensorFlow Compression, which {error}: "
            "pip install 'rdonet-jax[tfc]', on Python 3.11 or 3.12"
        ) from error


def _backend(name: str) -> tuple[Callable, Callable]:
    if name not in _BACKENDS:
        raise ValueError(f"unknown range coder {name!r}, expected one of {tuple(CODERS)}")
    require(name)
    return _BACKENDS[name]


def _entry_runs(runs: Iterable[Run], tables: CdfTables) -> Iterator[Run]:
    """Runs of symbols as runs of table entries. After a run with escapes come two for these."""
    for symbols, indices in runs:
        indices = _check_indices(indices, tables)
        symbols = _check_symbols(symbols, indices)
        entries = np.empty(len(symbols), np.int32)
        escapes: list[np.ndarray] = []
        for part in chunks(len(symbols)):
            escape = _escapes(tables)[indices[part]]
            distances = symbols[part] - _offsets(tables)[indices[part]]
            outside = (distances < 0) | (distances >= escape)
            entries[part] = np.where(outside, escape, distances)
            escapes.append(np.flatnonzero(outside) + part.start)
        escaped = np.concatenate([np.empty(0, np.int64), *escapes])
        if escaped.size and not tables.has_escape:
            raise ValueError("a symbol lies outside its table, and the tables have no escape")
        yield entries, indices
        if escaped.size:
            values = symbols[escaped].astype(np.int64)
            yield from _escape_runs(values, indices[escaped], tables)


def _escape_runs(symbols: np.ndarray, indices: np.ndarray, tables: CdfTables) -> Iterator[Run]:
    first = _offsets(tables)[indices]
    below = symbols < first
    excess = np.where(below, first - 1 - symbols, symbols - first - _escapes(tables)[indices])
    order = escape_orders(tables)[indices]
    value = excess + (1 << order)
    width = np.frexp(value.astype(np.float64))[1] - 1
    yield width - order, np.full(len(width), _class_table(tables))
    shifts, _ = _bit_layout(width + 1)
    payload = value + (below.astype(np.int64) - 1 << width)
    bits = np.repeat(payload, width + 1) >> shifts & 1
    yield bits, np.full(len(bits), _bit_table(tables))


def _read_escapes(read_entries, indices: np.ndarray, tables: CdfTables) -> np.ndarray:
    orders = escape_orders(tables)[indices]
    widths = orders + read_entries(np.full(len(indices), _class_table(tables)))
    symbols = np.empty(len(indices), np.int64)
    for first in range(0, len(indices), _ESCAPE_CHUNK):
        part = slice(first, first + _ESCAPE_CHUNK)
        symbols[part] = _read_payloads(
            read_entries, indices[part], orders[part], widths[part], tables
        )
    return symbols


def _read_payloads(
    read_entries, indices: np.ndarray, orders: np.ndarray, widths: np.ndarray, tables: CdfTables
) -> np.ndarray:
    """The symbols of escapes whose bits come next, given the number of bits of each."""
    shifts, starts = _bit_layout(widths + 1)
    bits = read_entries(np.full(len(shifts), _bit_table(tables)))
    payload = np.add.reduceat(bits << shifts, starts)
    below = payload >> widths
    excess = payload - (below << widths) + (1 << widths) - (1 << orders)
    first = _offsets(tables)[indices]
    return np.where(below, first - 1 - excess, first + _escapes(tables)[indices] + excess)


def _bit_layout(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For numbers of these bit lengths (>= 1) in a row: the shift of each bit, and first bits."""
    ends = np.cumsum(lengths)
    return np.repeat(ends, lengths) - 1 - np.arange(ends[-1]), ends - lengths


def _check_indices(indices, tables: CdfTables) -> np.ndarray:
    indices = np.asarray(indices)
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise ValueError("table indices must be a 1-D integer array")
    if indices.size and (indices.min() < 0 or indices.max() >= len(tables.cdfs)):
        raise ValueError("a table index is out of range")
    return indices


def _check_symbols(symbols, indices: np.ndarray) -> np.ndarray:
    symbols = np.asarray(symbols)
    if symbols.shape != indices.shape or symbols.dtype.kind not in "iu":
        raise ValueError("symbols must be an integer array as long as their table indices")
    if symbols.size and (symbols.min() < -(2**31) or symbols.max() >= 2**31):
        raise ValueError("a symbol does not fit in 32 bits")
    return symbols


@functools.lru_cache(maxsize=16)
def _offsets(tables: CdfTables) -> np.ndarray:
    return np.array(tables.offsets, np.int64)


@functools.lru_cache(maxsize=16)
def _are_entries(tables: CdfTables) -> bool:
    """Whether the symbols are the entries of their tables."""
    return not tables.has_escape and not any(tables.offsets)


@functools.lru_cache(maxsize=16)
def _escapes(tables: CdfTables) -> np.ndarray:
    """Per table: the number of its symbols, which is also the escape entry if there is one."""
    return np.array([len(c) - 1 - tables.has_escape for c in tables.cdfs], np.int64)


@functools.lru_cache(maxsize=16)
def escape_orders(tables: CdfTables) -> np.ndarray:
    """Order m of the escape code per table: 2**m is near the median excess over a Laplace table."""
    return np.array([max(0, (len(c) - 1).bit_length() - 5) for c in tables.cdfs], np.int64)


@functools.lru_cache(maxsize=16)
def _entry_tables(tables: CdfTables) -> CdfTables:
    """All tables of entries: those of symbols, then of escapes, see _class_table."""
    cdfs = (*tables.cdfs, _CLASS_CDF, _BIT_CDF)
    return CdfTables(cdfs, (0,) * len(cdfs), False)


def _class_table(tables: CdfTables) -> int:
    return len(tables.cdfs)


def _bit_table(tables: CdfTables) -> int:
    return len(tables.cdfs) + 1


# Per coder: (runs of entries, tables) -> bytes, and (bytes, tables) -> read(indices) -> entries.
_BACKENDS = {
    "constriction": (constriction_coder.encode_entries, constriction_coder.entry_decoder),
    "tfc": (tfc.encode_entries, tfc.entry_decoder),
}
