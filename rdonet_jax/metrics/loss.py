"""What training and the search for partitions minimize: rate plus lambda times a distortion.

The one convention for lambda, defined here and nowhere else:

    loss = bpp + lmbda * 255**2 * MSE            metric "mse"
    loss = bpp + lmbda * (1 - MS-SSIM)           metric "ms-ssim"
    loss = bpp + lmbda * ((1 - share) * 255**2 * MSE
                          + share * SIMILARITY_WEIGHT * (1 - MS-SSIM))   metric "both"

with bpp in bits per pixel of the image and images in [0, 1], so that 255**2 * MSE is in squared
8-bit gray levels; `share` is that of MS-SSIM in the distortion. Other metrics are registered: one
subclass of `Distortion` (or `PixelDistortion`) and one call of `register`.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core import partition
from rdonet_jax.metrics import distortion

SIMILARITY_WEIGHT = 8.73 / 0.0067
"""Squared gray levels that 1 - MS-SSIM stands for: CompressAI's lambdas of about equal rates."""

AREA = partition.STRIDES[0]
"""Pixels on the side of the areas by which the search tells distortions apart."""


class Distortion(abc.ABC):
    """How far a decoded image is from the original, as a term of the loss.

    Attributes:
      name: the value of the field `metric` of a training configuration, which weights record.
      words: what lambda weighs, for people.
      unit: what `of_batch` is multiplied by beside lambda.
      smallest_side: pixels on the short side of an image, at least.
      smallest_end: the same for an image that ends within its array (see `sizes` of `of_batch`).
      scaled_as_mse: whether lambda weighs it about as it weighs 255**2 * MSE. The lambdas of
        variable-rate models and the linear start are made for that.
      instead: what to use with variable-rate models otherwise, as a request.
      least_lmbda: a smaller lambda is refused as next to nothing.
      usual_lmbda: what is said to whoever gives such a one.
      takes_share: whether `ms_ssim_share` is for this metric.
      adds_up: whether the image's distortion is the sum of `maps`. If not, see `linearized`.
    """

    name: ClassVar[str]
    words: ClassVar[str]
    unit: ClassVar[float] = 1.0
    smallest_side: ClassVar[int] = 1
    smallest_end: ClassVar[int] = 1
    scaled_as_mse: ClassVar[bool] = True
    instead: ClassVar[str] = "use a metric that lambda weighs as it weighs the MSE"
    least_lmbda: ClassVar[float] = 0.0
    usual_lmbda: ClassVar[float] = 0.0067
    takes_share: ClassVar[bool] = False
    adds_up: ClassVar[bool] = True

    @abc.abstractmethod
    def of_batch(self, x: jax.Array, x_hat: jax.Array, sizes: jax.Array | None = None) -> jax.Array:
        """The distortion [B] of images [B, H, W, 3] in [0, 1], differentiable.

        With `sizes`, int32 [B, 2], an image is that many rows and columns at the top left of its
        array, and nothing beyond them counts.
        """

    @abc.abstractmethod
    def maps(self, pixels: jax.Array, decoded: jax.Array, size: jax.Array) -> jax.Array:
        """What each area of 16x16 pixels contributes, [M, H/16, W/16], in what lambda weighs.

        For one padded image uint8 [H, W, 3], of which `size` int32 [2] is the image itself. The sum
        of all is the image's distortion times its pixels.
        """

    def linearized(self, maps: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For a distortion that is no sum: parts by area, and what it is, of K versions.

        Args:
          maps: float64 [K, M, H/16, W/16], from `maps`.
          first: those of the version at which the distortion is made linear.

        Returns:
          parts [K, H/16, W/16] that add up to a linear stand-in of the distortion but for a
          constant, and the distortion itself, [K].
        """
        raise NotImplementedError(f"{self.name} adds up")

    def parts(self, share: float) -> tuple[Part, ...]:
        """What the metric consists of, with weights beside lambda."""
        return (Part(1.0, self),)

    def words_of(self, share: float) -> str:
        """What lambda weighs, for people."""
        return self.words


class Part(NamedTuple):
    """A distortion and its weight in a loss."""

    weight: Any
    distortion: Distortion


class PixelDistortion(Distortion):
    """A distortion that is a mean over pixels: `of_pixels` is all that a subclass needs."""

    @abc.abstractmethod
    def of_pixels(self, x: jax.Array, x_hat: jax.Array) -> jax.Array:
        """The distortion [..., H, W] of every pixel of images [..., H, W, 3] in [0, 1]."""

    def of_batch(self, x: jax.Array, x_hat: jax.Array, sizes: jax.Array | None = None) -> jax.Array:
        own = None if sizes is None else partition.within(sizes, x.shape[-3:-1])
        return jnp.mean(self.of_pixels(x, x_hat), axis=(-2, -1), where=own)

    def maps(self, pixels: jax.Array, decoded: jax.Array, size: jax.Array) -> jax.Array:
        x, x_hat = map(distortion.from_integers, (pixels, decoded))
        own = partition.within(size, pixels.shape[:2])
        values = jnp.where(own, self.of_pixels(x, x_hat), 0.0)
        return self.unit * partition.tile_sums(values, AREA)[None]


class SquaredError(Distortion):
    """The mean squared error, in squared 8-bit gray levels."""

    name = "mse"
    words = "255^2 * MSE"
    unit = 255.0**2

    def of_batch(self, x: jax.Array, x_hat: jax.Array, sizes: jax.Array | None = None) -> jax.Array:
        return distortion.mse(x, x_hat, sizes)

    def maps(self, pixels: jax.Array, decoded: jax.Array, size: jax.Array) -> jax.Array:
        # In gray levels, of which squares are exact.
        x, x_hat = (v.astype(jnp.float32) for v in (pixels, decoded))
        own = partition.within(size, pixels.shape[:2])
        return partition.tile_sums(jnp.mean(jnp.square(x - x_hat), axis=-1) * own, AREA)[None]


class Dissimilarity(Distortion):
    """1 - MS-SSIM.

    In the search it is evaluated locally, on the padded image, with as many of its scales as fit in
    that: `maps` has one map for each, means of 1 - similarity.
    """

    name = "ms-ssim"
    words = "(1 - MS-SSIM)"
    smallest_side = distortion.smallest_side()
    smallest_end = distortion.smallest_end()
    scaled_as_mse = False
    instead = "use the metric 'both' with an ms_ssim_share of up to 1"
    least_lmbda = 0.1
    usual_lmbda = 8.73
    adds_up = False

    def of_batch(self, x: jax.Array, x_hat: jax.Array, sizes: jax.Array | None = None) -> jax.Array:
        return 1.0 - distortion.ms_ssim(x, x_hat, sizes=sizes)

    def maps(self, pixels: jax.Array, decoded: jax.Array, size: jax.Array) -> jax.Array:
        x, x_hat = (v.astype(jnp.float32) / 255.0 for v in (pixels, decoded))
        grid = tuple(side // AREA for side in pixels.shape[:2])
        scales = distortion.scales_within(min(pixels.shape[:2]))
        parts = []
        for scale, similarity in enumerate(distortion.similarity_maps(x, x_hat, scales)):
            side = AREA >> scale
            dissimilar = jnp.mean(1.0 - similarity, axis=0)
            margins = [
                ((missing := n * side - have) // 2, missing - missing // 2)
                for n, have in zip(grid, dissimilar.shape, strict=True)
            ]
            padded = jnp.pad(dissimilar, margins, mode="edge")
            parts.append(partition.tile_sums(padded, side) / side**2)
        return jnp.stack(parts)

    def linearized(self, maps: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """MS-SSIM is a product over the scales of powers of means: the parts are its tangent's."""
        exponents = np.array(distortion.scale_weights(maps.shape[1]))
        products, _ = _products(maps, exponents)
        at, means_at = _products(first[None], exponents)
        slopes = exponents * at[0] / means_at[0]
        parts = np.einsum("s,ksij->kij", slopes, maps) / first[0].size
        return parts, 1.0 - products


def _products(maps: np.ndarray, exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """MS-SSIM [K], and the mean similarities [K, scales] that it is a product of powers of."""
    means = np.maximum(1.0 - maps.mean((2, 3)), distortion.SMALLEST_TERM)
    return np.prod(means**exponents, axis=1), means


class Mixture:
    """Several distortions in one loss: a metric that is registered like a `Distortion`.

    Attributes are those of `Distortion` of the same names.
    """

    name: ClassVar[str]
    scaled_as_mse: ClassVar[bool] = True
    instead: ClassVar[str] = Distortion.instead
    least_lmbda: ClassVar[float] = 0.0
    usual_lmbda: ClassVar[float] = 0.0067
    takes_share: ClassVar[bool] = False

    def parts(self, share: float) -> tuple[Part, ...]:
        """As `Distortion.parts`."""
        raise NotImplementedError

    def words_of(self, share: float) -> str:
        """As `Distortion.words_of`."""
        terms = (
            f"{weight:.0f} * {part.words}" if weight >= 1 else f"{weight:g} * {part.words}"
            for weight, part in self.parts(share)
        )
        return f"({' + '.join(terms)})"


class Both(Mixture):
    """MSE and MS-SSIM, of which the latter has `share`."""

    name = "both"
    takes_share = True

    def parts(self, share: float) -> tuple[Part, ...]:
        return Part(1.0 - share, _MSE), Part(share * SIMILARITY_WEIGHT, _MS_SSIM)


_MSE, _MS_SSIM = SquaredError(), Dissimilarity()

DISTORTIONS: dict[str, Distortion | Mixture] = {}
"""By name. `register` adds to it."""


def register(metric: Distortion | Mixture) -> None:
    """Makes a distortion known. Raises ValueError for a name that is taken."""
    if metric.name in DISTORTIONS:
        raise ValueError(f"there is a metric {metric.name!r} already")
    DISTORTIONS[metric.name] = metric


for _metric in (_MSE, _MS_SSIM, Both()):
    register(_metric)


def named(metric: str) -> Distortion | Mixture:
    """The distortion of this name. Raises ValueError when there is none."""
    if metric not in DISTORTIONS:
        raise ValueError(f"the metric must be one of {', '.join(DISTORTIONS)}, not {metric!r}")
    return DISTORTIONS[metric]


class Loss(NamedTuple):
    """What a model is trained for; `ms_ssim_share` is for the metric "both" alone.

    A variable-rate model takes lambda from the quality instead, see `distortion.lmbda_of`.
    """

    lmbda: Any = 0.0067
    metric: str = "mse"
    ms_ssim_share: float = 0.0

    def parts(self) -> tuple[Part, ...]:
        """The distortions with what they weigh in the loss, lambda included.

        Raises ValueError for a metric that is not registered.
        """
        parts = named(self.metric).parts(self.ms_ssim_share)
        return tuple(Part(weight * self.lmbda, part) for weight, part in parts)


def rd_loss(
    bpp: jax.Array,
    x: jax.Array,
    x_hat: jax.Array,
    lmbda: Any,
    metric: str,
    share: float = 0.0,
    sizes: jax.Array | None = None,
) -> jax.Array:
    """Rate plus lambda times distortion per image, by the module's convention.

    `lmbda` is one number or one per image; `sizes` as in `Distortion.of_batch`. Raises ValueError
    for a metric that is not registered.
    """
    loss = bpp
    for weight, part in Loss(lmbda, metric, share).parts():
        loss = loss + weight * part.unit * part.of_batch(x, x_hat, sizes)
    return loss
