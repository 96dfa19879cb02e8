"""What a training run is made of, apart from its network and where its images lie."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping

from rdonet_jax.core.config import ConfigError
from rdonet_jax.core.partition import BLOCK
from rdonet_jax.metrics import loss
from rdonet_jax.runtime import parallel
from rdonet_jax.training import masks

STAGE_SHARE = 2000 / 2600
"""Of all steps, those with random masks: 2000 of 2600 epochs in the original."""

MOST_STEPS = 2**30
"""No run by the clock takes so many steps."""

STARTS = ("linear", "random")
"""Starts of a training that are no weights."""

CHOICES: Mapping[str, Collection[str]] = {
    "metric": loss.DISTORTIONS,
    "masks": masks.SCHEDULES,
    "schedule": ("cosine", "linear", "exponential", "constant"),
    "optimizer": ("adam", "muon", "soap"),
    "switch": ("carry", "restart"),
    "precision": ("auto", "float32", "bfloat16"),
    "learn": ("all", "decoder", "added", "priors"),
    "hyperpriors": ("restart", "keep"),
    "rate": ("noisy", "rounded"),
    "parallel": parallel.KINDS,
}
"""Fields of a `TrainingConfig` that are one of a few words."""

Condition = tuple[bool, str]
"""What must hold, and what is said if it does not. No comparison holds for NaN."""


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """One training run, apart from where its images lie.

    Attributes:
      lmbda: what the distortion weighs in the loss, see `rdonet_jax.metrics.loss`. A portable
        network has lambdas of its own.
      metric: the distortion of the loss, "mse", "ms-ssim", "both" or the name of another that is
        registered.
      ms_ssim_share: what MS-SSIM weighs in the metric "both", from 0 to 1.
      masks: the schedule of the masks, "two-stage" or the name of another that is registered, see
        `rdonet_jax.training.masks`.
      stage1_steps: steps with random masks, so that every level can code everything.
      stage2_steps: steps with variance-based masks, so that levels specialize.
      minutes: the run takes so long in place of so many steps, see
        `rdonet_jax.training.schedule_tracker`. The steps of both stages, and warmup_steps, are then
        shares of its time. 0 for a run of steps.
      random_share: share of the crops that keep a random mask in stage 2.
      batch_size: crops per step, over all devices of all hosts.
      accumulate: parts of a device's share of the batch that are computed one after the other,
        their gradients added up.
      crop: side of the crops in pixels, a multiple of 64.
      min_scale: crops are reduced by a random factor between this and 1.
      cut_share: share of the crops whose image ends before they do, by up to 63 pixels at the
        bottom and at the right, like images whose sides are no multiples of 64. What is beyond is
        padding: replicated, and neither coded nor counted.
      resident: keep the images on the devices and cut the crops there, see
        `rdonet_jax.training.batches.device_crops`.
      learning_rate: the peak step size.
      warmup_steps: how long it takes to get there. As many as there are steps is a tenth of them.
      schedule: how the step size falls then.
      final_rate: what share of the peak is left at the end.
      optimizer: "adam", or for the kernels "muon" or "soap", see
        `rdonet_jax.training.optimizers.muon` and `rdonet_jax.training.optimizers.soap`.
      switch: what happens to the optimizer at the second stage, see
        `rdonet_jax.training.optimizers.optimizer`.
      stage2_rate: peak step size of stage 2 as a share of learning_rate, with switch "restart".
      learn: "all", or a part of a portable network. The "priors" alone, whose rate is minimized by
        its logarithm. Or what decodes, the "decoder": the priors, and the synthesis from the finest
        latents on, which no symbol depends on. Or this synthesis and what was "added" to analysis
        and priors when the network was widened, see `rdonet_jax.models.portable.widening`: the old
        symbols then cost what they did. All else stays as it is.
      widened_from: for "added", the channels of the trunk and the number of knots before that.
      hyperpriors: whether these "restart", or "keep" what they have, where a part is learned.
      rate: that of "noisy" latents (Ballé et al. 2017), or that of "rounded" ones, as in files.
      prior_rate: step size of the networks that probabilities come from, as a multiple of
        learning_rate; for portable networks, whose transforms begin where they already work. It is
        1 for all others.
      clip_norm: bound on the global norm of the gradient.
      ema_decay: of the averaged parameters that are validated and shipped.
      precision: of the transforms in training: "float32", "bfloat16", or "auto" (bfloat16 on
        accelerators, float32 on CPUs). Likelihoods, quantization, gradients' sums and the
        optimizer are in float32 always. With "bfloat16", y and what fixed-rate networks predict of
        it are rounded to bfloat16 before they are cast, which costs most at high qualities. With
        "float32", accelerators do not round the factors of products either, as they do by default;
        nor do they in validation.
      remat: compute activations anew in the backward pass, which saves memory for time.
      parallel: "pmap", or "shard_map", which is jit over a mesh: how one step runs on all devices.
      start: "linear" (a linear transform coder, see `rdonet_jax.models.rdonet.init`), "random", or
        the name or path of a weights file to go on from.
      seed: fixes initialization, crops, masks and noise.
    """

    lmbda: float = 0.0067
    metric: str = "mse"
    ms_ssim_share: float = 0.5
    masks: str = "two-stage"
    stage1_steps: int = 20_000
    stage2_steps: int = 6_000
    minutes: float = 0.0
    random_share: float = 0.0
    batch_size: int = 8
    accumulate: int = 1
    crop: int = 256
    min_scale: float = 0.5
    cut_share: float = 0.25
    resident: bool = False
    learning_rate: float = 3e-4
    warmup_steps: int = 200
    schedule: str = "cosine"
    final_rate: float = 0.05
    optimizer: str = "adam"
    switch: str = "carry"
    stage2_rate: float = 1.0
    learn: str = "all"
    widened_from: tuple[int, int] = (0, 0)
    hyperpriors: str = "restart"
    rate: str = "noisy"
    prior_rate: float = 1.0
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    precision: str = "auto"
    remat: bool = False
    parallel: str = parallel.KINDS[0]
    start: str = "linear"
    seed: int = 0

    def __post_init__(self) -> None:
        for holds, complaint in self._conditions():
            if not holds:
                raise ConfigError(complaint)

    def _conditions(self) -> Iterator[Condition]:
        """What must hold, in an order in which each may rely on those before it."""
        yield from self._crop_conditions()
        yield from self._choice_conditions()
        yield from self._loss_conditions()
        yield from self._length_conditions()
        yield from self._optimizer_conditions()
        yield from self._learning_conditions()
        yield 0 <= self.seed < 2**31, f"the seed must lie in 0 ... 2^31 - 1, not {self.seed}"

    def _crop_conditions(self) -> Iterator[Condition]:
        crop = self.crop
        yield crop >= 64 and not crop % 64, f"crops must be a multiple of 64 pixels, not {crop}"
        yield 0 < self.min_scale <= 1, f"min_scale must lie in (0, 1], not {self.min_scale}"
        yield from self._shares("random_share", "cut_share")

    def _choice_conditions(self) -> Iterator[Condition]:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            yield value in choices, f"{name} must be one of {', '.join(choices)}, not {value!r}"

    def _loss_conditions(self) -> Iterator[Condition]:
        metric = loss.named(self.metric)
        for _, distortion in metric.terms(self.ms_ssim_share):
            least = BLOCK * math.ceil(distortion.smallest_side / BLOCK)
            yield (
                self.crop >= least,
                f"{distortion.name} needs crops of at least {least} pixels, not {self.crop}",
            )
        yield from self._positive("lmbda")
        yield from self._shares("ms_ssim_share")
        yield (
            self.lmbda >= metric.least_lmbda,
            f"lmbda weighs {metric.words_of(self.ms_ssim_share).strip('()')}: {self.lmbda} is next "
            f"to nothing, {metric.usual_lmbda} a usual value",
        )
        yield (
            metric.takes_share or self.ms_ssim_share == type(self).ms_ssim_share,
            f"ms_ssim_share is for the metric {_quoted('takes_share')}",
        )

    def _length_conditions(self) -> Iterator[Condition]:
        yield (
            min(self.stage1_steps, self.stage2_steps) >= 0 and self.batch_size >= 1 <= self.steps,
            "a run needs at least one step and one crop per step",
        )
        yield 0 <= self.minutes < math.inf, f"minutes must be finite, not {self.minutes}"
        yield (
            not self.minutes or self.switch == "carry",
            "the switch 'restart' counts steps; a run of so many minutes needs 'carry'",
        )
        yield self.accumulate >= 1, f"accumulate must be at least 1, not {self.accumulate}"

    def _optimizer_conditions(self) -> Iterator[Condition]:
        yield from self._positive("learning_rate", "stage2_rate", "prior_rate", "clip_norm")
        yield from self._shares("final_rate")
        yield (
            self.switch == "restart" or self.stage2_rate == 1,
            "stage2_rate needs the switch 'restart'",
        )
        yield (
            self.schedule != "exponential" or self.final_rate > 0,
            "final_rate must be positive with the exponential schedule",
        )
        yield 0 <= self.ema_decay < 1, f"ema_decay must lie in [0, 1), not {self.ema_decay}"
        yield self.warmup_steps >= 0, f"warmup_steps must not be negative: {self.warmup_steps}"

    def _learning_conditions(self) -> Iterator[Condition]:
        """Of training a part of the network."""
        yield (
            self.learn != "all" or self.hyperpriors == "restart",
            "hyperpriors 'keep' is for learning a part of the network; else nothing restarts",
        )
        yield (
            (self.learn == "added") == any(self.widened_from),
            "widened_from belongs to learn 'added', which needs it",
        )
        yield (
            self.optimizer == "adam" or self.learn != "added",
            f"the optimizer {self.optimizer!r} moves whole kernels, and learn 'added' parts of "
            "them",
        )

    def _positive(self, *names: str) -> Iterator[Condition]:
        for name in names:
            value = getattr(self, name)
            yield 0 < value < math.inf, f"{name} must be positive and finite, not {value}"

    def _shares(self, *names: str) -> Iterator[Condition]:
        for name in names:
            value = getattr(self, name)
            yield 0 <= value <= 1, f"{name} must lie in [0, 1], not {value}"

    @property
    def steps(self) -> int:
        """Length of both stages together: the length of the schedule."""
        return self.stage1_steps + self.stage2_steps

    @property
    def most_steps(self) -> int:
        """A bound of the number of steps."""
        return MOST_STEPS if self.minutes else self.steps


def _quoted(trait: str) -> str:
    """The names of the metrics that have a trait of `loss.Distortion`."""
    return " or ".join(repr(m.name) for m in loss.DISTORTIONS.values() if getattr(m, trait))


@dataclasses.dataclass(frozen=True)
class RunLength:
    """How long a run is, where it is not said in steps of each stage.

    An epoch has as many crops as there are training images.

    Attributes:
      steps: of both stages together, divided 2000 : 600 as in the original.
      epochs: the same, in epochs.
      stage1_epochs, stage2_epochs: of each stage by itself.
      more_minutes: a run by the clock that is resumed takes so long from now on, in place of the
        time that it had left.
      as_before: a resumed run keeps the length that it has.
    """

    steps: int | None = None
    epochs: float | None = None
    stage1_epochs: float | None = None
    stage2_epochs: float | None = None
    more_minutes: float | None = None
    as_before: bool = False

    def __post_init__(self) -> None:
        if (self.stage1_epochs is None) != (self.stage2_epochs is None):
            raise ConfigError("give the epochs of both stages, 0 for a stage that is left out")
        if sum(way is not None for way in (self.steps, self.epochs, self.stage1_epochs)) > 1:
            raise ConfigError("give either the steps, the epochs, or the epochs of each stage")
        for name, value in dataclasses.asdict(self).items():
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"{name} must be finite and not negative, not {value}")

    def applied(self, config: TrainingConfig, images: int) -> TrainingConfig:
        """The configuration with its stages so long, for that many training images."""

        def of_epochs(epochs: float) -> int:
            return math.ceil(epochs * images / config.batch_size)

        if self.stage1_epochs is not None and self.stage2_epochs is not None:
            first, second = of_epochs(self.stage1_epochs), of_epochs(self.stage2_epochs)
        elif self.steps is not None or self.epochs is not None:
            steps = self.steps if self.steps is not None else of_epochs(self.epochs or 0)
            first = round(steps * STAGE_SHARE)
            second = steps - first
        else:
            return config
        return dataclasses.replace(config, stage1_steps=first, stage2_steps=second)
