"""XLA in a hurry, for tests that would compile for long what they run for a moment.

Other instructions compute the same, so sums may differ from the usual ones by their rounding. Tests
of the bits of files are not to use it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import pytest

from rdonet_jax.runtime import compilation

OPTIONS: Mapping[str, Any] = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
}
"""Both together compile a training step five times as fast; a small one runs no longer for it."""


@functools.cache
def options() -> Mapping[str, Any]:
    """Those of the options that this jaxlib has: a process that is given others ends."""
    known = {}
    for name, value in OPTIONS.items():
        try:
            jax.jit(lambda: 0).lower().compile(compiler_options={name: value})
        except jax.errors.JaxRuntimeError:
            continue
        known[name] = value
    return known


def flags() -> str:
    """The options as XLA_FLAGS take them."""
    return " ".join(f"--{name}={str(value).lower()}" for name, value in options().items())


def reused(function: Callable[..., Any], **how: Any) -> Callable[..., Any]:
    """As `jax.jit`, for a function that is called several times."""
    return jax.jit(function, compiler_options=dict(options()), **how)


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `jax.jit`, for a function that is called once."""

    def call(*arguments: Any) -> Any:
        lowered = jax.jit(function).lower(*arguments)
        return lowered.compile(compiler_options=dict(options()))(*arguments)

    return call


def use_for(test: pytest.Item) -> None:
    """Has the package's own functions compiled with these options, unless the test is `optimized`.

    It stays so until the next test. A function that is compiled in both ways is compiled twice.
    """
    optimized = test.get_closest_marker("optimized")
    compilation.options = _usual if optimized else lambda: {**_usual(), **options()}


_usual = compilation.options
