"""The registered quality metrics of decoded images, which evaluations report.

Each takes 8-bit images. A new one is one `QualityMetric` and one call of `register`. It is then in
tables, result files, curves, Bjøntegaard rates, plots and the report.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from rdonet_jax.metrics import distortion


def identity(value: float) -> float:
    """The default of `QualityMetric.on_curve`."""
    return value


@dataclasses.dataclass(frozen=True)
class QualityMetric:
    """A measure of a decoded image.

    Attributes:
      name: its key in `Row.quality`.
      label: its name for users.
      function: (original, decoded), both uint8 [H, W, 3], to the value; None if an image has none.
        A value that is not finite counts as none.
      higher_is_better: whether larger values are better.
      unit: of the value, for users; empty for none.
      decimals: in tables of text. The report shows one less.
      stored: its key in result files; `name` if empty.
      highest: the largest valid value. Result files with larger ones are refused.
      left_out: which images have no value, for users.
      on_curve: converts values for curves and Bjøntegaard rates, for instance to decibels.
      curve_unit: the unit there; `unit` if None.
    """

    name: str
    label: str
    function: Callable[[np.ndarray, np.ndarray], float | None]
    higher_is_better: bool = True
    unit: str = ""
    decimals: int = 3
    stored: str = ""
    highest: float = math.inf
    left_out: str = "without a value"
    on_curve: Callable[[float], float] = identity
    curve_unit: str | None = None

    @property
    def key(self) -> str:
        """Its key in result files."""
        return self.stored or self.name

    @property
    def title(self) -> str:
        """The title of a column of values."""
        return f"{self.label} {self.unit}".strip()

    @property
    def unit_of_curve(self) -> str:
        """The unit of `curve_value`."""
        return self.unit if self.curve_unit is None else self.curve_unit

    @property
    def curve_title(self) -> str:
        """The title of an axis of `curve_value`."""
        return f"{self.label} in {self.unit_of_curve}" if self.unit_of_curve else self.label

    def measure(self, original: np.ndarray, decoded: np.ndarray) -> float | None:
        """The value of a decoded image uint8 [H, W, 3]; None where there is no finite one."""
        value = self.function(original, decoded)
        return value if value is not None and math.isfinite(value) else None

    def curve_value(self, value: float | None) -> float | None:
        """A value converted for curves; None if that is not finite."""
        if value is None:
            return None
        converted = self.on_curve(value)
        return converted if math.isfinite(converted) else None


def _unit_range(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / 255.0


def psnr(original: np.ndarray, decoded: np.ndarray) -> float:
    """PSNR in dB of images uint8 [H, W, 3]; infinite for equal ones."""
    return float(distortion.psnr(_unit_range(original), _unit_range(decoded)))


def ms_ssim(original: np.ndarray, decoded: np.ndarray) -> float | None:
    """MS-SSIM of images uint8 [H, W, 3]; None for those too small for it."""
    if min(original.shape[:2]) < distortion.smallest_side():
        return None
    return float(distortion.ms_ssim(_unit_range(original), _unit_range(decoded)))


def in_decibels(value: float) -> float:
    """MS-SSIM as -10 log10(1 - MS-SSIM); infinite for 1."""
    return math.inf if value >= 1 else -10 * math.log10(1 - value)


METRICS: dict[str, QualityMetric] = {}
"""By name, in the order of their columns. `register` adds to it."""


def register(metric: QualityMetric) -> None:
    """Registers a metric. Raises ValueError if its name or its stored key is taken."""
    taken = {key for other in METRICS.values() for key in (other.name, other.key)}
    if taken & {metric.name, metric.key}:
        raise ValueError(f"there is a metric {metric.name!r} already")
    METRICS[metric.name] = metric


register(QualityMetric("psnr", "PSNR", psnr, unit="dB", stored="psnr-rgb", left_out="exact copies"))
register(
    QualityMetric(
        "ms_ssim",
        "MS-SSIM",
        ms_ssim,
        decimals=5,
        stored="ms-ssim-rgb",
        highest=1.0,
        left_out=f"short side under {distortion.smallest_side()}",
        on_curve=in_decibels,
        curve_unit="dB",
    )
)


def measure(original: np.ndarray, decoded: np.ndarray) -> dict[str, float | None]:
    """All metrics of a decoded image uint8 [H, W, 3]; compiled once per exact size."""
    return {name: metric.measure(original, decoded) for name, metric in METRICS.items()}
