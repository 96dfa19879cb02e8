"""How XLA is asked to compile: every compiled function of this package is made here.

On CPUs, newer jaxlibs hand sums and products to YNNPACK. That of JAX 0.10.2 computes wrong numbers
there, without a word, and convolutions with few channels take 2 to 4 times as long. So on CPUs it
is switched off, by an option that goes with each function. XLA_FLAGS would reach the compiled
functions of others as well. But XLA reads them only once, so they do nothing for a caller who has
used JAX before; a process whose jaxlib lacks one of them ends; and child processes inherit them.

Programs that JAX 0.5.3 takes from its persistent cache round otherwise than those that it has just
compiled. Encoder and decoder of a fixed-rate model would differ, so the cache is off there.

Nothing else is decided before the first call, since importing the package must not start a backend:
accelerators get no options, nor do jaxlibs that lack them.

XLA compiles what a function calls together with it, by the options of the outermost one. So a
function made here counts as one of plain JAX inside `jax.jit`, `jax.grad` or `jax.vmap`; use
`jit(jax.grad(f))` of this module for the right numbers of JAX 0.10.2. Operations outside of any
compiled function are compiled one by one, without these options. The package has no sums there.
"""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.extend.core
from jax.experimental import multihost_utils
from jax.sharding import PartitionSpec

CPU_OPTIONS: Mapping[str, str] = {"xla_cpu_experimental_ynn_fusion_type": ""}
"""What XLA may hand to YNNPACK: nothing."""

if jax.__version_info__ < (0, 6):
    jax.config.update("jax_enable_compilation_cache", False)


def options() -> dict[str, Any]:
    """The options of functions that are compiled now, for the default device."""
    device = jax.config.jax_default_device
    platform = jax.default_backend() if device is None else getattr(device, "platform", device)
    return dict(CPU_OPTIONS) if platform == "cpu" and _are_known(*CPU_OPTIONS.items()) else {}


@functools.cache
def _are_known(*items: tuple[str, str]) -> bool:
    """Whether this jaxlib has the options."""
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options=dict(items))
    except jax.errors.JaxRuntimeError:
        return False
    return True


class Jitted:
    """What `jit` returns."""

    def __init__(self, function: Callable[..., Any], given: Mapping[str, Any], how: Any) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._made: dict[tuple[tuple[str, Any], ...], Any] = {}
        self._given, self._how = given, how

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._now()(*arguments, **named)

    def lower(self, *arguments: Any, **named: Any) -> jax.stages.Lowered:
        return self._now().lower(*arguments, **named)

    def _cache_size(self) -> int:
        return sum(jitted._cache_size() for jitted in self._made.values())

    def _now(self) -> Any:
        """JAX's own function. It refuses options where another function is being traced."""
        chosen = {} if _is_traced() else {**options(), **self._given}
        key = tuple(chosen.items())
        if key not in self._made:
            self._made[key] = jax.jit(self._function, compiler_options=chosen or None, **self._how)
        return self._made[key]


def jit(
    function: Callable[..., Any],
    *,
    compiler_options: Mapping[str, Any] | None = None,
    **how: Any,
) -> Jitted:
    """As `jax.jit`, whose arguments it takes; `compiler_options` come after those of `options`."""
    return Jitted(function, compiler_options or {}, how)


def _is_traced() -> bool:
    """Whether the caller is a function that JAX is transforming."""
    return _trace_state() != _state_outside()


@functools.cache
def _state_outside() -> Any:
    """The state where nothing is traced, as every thread begins."""
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(_trace_state).result()


def _trace_state() -> Any:
    if hasattr(jax.extend.core, "get_opaque_trace_state"):
        return jax.extend.core.get_opaque_trace_state()
    return jax.core.get_opaque_trace_state(convention="flax")  # JAX up to 0.5


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
            self._compiled = self.function.lower(*arguments).compile(compiler_options=options())
            self._ready()
        return self._compiled

    def __call__(self, *arguments: Any) -> Any:
        compiled = self.compiled(*arguments)
        if jax.process_count() == 1:
            return compiled(*arguments)
        # What is compiled takes the arrays of all hosts; pmap makes them from this one's, and finds
        # the rest in JAX's cache. It takes no options.
        return _on_all_hosts(compiled, arguments) if options() else self.function(*arguments)


def _on_all_hosts(compiled: jax.stages.Compiled, arguments: tuple[Any, ...]) -> Any:
    """Runs a pmapped function on this host's arrays, together with the other hosts."""
    taken, given = compiled.input_shardings[0], compiled.output_shardings
    mesh = jax.tree_util.tree_leaves(taken)[0].mesh
    whole = multihost_utils.host_local_array_to_global_array(arguments, mesh, _specs(taken))
    return multihost_utils.global_array_to_host_local_array(compiled(*whole), mesh, _specs(given))


def _specs(shardings: Any) -> Any:
    """The axes over which each array lies. An argument that is not used has no sharding."""
    return jax.tree_util.tree_map(
        lambda sharding: PartitionSpec() if sharding is None else sharding.spec,
        shardings,
        is_leaf=lambda leaf: leaf is None,
    )


def pmap(
    function: Callable[..., Any], ready: Callable[[], None] = lambda: None, **how: Any
) -> FixedShapes:
    """As `jax.pmap`, for arguments of the same shapes in every call."""
    return FixedShapes(jax.pmap(function, **how), ready)
