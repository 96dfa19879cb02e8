"""What a training is set to that adapts finished weights to images of another kind.

Masks follow the variance from the first step, as in the second stage of the papers, but for a tenth
of the crops, which keep random ones. The rate is that of files. Steps are small, and fall to nearly
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rdonet_jax.metrics import loss
from rdonet_jax.models import registry, zoo
from rdonet_jax.training.config import TrainingConfig

RECIPE: dict[str, Any] = {
    "stage1_steps": 0,
    "stage2_steps": 2000,
    "random_share": 0.1,
    "warmup_steps": 40,
    "learning_rate": 1e-4,
    "schedule": "linear",
    "final_rate": 0.02,
    "ema_decay": 0.99,
    "rate": "rounded",
}
"""Fields of `TrainingConfig`. With `minutes`, the steps are shares of the time."""

PRIOR_RATE = 10.0
"""For families whose priors are learned apart."""

OF_WEIGHTS = ("start", "metric", "lmbda", "ms_ssim_share", "prior_rate")
"""Fields that depend on the weights."""


def settings(start: str) -> dict[str, Any]:
    """The fields of a `TrainingConfig` that goes on from the weights of this name or file.

    The loss is that of the last training of the whole network: one of the priors alone has none.
    Raises `ZooError` for weights that there are not.
    """
    model = zoo.load(start)
    family = registry.family_of(model.config)
    found = {**RECIPE, "start": start}
    training = model.record.of_whole_network().training
    if training is not None:
        found["metric"] = training.metric
        if not family.variable_rate:
            found["lmbda"] = training.lmbda
        if training.metric == "both":
            found["ms_ssim_share"] = training.ms_ssim_share
    if family.has_separate_priors:
        found["prior_rate"] = PRIOR_RATE
    return found


def with_metric(found: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """The settings for a metric that is given in place of that of the weights.

    What the weights were trained with is left out where it means nothing for this metric: the share
    of MS-SSIM, and a lambda of another scale. A metric that there is not is refused later.
    """
    if metric not in loss.DISTORTIONS:
        return dict(found)
    given, held = loss.named(metric), loss.named(found.get("metric", metric))
    dropped = set() if given.takes_share else {"ms_ssim_share"}
    if (given.scaled_as_mse, given.usual_lmbda) != (held.scaled_as_mse, held.usual_lmbda):
        dropped.add("lmbda")
    return {name: value for name, value in found.items() if name not in dropped}


def settings_of_run(training: TrainingConfig) -> dict[str, Any]:
    """What `settings` gave for the weights that a run has gone on from. These may be gone."""
    return {**RECIPE, **{name: getattr(training, name) for name in OF_WEIGHTS}}
