"""What can be a target of rate control beside a size: the image's quality, by several metrics.

A target is a field of `Target` and an entry of `TARGET_METRICS`, which refers to a metric of
`metrics.quality`. The search runs on a scale on which values rise with the quality of the image, by
about the same amount per e-fold lambda.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.codec.preparation import PreparedImage
from rdonet_jax.core import decibels
from rdonet_jax.imaging import pixel_format
from rdonet_jax.metrics import quality
from rdonet_jax.metrics.libraries import MissingMetricError
from rdonet_jax.metrics.quality import QualityMetric


class TargetError(EncodeError):
    """A target that no quality meets, or that cannot be measured."""


class TargetMetric(NamedTuple):
    """A metric as a target. Values meet it if they are at least as good."""

    field: str  # of `Target`
    metric: QualityMetric
    to_scale: Callable[[float], float]
    tolerance: float  # how much better, on the scale, a value may be, to end the search
    slope: float  # typical increase on the scale per e-fold lambda, a first guess
    decimals: int  # for users
    of_original: Callable[[PreparedImage, np.ndarray], float] | None = None
    """The value in the image's own form, where that is not the metric of 8-bit RGB."""

    def require(self) -> None:
        """Raises `TargetError` if what computes the metric is not installed."""
        if self.metric.library is not None:
            try:
                self.metric.library.require(self.metric.label)
            except MissingMetricError as error:
                raise TargetError(str(error)) from error

    def measure(self, image: PreparedImage, decoded: np.ndarray) -> float:
        """The value of decoded pixels in the image's own form.

        Raises `TargetError` for an image without a value.
        """
        if self.of_original is not None:
            return self.of_original(image, decoded)
        try:
            value = self.metric.function(image.rgb8, pixel_format.as_rgb8(decoded))
        except MissingMetricError as error:
            raise TargetError(str(error)) from error
        if value is None:
            raise TargetError(f"has no {self.metric.label}: {self.metric.left_out}")
        return value

    def in_words(self, value: float) -> str:
        """A value for users, rounded to the worse side, so that a miss never reads as a hit."""
        unit = 10**self.decimals
        rounded = (math.floor if self.metric.higher_is_better else math.ceil)(unit * value) / unit
        number = f"{rounded:.{self.decimals}f}"
        return (
            f"{number} {self.metric.unit}" if self.metric.unit else f"{self.metric.label} {number}"
        )


def _nearness(distance: float) -> float:
    """A distance on a logarithmic scale, which rises as it falls."""
    return -math.log(distance) if distance > 0 else math.inf


def _nearness_to_100(score: float) -> float:
    return _nearness(100 - score)


_METRICS = quality.METRICS

TARGET_METRICS: Mapping[str, TargetMetric] = {
    target.field: target
    for target in (
        TargetMetric(
            "psnr", _METRICS["psnr"], quality.identity,
            tolerance=0.05, slope=2.1, decimals=2, of_original=PreparedImage.psnr,
        ),
        TargetMetric(
            "ms_ssim", _METRICS["ms_ssim"], decibels.ms_ssim,
            tolerance=0.05, slope=2.2, decimals=5,
        ),
        TargetMetric(
            "ssimulacra2", _METRICS["ssimulacra2"], _nearness_to_100,
            tolerance=0.0125, slope=0.29, decimals=2,
        ),
        TargetMetric(
            "butteraugli", _METRICS["butteraugli"], _nearness,
            tolerance=0.02, slope=0.35, decimals=3,
        ),
    )
}  # fmt: skip
"""The metrics that are targets, by field of `Target`."""
