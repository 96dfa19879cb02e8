"""The networks of a study, the lengths of their trainings, and the number of test images.

Every contestant has the same lambdas, images, crops, numbers of steps and learning rates. Networks
for CPUs have equal numbers of parameters (the reference then takes half as many
multiply-accumulates again). Networks for accelerators are published ones, of 198 and 209 kMAC per
pixel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from rdonet_jax.core import presets
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.models import registry
from rdonet_jax.training.config import TrainingConfig

THRESHOLDS_AT_ONE = (0.0335, 0.536)
"""Thresholds of the variance masks times lambda: 5 and 80 at 0.0067, the best of a grid for the
preset small (experiments/small). They are inverse to lambda, the worth of squared error in bits."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """The budget of a study.

    Attributes:
      rdonet, reference: presets of equal size.
      lmbdas: every contestant has one network for each.
      first_steps, second_steps: of the two parts of every training, see `parts`.
      batch_size, crop, learning_rate, warmup_steps: of both parts, for all contestants.
      start: "linear" (each network as the same linear transform coder at first) or "random".
      max_images: the largest number of images to evaluate of a folder, evenly spread.
    """

    rdonet: str
    reference: str
    lmbdas: tuple[float, ...]
    first_steps: int
    second_steps: int
    batch_size: int
    crop: int
    learning_rate: float
    warmup_steps: int
    start: str
    max_images: int


BUDGETS: Mapping[str, Budget] = {
    "toy": Budget("tiny", "mbt2018-tiny", (0.004, 0.03), 6, 4, 4, 128, 2e-4, 2, "linear", 1),
    "cpu": Budget(
        "small", "mbt2018-small", (0.0018, 0.0067, 0.025), 650, 350, 8, 256, 4e-4, 50, "linear", 8
    ),
    "gpu": Budget(
        "paper", "mbt2018", (0.0018, 0.0035, 0.0067, 0.013), 2600, 1000, 16, 256, 2e-4, 200,
        "linear", 24,
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Part:
    """A training of the study: `schedule`, from the start or from the weights of part `after`.

    `name` is the name of its weights file.
    """

    name: str
    preset: str
    model: AnyConfig
    schedule: TrainingConfig
    after: str | None


CONTESTANTS = ("reference", "basic", "var")


def parts(budget: Budget, lmbda: float) -> list[Part]:
    """The trainings for one lambda, each after the one from which it continues.

    Every contestant is trained for `first_steps`, and from its averaged weights for `second_steps`,
    each with warm-up and decay of the learning rate. Basic and Var share the first part, with
    random masks. In the second part Basic has random masks, and Var has variance masks.
    """
    rdonet = registry.with_thresholds(
        presets.preset(budget.rdonet), [share / lmbda for share in THRESHOLDS_AT_ONE]
    )
    reference = presets.preset(budget.reference)

    def part(name: str, model: AnyConfig, random: int, variance: int, after: str | None) -> Part:
        schedule = TrainingConfig(
            lmbda=lmbda, stage1_steps=random, stage2_steps=variance,
            batch_size=budget.batch_size, crop=budget.crop, learning_rate=budget.learning_rate,
            warmup_steps=budget.warmup_steps, ema_decay=0.99,
            start=budget.start, seed=0 if after is None else 1,
        )  # fmt: skip
        preset = budget.reference if model is reference else budget.rdonet
        return Part(named(name, lmbda), preset, model, schedule, after and named(after, lmbda))

    first, second = budget.first_steps, budget.second_steps
    return [
        part("reference_first", reference, first, 0, None),
        part("reference", reference, second, 0, "reference_first"),
        part("rdonet_first", rdonet, first, 0, None),
        part("basic", rdonet, second, 0, "rdonet_first"),
        part("var", rdonet, 0, second, "rdonet_first"),
    ]


def named(contestant: str, lmbda: float) -> str:
    """The name of a contestant's weights for a lambda: letters, digits and underscores."""
    return f"{contestant}_{round(1e6 * lmbda):06d}"
