"""Coding of the hyper-latents of fixed-rate models with their causal prior, by wavefronts.

The prior of a position depends on z_hat to its left and above. The positions of a diagonal
t = column + 2 · row depend on earlier diagonals only. They are a wavefront, which a decoder
computes at once. The arithmetic is NumPy's, element by element (`models.rdonet.causal_prior` says
why encoder and decoder get the same bits). Scale indices are found without evaluating the softplus.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from rdonet_jax.codec.level_coder import ReadSymbols, SymbolError
from rdonet_jax.entropy import distributions
from rdonet_jax.entropy.range_coder import Run
from rdonet_jax.models.rdonet import causal_prior

LARGEST = 1 << 24
"""Bound on |z_hat| and |mu|: beyond it float32 does not hold every integer."""

Positions = tuple[np.ndarray, np.ndarray]
"""Rows and columns, integers [n]."""


@functools.cache
def raw_thresholds(distribution: str) -> np.ndarray:
    """softplus⁻¹ of the thresholds between scale indices, float32, ascending."""
    thresholds = distributions.scale_thresholds(distribution).astype(np.float64)
    return (thresholds + np.log(-np.expm1(-thresholds))).astype(np.float32)


def wavefronts(rows: int, columns: int) -> Iterator[Positions]:
    """The positions of each diagonal column + 2 · row, rows ascending."""
    for t in range(columns + 2 * rows - 2):
        row = np.arange(max(0, (t - columns + 2) // 2), min(rows - 1, t // 2) + 1)
        yield row, t - 2 * row


def encode_runs(
    weights: causal_prior.CausalWeights, z_hat: np.ndarray, coded: np.ndarray, distribution: str
) -> list[Run]:
    """Runs for the range coder, one per wavefront, of z_hat [h, w, C] where `coded` [h, w].

    z_hat is integer-valued, and 0 where not coded. Raises `SymbolError` if it is too large.
    """
    z_hat = _check_range(z_hat)
    rows, columns = np.indices(coded.shape).reshape(2, -1)
    grids = _Grids(weights, coded.shape, z_hat.shape[-1])
    grids.set_z_hat((rows, columns), z_hat.reshape(-1, z_hat.shape[-1]))
    grids.update_units((rows, columns))
    runs = []
    for front in wavefronts(*coded.shape):
        positions = _select(front, coded)
        mu, index = grids.predict(positions, distribution)
        symbols = z_hat[positions].astype(np.int64) - mu.astype(np.int64)
        runs.append((symbols.ravel(), index.ravel()))
    return runs


def decode(
    read_symbols: ReadSymbols,
    weights: causal_prior.CausalWeights,
    coded: np.ndarray,
    distribution: str,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """z_hat float32 [h, w, C], and the symbols of each run.

    Raises `SymbolError` for symbols that no encoder writes, and what `read_symbols` raises.
    """
    channels = weights.output_bias.shape[-1]
    grids = _Grids(weights, coded.shape, channels)
    runs = []
    for front in wavefronts(*coded.shape):
        grids.update_units(front)
        positions = _select(front, coded)
        mu, index = grids.predict(positions, distribution)
        symbols = read_symbols(index.ravel())
        runs.append(symbols)
        z_hat = _check_range(mu + symbols.reshape(mu.shape).astype(np.float64))
        grids.set_z_hat(positions, z_hat)
    return grids.z_hat[1:, 1:-1], runs


class _Grids:
    """z_hat and the hidden units of the causal network, with the zero border of both layers."""

    def __init__(
        self, weights: causal_prior.CausalWeights, shape: tuple[int, int], channels: int
    ) -> None:
        rows, columns = shape
        hidden = weights.hidden.shape[1]
        self.weights = causal_prior.CausalWeights(*(np.asarray(w, np.float32) for w in weights))
        self.z_hat = np.zeros((rows + 1, columns + 2, channels), np.float32)
        self.units = np.zeros((rows + 1, columns + 2, hidden, channels), np.float32)

    def set_z_hat(self, positions: Positions, values: np.ndarray) -> None:
        """Stores z_hat [n, C] at positions."""
        rows, columns = positions
        self.z_hat[rows + 1, columns + 1] = values

    def update_units(self, positions: Positions) -> None:
        """Computes the hidden units at positions, whose causal neighbors have their z_hat."""
        rows, columns = positions
        neighbors = _gather_neighbors(self.z_hat, positions)
        self.units[rows + 1, columns + 1] = causal_prior.hidden_units(neighbors, self.weights)

    def predict(self, positions: Positions, distribution: str) -> tuple[np.ndarray, np.ndarray]:
        """Integer mean (as float32) and scale index of z, each [n, C]."""
        neighbors = _gather_neighbors(self.units, positions)
        outputs = causal_prior.outputs(neighbors, self.weights)
        mu = _check_range(np.rint(outputs[:, 0]))
        return mu, np.searchsorted(raw_thresholds(distribution), outputs[:, 1])


def _gather_neighbors(grid: np.ndarray, positions: Positions) -> list[np.ndarray]:
    rows, columns = positions
    return [grid[rows + 1 + down, columns + 1 + right] for down, right in causal_prior.OFFSETS]


def _select(positions: Positions, coded: np.ndarray) -> Positions:
    """The coded ones of the positions."""
    rows, columns = positions
    keep = coded[rows, columns]
    return rows[keep], columns[keep]


def _check_range(values: np.ndarray) -> np.ndarray:
    """Integers as float32. Raises `SymbolError` for those beyond `LARGEST`, and for NaN."""
    if not np.all(np.abs(values) <= LARGEST):
        raise SymbolError(f"hyper-latents beyond ±{LARGEST} cannot be coded")
    return np.asarray(values, np.float32)
