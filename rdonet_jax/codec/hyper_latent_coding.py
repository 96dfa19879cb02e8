"""Codes the hyper-latents of the fixed-rate RDONet with their causal prior, by wavefronts.

The prior of a position depends on z_hat to its left and above. A wavefront is a diagonal
t = column + 2 · row, whose positions depend on earlier diagonals alone. The arithmetic is NumPy's,
element by element; `rdonet_jax.models.rdonet.causal_prior` says why encoder and decoder get the
same bits. The scale index is found without evaluating the softplus. An encoder, which has all of
z_hat, computes the hidden units of all positions at once.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from rdonet_jax.codec.level_coder import CodeRun, SymbolError
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


def code(
    code_run: CodeRun,
    weights: causal_prior.CausalWeights,
    coded: np.ndarray,
    distribution: str,
    z_hat: np.ndarray | None,
) -> np.ndarray:
    """Codes z_hat [h, w, C] where coded [h, w], a run per wavefront, and gives it as float32.

    An encoder's z_hat is integer-valued, and 0 where not coded; a decoder's is None. Raises
    `SymbolError` for values that are too large, and for symbols that no encoder writes.
    """
    state = _State(weights, coded.shape)
    if z_hat is not None:
        state.fill(_check_range(z_hat))
    for positions in wavefronts(*coded.shape):
        if z_hat is None:
            state.update_units(positions)
        selected = _select(positions, coded)
        mu, index = state.prior(selected, distribution)
        compute_symbols = functools.partial(state.offsets, selected, mu)
        symbols = code_run(index.ravel(), compute_symbols)
        if z_hat is None:
            state.store(selected, _check_range(mu + symbols.reshape(mu.shape).astype(np.float64)))
    return state.z_hat[1:, 1:-1]


class _State:
    """z_hat and the hidden units of the causal network so far, with their zero borders."""

    def __init__(self, weights: causal_prior.CausalWeights, shape: tuple[int, int]) -> None:
        rows, columns = shape
        hidden, channels = weights.hidden.shape[1], weights.output_bias.shape[-1]
        self.weights = causal_prior.CausalWeights(*(np.asarray(w, np.float32) for w in weights))
        self.z_hat = np.zeros((rows + 1, columns + 2, channels), np.float32)
        self.units = np.zeros((rows + 1, columns + 2, hidden, channels), np.float32)

    def store(self, positions: Positions, values: np.ndarray) -> None:
        row, column = positions
        self.z_hat[row + 1, column + 1] = values

    def fill(self, z_hat: np.ndarray) -> None:
        """Encoder only: all of z_hat at once, and all hidden units."""
        rows, columns = np.indices(z_hat.shape[:2]).reshape(2, -1)
        everywhere = (rows, columns)
        self.store(everywhere, z_hat.reshape(-1, z_hat.shape[-1]))
        self.update_units(everywhere)

    def offsets(self, positions: Positions, mu: np.ndarray) -> np.ndarray:
        """Encoder only: z_hat minus mu at positions, whole numbers in float64."""
        row, column = positions
        return self.z_hat[row + 1, column + 1].astype(np.float64) - mu

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
