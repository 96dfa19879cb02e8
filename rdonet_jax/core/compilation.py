"""`jit` and `parallel` with XLA options for CPUs. All compiled functions of the package use them.

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
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, PartitionSpec

from rdonet_jax.core.platform import require_platform

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

    def _cache_size(self) -> int:
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


class FixedShapes:
    """A jitted or parallel function whose arguments always have the shapes of the first call.

    `on_compiled` is called after compilation, before the first run. Several hosts may wait for each
    other there: one may find the function in its cache while another compiles for minutes, and
    collectives of the devices do not wait that long.
    """

    def __init__(self, function: Any, on_compiled: Callable[[], None] = lambda: None) -> None:
        self.function, self._on_compiled = function, on_compiled
        self._compiled: jax.stages.Compiled | None = None

    def compiled(self, *arguments: Any) -> jax.stages.Compiled:
        """The compiled function, which has analyses of its memory and cost.

        It is compiled by the first call of this method.
        """
        if self._compiled is None:
            self._compiled = self.function.lower(*arguments).compile(compiler_options=options())
            self._on_compiled()
        return self._compiled

    def __call__(self, *arguments: Any) -> Any:
        compiled = self.compiled(*arguments)
        if jax.process_count() == 1:
            return compiled(*arguments)
        # A compiled function takes arrays of all hosts. `jax.pmap` makes them from this host's and
        # finds the compiled function in JAX's cache, but has no compiler options.
        return _on_all_hosts(compiled, arguments) if options() else self.function(*arguments)


def _on_all_hosts(compiled: jax.stages.Compiled, arguments: tuple[Any, ...]) -> Any:
    """Runs a parallel function on this host's arrays, together with the other hosts."""
    inputs, outputs = compiled.input_shardings[0], compiled.output_shardings
    mesh = jax.tree_util.tree_leaves(inputs)[0].mesh
    global_arrays = multihost_utils.host_local_array_to_global_array(
        arguments, mesh, _partition_specs(inputs)
    )
    return multihost_utils.global_array_to_host_local_array(
        compiled(*global_arrays), mesh, _partition_specs(outputs)
    )


def _partition_specs(shardings: Any) -> Any:
    """The mesh axes over which each array is sharded. An unused argument has no sharding."""
    return jax.tree_util.tree_map(
        lambda sharding: PartitionSpec() if sharding is None else sharding.spec,
        shardings,
        is_leaf=lambda leaf: leaf is None,
    )


PARALLEL = ("pmap", "shard_map")
"""Ways to run a function on every device of all hosts, see `parallel`."""


def parallel(
    function: Callable[..., Any],
    kind: str = PARALLEL[0],
    *,
    axis_name: str = "devices",
    in_axes: int | tuple[int | None, ...] = 0,
    donate_argnums: tuple[int, ...] = (),
    on_compiled: Callable[[], None] = lambda: None,
) -> FixedShapes:
    """A function of one device as one of all devices, for arguments of the same shapes always.

    Arguments and results have a leading axis over this host's devices, apart from arguments whose
    entry of `in_axes` is None, which every device gets whole. `kind` is "pmap", as `jax.pmap`, or
    "shard_map": `jax.jit` over a mesh of all devices.
    """
    if kind == "pmap":
        mapped = jax.pmap(
            function, axis_name=axis_name, in_axes=in_axes, donate_argnums=donate_argnums
        )
        return FixedShapes(mapped, on_compiled)
    if kind != "shard_map":
        raise ValueError(f"{kind} is none of {', '.join(PARALLEL)}")
    mesh = Mesh(devices_by_host(), (axis_name,))
    mapped = jax.jit(_sharded(function, mesh, in_axes), donate_argnums=donate_argnums)
    return _OnMesh(mapped, on_compiled, mesh, in_axes)


def devices_by_host() -> np.ndarray:
    """All devices; those of a host lie next to each other, as its arrays do."""
    return np.array(sorted(jax.devices(), key=lambda device: (device.process_index, device.id)))


class _OnMesh(FixedShapes):
    """A function of `jax.jit` over a mesh, which takes arrays of all hosts."""

    def __init__(
        self,
        function: Any,
        on_compiled: Callable[[], None],
        mesh: Mesh,
        in_axes: int | tuple[int | None, ...],
    ) -> None:
        super().__init__(function, on_compiled)
        self._mesh, self._in_axes = mesh, in_axes

    def compiled(self, *arguments: Any) -> jax.stages.Compiled:
        return super().compiled(*self._of_all_hosts(arguments))

    def __call__(self, *arguments: Any) -> Any:
        found = self._of_all_hosts(arguments)
        results = super().compiled(*found)(*found)
        if jax.process_count() == 1:
            return results
        return multihost_utils.global_array_to_host_local_array(
            results, self._mesh, PartitionSpec(*self._mesh.axis_names)
        )

    def _of_all_hosts(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments as arrays of all hosts; as they are on a single one."""
        if jax.process_count() == 1:
            return arguments
        specs = _specs(self._mesh, self._in_axes, len(arguments))
        return multihost_utils.host_local_array_to_global_array(arguments, self._mesh, specs)


def _specs(
    mesh: Mesh, in_axes: int | tuple[int | None, ...], count: int
) -> tuple[PartitionSpec, ...]:
    """How so many arguments lie on a mesh."""
    axes = in_axes if isinstance(in_axes, tuple) else (in_axes,) * count
    shared, split = PartitionSpec(), PartitionSpec(*mesh.axis_names)
    return tuple(shared if axis is None else split for axis in axes)


def _sharded(
    function: Callable[..., Any], mesh: Mesh, in_axes: int | tuple[int | None, ...]
) -> Callable[..., Any]:
    """`function` over a mesh of all devices; each of its arrays has a device axis of one entry."""

    def on_all(*arguments: Any) -> Any:
        specs = _specs(mesh, in_axes, len(arguments))

        def on_one(*local: Any) -> Any:
            inner = [
                jax.tree_util.tree_map(lambda leaf: leaf[0], one) if len(spec) else one
                for one, spec in zip(local, specs, strict=True)
            ]
            return jax.tree_util.tree_map(lambda leaf: leaf[None], function(*inner))

        return _shard_map(on_one, mesh, specs, PartitionSpec(*mesh.axis_names))(*arguments)

    return on_all


def _shard_map(function: Callable[..., Any], mesh: Mesh, inputs: Any, outputs: Any) -> Any:
    """`jax.shard_map`, or what it was before JAX 0.6, without checks of what is replicated."""
    if hasattr(jax, "shard_map"):
        return jax.shard_map(
            function, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False
        )
    from jax.experimental.shard_map import shard_map

    return shard_map(function, mesh, inputs, outputs, check_rep=False)
