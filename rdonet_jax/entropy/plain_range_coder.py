"""The range coder of the package constriction, written in Python, for where that has no wheels.

The classes have the names, the methods and the results of constriction's, as far as
`constriction_coder` uses them, with words of 32 bits, a state of 64 bits and probabilities of 24
bits. `docs/format.md` states the decoder. A loop of Python takes each entry alone, so coding takes
several times as long.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import chain, repeat

import numpy as np

_WORD = 2**32
_FULL = 2**64 - 1


class Categorical:
    """Entries with the probabilities (weight + 1) / 2**24.

    Weights, float64 [N], are whole numbers. Weights plus 1 sum to 2**24, for which constriction's
    `perfect=False` means the same. Raises ValueError for a single entry, as constriction does.
    """

    def __init__(self, weights: np.ndarray, perfect: bool = False) -> None:
        if len(weights) < 2:
            raise ValueError("a model needs two entries")
        counts = weights.astype(np.int64) + 1
        self.counts: list[int] = counts.tolist()
        # Bounds of the entries: one more than there are entries, from 0 to 2**24.
        self.bounds: list[int] = [0, *np.cumsum(counts).tolist()]


class RangeEncoder:
    """Narrows an interval of numbers, entry by entry."""

    def __init__(self) -> None:
        self._low, self._extent = 0, _FULL
        # Words above those of `_low`. An addition to `_low` that exceeds 64 bits goes into the
        # last of them, which may so have 33 bits.
        self._words = array("Q")

    def encode(self, entries: np.ndarray, model: Categorical) -> None:
        """Codes entries, contiguous integers [N], which the model must have."""
        low, extent = self._low, self._extent
        bounds, counts = model.bounds, model.counts
        for entry in memoryview(entries.data):
            unit = extent >> 24
            low += unit * bounds[entry]
            extent = unit * counts[entry]
            if extent < _WORD:
                self._words.append(low >> 32)
                low = low % _WORD << 32
                extent <<= 32
        self._low, self._extent = low, extent

    def get_compressed(self) -> np.ndarray:
        """Words, uint32 [N], of the lower end of the interval; constriction gives other ones."""
        words = np.array([*self._words, self._low >> 32, self._low % _WORD], np.uint64)
        number = _number(words % _WORD) + (_number(words >> 32) << 32)
        return np.frombuffer(number.to_bytes(4 * len(words), "big"), ">u4").astype(np.uint32)

    def pos(self) -> tuple[int, tuple[int, int]]:
        """The number of words before the last two, what these are, and the interval's extent."""
        return len(self._words), (self._low & _FULL, self._extent)


def _number(words: np.ndarray) -> int:
    return int.from_bytes(words.astype(">u4").tobytes(), "big")


class RangeDecoder:
    """Reads what `RangeEncoder` writes, uint32 [N]. Words past the end are zeros."""

    def __init__(self, words: np.ndarray) -> None:
        self._words = chain(memoryview(words.data), repeat(0))
        self._offset = next(self._words) << 32 | next(self._words)
        self._extent = _FULL

    def decode(self, model: Categorical, count: int) -> np.ndarray:
        """The next `count` entries, int32 [count], all of one model.

        Raises AssertionError, as constriction does, for words that no entries lead to. So will
        all later calls.
        """
        offset, extent = self._offset, self._extent
        bounds, counts = model.bounds, model.counts
        entries = array("i")
        try:
            for _ in repeat(None, count):
                unit = extent >> 24
                entry = bisect_right(bounds, offset // unit) - 1
                extent = unit * counts[entry]  # IndexError: at or above the last bound
                offset -= unit * bounds[entry]
                if extent < _WORD:
                    extent <<= 32
                    offset = offset << 32 | next(self._words)
                entries.append(entry)
        except IndexError as error:
            raise AssertionError("no entries lead to these words") from error
        finally:
            self._offset, self._extent = offset, extent
        return np.frombuffer(entries, np.int32)
