"""Which parameters of a portable network a training can change apart from all others, by path."""

from __future__ import annotations

PRIOR = frozenset({"prior", "hyper_encoder", "z_gain"})
"""Names in the paths of parameters that predict probabilities."""

NOT_PRIOR = "gain"
"""The quantizer's steps are stored beside the prior, but change the decoded image."""

AFTER_SYMBOLS = frozenset({"g_s", "g_s_restore", "g_s_finish"})
"""Names of parts of the synthesis that no symbol depends on."""

FINEST, AFTER_FINEST = "units_0", frozenset({"from_latent", "restore", "hand_over"})
"""The finest level, and names of such parts within it."""


def is_prior(path: str) -> bool:
    """Whether a parameter belongs to the priors: to what predicts probabilities."""
    names = path.split("/")
    return bool(PRIOR & set(names)) and names[-1] != NOT_PRIOR


def is_after_symbols(path: str) -> bool:
    """Whether a parameter belongs to the synthesis from the finest latents on."""
    first, *rest = path.split("/")
    return first in AFTER_SYMBOLS or (first == FINEST and bool(AFTER_FINEST & set(rest)))
