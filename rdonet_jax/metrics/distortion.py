"""Measures of rate and distortion: bits per pixel, MSE, PSNR, MS-SSIM.

Functions of floating-point images [..., H, W, 3] in [0, 1] return one value per image, [...]. They
raise ValueError for integers and other shapes. With `sizes`, int32 [..., 2], an image is that many
rows and columns at the top left of its array, and nothing beyond them counts. The loss is in
`rdonet_jax.metrics.loss`.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core import partition
from rdonet_jax.runtime import compilation

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales of MS-SSIM, finest first (Wang, Simoncelli and Bovik, 2003)."""

CHANNELS = 3
WINDOW_TAPS = 11
WINDOW_SIGMA = 1.5
C1 = 0.01**2  # stabilizes the luminance term, data range 1
C2 = 0.03**2  # stabilizes the contrast-structure term, data range 1
SMALLEST_TERM = 1e-6  # below it a scale's similarity counts as zero, which bounds its gradient


def total_bits(bit_maps: Any) -> jax.Array:
    """Bits [B] of each image: the sums of a pytree of bit maps [B, ...]."""
    maps = jax.tree_util.tree_leaves(bit_maps)
    return functools.reduce(jnp.add, (jnp.sum(m, axis=tuple(range(1, m.ndim))) for m in maps))


def bpp(bit_maps: Any, pixels: Any) -> jax.Array:
    """Bits per pixel [B] of a pytree of bit maps [B, ...], each image having `pixels` pixels.

    `pixels` counts the image's own pixels (no padding): a number, or [B] when sizes differ.
    """
    return total_bits(bit_maps) / pixels


def require_images(x: Any, x_hat: Any) -> None:
    """Raises ValueError unless both are floating-point images of one shape, [..., H, W, 3].

    The squares of integers would not fit them, and shapes would be broadcast.
    """
    _require_floats(x)
    _require_floats(x_hat)
    if x.shape != x_hat.shape or x.ndim < 3 or x.shape[-1] != CHANNELS:
        raise ValueError(
            f"the images are of one shape [..., height, width, {CHANNELS}], not {list(x.shape)} "
            f"and {list(x_hat.shape)}"
        )


def _require_floats(x: Any) -> None:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"images are floating-point numbers in [0, 1], not {x.dtype}: "
            "rdonet_jax.metrics.from_integers converts those of files"
        )


def to_8_bit(x: jax.Array) -> jax.Array:
    """The image in [0, 1] as a file stores it: clipped, rounded, uint8 of the same shape.

    Raises ValueError unless x has a floating-point type.
    """
    _require_floats(x)
    return jnp.round(jnp.clip(x, 0.0, 1.0) * 255.0).astype(jnp.uint8)


def to_16_bit(x: jax.Array) -> jax.Array:
    """As `to_8_bit`, for files of 16 bits: uint16."""
    _require_floats(x)
    return jnp.round(jnp.clip(x, 0.0, 1.0) * 65535.0).astype(jnp.uint16)


def from_integers(pixels: Any) -> Any:
    """Pixels of a file, uint8 or uint16, as the image in [0, 1], float32.

    NumPy for NumPy, JAX for JAX.
    """
    return pixels.astype(jnp.float32) / float(jnp.iinfo(pixels.dtype).max)


def round_to_8_bit(x: jax.Array) -> jax.Array:
    """The image rounded to 8 bits: float32 multiples of 1/255 in [0, 1]."""
    return from_integers(to_8_bit(x))


def mse(x: jax.Array, x_hat: jax.Array, sizes: jax.Array | None = None) -> jax.Array:
    """Mean squared error over the RGB image, data range 1. Raises as `require_images` does."""
    require_images(x, x_hat)
    valid = None if sizes is None else partition.extent_mask(sizes, x.shape[-3:-1])[..., None]
    return jnp.mean(jnp.square(x - x_hat), axis=(-3, -2, -1), where=valid)


@compilation.jit
def psnr(x: jax.Array, x_hat: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio in dB of the MSE over all three channels; inf for equal images.

    For the PSNR of a stored image, pass x_hat through `round_to_8_bit` first. Raises as
    `require_images` does.
    """
    return -10.0 * jnp.log10(mse(x, x_hat))


@functools.partial(compilation.jit, static_argnames="levels")
def ms_ssim(
    x: jax.Array, x_hat: jax.Array, levels: int = 5, sizes: jax.Array | None = None
) -> jax.Array:
    """Multi-scale structural similarity, at most 1: of each channel, then the mean over RGB.

    The definition is that of Wang et al. 2003 as pytorch_msssim computes it: valid 11-tap Gaussian
    windows, 2x2 average pooling with a row or column of zeros in front of odd sizes, negative
    similarities of a scale counted as zero. With fewer than five `levels` the weights of the
    scales that remain are divided by their sum. Gradients are finite everywhere; they are zero
    where a scale's similarity is not positive.

    With `sizes`, only windows inside the image count, on coarser scales only those of means of 2x2
    pixels inside. At odd sizes these means are half a pixel from those of the definition. With five
    scales a side needs 176 pixels.

    Raises as `require_images` does, and ValueError when the array is too small for the scales: with
    five, the short side must have at least 161 pixels.
    """
    require_images(x, x_hat)
    maps = similarity_maps(x, x_hat, levels)
    product = jnp.ones((*x.shape[:-3], CHANNELS), maps[0].dtype)
    for scale, (term, weight) in enumerate(zip(maps, scale_weights(levels), strict=True)):
        valid = None
        if sizes is not None:
            windows = (sizes >> scale) - (WINDOW_TAPS - 1)
            valid = partition.extent_mask(windows, term.shape[-3:-1])[..., None]
        # Sums of small numbers: those of millions near 1 lose digits in float32.
        mean = 1 - jnp.mean(1 - term, axis=(-3, -2), where=valid)
        product = product * _power(mean, weight)
    return jnp.mean(product, axis=-1)


class Original(NamedTuple):
    """What the similarity to an image takes of the image itself, at one scale.

    Channels are side by side within a row: [..., h, 3 w]. So windows along both axes are sums of
    contiguous slices.
    """

    image: jax.Array
    means: jax.Array  # local, [..., h - 10, 3 (w - 10)]
    variances: jax.Array  # local


def originals(x: jax.Array, levels: int = 5) -> tuple[Original, ...]:
    """x [..., H, W, 3] in [0, 1] for `similarity_maps_of`, by scale. Raises as `ms_ssim` does."""
    scale_weights(levels)
    _require_size(x.shape, levels)
    scales = []
    a = _join_channels(x)
    for scale in range(levels):
        if scale:
            a = _halve(a)
        means, squares = _blur(jnp.stack([a, jnp.square(a)]))
        scales.append(Original(a, means, squares - jnp.square(means)))
    return tuple(scales)


def similarity_maps(x: jax.Array, x_hat: jax.Array, levels: int = 5) -> tuple[jax.Array, ...]:
    """The similarity at every position of the window, by scale. MS-SSIM combines their means.

    [..., h - 10, w - 10, 3] for a scale of h x w. Raises as `ms_ssim` does.
    """
    return similarity_maps_of(originals(x, levels), x_hat)


def similarity_maps_of(scales: Sequence[Original], x_hat: jax.Array) -> tuple[jax.Array, ...]:
    """`similarity_maps` for several x_hat of one x, of which `originals` is computed once."""
    b = _join_channels(x_hat)
    maps = []
    for scale, original in enumerate(scales):
        if scale:
            b = _halve(b)
        luminance, contrast_structure = _similarity_maps(original, b)
        is_last = scale == len(scales) - 1
        similarity = luminance * contrast_structure if is_last else contrast_structure
        maps.append(_split_channels(similarity))
    return tuple(maps)


def _join_channels(maps: jax.Array) -> jax.Array:
    """[..., h, w, 3] -> [..., h, 3 w]."""
    return maps.reshape(*maps.shape[:-2], -1)


def _split_channels(maps: jax.Array) -> jax.Array:
    """[..., h, 3 w] -> [..., h, w, 3]."""
    return maps.reshape(*maps.shape[:-1], -1, CHANNELS)


def scale_weights(levels: int) -> tuple[float, ...]:
    """The exponents of MS-SSIM with `levels` scales. Raises ValueError unless there are 1 to 5."""
    if not 1 <= levels <= len(SCALE_WEIGHTS):
        raise ValueError(f"MS-SSIM has 1 to {len(SCALE_WEIGHTS)} levels, not {levels}")
    if levels == len(SCALE_WEIGHTS):
        return SCALE_WEIGHTS  # as published, though they add up to 1.0001
    total = sum(SCALE_WEIGHTS[:levels])
    return tuple(w / total for w in SCALE_WEIGHTS[:levels])


def smallest_side(levels: int = len(SCALE_WEIGHTS)) -> int:
    """The fewest pixels on the short side of an image for MS-SSIM with `levels` scales."""
    return (WINDOW_TAPS - 1) * 2 ** (levels - 1) + 1


def smallest_end() -> int:
    """`smallest_side()` for an image that is smaller than its array, see `ms_ssim`."""
    return WINDOW_TAPS * 2 ** (len(SCALE_WEIGHTS) - 1)


def scales_within(side: int) -> int:
    """The number of scales of MS-SSIM that an image with a short side of `side` pixels allows."""
    fitting = range(1, len(SCALE_WEIGHTS) + 1)
    return sum(smallest_side(scales) <= side for scales in fitting)


def ms_ssim_db(value: jax.Array) -> jax.Array:
    """An MS-SSIM value on the logarithmic scale -10 log10(1 - MS-SSIM), in dB; inf for 1."""
    return -10.0 * jnp.log10(1.0 - value)


def _require_size(shape: tuple[int, ...], levels: int) -> None:
    height, width = shape[-3:-1]
    smallest = smallest_side(levels)
    if min(height, width) < smallest:
        raise ValueError(
            f"MS-SSIM with {levels} levels needs at least {smallest} pixels on the short side, "
            f"but the image has {height} x {width} (height x width); ask for fewer levels"
        )


@functools.cache
def _window() -> tuple[float, ...]:
    """The Gaussian window along one axis, adding up to 1."""
    distance = np.arange(WINDOW_TAPS) - WINDOW_TAPS // 2
    taps = np.exp(-(distance**2) / (2 * WINDOW_SIGMA**2))
    return tuple((taps / taps.sum()).tolist())


def _blur_axis(maps: jax.Array, axis: int, step: int = 1) -> jax.Array:
    """Weighted sums of slices that are shifted by `step`.

    They are exact float32 everywhere, and the compiler fuses them. A convolution of one channel is
    slow on CPUs, and imprecise on accelerators. Variances are differences of moments and need the
    precision.
    """
    size = maps.shape[axis] - step * (WINDOW_TAPS - 1)
    starts = range(0, step * WINDOW_TAPS, step)
    shifted = (jax.lax.slice_in_dim(maps, i, i + size, axis=axis) for i in starts)
    weighted = (tap * values for tap, values in zip(_window(), shifted, strict=True))
    return functools.reduce(jnp.add, weighted)


@jax.custom_vjp
def _blur(maps: jax.Array) -> jax.Array:
    """Local means of maps [..., H, 3 W] under the Gaussian window, [..., H - 10, 3 (W - 10)].

    The window is symmetric, so the gradient is the same blur of the zero-padded cotangent. It is
    defined here because the automatic gradient of the slices is ten times slower.
    """
    return _blur_axis(_blur_axis(maps, maps.ndim - 1, CHANNELS), maps.ndim - 2)


def _blur_forward(maps: jax.Array) -> tuple[jax.Array, None]:
    return _blur(maps), None


def _blur_backward(_: None, cotangent: jax.Array) -> tuple[jax.Array]:
    margin = WINDOW_TAPS - 1
    padding = [(0, 0)] * (cotangent.ndim - 2) + [(margin,) * 2, (CHANNELS * margin,) * 2]
    return (_blur(jnp.pad(cotangent, padding)),)


_blur.defvjp(_blur_forward, _blur_backward)


def _similarity_maps(original: Original, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Luminance and contrast-structure similarity at every window position of b [..., H, 3 W].

    Computed from d = a - b for an original a: since 2 cov(a, b) = var(a) + var(b) - var(d), the
    usual quotients are one minus a small term. This keeps float32 precise for nearly equal images.
    """
    d = original.image - b
    mean_d, squares_b, squares_d = _blur(jnp.stack([d, jnp.square(b), jnp.square(d)]))
    square_b = jnp.square(original.means - mean_d)  # of the mean of b
    variances = original.variances + squares_b - square_b
    variance_d = squares_d - jnp.square(mean_d)
    luminance = 1.0 - jnp.square(mean_d) / (jnp.square(original.means) + square_b + C1)
    return luminance, 1.0 - variance_d / (variances + C2)


def _power(base: jax.Array, exponent: float) -> jax.Array:
    """max(base, 0) ** exponent, with a finite gradient also where the base is not positive."""
    positive = base > SMALLEST_TERM
    return jnp.where(positive, jnp.where(positive, base, 1.0) ** exponent, 0.0)


def _halve(maps: jax.Array) -> jax.Array:
    """2x2 means of maps [..., H, 3 W]; odd sizes get a leading row or column of zeros."""
    maps = _split_channels(maps)
    height, width = maps.shape[-3:-1]
    padding = [(0, 0)] * (maps.ndim - 3) + [(height % 2, 0), (width % 2, 0), (0, 0)]
    padded = jnp.pad(maps, padding)
    rows = padded[..., 0::2, :, :] + padded[..., 1::2, :, :]
    return _join_channels(0.25 * (rows[..., 0::2, :] + rows[..., 1::2, :]))
