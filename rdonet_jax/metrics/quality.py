"""The registered quality metrics of decoded images, which evaluations report.

Each takes 8-bit images. A new one is one `QualityMetric` and one call of `register`. It is then in
tables, result files, curves, Bjøntegaard rates, plots and the report: always if it is a default
one, else where it is asked for by its name. `rdo.targets` says which ones rate control can aim at.

This module loads JAX when an image is measured, not before.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from rdonet_jax.core import decibels
from rdonet_jax.metrics import perceptual
from rdonet_jax.metrics.libraries import Library


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
      is_default: whether every evaluation measures it.
      library: the package or program that computes it; None for this package.
      settings: what else determines its values, for users; empty for nothing.
      is_slow: whether evaluations say beforehand how long it takes.
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
    is_default: bool = True
    library: Library | None = None
    settings: str = ""
    is_slow: bool = False

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
        title = f"{self.label} in {self.unit_of_curve}" if self.unit_of_curve else self.label
        return title if self.higher_is_better else f"{title} (lower is better)"

    @property
    def software(self) -> str:
        """The library with its version, and the settings; empty for this package's metrics."""
        parts = (self.library.version() if self.library else "", self.settings)
        return "; ".join(part for part in parts if part)

    def measure(self, original: np.ndarray, decoded: np.ndarray) -> float | None:
        """The value of a decoded image uint8 [H, W, 3]; None where there is no finite one.

        Raises TypeError, with the name of the metric, for a function that gives no number.
        """
        found = self.function(original, decoded)
        if found is None:
            return None
        numeric = not isinstance(found, str | bytes) and np.ndim(found) == 0
        if not numeric:
            raise TypeError(
                f"the metric {self.name!r} gives a number or None, not {type(found).__name__}"
            )
        value = float(found)  # numbers of NumPy and JAX are none for JSON
        return value if math.isfinite(value) else None

    def curve_value(self, value: float | None) -> float | None:
        """A value converted for curves; None if that is not finite."""
        if value is None:
            return None
        converted = self.on_curve(value)
        return converted if math.isfinite(converted) else None


MS_SSIM_SMALLEST = 161
"""The shortest side for MS-SSIM with its five scales, `distortion.smallest_side()`."""


def _unit_range(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / 255.0


def psnr(original: np.ndarray, decoded: np.ndarray) -> float:
    """PSNR in dB of images uint8 [H, W, 3]; infinite for equal ones."""
    from rdonet_jax.metrics import distortion

    return float(distortion.psnr(_unit_range(original), _unit_range(decoded)))


def ms_ssim(original: np.ndarray, decoded: np.ndarray) -> float | None:
    """MS-SSIM of images uint8 [H, W, 3]; None for those too small for it."""
    if min(original.shape[:2]) < MS_SSIM_SMALLEST:
        return None
    from rdonet_jax.metrics import distortion

    return float(distortion.ms_ssim(_unit_range(original), _unit_range(decoded)))


_TOO_SMALL = f"short side under {perceptual.BLOCK}"
_TOO_SMALL_FOR_VGG = f"short side under {perceptual.SMALLEST_FOR_VGG}"

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
        left_out=f"short side under {MS_SSIM_SMALLEST}",
        on_curve=decibels.ms_ssim,
        curve_unit="dB",
    )
)


_on_request = functools.partial(QualityMetric, is_default=False, left_out=_TOO_SMALL)
_butteraugli = functools.partial(
    _on_request, higher_is_better=False, library=perceptual.BUTTERAUGLI
)
_of_vgg16 = functools.partial(
    _on_request,
    higher_is_better=False,
    decimals=4,
    left_out=_TOO_SMALL_FOR_VGG,
    library=perceptual.PIQ,
    settings="VGG16",
    is_slow=True,
)

for _metric in (
    _on_request(
        "ssimulacra2",
        "SSIMULACRA2",
        perceptual.ssimulacra2,
        decimals=2,
        highest=100.0,
        library=perceptual.SSIMULACRA2,
        settings="SSIMULACRA 2.1, zeros beyond the borders",
        is_slow=True,
    ),
    _on_request(
        "psnr-hvs-m",
        "PSNR-HVS-M",
        perceptual.psnr_hvs_m,
        unit="dB",
        left_out=f"{_TOO_SMALL}, or no visible difference",
        library=perceptual.PSNR_HVS_M,
        settings="luma of BT.601 from 16 to 235, rounded",
    ),
    _butteraugli(
        "butteraugli",
        "Butteraugli",
        perceptual.butteraugli,
        settings=f"largest distance, {perceptual.INTENSITY} cd/m²",
    ),
    _butteraugli(
        "butteraugli-3norm",
        "Butteraugli 3-norm",
        perceptual.butteraugli_3norm,
        settings=f"3-norm, {perceptual.INTENSITY} cd/m²",
    ),
    _of_vgg16("lpips", "LPIPS", perceptual.lpips),
    _of_vgg16("dists", "DISTS", perceptual.dists),
    _on_request(
        "cvvdp",
        "ColorVideoVDP",
        perceptual.color_video_vdp,
        unit="JOD",
        highest=10.0,
        library=perceptual.CVVDP,
        settings=f"display {perceptual.DISPLAY}",
        is_slow=True,
    ),
):
    register(_metric)


def optional() -> tuple[str, ...]:
    """The names of metrics that are measured only where they are asked for."""
    return tuple(name for name, metric in METRICS.items() if not metric.is_default)


def require(names: Iterable[str]) -> None:
    """Raises `MissingMetricError` if a metric needs what is not installed."""
    for name in names:
        library = METRICS[name].library
        if library is not None:
            library.require(name)


def software(names: Iterable[str]) -> dict[str, str]:
    """By name, what computes these metrics, where it is not this package."""
    found = {name: METRICS[name].software for name in names}
    return {name: words for name, words in found.items() if words}


def measure(
    original: np.ndarray, decoded: np.ndarray, names: Sequence[str] = ()
) -> dict[str, float | None]:
    """The default metrics and the named ones of a decoded image uint8 [H, W, 3], by name.

    Compiled once per exact size.
    """
    return {
        name: metric.measure(original, decoded)
        for name, metric in METRICS.items()
        if metric.is_default or name in names
    }


def seconds(image: np.ndarray, names: Iterable[str]) -> dict[str, float]:
    """How long the slow ones of these metrics take for an image uint8 [H, W, 3], in seconds.

    The first call for an image of this size is not timed: it loads libraries.
    """
    found = {}
    other = image ^ 1  # a small difference everywhere
    for name in names:
        if METRICS[name].is_slow:
            METRICS[name].measure(image, other)
            began = time.perf_counter()
            METRICS[name].measure(image, other)
            found[name] = time.perf_counter() - began
    return found


def present(measured: Iterable[Mapping[str, float | None]]) -> list[QualityMetric]:
    """The default metrics, and those that any of these results by name has."""
    names = {name for one in measured for name in one}
    return [m for m in METRICS.values() if m.is_default or m.name in names]
