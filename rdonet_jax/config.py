"""What a model, a training run and an evaluation are made of, as frozen dataclasses.

Presets are functions that return a `ModelConfig`. Nothing here imports anything of the package.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

LEVELS = 3
"""Number of LS-Units: levels 0, 1, 2 stand for 16, 32 and 64 pixels per latent position."""

MS_SSIM_CROP = 192
"""The first multiple of 64 pixels that all five scales of MS-SSIM fit in."""

STAGE_SHARE = 2000 / 2600
"""Of all steps, those with random masks: 2000 of 2600 epochs in the original."""

CHOICES = {
    "metric": ("mse", "ms-ssim", "both"),
    "schedule": ("cosine", "linear", "exponential", "constant"),
    "switch": ("carry", "restart"),
    "precision": ("auto", "float32", "bfloat16"),
}
"""Fields of a `TrainingConfig` that are one of a few words."""

QUALITY_SEGMENT = 128
"""Steps of the quality scale between two knots; a power of two."""

Triple = tuple[int, int, int]


class ConfigError(ValueError):
    """A configuration that no model or run can be made from."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the network and the probabilities of an RDONet.

    Attributes:
      trunk: channels of g_a at 1/2, 1/4 and 1/8 of the picture's size; g_s mirrors them.
      features: channels of the encoder and decoder features e and d of each LS-Unit, by level.
      latents: channels of y, by level.
      hyper: inner channels of the conditional hyperprior (encoder, decoder first, decoder second),
        the same for all levels.
      hyper_latents: channels of z, the same for all levels.
      prior_hidden: hidden channels per channel of z in the causal prior on z.
      padding: how the convolutions of the encoder see past the picture: "edge" (replicate, as in
        the original) or "zero" (a little cheaper).
      distribution: of y and z given their priors, "laplace" or "gaussian".
      thresholds: variance, in squared 8-bit grey levels of luma, above which a 64-block and a
        32-block are split. Known to the encoder alone.
    """

    trunk: Triple = (192, 192, 192)
    features: Triple = (192, 192, 192)
    latents: Triple = (192, 192, 192)
    hyper: Triple = (192, 192, 384)
    hyper_latents: int = 96
    prior_hidden: int = 3
    padding: str = "edge"
    distribution: str = "laplace"
    thresholds: tuple[float, float] = (60.0, 180.0)

    def __post_init__(self) -> None:
        widths = (*self.trunk, *self.features, *self.latents, *self.hyper)
        widths += (self.hyper_latents, self.prior_hidden)
        if any(width < 1 for width in widths):
            raise ConfigError(f"channel counts must be positive, got {widths}")
        for name in ("trunk", "features", "latents", "hyper"):
            if len(getattr(self, name)) != LEVELS:
                raise ConfigError(f"{name} needs three channel counts, got {getattr(self, name)}")
        if self.padding not in ("edge", "zero"):
            raise ConfigError(f"padding must be 'edge' or 'zero', not {self.padding!r}")
        if len(self.thresholds) != 2 or not all(t >= 0 for t in self.thresholds):
            raise ConfigError(f"thresholds are two variances from 0 on, not {self.thresholds}")
        if self.distribution not in ("laplace", "gaussian"):
            raise ConfigError(
                f"distribution must be 'laplace' or 'gaussian', not {self.distribution!r}"
            )


@dataclasses.dataclass(frozen=True)
class PortableConfig:
    """Everything that fixes a portable RDONet: every quality, and the same symbols on every device.

    Attributes:
      trunk: channels at 1/8 of the picture's size, in analysis and synthesis.
      features: channels of the encoder and decoder features e and d of each LS-Unit, by level.
      latents: channels of y, by level.
      residual: hidden channels of the residual blocks at 1/8 and at each level.
      nonlinearity: of the transforms: "residual" blocks, residual "gdn", or "none" (linear).
      hyper: inner channels of the hyper-encoder.
      hyper_latents: channels of z, by level.
      embedding, conditioning, hidden: widths of the integer network of the priors: what a decoded
        position is turned into, what z and the coarser levels are, and its hidden layers.
      context: steps in which a level is decoded, 1, 2 (checkerboard) or 4.
      knots: qualities at which gains and priors of z are given, equally spaced.
      lmbdas: lambda at quality 0 and at quality 100; geometric in between.
      distribution: of y and z given their priors, "laplace" or "gaussian".
      thresholds: at each knot, the variances, in squared 8-bit grey levels of luma, above which a
        64-block and a 32-block are split; geometric in between. Known to the encoder alone.
    """

    trunk: int = 96
    features: Triple = (320, 128, 96)
    latents: Triple = (320, 128, 96)
    residual: tuple[int, int, int, int] = (96, 96, 64, 64)
    nonlinearity: str = "residual"
    hyper: int = 64
    hyper_latents: Triple = (16, 16, 16)
    embedding: int = 96
    conditioning: int = 32
    hidden: int = 128
    context: int = 4
    knots: int = 6
    lmbdas: tuple[float, float] = (0.0002, 0.1)
    distribution: str = "laplace"
    thresholds: tuple[tuple[float, float], ...] = (
        (67.0, 1340.0),
        (19.0, 373.0),
        (5.2, 104.0),
        (1.45, 29.0),
        (0.4, 8.0),
        (0.11, 2.2),
    )

    def __post_init__(self) -> None:
        widths = (self.trunk, *self.features, *self.latents, *self.residual, self.hyper)
        widths += (*self.hyper_latents, self.embedding, self.conditioning, self.hidden)
        if any(width < 1 for width in widths):
            raise ConfigError(f"channel counts must be positive, got {widths}")
        for name, count in (("features", 3), ("latents", 3), ("hyper_latents", 3), ("residual", 4)):
            if len(getattr(self, name)) != count:
                raise ConfigError(f"{name} needs {count} counts, got {getattr(self, name)}")
        if any(y > e for y, e in zip(self.latents, self.features, strict=True)):
            raise ConfigError(f"more latents {self.latents} than features {self.features}")
        if self.nonlinearity not in ("residual", "gdn", "none"):
            raise ConfigError(
                f"nonlinearity is 'residual', 'gdn' or 'none', not {self.nonlinearity!r}"
            )
        if self.context not in (1, 2, 4):
            raise ConfigError(f"context takes 1, 2 or 4 steps, not {self.context}")
        if self.knots < 2 or len(self.thresholds) != self.knots:
            raise ConfigError(f"{self.knots} knots need as many pairs of thresholds, two at least")
        if not all(
            len(pair) == 2 and all(0 < t < math.inf for t in pair) for pair in self.thresholds
        ):
            raise ConfigError(f"thresholds are pairs of positive variances, not {self.thresholds}")
        if len(self.lmbdas) != 2 or not 0 < self.lmbdas[0] < self.lmbdas[1] < math.inf:
            raise ConfigError(f"lmbdas must be positive and rise, not {self.lmbdas}")
        if self.distribution not in ("laplace", "gaussian"):
            raise ConfigError(
                f"distribution must be 'laplace' or 'gaussian', not {self.distribution!r}"
            )

    @property
    def steps_of_quality(self) -> int:
        """The largest number of the quality scale; 0 is the smallest."""
        return QUALITY_SEGMENT * (self.knots - 1)


AnyConfig = ModelConfig | PortableConfig


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """One training run, apart from where its pictures lie.

    Attributes:
      lmbda, metric, ms_ssim_lmbda: the rate-distortion loss, see `rdonet_jax.objective`;
        `ms_ssim_lmbda` is for the metric "both" alone.
      stage1_steps: steps with random masks, so that every level can code everything.
      stage2_steps: steps with variance-based masks, so that levels specialise.
      random_share: share of the crops that keep a random mask in stage 2.
      batch_size: crops per step, over all devices of all hosts.
      accumulate: parts of a device's share of the batch that are computed one after the other,
        their gradients added up.
      crop: side of the crops in pixels, a multiple of 64.
      min_scale: crops are reduced by a random factor between this and 1.
      learning_rate, warmup_steps, schedule, final_rate: Adam's peak step size, how long it takes to
        get there, how it falls then, and what share of it is left at the end.
      switch: what happens to Adam at the second stage, see `rdonet_jax.optimiser`.
      stage2_rate: peak step size of stage 2 as a share of learning_rate, with switch "restart".
      prior_rate: step size of the networks that probabilities come from, as a multiple of
        learning_rate; for portable networks, whose transforms begin where they already work.
      clip_norm: bound on the global norm of the gradient.
      ema_decay: of the averaged parameters that are validated and shipped.
      precision: of the transforms in training: "float32", "bfloat16", or "auto" (bfloat16 on
        accelerators, float32 on CPUs). Likelihoods, quantisation, gradients' sums and the
        optimiser are in float32 always.
      remat: compute activations anew in the backward pass, which saves memory for time.
      start: "linear" (a linear transform coder, see `rdonet_jax.models.linear`), "random", or the
        name or path of a weights file to go on from.
      seed: fixes initialisation, crops, masks and noise.
    """

    lmbda: float = 0.0067
    metric: str = "mse"
    ms_ssim_lmbda: float = 8.73
    stage1_steps: int = 20_000
    stage2_steps: int = 6_000
    random_share: float = 0.0
    batch_size: int = 8
    accumulate: int = 1
    crop: int = 256
    min_scale: float = 0.5
    learning_rate: float = 3e-4
    warmup_steps: int = 200
    schedule: str = "cosine"
    final_rate: float = 0.05
    switch: str = "carry"
    stage2_rate: float = 1.0
    prior_rate: float = 1.0
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    precision: str = "auto"
    remat: bool = False
    start: str = "linear"
    seed: int = 0

    def __post_init__(self) -> None:
        for holds, complaint in self._conditions():
            if not holds:
                raise ConfigError(complaint)

    def _conditions(self) -> Iterator[tuple[bool, str]]:
        """What must hold, with what is said if it does not; no comparison holds for NaN."""
        crop = self.crop
        yield crop >= 64 and not crop % 64, f"crops must be a multiple of 64 pixels, not {crop}"
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            yield value in choices, f"{name} must be one of {', '.join(choices)}, not {value!r}"
        yield (
            self.metric == "mse" or crop >= MS_SSIM_CROP,
            f"ms-ssim needs crops of at least {MS_SSIM_CROP} pixels, not {crop}",
        )
        yield (
            min(self.stage1_steps, self.stage2_steps) >= 0 and self.batch_size >= 1 <= self.steps,
            "a run needs at least one step and one crop per step",
        )
        yield self.accumulate >= 1, f"accumulate must be at least 1, not {self.accumulate}"
        for name in (
            "lmbda",
            "ms_ssim_lmbda",
            "learning_rate",
            "stage2_rate",
            "prior_rate",
            "clip_norm",
        ):
            value = getattr(self, name)
            yield 0 < value < math.inf, f"{name} must be positive and finite, not {value}"
        yield 0 < self.min_scale <= 1, f"min_scale must lie in (0, 1], not {self.min_scale}"
        for name in ("random_share", "final_rate"):
            value = getattr(self, name)
            yield 0 <= value <= 1, f"{name} must lie in [0, 1], not {value}"
        yield (
            self.metric != "ms-ssim" or self.lmbda >= 0.1,
            f"lmbda weighs 1 - MS-SSIM: {self.lmbda} is next to nothing, 8.73 a usual value",
        )
        yield (
            self.metric == "both" or self.ms_ssim_lmbda == type(self).ms_ssim_lmbda,
            "ms_ssim_lmbda is for the metric 'both'; 'ms-ssim' has lmbda",
        )
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
        yield 0 <= self.seed < 2**31, f"the seed must lie in 0 ... 2^31 - 1, not {self.seed}"

    @property
    def steps(self) -> int:
        """Length of both stages together."""
        return self.stage1_steps + self.stage2_steps


@dataclasses.dataclass(frozen=True)
class RunLength:
    """How long a run is, where it is not said in steps of each stage.

    `steps` and `epochs` are of both stages together, divided 2000 : 600 as in the original. An
    epoch has as many crops as there are training pictures.
    """

    steps: int | None = None
    epochs: float | None = None
    stage1_epochs: float | None = None
    stage2_epochs: float | None = None

    def __post_init__(self) -> None:
        if (self.stage1_epochs is None) != (self.stage2_epochs is None):
            raise ConfigError("give the epochs of both stages, 0 for a stage that is left out")
        if sum(way is not None for way in (self.steps, self.epochs, self.stage1_epochs)) > 1:
            raise ConfigError("give either the steps, the epochs, or the epochs of each stage")
        for name, value in dataclasses.asdict(self).items():
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"{name} must be finite and not negative, not {value}")

    def applied(self, config: TrainingConfig, pictures: int) -> TrainingConfig:
        """The configuration with its stages so long, for that many training pictures."""

        def of_epochs(epochs: float) -> int:
            return math.ceil(epochs * pictures / config.batch_size)

        if self.stage1_epochs is not None and self.stage2_epochs is not None:
            first, second = of_epochs(self.stage1_epochs), of_epochs(self.stage2_epochs)
        elif self.steps is not None or self.epochs is not None:
            steps = self.steps if self.steps is not None else of_epochs(self.epochs or 0)
            first = round(steps * STAGE_SHARE)
            second = steps - first
        else:
            return config
        return dataclasses.replace(config, stage1_steps=first, stage2_steps=second)


def paper(**changes: Any) -> ModelConfig:
    """The network of the papers, channel for channel: about 49 M parameters, 209 kMAC per pixel."""
    return dataclasses.replace(ModelConfig(), **changes)


def small(**changes: Any) -> ModelConfig:
    """The same structure for CPUs: thin where the resolution is high, 8 M parameters."""
    config = ModelConfig(
        trunk=(16, 48, 96),
        features=(128, 128, 128),
        latents=(64, 64, 64),
        hyper=(64, 64, 64),
        hyper_latents=32,
        padding="zero",
    )
    return dataclasses.replace(config, **changes)


def tiny(**changes: Any) -> ModelConfig:
    """A few channels everywhere: compiles in seconds, for tests and for trying commands out."""
    config = ModelConfig(
        trunk=(8, 12, 16),
        features=(16, 16, 16),
        latents=(8, 8, 8),
        hyper=(8, 8, 8),
        hyper_latents=4,
        prior_hidden=2,
        padding="zero",
    )
    return dataclasses.replace(config, **changes)


def standard(**changes: Any) -> PortableConfig:
    """The portable network that people use: every quality, 5.9 M parameters."""
    return dataclasses.replace(PortableConfig(), **changes)


def mini(**changes: Any) -> PortableConfig:
    """A portable network of a few channels, for tests and for trying commands out."""
    config = PortableConfig(
        trunk=12,
        features=(16, 16, 16),
        latents=(16, 12, 8),
        residual=(8, 8, 8, 8),
        hyper=8,
        hyper_latents=(4, 4, 4),
        embedding=12,
        conditioning=4,
        hidden=12,
    )
    return dataclasses.replace(config, **changes)


PRESETS: Mapping[str, Callable[..., AnyConfig]] = {
    "standard": standard,
    "paper": paper,
    "small": small,
    "tiny": tiny,
    "mini": mini,
}


def with_thresholds(model: AnyConfig, numbers: Sequence[float]) -> AnyConfig:
    """The model with other thresholds: T64 T32, for a portable one such a pair for every knot.

    Raises `ConfigError` for another number of them.
    """
    if isinstance(model, ModelConfig):
        return dataclasses.replace(model, thresholds=tuple(numbers))
    if len(numbers) != 2 * model.knots:
        raise ConfigError(f"a portable model has {model.knots} pairs of thresholds")
    pairs = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    return dataclasses.replace(model, thresholds=pairs)


def preset(name: str, **changes: Any) -> AnyConfig:
    """The preset `name` with fields changed. Raises `ConfigError` for an unknown name."""
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name](**changes)


def from_dict(cls: type, values: Mapping[str, Any]) -> Any:
    """A config dataclass from JSON values: lists become tuples, unknown names are refused."""
    known = {field.name for field in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"unknown {cls.__name__} fields: {', '.join(unknown)}")
    return cls(**{name: _tupled(value) for name, value in values.items()})


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def model_from_dict(values: Mapping[str, Any]) -> AnyConfig:
    """A model's configuration from JSON values; the portable ones are known by their knots."""
    return from_dict(PortableConfig if "knots" in values else ModelConfig, values)
