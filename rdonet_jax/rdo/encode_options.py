"""How an image is to be encoded: quality or target, search for the partition, range coder."""

from __future__ import annotations

import dataclasses
import math
import numbers

from rdonet_jax.core.defaults import DEFAULT_CODER
from rdonet_jax.core.partition import Partition
from rdonet_jax.rdo.initial_masks import INITS

MAX_PASSES = 2


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to choose a partition.

    Attributes:
      init: where to start, one of `initial_masks.INITS`, or a partition.
      passes: of the search from there, 0 to `MAX_PASSES`.
    """

    init: str | Partition = "variance"
    passes: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.init, str) and self.init not in INITS:
            raise ValueError(f"unknown start {self.init!r}; there are {', '.join(INITS)}")
        whole = isinstance(self.passes, numbers.Integral)
        if not whole or self.passes not in range(MAX_PASSES + 1):
            raise ValueError(f"a search has 0 to {MAX_PASSES} passes, not {self.passes}")


@dataclasses.dataclass(frozen=True)
class Target:
    """What rate control aims at; one of the two is None.

    Attributes:
      size: bytes of the whole file, at most.
      psnr: in dB, at least.
    """

    size: int | None = None
    psnr: float | None = None

    def __post_init__(self) -> None:
        if (self.size is None) == (self.psnr is None):
            raise ValueError("a target is either a size or a PSNR")
        value = self.psnr if self.size is None else self.size
        try:
            legal = bool(0 < value < math.inf) and math.isfinite(float(value))
        except (TypeError, ValueError, ArithmeticError):  # no number, several, or far too large
            legal = False
        if not legal:
            raise ValueError(f"a target must be a positive number, not {repr(value)[:60]}")


@dataclasses.dataclass(frozen=True)
class EncodeOptions:
    """How to encode an image.

    Attributes:
      quality: 0 (smallest file) to 100 (best image) for a variable-rate model, where None is the
        default quality; None for a fixed-rate model.
      target: a size or a PSNR in place of a quality; for a variable-rate model.
      plan: how to choose the partition.
      coder: the name of the range coder.
      reconstruct: whether the result is to hold the pixels that the decoder will give. Some ways
        of encoding need them anyway.

    Raises ValueError for both a quality and a target.
    """

    quality: float | None = None
    target: Target | None = None
    plan: Plan = Plan()
    coder: str = DEFAULT_CODER
    reconstruct: bool = False

    def __post_init__(self) -> None:
        if self.quality is not None and self.target is not None:
            raise ValueError("give a quality or a target, not both")
