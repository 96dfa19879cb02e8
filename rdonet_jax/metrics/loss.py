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
from rdonet_jax.core.config import AnyConfig
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
      scaled_as_mse: whether lambdas for it are about those for 255**2 * MSE, at every rate. The
        lambdas of variable-rate models and the linear start assume this, and are refused for other
        metrics.
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
    scaled_as_mse: ClassVar[bool] = False
    instead: ClassVar[str] = "use a metric that lambda weighs as it weighs the MSE (scaled_as_mse)"
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

        For what `original` gives and one padded decoded image [H, W, 3] in gray levels, 0 to 255,
        of which `size` int32 [2] is the image itself. The sum over M maps and all areas is the
        image's distortion times its number of pixels.

        `decoded` is uint8, or float32 in latent refinement, which takes the gradient of the maps by
        levels that are not rounded. So they are differentiable, with finite gradients also where
        `decoded` is the original.
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

    def terms(self, share: float) -> tuple[Term, ...]:
        """The distortions of the metric, here one, with their weights besides lambda."""
        return (Term(1.0, self),)

    def words_of(self, share: float) -> str:
        """The factor of lambda in the loss, as text for users."""
        return self.words


class Term(NamedTuple):
    """A distortion and its weight in a loss."""

    weight: Any
    distortion: Distortion


class PixelDistortion(Distortion):
    """A distortion that is a mean over pixels. A subclass gives `of_pixels` alone."""

    @abc.abstractmethod
    def of_pixels(self, x: jax.Array, x_hat: jax.Array) -> jax.Array:
        """The distortion [..., H, W] of every pixel of images [..., H, W, 3] in [0, 1].

        Differentiable, with finite gradients also where x_hat = x.
        """

    def of_batch(self, x: jax.Array, x_hat: jax.Array, sizes: jax.Array | None = None) -> jax.Array:
        valid = None if sizes is None else partition.extent_mask(sizes, x.shape[-3:-1])
        return jnp.mean(self._of_pixels(x, x_hat), axis=(-2, -1), where=valid)

    def maps(self, original: jax.Array, decoded: jax.Array, size: jax.Array) -> jax.Array:
        x, x_hat = (v.astype(jnp.float32) / 255.0 for v in (original, decoded))
        valid = partition.extent_mask(size, original.shape[:2])
        values = jnp.where(valid, self._of_pixels(x, x_hat), 0.0)
        return self.unit * partition.tile_sums(values, AREA)[None]

    def _of_pixels(self, x: jax.Array, x_hat: jax.Array) -> jax.Array:
        """`of_pixels`. Raises ValueError where it is not of that shape."""
        values = self.of_pixels(x, x_hat)
        if values.shape != x.shape[:-1]:
            raise ValueError(
                f"the distortion {self.name!r} has a value for each pixel of {list(x.shape)}, so "
                f"{list(x.shape[:-1])}, and not {list(values.shape)}"
            )
        return values


class SquaredError(Distortion):
    """The mean squared error, in squared 8-bit gray levels."""

    name = "mse"
    words = "255^2 * MSE"
    unit = 255.0**2
    scaled_as_mse = True

    def of_batch(self, x: jax.Array, x_hat: jax.Array, sizes: jax.Array | None = None) -> jax.Array:
        return distortion.mse(x, x_hat, sizes)

    def maps(self, original: jax.Array, decoded: jax.Array, size: jax.Array) -> jax.Array:
        # In gray levels, whose squares are exact in float32.
        x, x_hat = (v.astype(jnp.float32) for v in (original, decoded))
        valid = partition.extent_mask(size, original.shape[:2])
        return partition.tile_sums(jnp.mean(jnp.square(x - x_hat), axis=-1) * valid, AREA)[None]


class Dissimilarity(Distortion):
    """1 - MS-SSIM.

    `maps` are first, for each scale that the array allows, sums of 1 - similarity over the windows
    whose middle lies in an area, and then, for each scale, how many windows these are. As in
    `of_batch` with `sizes`, only windows inside the image count. Scales for which an image is too
    small are left out.
    """

    name = "ms-ssim"
    words = "(1 - MS-SSIM)"
    smallest_side = distortion.smallest_side()
    smallest_end = distortion.smallest_end()
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
        sums, counts = [], []
        exact = jax.lax.Precision.HIGHEST
        for scale, similarity in enumerate(distortion.similarity_maps_of(original, x_hat)):
            have = similarity.shape
            of_rows, of_columns = (
                _windows_of_areas(size[axis], have[axis], scale) for axis in range(2)
            )
            joined = 1.0 - similarity.reshape(have[0], -1)
            by_row = jnp.matmul(of_rows, joined, precision=exact).reshape(-1, *have[1:])
            sums.append(jnp.matmul(jnp.mean(by_row, axis=-1), of_columns.T, precision=exact))
            counts.append(jnp.outer(of_rows.sum(1), of_columns.sum(1)))
        return jnp.stack(sums + counts)

    def linearized(self, maps: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The tangent of MS-SSIM, which is a product over the scales of powers of means."""
        counts = first[len(first) // 2 :].sum((1, 2))
        scales = int(np.count_nonzero(counts))
        counts = counts[:scales]
        exponents = np.array(distortion.scale_weights(scales))
        products, _ = _products(maps[:, :scales], counts, exponents)
        first_product, first_means = _products(first[None, :scales], counts, exponents)
        slopes = exponents * first_product[0] / first_means[0]
        return np.einsum("s,ksij->kij", slopes / counts, maps[:, :scales]), 1.0 - products


def _windows_of_areas(length: jax.Array, have: int, scale: int) -> jax.Array:
    """Which windows along an axis have their middle in which area, float32 [areas, have].

    An array has `have` positions of the window on a scale. Only windows inside the image count, the
    first `length` pixels of the finest scale, where one window counts in any case.
    """
    side, margin = AREA >> scale, (distortion.WINDOW_TAPS - 1) // 2
    inside = (length >> scale) - 2 * margin
    positions = np.arange(have)
    areas = np.arange((have + 2 * margin) // side)[:, None]
    is_middle = (positions + margin) // side == areas
    return (is_middle & (positions < (inside if scale else jnp.maximum(inside, 1)))).astype(
        jnp.float32
    )


def _products(
    sums: np.ndarray, counts: np.ndarray, exponents: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """MS-SSIM [K], and the mean similarities [K, scales] whose powers it is a product of."""
    means = np.maximum(1.0 - sums.sum((2, 3)) / counts, distortion.SMALLEST_TERM)
    return np.prod(means**exponents, axis=1), means


class Mixture(abc.ABC):
    """A metric of several distortions in one loss, registered like a `Distortion`.

    A subclass sets `name` and gives `terms`. The attributes are as in `Distortion`.
    """

    name: ClassVar[str]
    scaled_as_mse: ClassVar[bool] = False
    instead: ClassVar[str] = Distortion.instead
    least_lmbda: ClassVar[float] = 0.0
    usual_lmbda: ClassVar[float] = 0.0067
    takes_share: ClassVar[bool] = False

    @abc.abstractmethod
    def terms(self, share: float) -> tuple[Term, ...]:
        """The distortions of the metric, with their weights besides lambda."""

    def words_of(self, share: float) -> str:
        """As `Distortion.words_of`."""
        words = (
            f"{term.weight:{'.0f' if term.weight >= 1 else 'g'}} * {term.distortion.words}"
            for term in self.terms(share)
        )
        return f"({' + '.join(words)})"


class Both(Mixture):
    """MSE and MS-SSIM, the latter with the weight `share`."""

    name = "both"
    scaled_as_mse = True
    takes_share = True

    def terms(self, share: float) -> tuple[Term, ...]:
        return Term(1.0 - share, _MSE), Term(share * SIMILARITY_WEIGHT, _MS_SSIM)


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

    The lambda of a variable-rate model depends on the quality instead, see `lmbda_of`.
    """

    lmbda: Any = 0.0067
    metric: str = "mse"
    ms_ssim_share: float = 0.0

    def terms(self) -> tuple[Term, ...]:
        """The distortions with their weights in the loss, lambda included.

        Raises ValueError for a metric that is not registered.
        """
        terms = named(self.metric).terms(self.ms_ssim_share)
        return tuple(term._replace(weight=term.weight * self.lmbda) for term in terms)


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
    for term in Loss(lmbda, metric, share).terms():
        factor = term.weight * term.distortion.unit
        loss = loss + factor * term.distortion.of_batch(x, x_hat, sizes)
    return loss


def lmbda_of(config: AnyConfig, quality: Any) -> Any:
    """lambda of the metric "mse" at a quality of a portable model, interpolated geometrically."""
    low, high = config.lmbdas
    return low * (high / low) ** (quality / config.steps_of_quality)


def relative_loss(loss: jax.Array) -> jax.Array:
    """log J, which variable-rate networks minimize.

    J grows a hundredfold over the qualities. In log J, one percent counts the same at every quality
    and in every image.
    """
    return jnp.log(loss)
