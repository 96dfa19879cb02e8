"""Which engine computes the steps of a model: JAX, or NumPy without JAX."""

from __future__ import annotations

import sys

from rdonet_jax.codec import family_codec
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.core.defaults import DEFAULT_ENGINE, ENGINES


class EngineError(ValueError):
    """An engine that does not exist, that a family does not have, or that is not installed."""


def choose(config: AnyConfig, name: str = DEFAULT_ENGINE) -> str:
    """The engine for a model: of this name, or for "auto" the one that is usually faster.

    That is NumPy on CPUs, where it computes as fast as compiled functions and needs no time to load
    them. It is JAX where this process uses an accelerator by JAX, and for families that have no
    other engine. Raises `EngineError`.
    """
    engines = family_codec.of(config).engines()
    if name not in ENGINES:
        raise EngineError(f"there is no engine {name!r}, only {', '.join(ENGINES)}")
    if name != DEFAULT_ENGINE and name not in engines:
        raise EngineError(f"models of this family are coded by JAX alone, not by {name!r}")
    if name != DEFAULT_ENGINE:
        return name
    return "jax" if "numpy" not in engines or uses_accelerator() else "numpy"


def uses_accelerator() -> bool:
    """Whether this process has loaded JAX, and its default device is no CPU.

    Where JAX is loaded, this starts its backend. A platform that JAX cannot use is none.
    """
    jax = sys.modules.get("jax")
    if jax is None:
        return False
    device = jax.config.jax_default_device
    try:
        platform = jax.default_backend() if device is None else getattr(device, "platform", device)
    except (RuntimeError, AssertionError):
        return False
    return platform != "cpu"
