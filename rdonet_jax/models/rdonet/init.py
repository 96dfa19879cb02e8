"""The linear start of RDONet: parameters of a linear transform coder, from which training starts.

The transforms are initialized as one orthonormal, hierarchical Karhunen-Loève transform of a
separable first-order Markov model of images. Every stride-2 stage joins 2×2 neighbors and keeps the
strongest directions. The synthesis is the transpose. A finer level codes the difference to the
prediction from the coarser levels. ReLUs do not disturb it, because every direction v occupies two
channels, ReLU(v) and ReLU(-v), of which the next layer takes the difference ("looks-linear"
initialization, Balduzzi et al. 2017, https://arxiv.org/abs/1702.08591). Nothing is fitted to data.
The convolutions keep a small share of their random initialization, which breaks the symmetry.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core.config import LEVELS, RDONetConfig

CORRELATION = 0.97
"""Correlation of neighboring pixels, in rows and in columns, of the Markov model."""

COLOR_COVARIANCE = np.array([[0.064, 0.060, 0.054], [0.060, 0.062, 0.058], [0.054, 0.058, 0.065]])
"""Covariance of R, G, B in images in [0, 1], typical of photographs."""

RANDOM_SHARE = 0.01
"""The share of the random initialization that every convolution of the transforms keeps."""

CENTER = 2  # the center tap of a 5×5 kernel; taps 2 and 3 are the 2×2 block of a stride-2 output


class Stage(NamedTuple):
    """One stride-2 stage from K_in to K_out directions."""

    weights: np.ndarray  # [K_out, 2, 2, K_in], orthonormal rows
    variances: np.ndarray  # [K_out] under the Markov model, descending


def step_gain(lmbda: float) -> float:
    """Latent units per unit of the orthonormal transform: one over the best quantizer step.

    Minimizes -log2(step) + lmbda · 255² · step² / 36 per coefficient: at high rate a coefficient
    costs -log2(step) bits and has a squared error of step² / 12, spread over three colors.
    """
    return math.sqrt(math.log(2) * lmbda * 255.0**2 / 18)


RGB_BASIS = np.eye(3).reshape(3, 1, 1, 3)


def klt_stages(directions: tuple[int, ...], basis: np.ndarray = RGB_BASIS) -> list[Stage]:
    """The hierarchical transform with `directions[k]` kept after stage k.

    `basis`, vectors [K, n, n, 3], is the input of the first stage: by default, R, G, B of a pixel.
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
    """[K, n, n, 3] -> the vectors in each quarter of a 2n × 2n patch, [4 K, 2n, 2n, 3]."""
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
    product = np.einsum("nyxc,cd->nyxd", vectors, COLOR_COVARIANCE)
    product = np.einsum("yv,nvxd->nyxd", markov, product, optimize=True)
    product = np.einsum("xu,nyud->nyxd", markov, product, optimize=True)
    return np.tensordot(vectors, product, axes=([1, 2, 3], [1, 2, 3]))


def linear_start(params: Any, config: RDONetConfig, lmbda: float) -> Any:
    """Random parameters (of `network.init_params`) turned into the linear transform coder.

    `lmbda`, the weight of 255² · MSE in the training, determines the quantizer step.
    """
    directions = tuple(channels // 2 for channels in (*config.trunk, *config.features))
    transform = klt_stages(directions)
    trunk, levels = transform[:-LEVELS], transform[-LEVELS:]
    gain = step_gain(lmbda)
    params = dict(jax.tree_util.tree_map(np.array, params))
    for index, stage in enumerate(trunk):
        kernel = _kernel(stage, from_rgb=index == 0)
        down, up = f"g_a_{index}", f"g_s_{len(trunk) - 1 - index}"
        params[down] = blend(params[down], kernel)
        params[up] = blend(params[up], kernel.transpose(0, 1, 3, 2))
    for level, stage in enumerate(levels):
        name = f"units_{level}"
        widths = config.features[level], config.latents[level]
        params[name] = _unit(params[name], stage, *widths, gain)
    return jax.tree_util.tree_map(jnp.asarray, params)


def _unit(unit: Any, stage: Stage, features: int, latents: int, gain: float) -> Any:
    """The LS-Unit whose encoder is `stage`, and whose latents are its first directions.

    `features` may be more than the stage's mirrored directions. The inputs that are concatenated
    to them, the state in `to_latent` and the latents in `hand_over`, come after all of them.
    """
    down = _kernel(stage)
    count = stage.weights.shape[0]
    select = np.eye(count, latents)
    signed = _mirror(np.eye(count))  # [count, 2 count]
    to_latent = np.zeros((5, 5, 2 * count, latents))
    to_latent[CENTER, CENTER] = signed.T @ select * gain

    up = down.transpose(0, 1, 3, 2)
    # The first half of the mirrored channels is ReLU(v), the second ReLU(-v).
    from_latent = np.einsum("nm,yxno->yxmo", select / gain, up[:, :, :count])
    unit = dict(unit)
    unit["encoder"] = blend(unit["encoder"], down)
    unit["to_latent"] = blend(unit["to_latent"], to_latent, (features, -to_latent))
    # Latents are `gain` times larger than features, so their random weights are divided by it.
    hand_over = dict(unit["hand_over"], kernel=unit["hand_over"]["kernel"].copy())
    hand_over["kernel"][:, :, features:] /= gain
    unit["hand_over"] = blend(hand_over, up, (features, from_latent))
    unit["hyper_decoder"] = dict(unit["hyper_decoder"])
    unit["hyper_decoder"]["prior"] = set_scales(
        unit["hyper_decoder"]["prior"], gain * np.sqrt(stage.variances[:latents] / 2)
    )
    return unit


def _mirror(weights: np.ndarray) -> np.ndarray:
    """[..., K] -> [..., 2 K], weights for (or of) the pair ReLU(v), ReLU(-v)."""
    return np.concatenate([weights, -weights], axis=-1)


def _kernel(stage: Stage, from_rgb: bool = False) -> np.ndarray:
    """The 5×5 kernel of a stage's convolution. Its input is mirrored unless it is RGB.

    The transposed convolution that inverts the stage has the same kernel with inputs and outputs
    exchanged.
    """
    weights = stage.weights if from_rgb else _mirror(stage.weights)
    return center_2x2(_mirror(weights.transpose(1, 2, 3, 0)))


def center_2x2(weights: np.ndarray) -> np.ndarray:
    """The 5×5 kernel that joins 2×2 neighbors by weights [2, 2, I, O]."""
    kernel = np.zeros((5, 5, *weights.shape[2:]))
    kernel[CENTER : CENTER + 2, CENTER : CENTER + 2] = weights
    return kernel


def blend(
    layer: Any, kernel: np.ndarray, *joined: tuple[int, np.ndarray], scale: float = 1.0
) -> Any:
    """A layer whose kernel is `RANDOM_SHARE` of its own plus `kernel` in its first channels.

    Each of `joined` is another kernel and the input channel where it begins. `scale` multiplies the
    result.
    """
    blended = RANDOM_SHARE * layer["kernel"]
    for first, part in ((0, kernel), *joined):
        blended[:, :, first : first + part.shape[2], : part.shape[3]] += part
    return {**layer, "kernel": (scale * blended).astype(np.float32)}


def set_scales(layer: Any, scales: np.ndarray) -> Any:
    """The last layer of a hyper-decoder, with biases for a mean of zero and these `scales`."""
    bias = np.zeros_like(layer["bias"])
    latents = len(bias) // 2
    bounded = np.maximum(scales, 0.1)
    bias[latents : latents + len(bounded)] = np.log(np.expm1(np.minimum(bounded, 30.0)))
    return {**layer, "bias": bias}
