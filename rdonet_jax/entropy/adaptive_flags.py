"""Flags that are coded by the frequency of ones among earlier flags of the same context."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rdonet_jax.entropy.distributions import binary_index


class FlagCounts:
    """How many flags of each context were coded, and how many of them are ones."""

    def __init__(self, start: Sequence[tuple[int, int]] | np.ndarray) -> None:
        """From initial counts (ones, all) of every context."""
        self._ones, self._all = np.array(start, np.int64).T.copy()

    def code(
        self, contexts: np.ndarray, code_flags: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Codes a run of flags with the counts from before it, then counts them; bool [n].

        Args:
          contexts: of the flags, int [n].
          code_flags: indices of `distributions.binary_tables`, int32 [n] -> the flags, 0 or 1.
        """
        if not contexts.size:
            return np.zeros(0, bool)
        indices = binary_index(self._ones[contexts], self._all[contexts])
        flags = code_flags(indices) == 1
        np.add.at(self._ones, contexts[flags], 1)
        np.add.at(self._all, contexts, 1)
        return flags
