"""Which parameters are kernels: the matrices that optimizers of matrices move as a whole."""

from __future__ import annotations

import math
from typing import Any

import jax
import optax

LEAST_SIDE = 8
"""Kernels with a shorter side are Adam's: a convolution of colors has few directions."""


def separate(
    of_kernels: optax.GradientTransformation, of_others: optax.GradientTransformation
) -> optax.GradientTransformation:
    """One transformation for the kernels of `are_matrices`, another one for all other leaves."""

    def labels(params: Any) -> Any:
        return jax.tree_util.tree_map(str, are_matrices(params))

    return optax.multi_transform({str(True): of_kernels, str(False): of_others}, labels)


def are_matrices(params: Any) -> Any:
    """A tree of bool: which leaves are kernels, as matrices, with no side under `LEAST_SIDE`."""

    def is_matrix(path: Any, leaf: Any) -> bool:
        return path[-1].key == "kernel" and min(matrix_shape(leaf)) >= LEAST_SIDE

    return jax.tree_util.tree_map_with_path(is_matrix, params)


def matrix_shape(kernel: Any) -> tuple[int, int]:
    """The rows of a kernel [..., inputs, outputs] are its taps and inputs, the columns outputs."""
    return math.prod(kernel.shape[:-1]), kernel.shape[-1]
