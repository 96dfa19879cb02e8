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

LEAST_SIDE = 8
"""Kernels with a shorter side are Adam's: a convolution of colors has few directions."""

RMS = 0.2
"""Root mean square of an update of a matrix, as Adam's are in practice, so that one learning rate
serves both ([Liu et al. 2025](https://arxiv.org/abs/2502.16982))."""


def scale_by_muon(adam: optax.GradientTransformation) -> optax.GradientTransformation:
    """Updates by Muon for the kernels of `are_matrices`, and by `adam` for all other leaves.

    Raises `ConfigError` for an optax that has no Muon.
    """
    if not hasattr(optax.contrib, "MuonDimensionNumbers"):
        raise ConfigError(
            f"the optimizer 'muon' needs optax 0.2.6 or newer, not {optax.__version__}"
        )

    def labels(params: Any) -> Any:
        return jax.tree_util.tree_map(lambda is_matrix: str(is_matrix), are_matrices(params))

    return optax.multi_transform({str(True): _of_matrices(), str(False): adam}, labels)


def are_matrices(params: Any) -> Any:
    """A tree of bool: which leaves are kernels, as matrices, with no side under `LEAST_SIDE`."""

    def is_matrix(path: Any, leaf: Any) -> bool:
        return path[-1].key == "kernel" and min(_matrix_shape(leaf)) >= LEAST_SIDE

    return jax.tree_util.tree_map_with_path(is_matrix, params)


def _matrix_shape(kernel: Any) -> tuple[int, int]:
    """The rows of a kernel [..., inputs, outputs] are its taps and inputs, the columns outputs."""
    return math.prod(kernel.shape[:-1]), kernel.shape[-1]


def _of_matrices() -> optax.GradientTransformation:
    """Muon over kernels of any number of dimensions."""

    def dimensions(tree: Any) -> Any:
        return jax.tree_util.tree_map(
            lambda leaf: optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), -1), tree
        )

    return optax.chain(
        optax.contrib.scale_by_muon(weight_dimension_numbers=dimensions),
        optax.stateless_with_tree_map(
            lambda update, _: RMS * math.sqrt(max(_matrix_shape(update))) * update
        ),
    )
