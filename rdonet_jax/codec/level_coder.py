"""What the walks of both families of networks have in common, as `codec` sees them.

A walk goes through one image from the coarsest level to the finest. It stands for the decoder;
the encoder takes the same one and adds what it wants to say.
"""

from __future__ import annotations

import abc
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from rdonet_jax.entropy.range_coder import Run

ReadSymbols = Callable[[np.ndarray], np.ndarray]
"""The table indices of a run -> its symbols, from a range decoder."""

_AT_ONCE = 2**20
"""Symbols that are rewritten for the checksum at a time."""


class SymbolError(ValueError):
    """Values that cannot be coded as symbols, or symbols that no encoder sends."""


class LevelCoder(abc.ABC):
    """The walk for one image, and the record of the symbols on the way.

    Attributes:
      checksum: CRC-32 of all symbols so far, in the order of coding.
      symbols: by level, the symbols of its runs, int16 where they fit and int32 elsewhere.
    """

    def __init__(self) -> None:
        self.checksum = 0
        self.symbols: dict[int, tuple[np.ndarray, ...]] = {}

    @abc.abstractmethod
    def analyze(self, image: np.ndarray) -> None:
        """Encoder only: takes the pixels [H, W, 3] of either depth, which are to be coded."""

    @abc.abstractmethod
    def encode_level(self, level: int, continues: bool) -> list[Run]:
        """Encoder only: the runs of a level; stands before the next one then if it `continues`.

        To be called once for each level, after `analyze`. Raises `SymbolError` when the network
        gives numbers that cannot be coded.
        """

    @abc.abstractmethod
    def decode_level(self, level: int, take: ReadSymbols) -> None:
        """Decoder only: past a level with its symbols from a range decoder.

        Raises `SymbolError` for symbols that no encoder sends, and what `take` raises.
        """

    @abc.abstractmethod
    def picture(self, is_16bit: bool = False) -> np.ndarray:
        """Padded pixels uint8 [H, W, 3], or uint16 if `is_16bit`, after the last level."""

    def record(self, level: int, runs: Sequence[np.ndarray]) -> None:
        """Takes note of all symbols of a level."""
        for run in runs:
            for first in range(0, len(run), _AT_ONCE):
                part = run[first : first + _AT_ONCE].astype("<i4")
                self.checksum = zlib.crc32(part.tobytes(), self.checksum)
        self.symbols[level] = tuple(map(narrowed, runs))


def integers(values: np.ndarray) -> np.ndarray:
    """Float symbols as integers, `narrowed`.

    Raises `SymbolError` when they do not fit in 32 bits with sign (or are NaN).
    """
    largest = max(values.max(initial=0), -values.min(initial=0))  # NaN if one is
    if not largest < 2.0**31:
        raise SymbolError("the latents are too large to be coded")
    return values.astype(np.int16 if largest < 2**15 else np.int32)


def narrowed(symbols: np.ndarray) -> np.ndarray:
    """Symbols as int16 where all of a run fit, and as int32 elsewhere: there are many of them."""
    fit = symbols.max(initial=0) < 2**15 and symbols.min(initial=0) >= -(2**15)
    return symbols.astype(np.int16 if fit else np.int32, copy=False)
