"""The linear transform of what a portable network loses, fitted to crops of images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core.config import PortableConfig
from rdonet_jax.core.partition import BLOCK, STRIDES
from rdonet_jax.models.portable import network as portable
from rdonet_jax.models.portable.widening import ResidualTransform
from rdonet_jax.nn import ops
from rdonet_jax.runtime import compilation

RIDGE = 1e-6
"""Added to the mean square of each input of the regression, for inputs that hardly vary."""


def fit(
    params: Any, config: PortableConfig, batches: Iterable[np.ndarray], trunk: int, features: int
) -> ResidualTransform:
    """The transform with so many new channels, from batches of crops [B, H, W, 3] in [0, 1].

    The directions are those of the most energy of the residual: principal components of 8×8 pixels,
    and of 2×2 positions of these. The new latents are the best linear prediction of the residual in
    these directions from the features of the encoder. All crops are kept in memory.
    """
    crops = list(batches)
    coded = compilation.jit(lambda x: code_without_rounding(params, config, x))
    residuals, differences = [], []
    for x in crops:
        difference, x_hat = coded(jnp.asarray(x))
        residuals.append(x - np.asarray(x_hat))
        differences.append(_rows(np.asarray(difference)))
    to_trunk = principal_components(np.concatenate([_rows(_blocks(r)) for r in residuals]), trunk)
    joined = np.concatenate([_rows(_join(_blocks(r) @ to_trunk)) for r in residuals])
    to_features = principal_components(joined, features)
    new_features = [_rows(_join(_blocks(x - 0.5) @ to_trunk) @ to_features) for x in crops]
    inputs = np.concatenate([np.concatenate(differences), np.concatenate(new_features)], axis=1)
    to_latent, bias = regression(inputs, joined @ to_features)
    deviations = np.std(inputs @ to_latent, axis=0)
    return ResidualTransform(to_trunk, to_features, to_latent, bias, deviations)


def code_without_rounding(
    params: Any, config: PortableConfig, x: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """e - d and x_hat of images whose positions are all coded at 16×16, without quantization."""

    def code(network: portable.PortableRDONet, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        e = network.finest_feature(x)
        coarsest = STRIDES[config.levels - 1]
        grid = (x.shape[1] // coarsest, x.shape[2] // coarsest)
        d = network.initial_state(len(x), grid).d
        for level in reversed(range(1, config.levels)):
            d = network.upsample(level, d)
        y = network.units[0].to_latent(jnp.concatenate([e, d], axis=-1))
        return e - d, network.reconstruct(network.upsample(0, network.add_residual(0, y, d)))

    return portable.network(config).apply({"params": params}, x, method=code)


def principal_components(samples: np.ndarray, count: int) -> np.ndarray:
    """Orthonormal columns [n, count]: the directions of the most energy of samples [N, n]."""
    _, vectors = np.linalg.eigh(samples.T.astype(np.float64) @ samples)
    return vectors[:, ::-1][:, :count]


def regression(inputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The matrix [n, m] and the bias [m] that predict targets [N, m] from inputs [N, n] best."""
    inputs, targets = inputs.astype(np.float64), targets.astype(np.float64)
    means = inputs.mean(axis=0), targets.mean(axis=0)
    centered = inputs - means[0]
    square = centered.T @ centered
    square += RIDGE * np.diag(np.maximum(np.diag(square), len(inputs) * RIDGE))
    matrix = np.linalg.solve(square, centered.T @ (targets - means[1]))
    return matrix, means[1] - means[0] @ matrix


def _blocks(x: np.ndarray) -> np.ndarray:
    """8×8 pixels as channels, in the order of the network's trunk."""
    return np.asarray(ops.space_to_depth(ops.space_to_depth(ops.space_to_depth(jnp.asarray(x)))))


def _join(x: np.ndarray) -> np.ndarray:
    """2×2 positions as channels."""
    return np.asarray(ops.space_to_depth(jnp.asarray(x)))


def _rows(x: np.ndarray) -> np.ndarray:
    """All positions in one axis, [N, C]."""
    return x.reshape(-1, x.shape[-1])


def square_crops(
    images: Iterable[np.ndarray], per_image: int, side: int, seed: int
) -> Iterable[np.ndarray]:
    """For each uint8 image that is large enough, so many random crops in [0, 1] as a batch."""
    if side % BLOCK:
        raise ValueError(f"crops need a side that is a multiple of {BLOCK}, not {side}")
    rng = np.random.default_rng(seed)
    for image in images:
        if min(image.shape[:2]) < side:
            continue
        corners = [rng.integers(0, n - side + 1, per_image) for n in image.shape[:2]]
        crops = [image[i : i + side, j : j + side] for i, j in zip(*corners, strict=True)]
        yield np.stack(crops).astype(np.float32) / 255
