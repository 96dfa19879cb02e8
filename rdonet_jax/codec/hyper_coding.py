"""Codes the hyper-latents of the fixed-rate RDONet with their causal prior, by wavefronts.

The prior of a position depends on z_hat to its left and above. A wavefront is a diagonal
t = column + 2 · row, whose positions depend on earlier diagonals alone. The arithmetic is NumPy's,
element by element; `rdonet_jax.models.rdonet.causal_prior` says why encoder and decoder get the
same bits. The scale index is found without evaluating the softplus.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from rdonet_jax.codec.level_coder import ReadSymbols, SymbolError
from rdonet_jax.entropy import distributions
from rdonet_jax.entropy.runs import Run
from rdonet_jax.models.rdonet import causal_prior

LARGEST = 1 << 24
"""Bound on |z_hat| and |mu|: beyond it float32 no longer holds every integer."""

Positions = tuple[np.ndarray, np.ndarray]


@functools.cache
def raw_thresholds(distribution: str) -> np.ndarray:
    """softplus⁻¹ of the scale table's thresholds, float32, ascending."""
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
    """Runs for the range coder, one per wavefront, of z_hat [h, w, C] where coded [h, w].

    z_hat is integer-valued, and 0 where not coded. Raises `SymbolError` when it is too large.
    """
    z_hat = _check_range(z_hat)
    rows, columns = np.indices(coded.shape).reshape(2, -1)
    state = _State(weights, coded.shape, z_hat.shape[-1])
    state.place((rows, columns), z_hat.reshape(-1, z_hat.shape[-1]))
    state.update_units((rows, columns))
    runs = []
    for positions in wavefronts(*coded.shape):
        row, column = _select(positions, coded)
        mu, index = state.prior((row, column), distribution)
        symbols = z_hat[row, column].astype(np.int64) - mu.astype(np.int64)
        runs.append((symbols.ravel(), index.ravel()))
    return runs


def decode(
    read_symbols: ReadSymbols,
    weights: causal_prior.CausalWeights,
    coded: np.ndarray,
    distribution: str,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """z_hat float32 [h, w, C] and the symbols of each run, by a range decoder's `read_symbols`.

    Raises `SymbolError` for symbols that no encoder writes.
    """
    channels = weights.output_bias.shape[-1]
    state = _State(weights, coded.shape, channels)
    symbols = []
    for positions in wavefronts(*coded.shape):
        state.update_units(positions)
        selected = _select(positions, coded)
        mu, index = state.prior(selected, distribution)
        run = read_symbols(index.ravel())
        symbols.append(run)
        state.place(selected, _check_range(mu + run.reshape(mu.shape).astype(np.float64)))
    return state.z_hat[1:, 1:-1], symbols


class _State:
    """z_hat and the hidden units of the causal network so far, with their zero borders."""

    def __init__(
        self, weights: causal_prior.CausalWeights, shape: tuple[int, int], channels: int
    ) -> None:
        rows, columns = shape
        hidden = weights.hidden.shape[1]
        self.weights = causal_prior.CausalWeights(*(np.asarray(w, np.float32) for w in weights))
        self.z_hat = np.zeros((rows + 1, columns + 2, channels), np.float32)
        self.units = np.zeros((rows + 1, columns + 2, hidden, channels), np.float32)

    def place(self, positions: Positions, values: np.ndarray) -> None:
        row, column = positions
        self.z_hat[row + 1, column + 1] = values

    def update_units(self, positions: Positions) -> None:
        """Hidden units at positions whose causal neighbors have all been coded."""
        row, column = positions
        neighbors = _neighbors(self.z_hat, positions)
        self.units[row + 1, column + 1] = causal_prior.hidden_units(neighbors, self.weights)

    def prior(self, positions: Positions, distribution: str) -> Run:
        """Integer mean (as float32) and scale index, each [n, C]."""
        result = causal_prior.outputs(_neighbors(self.units, positions), self.weights)
        mu = _check_range(np.rint(result[:, 0]))
        return mu, np.searchsorted(raw_thresholds(distribution), result[:, 1])


def _neighbors(plane: np.ndarray, positions: Positions) -> list[np.ndarray]:
    row, column = positions
    return [plane[row + 1 + down, column + 1 + right] for down, right in causal_prior.OFFSETS]


def _select(positions: Positions, coded: np.ndarray) -> Positions:
    keep = coded[positions]
    return positions[0][keep], positions[1][keep]


def _check_range(values: np.ndarray) -> np.ndarray:
    """Values that float32 holds exactly; also refuses NaN."""
    if not np.all(np.abs(values) <= LARGEST):
        raise SymbolError(f"hyper-latents beyond ±{LARGEST} cannot be coded")
    return np.asarray(values, np.float32)
