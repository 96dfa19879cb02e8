"""The rate-distortion loss, which training and the search for partitions minimize.

The convention for lambda:

    loss = bpp + lmbda * 255**2 * MSE            metric "mse"
    loss = bpp + lmbda * (1 - MS-SSIM)           metric "ms-ssim"
    loss = bpp + lmbda * ((1 - share) * 255**2 * MSE
                          + share * SIMILARITY_WEIGHT * (1 - MS-SSIM))   metric "both"

with bpp in bits per pixel of the image and images in [0, 1], so that 255**2 * MSE is in squared
8-bit gray levels; `share` is that of MS-SSIM in the distortion. Another metric is one subclass of
`Distortion`, `PixelDistortion` or `Mixture`, and one call of `register`.
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
"""The weight of 1 - MS-SSIM in squared gray levels: the ratio of CompressAI's lambdas for about
equal rates."""

AREA = partition.STRIDES[0]
"""Side in pixels of the areas of distortion maps, which the search compares."""


class Distortion(abc.ABC):
    """A distortion of decoded images, as a term of the loss.

    A subclass sets `name` and `words`, and gives `of_batch` and `maps`. If its distortion is no sum
    over areas, it also sets `adds_up = False` and gives `linearized`.

    Attributes:
      name: the value of the field `metric` of a training configuration, which weights record.
      words: the factor of lambda in the loss, as text for users.
      unit: the factor of `of_batch` in the loss, besides lambda.
      smallest_side: the fewest pixels on the short side of an image.
      smallest_end: the same for an image smaller than its array (see `sizes` of `of_batch`).
      scaled_as_mse: whether lambdas for it are about those for 255**2 * MSE. The lambdas of
        variable-rate models and the linear start assume this.
      instead: for other metrics, advice for users of variable-rate models.
      least_lmbda: smaller lambdas are refused, as their distortion would have no weight.
      usual_lmbda: the lambda that the refusal suggests.
      takes_share: whether the metric uses `ms_ssim_share`.
      adds_up: whether the distortion of an image is the sum of `maps`. If not, see `linearized`.
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
        array. Nothing beyond them counts.
        """

    def original(self, pixels: jax.Array) -> Any:
        """What `maps` takes of an original uint8 [H, W, 3], here its pixels.

        It is computed once for several decoded images.
        """
        return pixels

    @abc.abstractmethod
    def maps(self, original: Any, decoded: jax.Array, size: jax.Array) -> jax.Array:
        """The distortion of each area of 16x16 pixels, [M, H/16, W/16], times `unit`.

        For what `original` gives and one padded decoded image uint8 [H, W, 3], of which `size`
        int32 [2] is the image itself. The sum over M maps and all areas is the image's distortion
        times its number of pixels.
        """

    def linearized(self, maps: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Linearizes the distortion of K reconstructions. Only for `adds_up = False`.

        Args:
          maps: float64 [K, M, H/16, W/16], from `maps`.
          first: the maps [M, H/16, W/16] of the reconstruction around which to linearize.

        Returns:
          areas [K, H/16, W/16], whose sum is the linear approximation of the distortion up to a
          constant, and the distortion itself, [K].
        """
        raise NotImplementedError(f"{self.name} has no linearization: its maps add up")

    def parts(self, share: float) -> tuple[Part, ...]:
        """The distortions of the metric, here one, with their weights besides lambda."""
        return (Part(1.0, self),)

    def words_of(self, share: float) -> str:
        """The factor of lambda in the loss, as text for users."""
        return self.words


class Part(NamedTuple):
    """A distortion and its weight in a loss."""

    weight: Any
    distortion: Distortion


class PixelDistortion(Distortion):
    """A distortion that is a mean over pixels. A subclass gives `of_pixels` alone."""

    @abc.abstractmethod
    def of_pixels(self, x: jax.Array, x_hat: jax.Array) -> jax.Array:
        """The distortion [..., H, W] of every pixel of images [..., H, W, 3] in [0, 1]."""

    def of_batch(self, x: jax.Array, x_hat: jax.Array, sizes: jax.Array | None = None) -> jax.Array:
        valid = None if sizes is None else partition.extent_mask(sizes, x.shape[-3:-1])
        return jnp.mean(self.of_pixels(x, x_hat), axis=(-2, -1), where=valid)

    def maps(self, original: jax.Array, decoded: jax.Array, size: jax.Array) -> jax.Array:
        x, x_hat = map(distortion.from_integers, (original, decoded))
        valid = partition.extent_mask(size, original.shape[:2])
        values = jnp.where(valid, self.of_pixels(x, x_hat), 0.0)
        return self.unit * partition.tile_sums(values, AREA)[None]


class SquaredError(Distortion):
    """The mean squared error, in squared 8-bit gray levels."""

    name = "mse"
    words = "255^2 * MSE"
    unit = 255.0**2

    def of_batch(self, x: jax.Array, x_hat: jax.Array, sizes: jax.Array | None = None) -> jax.Array:
        return distortion.mse(x, x_hat, sizes)

    def maps(self, original: jax.Array, decoded: jax.Array, size: jax.Array) -> jax.Array:
        # In gray levels, whose squares are exact in float32.
        x, x_hat = (v.astype(jnp.float32) for v in (original, decoded))
        valid = partition.extent_mask(size, original.shape[:2])
        return partition.tile_sums(jnp.mean(jnp.square(x - x_hat), axis=-1) * valid, AREA)[None]


class Dissimilarity(Distortion):
    """1 - MS-SSIM.

    `maps` are local means of 1 - similarity on the padded image, one map for each scale that its
    size allows.
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

    def original(self, pixels: jax.Array) -> tuple[distortion.Original, ...]:
        scales = distortion.scales_within(min(pixels.shape[:2]))
        return distortion.originals(pixels.astype(jnp.float32) / 255.0, scales)

    def maps(
        self, original: tuple[distortion.Original, ...], decoded: jax.Array, size: jax.Array
    ) -> jax.Array:
        x_hat = decoded.astype(jnp.float32) / 255.0
        rows, columns = (side // AREA for side in decoded.shape[:2])
        maps = []
        exact = jax.lax.Precision.HIGHEST
        for scale, similarity in enumerate(distortion.similarity_maps_of(original, x_hat)):
            have, side = similarity.shape, AREA >> scale
            of_rows, of_columns = (
                _area_means(count, length, side)
                for count, length in zip((rows, columns), have, strict=False)
            )
            joined = 1.0 - similarity.reshape(have[0], -1)
            by_row = jnp.matmul(of_rows, joined, precision=exact).reshape(rows, *have[1:])
            maps.append(jnp.matmul(jnp.mean(by_row, axis=-1), of_columns.T, precision=exact))
        return jnp.stack(maps)

    def linearized(self, maps: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The tangent of MS-SSIM, which is a product over the scales of powers of means."""
        exponents = np.array(distortion.scale_weights(maps.shape[1]))
        products, _ = _products(maps, exponents)
        first_product, first_means = _products(first[None], exponents)
        slopes = exponents * first_product[0] / first_means[0]
        areas = np.einsum("s,ksij->kij", slopes, maps) / first[0].size
        return areas, 1.0 - products


def _area_means(count: int, have: int, side: int) -> np.ndarray:
    """Means over `count` areas of `side` of `have` values in their middle, float32 [count, have].

    The first and the last value stand for those that are missing before and after them.
    """
    missing = count * side - have
    nearest = np.clip(np.arange(count * side) - missing // 2, 0, have - 1)
    means = np.zeros((count, have), np.float32)
    np.add.at(means, (np.repeat(np.arange(count), side), nearest), 1 / side)
    return means


def _products(maps: np.ndarray, exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """MS-SSIM [K], and the mean similarities [K, scales] whose powers it is a product of."""
    means = np.maximum(1.0 - maps.mean((2, 3)), distortion.SMALLEST_TERM)
    return np.prod(means**exponents, axis=1), means


class Mixture(abc.ABC):
    """A metric of several distortions in one loss, registered like a `Distortion`.

    A subclass sets `name` and gives `parts`. The attributes are as in `Distortion`.
    """

    name: ClassVar[str]
    scaled_as_mse: ClassVar[bool] = True
    instead: ClassVar[str] = Distortion.instead
    least_lmbda: ClassVar[float] = 0.0
    usual_lmbda: ClassVar[float] = 0.0067
    takes_share: ClassVar[bool] = False

    @abc.abstractmethod
    def parts(self, share: float) -> tuple[Part, ...]:
        """The distortions of the metric, with their weights besides lambda."""

    def words_of(self, share: float) -> str:
        """As `Distortion.words_of`."""
        terms = (
            f"{weight:.0f} * {part.words}" if weight >= 1 else f"{weight:g} * {part.words}"
            for weight, part in self.parts(share)
        )
        return f"({' + '.join(terms)})"


class Both(Mixture):
    """MSE and MS-SSIM, the latter with the weight `share`."""

    name = "both"
    takes_share = True

    def parts(self, share: float) -> tuple[Part, ...]:
        return Part(1.0 - share, _MSE), Part(share * SIMILARITY_WEIGHT, _MS_SSIM)


_MSE, _MS_SSIM = SquaredError(), Dissimilarity()

DISTORTIONS: dict[str, Distortion | Mixture] = {}
"""By name. `register` adds to it."""


def register(metric: Distortion | Mixture) -> None:
    """Registers a distortion. Raises ValueError if its name is taken."""
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
    """The loss that a model is trained for. `ms_ssim_share` is only for the metric "both".

    The lambda of a variable-rate model depends on the quality instead, see `distortion.lmbda_of`.
    """

    lmbda: Any = 0.0067
    metric: str = "mse"
    ms_ssim_share: float = 0.0

    def parts(self) -> tuple[Part, ...]:
        """The distortions with their weights in the loss, lambda included.

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
    """Rate plus lambda times distortion per image, by the convention of this module.

    `lmbda` is one number or one per image; `sizes` as in `Distortion.of_batch`. Raises ValueError
    for a metric that is not registered, and as `distortion.require_images` does.
    """
    distortion.require_images(x, x_hat)
    loss = bpp
    for weight, part in Loss(lmbda, metric, share).parts():
        loss = loss + weight * part.unit * part.of_batch(x, x_hat, sizes)
    return loss
