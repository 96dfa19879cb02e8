"""Muon: momentum whose kernels are made orthogonal, for the large kernels of a network.

Momentum of a kernel is replaced by the nearest matrix whose singular values are all 1
([Jordan et al. 2024](https://kellerjordan.github.io/posts/muon/)), by `optax.contrib`. All other
parameters are Adam's.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import optax

from rdonet_jax.core.config import ConfigError
from rdonet_jax.training.optimizers import kernels

RMS = 0.2
"""Root mean square of an update of a matrix, as Adam's are in practice, so that one learning rate
serves both ([Liu et al. 2025](https://arxiv.org/abs/2502.16982))."""


def scale_by_muon() -> optax.GradientTransformation:
    """Muon over kernels of any number of dimensions.

    Raises `ConfigError` for an optax that has no Muon.
    """
    if not hasattr(optax.contrib, "MuonDimensionNumbers"):
        raise ConfigError(
            f"the optimizer 'muon' needs optax 0.2.6 or newer, not {optax.__version__}"
        )

    def dimensions(tree: Any) -> Any:
        return jax.tree_util.tree_map(
            lambda leaf: optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), -1), tree
        )

    return optax.chain(
        optax.contrib.scale_by_muon(weight_dimension_numbers=dimensions),
        optax.stateless_with_tree_map(
            lambda update, _: RMS * math.sqrt(max(kernels.matrix_shape(update))) * update
        ),
    )
