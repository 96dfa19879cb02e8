"""What the walks of both families of networks have in common, as `codec` sees them.

A walk goes through one picture from the coarsest level to the finest. It stands for the decoder;
the encoder takes the same one and adds what it wants to say.
"""

from __future__ import annotations

import abc
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from rdonet_jax.coder import Run

Take = Callable[[np.ndarray], np.ndarray]
"""The table indices of a run -> its symbols, from a range decoder."""


class SymbolError(ValueError):
    """Values that cannot be coded as symbols, or symbols that no encoder sends."""


class Walk(abc.ABC):
    """The walk for one picture, and the record of the symbols on the way.

    Attributes:
      checksum: CRC-32 of all symbols so far, in the order of coding.
      symbols: by level, the symbols of its runs, int32.
    """

    def __init__(self) -> None:
        self.checksum = 0
        self.symbols: dict[int, tuple[np.ndarray, ...]] = {}

    @abc.abstractmethod
    def analyse(self, pixels: np.ndarray) -> tuple[Any, ...]:
        """Encoder only: padded pixels [1, H, W, 3] -> what `send` takes, by level."""

    @abc.abstractmethod
    def send(self, level: int, e: jax.Array, goes_on: bool) -> list[Run]:
        """Encoder only: the runs of a level; stands before the next one then if it `goes_on`.

        Raises `SymbolError` when the network gives numbers that cannot be coded.
        """

    @abc.abstractmethod
    def receive(self, level: int, take: Take) -> None:
        """Decoder only: past a level with its symbols from a range decoder.

        Raises `SymbolError` for symbols that no encoder sends, and what `take` raises.
        """

    @abc.abstractmethod
    def picture(self, deep: bool = False) -> np.ndarray:
        """Padded pixels uint8 [H, W, 3], or uint16 if `deep`, after the last level."""

    def record(self, level: int, runs: Sequence[np.ndarray]) -> None:
        """Takes note of all symbols of a level."""
        for run in runs:
            self.checksum = zlib.crc32(run.astype("<i4").tobytes(), self.checksum)
        self.symbols[level] = tuple(run.astype(np.int32) for run in runs)


def integers(values: np.ndarray) -> np.ndarray:
    """Float symbols as int32. Raises `SymbolError` when they do not fit (or are NaN)."""
    if not np.all(np.abs(values) < 2.0**31):
        raise SymbolError("the latents are too large to be coded")
    return values.astype(np.int32)
