"""The networks of a study, the lengths of their trainings, and the number of test images.

Every contestant has the same images, crops, numbers of steps and learning rates. There are two
kinds of studies:

- Fixed-rate networks have a training for every lambda. `small` and `mbt2018-small` have equal
  numbers of parameters (the reference then takes half as many multiply-accumulates again). `paper`
  and `mbt2018` are the published ones, of 209 and 198 kMAC per pixel.
- Portable networks have one training for all qualities. The reference is the network of the same
  make with one level, and equal multiply-accumulates to decode.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from rdonet_jax.core import presets
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.models import registry
from rdonet_jax.training.config import TrainingConfig

THRESHOLDS_AT_ONE = (0.0335, 0.536)
"""Thresholds of the variance masks times lambda, for fixed-rate networks: 5 and 80 at 0.0067, the
best of a grid for the preset small (experiments/small). They are inverse to lambda, the worth of
squared error in bits."""


class Point(NamedTuple):
    """A point of every curve: fixed-rate networks of a lambda, or portable ones at a quality."""

    lmbda: float | None
    quality: float | None

    @property
    def label(self) -> str:
        """What the point is called in tables."""
        return f"quality {self.quality:g}" if self.lmbda is None else f"lambda {self.lmbda:g}"


@dataclasses.dataclass(frozen=True)
class Budget:
    """The budget of a study.

    Attributes:
      rdonet, reference: presets of equal size.
      first_steps, second_steps: of the two parts of every training, see `parts`.
      training: the other fields of `TrainingConfig`, of both parts, for all contestants.
      second: those that are different in the second part.
      max_images: the largest number of images to evaluate of a folder, evenly spread.
      lmbdas: of fixed-rate networks, one for each. None alone for portable networks.
      qualities: at which portable networks are measured. None alone for fixed-rate networks.
      fit_images: on so many validation images the thresholds of the variance masks are fitted
        before a contestant is evaluated. 0 to leave them as they were in training.
      contestants: which are trained and evaluated.
    """

    rdonet: str
    reference: str
    first_steps: int
    second_steps: int
    training: Mapping[str, Any]
    max_images: int
    second: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    lmbdas: tuple[float | None, ...] = (None,)
    qualities: tuple[float | None, ...] = (None,)
    fit_images: int = 0
    contestants: tuple[str, ...] = ("reference", "basic", "var")

    @property
    def points(self) -> tuple[Point, ...]:
        """The points of every curve, by rising rate."""
        return tuple(Point(lmbda, q) for lmbda in self.lmbdas for q in self.qualities)


def _training(batch_size: int, crop: int, rate: float, warmup: int, **others: Any) -> dict:
    return dict(
        batch_size=batch_size, crop=crop, learning_rate=rate, warmup_steps=warmup, ema_decay=0.99,
        **others,
    )  # fmt: skip


WITH_DIRECT = ("reference", "basic", "var", "direct")

BUDGETS: Mapping[str, Budget] = {
    "toy": Budget(
        "tiny", "mbt2018-tiny", 6, 4, _training(4, 128, 2e-4, 2), 1, lmbdas=(0.004, 0.03)
    ),
    "cpu": Budget(
        "small", "mbt2018-small", 650, 350, _training(8, 256, 4e-4, 50), 8,
        lmbdas=(0.0018, 0.0067, 0.025),
    ),
    "gpu": Budget(
        "paper", "mbt2018", 2600, 1000, _training(16, 256, 2e-4, 200), 24,
        lmbdas=(0.0018, 0.0035, 0.0067, 0.013),
    ),
    "portable-toy": Budget(
        "mini", "mini-one-level", 6, 4, _training(2, 192, 2e-4, 2, metric="both", prior_rate=8.0),
        1, {"rate": "rounded"}, qualities=(20.0, 80.0), fit_images=1, contestants=WITH_DIRECT,
    ),
    "portable-cpu": Budget(
        "compact", "compact-one-level", 1800, 700,
        _training(8, 256, 1.5e-4, 50, metric="both", prior_rate=8.0, resident=True),
        12, {"rate": "rounded"}, qualities=(0.0, 25.0, 50.0, 75.0, 100.0), fit_images=8,
        contestants=WITH_DIRECT,
    ),
    "portable-gpu": Budget(
        "standard", "standard-one-level", 8000, 4000,
        _training(64, 256, 4e-4, 500, metric="both", prior_rate=4.0, resident=True),
        24, {"rate": "rounded"}, qualities=(0.0, 20.0, 40.0, 60.0, 80.0, 100.0), fit_images=8,
        contestants=WITH_DIRECT,
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Part:
    """A training of the study: `schedule`, from the start or from the weights of part `after`.

    `name` is the name of its weights file.
    """

    name: str
    preset: str
    network_config: AnyConfig
    schedule: TrainingConfig
    after: str | None


def parts(budget: Budget, lmbda: float | None) -> list[Part]:
    """The trainings for a lambda of the budget, each after the one from which it continues.

    Every contestant is trained for `first_steps`, and from its averaged weights for `second_steps`,
    each with warm-up and decay of the learning rate. Basic and Var share the first part, with
    random masks. In the second part Basic has random masks, and Var has variance masks. Direct has
    variance masks in both.
    """
    rdonet, reference = (presets.preset(name) for name in (budget.rdonet, budget.reference))
    training = dict(budget.training)
    if lmbda is not None:
        numbers = [share / lmbda for share in THRESHOLDS_AT_ONE]
        rdonet = registry.with_thresholds(rdonet, numbers)
        training["lmbda"] = lmbda

    def part(
        name: str, network_config: AnyConfig, random: int, variance: int, after: str | None
    ) -> Part:
        changes = {"seed": 0} if after is None else {"seed": 1, **budget.second}
        schedule = TrainingConfig(
            **{**training, **changes}, stage1_steps=random, stage2_steps=variance
        )
        preset = budget.reference if network_config is reference else budget.rdonet
        return Part(
            named(name, lmbda), preset, network_config, schedule, after and named(after, lmbda)
        )

    first, second = budget.first_steps, budget.second_steps
    all_parts = [
        part("reference_first", reference, first, 0, None),
        part("reference", reference, second, 0, "reference_first"),
        part("rdonet_first", rdonet, first, 0, None),
        part("basic", rdonet, second, 0, "rdonet_first"),
        part("var", rdonet, 0, second, "rdonet_first"),
        part("direct_first", rdonet, 0, first, None),
        part("direct", rdonet, 0, second, "direct_first"),
    ]
    names = {named(contestant, lmbda) for contestant in budget.contestants}
    needed = names | {part.after for part in all_parts if part.name in names}
    return [part for part in all_parts if part.name in needed]


def named(contestant: str, lmbda: float | None) -> str:
    """The name of a contestant's weights for a lambda: letters, digits and underscores."""
    return contestant if lmbda is None else f"{contestant}_{round(1e6 * lmbda):06d}"
