"""The interface between `codec.codec` and the level coders of the model families.

A level coder codes one image, level by level from the coarsest to the finest. It does what the
decoder does. The encoder uses the same class: it computes the symbols from the decoder's own
predictions, and so both sides make the same predictions.
"""

from __future__ import annotations

import abc
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from rdonet_jax.entropy.runs import Run

ReadSymbols = Callable[[np.ndarray], np.ndarray]
"""Table indices of a run [N] -> its symbols, integers [N], from a range decoder."""

CodeRun = Callable[[np.ndarray, Callable[[], Any]], np.ndarray]
"""(table indices of a run [N], function that computes the encoder's symbols) -> symbols [N].

An encoder calls the function, whose result may be floats of any shape. A decoder reads the symbols
from the bitstream and never calls it.
"""

_CHECKSUM_PART = 2**20
"""Symbols that are converted for the checksum at a time, to bound the memory."""


class SymbolError(ValueError):
    """Values that cannot be coded as symbols, or symbols that no encoder sends."""


class ImageLatents(NamedTuple):
    """The latents of an image by level, in steps. Rounding y - mu and z gives the symbols.

    There is no dead zone. Values where nothing is coded have no effect.
    """

    y: tuple[np.ndarray, ...]  # float32 [h, w, L]
    z: tuple[np.ndarray, ...]  # float32 [ceil(h/4), ceil(w/4), ·]


class LevelCoder(abc.ABC):
    """Codes the levels of one image in either direction, and records their symbols.

    Attributes:
      checksum: CRC-32 of all symbols so far, in the order of coding.
      symbols: by level, the symbols of its runs, int16 where they fit and int32 elsewhere.
    """

    def __init__(self) -> None:
        self.checksum = 0
        self.symbols: dict[int, tuple[np.ndarray, ...]] = {}

    @abc.abstractmethod
    def analyze(self, image: np.ndarray) -> None:
        """Encoder only: computes the features of pixels uint8 or uint16 [H, W, 3]."""

    @abc.abstractmethod
    def encode_level(self, level: int, continues: bool) -> list[Run]:
        """Encoder only: the runs of a level for the range coder.

        To be called once for each level, coarse to fine, after `analyze`. The state for what
        follows (the next level or `reconstruct`) is complete only if the coder `continues`. Raises
        `SymbolError` when the network gives numbers that cannot be coded.
        """

    def use_latents(self, latents: ImageLatents) -> None:
        """Encoder only: codes these latents. To be called instead of `analyze`.

        Only for families whose codec `takes_latents`.
        """
        raise NotImplementedError(f"{type(self).__name__} takes no latents")

    def encode_recorded(self, level: int) -> tuple[np.ndarray, np.ndarray]:
        """Encoder only: as `encode_level`, but gives y and z as `use_latents` takes them.

        Only for families whose codec `takes_latents`.
        """
        raise NotImplementedError(f"{type(self).__name__} takes no latents")

    @abc.abstractmethod
    def decode_level(self, level: int, read_symbols: ReadSymbols) -> None:
        """Decoder only: reads the symbols of a level and updates the state.

        To be called once for each level, coarse to fine. Raises `SymbolError` for symbols that no
        encoder sends, and what `read_symbols` raises.
        """

    @abc.abstractmethod
    def reconstruct(self, is_16bit: bool = False) -> np.ndarray:
        """After the last level: padded pixels uint8 [H, W, 3], or uint16 if `is_16bit`."""

    def record(self, level: int, runs: Sequence[np.ndarray]) -> None:
        """Adds the symbols of a level to `symbols` and to the checksum."""
        for run in runs:
            for first in range(0, len(run), _CHECKSUM_PART):
                part = run[first : first + _CHECKSUM_PART].astype("<i4")
                self.checksum = zlib.crc32(part.tobytes(), self.checksum)
        self.symbols[level] = tuple(map(narrow, runs))


def encoder_run(runs: list[Run]) -> CodeRun:
    """The `CodeRun` of an encoder. It appends each run to `runs`.

    Raises `SymbolError` as `to_integers` does.
    """

    def code_run(indices: np.ndarray, compute_symbols: Callable[[], Any]) -> np.ndarray:
        symbols = to_integers(np.asarray(compute_symbols())).ravel()
        runs.append((symbols, indices))
        return symbols

    return code_run


def decoder_run(read_symbols: ReadSymbols) -> CodeRun:
    """The `CodeRun` of a decoder."""
    return lambda indices, _: read_symbols(indices)


def recorded_run(code_run: CodeRun, symbols: list[np.ndarray]) -> CodeRun:
    """`code_run` that also appends the symbols of each run to `symbols`, narrowed."""

    def code_and_record(indices: np.ndarray, compute_symbols: Callable[[], Any]) -> np.ndarray:
        symbols.append(narrow(code_run(indices, compute_symbols)))
        return symbols[-1]

    return code_and_record


def to_integers(values: np.ndarray) -> np.ndarray:
    """Integer-valued floats as int16 where all of them fit, and as int32 elsewhere.

    Raises `SymbolError` when they do not fit in 32 bits with sign (or are NaN).
    """
    largest = max(values.max(initial=0), -values.min(initial=0))  # NaN if one is
    if not largest < 2.0**31:
        raise SymbolError("the latents are too large to be coded")
    return values.astype(np.int16 if largest < 2**15 else np.int32)


def narrow(symbols: np.ndarray) -> np.ndarray:
    """Symbols as int16 where all of a run fit, and as int32 elsewhere: there are many of them."""
    fit = symbols.max(initial=0) < 2**15 and symbols.min(initial=0) >= -(2**15)
    return symbols.astype(np.int16 if fit else np.int32, copy=False)
