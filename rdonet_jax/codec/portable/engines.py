"""The engines of portable models by name."""

from __future__ import annotations

from typing import Any

from rdonet_jax.codec.portable.engine import Engine
from rdonet_jax.core.config import PortableConfig

ENGINES = ("jax", "numpy")


def make(name: str, config: PortableConfig, params: Any, quality: int) -> Engine:
    """The steps of a model at a quality, on the scale of its configuration, by an engine's name."""
    if name == "numpy":
        from rdonet_jax.codec.portable.numpy_engine import NumpyEngine

        return NumpyEngine(config, params, quality)
    from rdonet_jax.codec.portable.jax_engine import JaxEngine

    return JaxEngine(config, params, quality)


def jitted_steps() -> tuple[Any, ...]:
    """All compiled functions, for counting their compilations."""
    from rdonet_jax.codec.portable import jax_engine

    return jax_engine.jitted_steps()
