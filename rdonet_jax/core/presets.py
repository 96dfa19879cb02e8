"""The presets: configurations by name, as functions that take changes of fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from rdonet_jax.core.config import (
    AnyConfig,
    BaselineConfig,
    ConfigError,
    PortableConfig,
    RDONetConfig,
)


def paper(**changes: Any) -> RDONetConfig:
    """The network of the papers, channel for channel: about 49 M parameters, 209 kMAC per pixel."""
    return dataclasses.replace(RDONetConfig(), **changes)


def small(**changes: Any) -> RDONetConfig:
    """The same structure for CPUs: thin where the resolution is high, 8 M parameters."""
    config = RDONetConfig(
        trunk=(16, 48, 96),
        features=(128, 128, 128),
        latents=(64, 64, 64),
        hyper=(64, 64, 64),
        hyper_latents=32,
        padding="zero",
    )
    return dataclasses.replace(config, **changes)


def tiny(**changes: Any) -> RDONetConfig:
    """A few channels everywhere: compiles in seconds, for tests and for trying commands out."""
    config = RDONetConfig(
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
    """The portable network that people use: every quality, 6.3 M parameters."""
    config = PortableConfig(
        finish=32,
        channel_groups=((4, 12, 28, 64, 128), (3, 8, 24), ()),
        lmbdas=(0.0004, 0.16),
        thresholds=(
            (23.0, 575.0),
            (6.5, 215.0),
            (1.8, 78.0),
            (0.73, 31.0),
            (0.46, 15.0),
            (0.37, 7.5),
        ),
    )
    return dataclasses.replace(config, **changes)


def wide(**changes: Any) -> PortableConfig:
    """`standard` with more channels and qualities, for high rates too: 9.5 M parameters.

    At 16×16 it has 496 latents for the 768 numbers of a block. Its lambdas up to quality 71.4 are
    those of `standard` up to 100.
    """
    narrow = standard()
    config = dataclasses.replace(
        narrow,
        trunk=144,
        features=(496, 128, 96),
        latents=(496, 128, 96),
        channel_groups=((4, 12, 28, 64, 128, 320), (3, 8, 24), ()),
        embedded=(320, 0, 0),
        knots=8,
        lmbdas=(0.0004, 0.0004 * 400 ** (7 / 5)),
        thresholds=(*narrow.thresholds, (0.3, 3.75), (0.24, 1.9)),
    )
    return dataclasses.replace(config, **changes)


def compact(**changes: Any) -> PortableConfig:
    """A portable network for studies on CPUs: 2.2 M parameters, 3.3 kMAC per pixel to decode."""
    config = PortableConfig(
        trunk=64,
        features=(192, 96, 64),
        latents=(192, 96, 64),
        residual=(48, 48, 32, 32),
        hyper=32,
        hyper_latents=(8, 8, 8),
        embedding=48,
        conditioning=16,
        hidden=64,
        knots=5,
        lmbdas=(0.0004, 0.08),
        thresholds=((23.0, 575.0), (5.8, 195.0), (1.5, 66.0), (0.63, 25.0), (0.41, 11.0)),
    )
    return dataclasses.replace(config, **changes)


def compact_one_level(**changes: Any) -> PortableConfig:
    """The one-level network of the same make: 16×16 alone, as many MACs to decode (3.4 k).

    What the other levels took is given to the latents, residual blocks and priors of the finest:
    1.2 M parameters.
    """
    config = compact(
        features=(224, 0, 0),
        latents=(224, 0, 0),
        residual=(56, 56, 0, 0),
        hyper_latents=(8, 0, 0),
        hidden=80,
    )
    return dataclasses.replace(config, **changes)


def standard_one_level(**changes: Any) -> PortableConfig:
    """The one-level network of the make of `standard`, with as many MACs to decode."""
    config = standard(
        features=(384, 0, 0),
        latents=(384, 0, 0),
        residual=(104, 96, 0, 0),
        hyper_latents=(16, 0, 0),
        hidden=144,
        channel_groups=((4, 12, 28, 64, 128), (), ()),
    )
    return dataclasses.replace(config, **changes)


def mini(**changes: Any) -> PortableConfig:
    """A portable network of a few channels, for tests and for trying commands out."""
    config = PortableConfig(
        trunk=12,
        features=(16, 16, 16),
        latents=(16, 12, 8),
        residual=(8, 8, 8, 8),
        finish=4,
        hyper=8,
        hyper_latents=(4, 4, 4),
        embedding=12,
        conditioning=4,
        hidden=12,
    )
    return dataclasses.replace(config, **changes)


def mini_one_level(**changes: Any) -> PortableConfig:
    """`mini` with the finest level alone, for tests."""
    config = mini(
        features=(16, 0, 0), latents=(16, 0, 0), hyper_latents=(4, 0, 0), residual=(8, 8, 0, 0)
    )
    return dataclasses.replace(config, **changes)


def mbt2018(**changes: Any) -> BaselineConfig:
    """Minnen et al. 2018 with its context model, at N = M = 192: 13.2 M parameters."""
    return dataclasses.replace(BaselineConfig(), **changes)


def mbt2018_mean(**changes: Any) -> BaselineConfig:
    """Its variant without a context model, at CompressAI's widths of the lower rates."""
    config = BaselineConfig(kind="hyperprior", trunk=(128, 128, 128), latents=192, hyper=128)
    return dataclasses.replace(config, **changes)


def bmshj2018_factorised(**changes: Any) -> BaselineConfig:
    """The factorized prior of Ballé et al. 2018, at CompressAI's widths of the lower rates."""
    config = BaselineConfig(kind="factorised", trunk=(128, 128, 128), latents=192)
    return dataclasses.replace(config, **changes)


def balle2017(**changes: Any) -> BaselineConfig:
    """Ballé et al. 2017 with its own three-stage transforms."""
    config = BaselineConfig(kind="factorised", trunk=(128, 128), latents=128)
    return dataclasses.replace(config, **changes)


def mbt2018_small(**changes: Any) -> BaselineConfig:
    """Minnen et al. 2018 with the trunk and as many parameters as `small`: 7.8 M."""
    config = BaselineConfig(trunk=(16, 48, 96), latents=192, hyper=160)
    return dataclasses.replace(config, **changes)


def mbt2018_tiny(**changes: Any) -> BaselineConfig:
    """Minnen et al. 2018 with the trunk and about as many parameters as `tiny`."""
    config = BaselineConfig(trunk=(8, 12, 16), latents=24, hyper=16)
    return dataclasses.replace(config, **changes)


PRESETS: dict[str, Callable[..., AnyConfig]] = {
    "standard": standard,
    "standard-one-level": standard_one_level,
    "wide": wide,
    "paper": paper,
    "small": small,
    "tiny": tiny,
    "compact": compact,
    "compact-one-level": compact_one_level,
    "mini": mini,
    "mini-one-level": mini_one_level,
    "mbt2018": mbt2018,
    "mbt2018-mean": mbt2018_mean,
    "bmshj2018-factorised": bmshj2018_factorised,
    "balle2017": balle2017,
    "mbt2018-small": mbt2018_small,
    "mbt2018-tiny": mbt2018_tiny,
}
"""By name. `register` adds to it."""


def register(name: str, preset: Callable[..., AnyConfig]) -> None:
    """Registers a preset, a function that takes changes of fields. Raises ValueError if the name is
    taken."""
    if name in PRESETS:
        raise ValueError(f"there is a preset {name!r} already")
    PRESETS[name] = preset


def preset(name: str, **changes: Any) -> AnyConfig:
    """The preset `name` with fields changed. Raises `ConfigError` for an unknown name."""
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name](**changes)
