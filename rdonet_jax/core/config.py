"""The configurations of the networks, as frozen dataclasses: one for each family.

`core.presets` has those with a name. Sizes are bounded, since untrusted files hold configurations.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from rdonet_jax.core import json_values
from rdonet_jax.core.json_values import short_repr

LEVELS = 3
"""Number of LS-Units: levels 0, 1, 2 stand for 16, 32 and 64 pixels per latent position."""

COARSEST = LEVELS - 1
COARSE_TO_FINE = tuple(reversed(range(LEVELS)))

PATCH = 4
"""A portable network's first stage gets blocks of PATCH x PATCH pixels as channels."""

TAPS = 4
"""The side of the kernel of a lapped stage."""

QUALITY_SEGMENT = 128
"""Steps of the quality scale between two knots; a power of two."""

MAX_CHANNELS = 4096
"""The most channels of a layer; ten times those of the papers."""

MAX_PRIOR_HIDDEN = 64
"""The most hidden channels of the causal prior: each is a step of its own in what is compiled."""

MAX_KNOTS = 512
"""Compressed files can hold the largest quality of a model with so many knots."""

MIN_NUMBER, MAX_NUMBER = 1e-9, 1e9
"""Bounds of lambdas and variances: single precision holds their logarithms and products."""

MAX_GROUPS = 16
"""The most groups of channels of a level."""

WEIGHTS_BYTES = 4
"""The bytes of the SHA-256 of a weights file that identify it in compressed files."""

Triple = tuple[int, int, int]


class ConfigError(ValueError):
    """An invalid configuration of a network or a training run."""


class UnregisteredError(ConfigError):
    """A configuration that names a family or a distribution which this program does not have."""


def _require_channels(config: Any, names: Sequence[str]) -> None:
    """Raises `ConfigError` if a field of these names is no valid channel count."""
    for name in names:
        value = getattr(config, name)
        _require_counts(name, value if isinstance(value, tuple) else (value,), value)


def _require_counts(name: str, counts: Sequence[int], value: Any) -> None:
    """Raises `ConfigError` unless the counts, which are all or a part of a field, are valid."""
    if not all(1 <= count <= MAX_CHANNELS for count in counts):
        raise ConfigError(
            f"{name}: channel counts must be positive and at most {MAX_CHANNELS}, "
            f"not {short_repr(value)}"
        )


def _is_in_range(value: float) -> bool:
    return MIN_NUMBER <= value <= MAX_NUMBER


@dataclasses.dataclass(frozen=True)
class RDONetConfig:
    """The configuration of a fixed-rate RDONet: its network and its probability models.

    Attributes:
      trunk: channels of g_a at 1/2, 1/4 and 1/8 of the image's size; g_s mirrors them.
      features: channels of the encoder and decoder features e and d of each LS-Unit, by level.
      latents: channels of y, by level.
      hyper: inner channels of the conditional hyperprior (encoder, decoder first, decoder second),
        the same for all levels.
      hyper_latents: channels of z, the same for all levels.
      prior_hidden: hidden channels per channel of z in the causal prior on z.
      padding: of the encoder's convolutions: "edge" (replication, as in the original) or "zero" (a
        little cheaper).
      distribution: of y and z given their priors: "laplace", "gaussian" or the name of another
        that is registered, see `rdonet_jax.entropy.distributions`.
      thresholds: variance, in squared 8-bit gray levels of luma, above which a 64-block and a
        32-block are split. Only the encoder uses them.
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
        groups = ("trunk", "features", "latents", "hyper", "hyper_latents", "prior_hidden")
        _require_channels(self, groups)
        for name in ("trunk", "features", "latents", "hyper"):
            if len(getattr(self, name)) != LEVELS:
                raise ConfigError(f"{name} needs three channel counts, got {getattr(self, name)}")
        if self.prior_hidden > MAX_PRIOR_HIDDEN:
            raise ConfigError(f"prior_hidden is {self.prior_hidden}, more than {MAX_PRIOR_HIDDEN}")
        if self.padding not in ("edge", "zero"):
            raise ConfigError(f"padding must be 'edge' or 'zero', not {short_repr(self.padding)}")
        if len(self.thresholds) != 2 or not all(0 <= t <= MAX_NUMBER for t in self.thresholds):
            raise ConfigError(
                f"thresholds are two variances from 0 to {MAX_NUMBER:g}, "
                f"not {short_repr(self.thresholds)}"
            )


@dataclasses.dataclass(frozen=True)
class PortableConfig:
    """The configuration of a portable RDONet: variable-rate, with the same symbols on every device.

    Attributes:
      trunk: channels at 1/8 of the image's size, in analysis and synthesis.
      features: channels of the encoder and decoder features e and d of each LS-Unit, by level. 0
        at levels 1 and 2 for a one-level network, which has the finest level alone; then latents,
        residual and hyper_latents are 0 there too.
      latents: channels of y, by level.
      residual: hidden channels of the residual blocks at 1/8 and at each level.
      finish: hidden channels of a residual block at 1/4 of the image's size, the last step of the
        synthesis: a filter of the output of the lapped stages. 0 for none.
      nonlinearity: of the transforms: "residual" blocks, residual "gdn", or "none" (linear). The
        last step is a residual block or none.
      hyper: inner channels of the hyper-encoder.
      hyper_latents: channels of z, by level.
      embedding: channels of the embedding of a decoded position in the integer network of the
        priors.
      conditioning: there, those of the context features from z, and from the coarser levels.
      hidden: there, the width of the hidden layers.
      context: steps in which a level is decoded, 1, 2 (checkerboard) or 4.
      channel_groups: by level, the channels of y at which a new group begins. Within a step, groups
        are decoded one after the other, each with the earlier ones as context. Empty for one group.
      group_hidden: hidden channels of the networks that add this context.
      embedded: by level, how many channels of y serve as context of what is decoded later, from
        the first one on; 0 for all. An integer layer has at most 960 inputs, and these are two per
        channel.
      knots: qualities at which gains and priors of z are given, equally spaced.
      lmbdas: lambda at quality 0 and at quality 100; geometric in between.
      distribution: of y and z given their priors: "laplace", "gaussian" or the name of another
        that is registered, see `rdonet_jax.entropy.distributions`.
      thresholds: at each knot, the variances, in squared 8-bit gray levels of luma, above which a
        64-block and a 32-block are split; geometric in between. Only the encoder uses them.
    """

    trunk: int = 96
    features: Triple = (320, 128, 96)
    latents: Triple = (320, 128, 96)
    residual: tuple[int, int, int, int] = (96, 96, 64, 64)
    finish: int = 0
    nonlinearity: str = "residual"
    hyper: int = 64
    hyper_latents: Triple = (16, 16, 16)
    embedding: int = 96
    conditioning: int = 32
    hidden: int = 128
    context: int = 4
    channel_groups: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] = ((), (), ())
    group_hidden: int = 128
    embedded: Triple = (0, 0, 0)
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
        counts = dict(
            features=3, latents=3, hyper_latents=3, residual=4, channel_groups=3, embedded=3
        )
        for name, count in counts.items():
            if len(getattr(self, name)) != count:
                raise ConfigError(f"{name} needs {count} counts, got {getattr(self, name)}")
        self._require_widths()
        self._require_transforms()
        if self.context not in (1, 2, 4):
            raise ConfigError(f"context takes 1, 2 or 4 steps, not {self.context}")
        self._require_channel_groups()
        self._require_knots()

    def _require_transforms(self) -> None:
        if any(y > e for y, e in zip(self.latents, self.features, strict=True)):
            raise ConfigError(f"more latents {self.latents} than features {self.features}")
        if not all(0 <= n <= y for n, y in zip(self.embedded, self.latents, strict=True)):
            raise ConfigError(
                f"embedded counts channels of the latents {self.latents}, 0 for all, "
                f"not {short_repr(self.embedded)}"
            )
        if not 0 <= self.finish <= MAX_CHANNELS:
            raise ConfigError(
                f"finish counts channels, 0 for none and at most {MAX_CHANNELS}, not {self.finish}"
            )
        if self.nonlinearity not in ("residual", "gdn", "none"):
            raise ConfigError(
                f"nonlinearity is 'residual', 'gdn' or 'none', not {short_repr(self.nonlinearity)}"
            )

    def _require_knots(self) -> None:
        if not 2 <= self.knots <= MAX_KNOTS or len(self.thresholds) != self.knots:
            raise ConfigError(
                f"{self.knots} knots need as many pairs of thresholds, two at least and "
                f"{MAX_KNOTS} at most"
            )
        numbers = f"from {MIN_NUMBER:g} to {MAX_NUMBER:g}"
        if not all(len(pair) == 2 and all(map(_is_in_range, pair)) for pair in self.thresholds):
            raise ConfigError(
                f"thresholds are pairs of positive variances {numbers}, "
                f"not {short_repr(self.thresholds)}"
            )
        if (
            len(self.lmbdas) != 2
            or not all(map(_is_in_range, self.lmbdas))
            or not self.lmbdas[0] < self.lmbdas[1]
        ):
            raise ConfigError(
                f"lmbdas must be positive and rise, {numbers}, not {short_repr(self.lmbdas)}"
            )

    def _require_widths(self) -> None:
        names = ("trunk", "hyper", "embedding", "conditioning", "hidden", "group_hidden")
        _require_channels(self, names)
        by_level = {name: getattr(self, name) for name in ("features", "latents", "hyper_latents")}
        by_level["residual"] = self.residual[1:]
        if not any(any(widths[1:]) for widths in by_level.values()):
            by_level = {name: widths[:1] for name, widths in by_level.items()}
        for name, widths in (*by_level.items(), ("residual", self.residual[:1])):
            _require_counts(name, widths, getattr(self, name))

    def _require_channel_groups(self) -> None:
        for starts, latents in zip(self.channel_groups, self.latents, strict=True):
            if not latents and not starts:
                continue  # a level that the network does not have
            edges = (0, *starts, latents)
            if len(starts) >= MAX_GROUPS or any(a >= b for a, b in itertools.pairwise(edges)):
                raise ConfigError(
                    f"channel_groups: at most {MAX_GROUPS} groups of {latents} channels begin at "
                    f"rising channels after 0, not at {short_repr(starts)}"
                )

    @property
    def levels(self) -> int:
        """How many levels code latents, from the finest on: three, or one."""
        return LEVELS if self.latents[COARSEST] else 1

    @property
    def steps_of_quality(self) -> int:
        """The largest number of the quality scale; 0 is the smallest."""
        return QUALITY_SEGMENT * (self.knots - 1)


@dataclasses.dataclass(frozen=True)
class BaselineConfig:
    """The configuration of a baseline from the literature: fixed-rate, one level, no masks.

    Attributes:
      kind: "context" (Minnen et al. 2018: hyperprior and a causal 5×5 context), "hyperprior" (the
        same without context) or "factorised" (Ballé et al.: no z at all).
      trunk: channels of g_a at 1/2, 1/4 and 1/8 of the image's size, N, N, N as published; g_s
        mirrors them. Two numbers, at 1/4 and 1/8, make the transforms of Ballé et al. 2017: 9×9
        with stride 4 first, and a GDN behind the last analysis stage.
      latents: channels of y, M.
      hyper: channels of z and of the hyper-encoder, N.
      distribution: of y given its prior, as in the other families; z has a density of its own.
    """

    kind: str = "context"
    trunk: tuple[int, ...] = (192, 192, 192)
    latents: int = 192
    hyper: int = 192
    distribution: str = "gaussian"

    def __post_init__(self) -> None:
        if self.kind not in ("context", "hyperprior", "factorised"):
            raise ConfigError(
                f"kind must be 'context', 'hyperprior' or 'factorised', not {short_repr(self.kind)}"
            )
        if len(self.trunk) not in (2, 3):
            raise ConfigError(
                f"trunk has two or three channel counts, not {short_repr(self.trunk)}"
            )
        _require_channels(self, ("trunk", "latents", "hyper"))


AnyConfig = RDONetConfig | PortableConfig | BaselineConfig


def from_dict(cls: type, values: Mapping[str, Any]) -> Any:
    """A config dataclass from JSON values. Raises `ConfigError` as `field_values` does."""
    return cls(**field_values(cls, values))


def field_values(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a config dataclass from JSON values: lists become tuples.

    Raises `ConfigError` for names and types that do not belong there, whatever JSON they are.
    """
    if error := json_values.find_error(cls, values):
        raise ConfigError(error)
    return {name: _to_tuples(value) for name, value in values.items()}


def _to_tuples(value: Any) -> Any:
    return tuple(map(_to_tuples, value)) if isinstance(value, list) else value
