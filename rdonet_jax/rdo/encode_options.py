"""The options of an encoding: quality or target, search, refinement, range coder."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any

import numpy as np

from rdonet_jax.core.defaults import (
    DEFAULT_CODER,
    DEFAULT_ENGINE,
    MAX_REFINEMENTS,
    SEARCH_TRIALS,
)
from rdonet_jax.core.json_values import short_repr
from rdonet_jax.core.partition import Partition
from rdonet_jax.rdo.initial_masks import INITS

MAX_PASSES = 2


def is_count(value: object, most: int) -> bool:
    """Whether this is an integer from 0 to `most`, of Python or NumPy, and no bool."""
    return (
        isinstance(value, numbers.Integral)
        and not isinstance(value, bool)
        and 0 <= int(value) <= most
    )


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to choose a partition and the latents.

    Attributes:
      init: the initial partition, or the name of a mask in `initial_masks.INITS`.
      passes: of the search that starts from it, 0 to `MAX_PASSES`.
      refinements: iterations of latent refinement, 0 to `MAX_REFINEMENTS`; for portable models.
      trials: evaluations of a pass that try changes, at most, 0 to `SEARCH_TRIALS`. With 0,
        estimates alone decide.
    """

    init: str | Partition = "variance"
    passes: int = 0
    refinements: int = 0
    trials: int = SEARCH_TRIALS

    def __post_init__(self) -> None:
        if isinstance(self.init, str) and self.init not in INITS:
            raise ValueError(f"unknown start {self.init!r}; there are {', '.join(INITS)}")
        if not is_count(self.passes, MAX_PASSES):
            raise ValueError(f"a search has 0 to {MAX_PASSES} passes, not {self.passes}")
        if not is_count(self.trials, SEARCH_TRIALS):
            raise ValueError(f"a pass has 0 to {SEARCH_TRIALS} trials, not {self.trials}")
        if not is_count(self.refinements, MAX_REFINEMENTS):
            raise ValueError(
                f"a refinement has 0 to {MAX_REFINEMENTS} iterations, not {self.refinements}"
            )


@dataclasses.dataclass(frozen=True)
class Target:
    """The target of rate control. All but one of the attributes are None.

    Attributes:
      size: bytes of the whole file, at most. This and the others may be numbers of any type, and
        become those of Python.
      psnr: in dB, at least.
      ms_ssim: of the image in 8-bit RGB, at least; less than 1.
      ssimulacra2: likewise, at least; at most 100.
      butteraugli: likewise, the distance at most.

    Raises ValueError for anything else.
    """

    size: int | None = None
    psnr: float | None = None
    ms_ssim: float | None = None
    ssimulacra2: float | None = None
    butteraugli: float | None = None

    def __post_init__(self) -> None:
        given = [field for field, value in vars(self).items() if value is not None]
        if len(given) != 1:
            raise ValueError(f"a target is one of {', '.join(vars(self))}")
        if not _is_positive(self.value):
            raise ValueError(f"a target must be a positive number, not {short_repr(self.value)}")
        number = self.value
        is_whole = isinstance(number, numbers.Integral)
        object.__setattr__(self, self.field, int(number) if is_whole else float(number))
        if self.ms_ssim is not None and not self.ms_ssim < 1:
            raise ValueError(f"an MS-SSIM as a target must be less than 1, not {self.ms_ssim:g}")
        if self.ssimulacra2 is not None and not self.ssimulacra2 <= 100:
            raise ValueError(
                f"a SSIMULACRA2 as a target must be at most 100, not {self.ssimulacra2:g}"
            )

    @property
    def field(self) -> str:
        """The name of the attribute that is not None."""
        return next(field for field, value in vars(self).items() if value is not None)

    @property
    def value(self) -> float:
        """The value of that attribute."""
        return getattr(self, self.field)


def _is_positive(value: Any) -> bool:
    """Whether this is a positive number, and a finite float too."""
    try:
        return bool(0 < value < math.inf) and math.isfinite(float(value))
    except (TypeError, ValueError, ArithmeticError):  # no number, an array, or too large
        return False


@dataclasses.dataclass(frozen=True)
class EncodeOptions:
    """How to encode an image.

    Attributes:
      quality: 0 (smallest file) to 100 (best image) for a variable-rate model, where None is the
        default quality; None for a fixed-rate model.
      target: a size or a metric in place of a quality; for a variable-rate model.
      plan: how to choose the partition and the latents.
      coder: the name of the range coder.
      reconstruct: whether the result contains the decoder's pixels. With a metric as the
        target, and in some other cases, it does anyway.
      engine: what computes the model, one of `rdonet_jax.core.defaults.ENGINES`.
      gains: by 64x64 block, [rows, columns], how many points of quality it is better than the
        image, -100 to 100; None where all are the same. For models that have regions. See
        `rdonet_jax.rdo.roi`.

    Raises ValueError for both a quality and a target.
    """

    quality: float | None = None
    target: Target | None = None
    plan: Plan = Plan()
    coder: str = DEFAULT_CODER
    reconstruct: bool = False
    engine: str = DEFAULT_ENGINE
    gains: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.quality is not None and self.target is not None:
            raise ValueError("give a quality or a target, not both")
