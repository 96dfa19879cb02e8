"""How XLA is asked to compile a function that runs for hours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

CPU_OPTIONS: Mapping[str, str] = {"xla_cpu_experimental_ynn_fusion_type": ""}
"""Convolutions by Eigen: YNNPACK, which newer jaxlibs prefer, takes 2 to 4 times as long for those
with few channels, and the gradient of a kernel is one whose channels are the crops of a batch."""


class FixedShapes:
    """A jitted or pmapped function whose arguments always have the shapes of the first call.

    `ready` is called when it is compiled, before it first runs: there several hosts may wait for
    each other. One may find it in its cache where another one compiles for minutes, and collectives
    of the devices do not wait for so long.
    """

    def __init__(self, function: Any, ready: Callable[[], None] = lambda: None) -> None:
        self.function, self._ready = function, ready
        self._compiled: jax.stages.Compiled | None = None

    def compiled(self, *arguments: Any) -> jax.stages.Compiled:
        """What runs; it knows its memory and what it costs. Compiled when first asked for."""
        if self._compiled is None:
            self._compiled = _compile(self.function.lower(*arguments))
            self._ready()
        return self._compiled

    def __call__(self, *arguments: Any) -> Any:
        compiled = self.compiled(*arguments)
        if jax.process_count() > 1:
            # What is compiled takes the arrays of all hosts; pmap makes them from this one's, and
            # finds the rest in JAX's cache.
            return self.function(*arguments)
        return compiled(*arguments)


def _compile(lowered: Any) -> jax.stages.Compiled:
    if jax.default_backend() != "cpu" or jax.process_count() > 1:
        return lowered.compile()
    try:
        return lowered.compile(compiler_options=dict(CPU_OPTIONS))
    except jax.errors.JaxRuntimeError:  # this jaxlib has no such option
        return lowered.compile()
