"""`jit` with XLA options for CPUs. All compiled functions of the package use these options.

On CPUs, newer jaxlibs compute sums and products with YNNPACK. In JAX 0.10.2 this gives wrong
numbers without an error, and convolutions with few channels take 2 to 4 times as long. So on CPUs
it is disabled, by an option of each compiled function. The environment variable XLA_FLAGS is no
alternative. XLA reads it only once, so it has no effect in a process that has already used JAX. A
process whose jaxlib does not know a flag is ended. And it affects the compiled functions of others
and child processes.

Programs that JAX 0.5.3 loads from its persistent cache round differently from those that it has
just compiled. Encoder and decoder of a fixed-rate model would differ, so the cache is off there.

The options are chosen at the first call, since importing the package must not start a backend. A
platform that JAX cannot use is a `PlatformError` then.
Accelerators get no options, and neither do jaxlibs that do not know them.

XLA compiles nested functions with the options of the outermost one. So inside `jax.jit`, `jax.grad`
or `jax.vmap`, a function of this module has no options of its own; use `jit(jax.grad(f))` of this
module for correct numbers with JAX 0.10.2. Operations outside of compiled functions are compiled
one by one, without these options. The package has no sums there.
"""

from __future__ import annotations

import concurrent.futures
import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.extend.core

from rdonet_jax.runtime.platform import require_platform

CPU_OPTIONS: Mapping[str, str] = {"xla_cpu_experimental_ynn_fusion_type": ""}
"""Disables YNNPACK: the option lists the operations that XLA may give to it."""

QUICK_OPTIONS: Mapping[str, Any] = {
    "xla_backend_optimization_level": 1,
    "xla_cpu_use_fusion_emitters": False,
}
"""For large functions that run few times: they are compiled in less time and memory (see
`benchmarks/compilation.py`). The gradient of a cost runs as fast as with the usual options, a whole
training step does not. Results may differ by roundings. XLA_FLAGS may set them otherwise."""

if jax.__version_info__ < (0, 6):
    jax.config.update("jax_enable_compilation_cache", False)


def options() -> dict[str, Any]:
    """The compiler options of every function for the current default device."""
    return _for_cpus(CPU_OPTIONS)


def _quick_options() -> dict[str, Any]:
    """Those of quick functions, but for what the environment sets."""
    flags = os.environ.get("XLA_FLAGS", "")
    return {name: value for name, value in _for_cpus(QUICK_OPTIONS).items() if name not in flags}


def _for_cpus(items: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that this jaxlib knows, if the current default device is a CPU.

    Raises `PlatformError`.
    """
    device = jax.config.jax_default_device
    if device is None:
        require_platform()
        platform = jax.default_backend()
    else:
        platform = getattr(device, "platform", device)
    if platform != "cpu":
        return {}
    return {name: value for name, value in items.items() if _is_supported(name, value)}


@functools.cache
def _is_supported(name: str, value: Any) -> bool:
    """Whether this jaxlib knows the option."""
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options={name: value})
    except jax.errors.JaxRuntimeError:
        return False
    return True


class Jitted:
    """A compiled function whose compiler options depend on the backend; made by `jit`."""

    def __init__(
        self,
        function: Callable[..., Any],
        quick: bool,
        jit_arguments: Mapping[str, Any],
    ) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._jitted: dict[tuple[tuple[str, Any], ...], Any] = {}  # by compiler options
        self._quick, self._jit_arguments = quick, jit_arguments

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._current()(*arguments, **named)

    def lower(self, *arguments: Any, **named: Any) -> jax.stages.Lowered:
        return self._current().lower(*arguments, **named)

    def cache_size(self) -> int:
        """How often the function has been compiled."""
        return sum(jitted._cache_size() for jitted in self._jitted.values())

    def _current(self) -> Any:
        """The function of `jax.jit` for the current backend.

        JAX refuses options while it traces another function, so there are none then.
        """
        chosen = {} if _is_traced() else self._options()
        key = tuple(chosen.items())
        if key not in self._jitted:
            self._jitted[key] = jax.jit(
                self._function, compiler_options=chosen or None, **self._jit_arguments
            )
        return self._jitted[key]

    def _options(self) -> dict[str, Any]:
        return (_quick_options() if self._quick else {}) | options()


def jit(function: Callable[..., Any], *, quick: bool = False, **jit_arguments: Any) -> Jitted:
    """As `jax.jit`, with its arguments. With `quick`, CPUs get `QUICK_OPTIONS` too.

    Functions whose roundings decide how a file is read must not be `quick`.
    """
    return Jitted(function, quick, jit_arguments)


def _is_traced() -> bool:
    """Whether JAX is tracing the caller."""
    return _trace_state() != _untraced_state()


@functools.cache
def _untraced_state() -> Any:
    """The trace state of a new thread, in which nothing is traced."""
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(_trace_state).result()


def _trace_state() -> Any:
    if hasattr(jax.extend.core, "get_opaque_trace_state"):
        return jax.extend.core.get_opaque_trace_state()
    return jax.core.get_opaque_trace_state(convention="flax")  # JAX up to 0.5
