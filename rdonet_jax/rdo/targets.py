"""What can be a target of rate control beside a size: the image's quality, by several metrics.

A target is a field of `Target` and an entry of `TARGET_METRICS`. The search runs on a scale on
which values rise with the quality of the image, by about the same amount per e-fold lambda.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from rdonet_jax.codec.preparation import EncodeError, PreparedImage
from rdonet_jax.core import decibels
from rdonet_jax.imaging import pixel_format
from rdonet_jax.metrics import perceptual
from rdonet_jax.metrics.libraries import Library, MissingMetricError


class TargetError(EncodeError):
    """A target that no quality meets, or that cannot be measured."""


class TargetMetric(NamedTuple):
    """A metric as a target. Values meet it if they are at least as good."""

    field: str  # of `Target`
    label: str  # for users
    function: Callable[[PreparedImage, np.ndarray], float | None]  # None if it has no value
    to_scale: Callable[[float], float]
    tolerance: float  # how much better, on the scale, a value may be, to end the search
    slope: float  # typical increase on the scale per e-fold lambda, a first guess
    words: str = "{label} {value}"
    decimals: int = 2
    higher_is_better: bool = True
    library: Library | None = None
    left_out: str = ""  # which images have no value, for users

    def require(self) -> None:
        """Raises `TargetError` if what computes the metric is not installed."""
        if self.library is not None:
            try:
                self.library.require(self.label)
            except MissingMetricError as error:
                raise TargetError(str(error)) from error

    def measure(self, image: PreparedImage, decoded: np.ndarray) -> float:
        """The value of decoded pixels in the image's own form.

        Raises `TargetError` for an image without a value.
        """
        try:
            value = self.function(image, decoded)
        except MissingMetricError as error:
            raise TargetError(str(error)) from error
        if value is None:
            raise TargetError(f"has no {self.label}: {self.left_out}")
        return value

    def in_words(self, value: float) -> str:
        """A value for users, rounded to the worse side, so that a miss never reads as a hit."""
        unit = 10**self.decimals
        rounded = (math.floor if self.higher_is_better else math.ceil)(unit * value) / unit
        return self.words.format(label=self.label, value=f"{rounded:.{self.decimals}f}")


def _on_rgb8(
    metric: Callable[[np.ndarray, np.ndarray], float | None],
) -> Callable[[PreparedImage, np.ndarray], float | None]:
    """A metric of 8-bit RGB as a function of images of any form."""
    return lambda image, decoded: metric(image.rgb8, pixel_format.as_rgb8(decoded))


def _ms_ssim(original: np.ndarray, decoded: np.ndarray) -> float | None:
    from rdonet_jax.metrics import quality  # here, since it loads JAX

    return quality.ms_ssim(original, decoded)


def _nearness(distance: float) -> float:
    """A distance on a logarithmic scale, which rises as it falls."""
    return -math.log(distance) if distance > 0 else math.inf


def _itself(value: float) -> float:
    return value


_TOO_SMALL = f"the short side has less than {perceptual.BLOCK} pixels"

TARGET_METRICS: Mapping[str, TargetMetric] = {
    metric.field: metric
    for metric in (
        TargetMetric(
            "psnr", "PSNR", PreparedImage.psnr, _itself,
            tolerance=0.05, slope=2.1, words="{value} dB",
        ),
        TargetMetric(
            "ms_ssim", "MS-SSIM", _on_rgb8(_ms_ssim), decibels.ms_ssim,
            tolerance=0.05, slope=2.2, decimals=5,
            left_out="the short side has less than 161 pixels",
        ),
        TargetMetric(
            "ssimulacra2", "SSIMULACRA2", _on_rgb8(perceptual.ssimulacra2),
            lambda score: _nearness(100 - score), tolerance=0.0125, slope=0.29,
            library=perceptual.SSIMULACRA2, left_out=_TOO_SMALL,
        ),
        TargetMetric(
            "butteraugli", "Butteraugli", _on_rgb8(perceptual.butteraugli), _nearness,
            tolerance=0.02, slope=0.35, decimals=3, higher_is_better=False,
            library=perceptual.BUTTERAUGLI, left_out=_TOO_SMALL,
        ),
    )
}  # fmt: skip
"""The metrics that are targets, by field of `Target`."""
