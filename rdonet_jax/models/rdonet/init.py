"""A start for training: the network as a linear transform coder that already works.

The transforms begin as one orthonormal, hierarchical Karhunen-Loève transform of a separable
first-order Markov model of images. Every stride-2 stage joins 2×2 neighbors and keeps the
strongest directions; synthesis is its transpose; a finer level codes the difference to what the
coarser levels predict. ReLUs do no harm because every direction v occupies two channels, ReLU(v)
and ReLU(-v), of which the next layer takes the difference ("looks-linear", Balduzzi et al. 2017).
Nothing is fitted to data. The convolutions keep a little of their random start, which breaks the
symmetry.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core.config import LEVELS, RDONetConfig

CORRELATION = 0.97
"""Of neighboring pixels, in rows and in columns."""

COLOR_COVARIANCE = np.array([[0.064, 0.060, 0.054], [0.060, 0.062, 0.058], [0.054, 0.058, 0.065]])
"""Of R, G, B in images in [0, 1], typical of photographs."""

RANDOM_SHARE = 0.01
"""Of the random initialization that stays in every convolution of the transforms."""

CENTER = 2  # tap of a 5×5 kernel at the output's own position; 2 and 3 are its 2×2 block


class Stage(NamedTuple):
    """One stride-2 stage from K_in to K_out directions."""

    weights: np.ndarray  # [K_out, 2, 2, K_in], orthonormal rows
    variances: np.ndarray  # [K_out] under the Markov model, descending


def step_gain(lmbda: float) -> float:
    """Latent units per unit of the orthonormal transform: one over the best quantizer step.

    Minimises -log2(step) + lmbda · 255² · step² / 36 per coefficient: at high rate a coefficient
    costs -log2(step) bits and step² / 12 of squared error, a third of it in each color's mean.
    """
    return math.sqrt(math.log(2) * lmbda * 255.0**2 / 18)


RGB_BASIS = np.eye(3).reshape(3, 1, 1, 3)


def klt_stages(directions: tuple[int, ...], basis: np.ndarray = RGB_BASIS) -> list[Stage]:
    """The transform with `directions[k]` kept after stage k.

    The first stage starts from `basis`, vectors [K, n, n, 3]: the three colors of a pixel.
    """
    result = []
    for keep in directions:
        children, side = join_neighbors(basis)
        covariance = _covariance(children, side)
        variances, vectors = np.linalg.eigh(covariance)
        order = np.argsort(variances)[::-1][:keep]
        weights = vectors[:, order].T
        basis = np.tensordot(weights, children, axes=1)
        weights = weights.reshape(len(order), 2, 2, len(children) // 4)
        result.append(Stage(weights, np.maximum(variances[order], 0.0)))
    return result


def join_neighbors(basis: np.ndarray) -> tuple[np.ndarray, int]:
    """[K, n, n, 3] -> the same vectors at the four places of a 2n × 2n patch, [4 K, 2n, 2n, 3]."""
    count, side = basis.shape[:2]
    children = np.zeros((2, 2, count, 2, side, 2, side, 3))
    for dy in range(2):
        for dx in range(2):
            children[dy, dx, :, dy, :, dx] = basis
    return children.reshape(4 * count, 2 * side, 2 * side, 3), 2 * side


def _covariance(vectors: np.ndarray, side: int) -> np.ndarray:
    """Covariance of the projections of a Markov image on vectors [N, side, side, 3]."""
    position = np.arange(side)
    markov = CORRELATION ** np.abs(position[:, None] - position)
    spread = np.einsum("nyxc,cd->nyxd", vectors, COLOR_COVARIANCE)
    spread = np.einsum("yv,nvxd->nyxd", markov, spread, optimize=True)
    spread = np.einsum("xu,nyud->nyxd", markov, spread, optimize=True)
    return np.tensordot(vectors, spread, axes=([1, 2, 3], [1, 2, 3]))


def linear_start(params: Any, config: RDONetConfig, lmbda: float) -> Any:
    """Fresh parameters (of `rdonet.init_params`) turned into the linear transform coder.

    `lmbda` is the multiplier of 255² · MSE that the training will use; it sets the step.
    """
    kept = tuple(channels // 2 for channels in (*config.trunk, *config.features))
    transform = klt_stages(kept)
    trunk, levels = transform[:-LEVELS], transform[-LEVELS:]
    gain = step_gain(lmbda)
    params = dict(jax.tree_util.tree_map(np.array, params))
    for index, stage in enumerate(trunk):
        kernel = _kernel(stage, colours=index == 0)
        mirror = f"g_s_{len(trunk) - 1 - index}"
        params[f"g_a_{index}"] = _blend(params[f"g_a_{index}"], kernel)
        params[mirror] = _blend(params[mirror], kernel.transpose(0, 1, 3, 2))
    for level, stage in enumerate(levels):
        name = f"units_{level}"
        widths = config.features[level], config.latents[level]
        params[name] = _unit(params[name], stage, *widths, gain)
    return jax.tree_util.tree_map(jnp.asarray, params)


def _unit(unit: Any, stage: Stage, features: int, latents: int, gain: float) -> Any:
    """The LS-Unit whose encoder is `stage` and which codes the first `latents` directions.

    Its `features` channels may be more than the stage's mirrored directions. What is joined to
    them, the state in `to_latent` and the latents in `hand_over`, begins behind all of them.
    """
    down = _kernel(stage)
    count = stage.weights.shape[0]
    select = np.eye(count, latents)
    signed = _mirror(np.eye(count))  # [count, 2 count]
    to_latent = np.zeros((5, 5, 2 * count, latents))
    to_latent[CENTER, CENTER] = signed.T @ select * gain

    up = down.transpose(0, 1, 3, 2)
    # The first half of the mirrored channels are the directions themselves.
    from_latent = np.einsum("nm,yxno->yxmo", select / gain, up[:, :, :count])
    unit = dict(unit)
    unit["encoder"] = _blend(unit["encoder"], down)
    unit["to_latent"] = _blend(unit["to_latent"], to_latent, (features, -to_latent))
    # Latents are `gain` times larger than features, so their random share is as much smaller.
    hand_over = dict(unit["hand_over"], kernel=unit["hand_over"]["kernel"].copy())
    hand_over["kernel"][:, :, features:] /= gain
    unit["hand_over"] = _blend(hand_over, up, (features, from_latent))
    unit["hyper_decoder"] = dict(unit["hyper_decoder"])
    unit["hyper_decoder"]["prior"] = set_scales(
        unit["hyper_decoder"]["prior"], gain * np.sqrt(stage.variances[:latents] / 2)
    )
    return unit


def _mirror(weights: np.ndarray) -> np.ndarray:
    """[..., K] -> [..., 2 K]: read (or write) v as ReLU(v), ReLU(-v)."""
    return np.concatenate([weights, -weights], axis=-1)


def _kernel(stage: Stage, colours: bool = False) -> np.ndarray:
    """The 5×5 kernel of a stage's convolution; its input is mirrored unless it is `colours`.

    The transposed convolution that undoes the stage has the same kernel with inputs and outputs
    exchanged.
    """
    weights = stage.weights if colours else _mirror(stage.weights)
    return center_2x2(_mirror(weights.transpose(1, 2, 3, 0)))


def center_2x2(weights: np.ndarray) -> np.ndarray:
    """The 5×5 kernel that joins 2×2 neighbors by weights [2, 2, I, O]."""
    kernel = np.zeros((5, 5, *weights.shape[2:]))
    kernel[CENTER : CENTER + 2, CENTER : CENTER + 2] = weights
    return kernel


def _blend(layer: Any, kernel: np.ndarray, *joined: tuple[int, np.ndarray]) -> Any:
    """A layer with a little of its random start everywhere and `kernel` in its first channels.

    Each of `joined` is another kernel with the input channel where it begins.
    """
    blended = RANDOM_SHARE * layer["kernel"]
    for first, part in ((0, kernel), *joined):
        blended[:, :, first : first + part.shape[2], : part.shape[3]] += part
    return {**layer, "kernel": blended.astype(np.float32)}


def set_scales(layer: Any, scales: np.ndarray) -> Any:
    """The last layer of a hyper-decoder, with biases that predict zero mean and `scales`."""
    bias = np.zeros_like(layer["bias"])
    latents = len(bias) // 2
    start = np.maximum(scales, 0.1)
    bias[latents : latents + len(start)] = np.log(np.expm1(np.minimum(start, 30.0)))
    return {**layer, "bias": bias}
