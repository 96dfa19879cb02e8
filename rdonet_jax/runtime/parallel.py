"""Functions of one device that run on all devices of all hosts, by `jax.pmap` or over a mesh.

They have the options of `runtime.compilation`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, PartitionSpec

from rdonet_jax.runtime import compilation

KINDS = ("pmap", "shard_map")
"""Ways to run a function on every device of all hosts, see `over_devices`."""


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
            self._compiled = self.function.lower(*arguments).compile(
                compiler_options=compilation.options()
            )
            self._on_compiled()
        return self._compiled

    def __call__(self, *arguments: Any) -> Any:
        compiled = self.compiled(*arguments)
        if jax.process_count() == 1:
            return compiled(*arguments)
        # A compiled function takes arrays of all hosts. `jax.pmap` makes them from this host's and
        # finds the compiled function in JAX's cache, but has no compiler options.
        return (
            _on_all_hosts(compiled, arguments)
            if compilation.options()
            else self.function(*arguments)
        )


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


def over_devices(
    function: Callable[..., Any],
    kind: str = KINDS[0],
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
        raise ValueError(f"{kind} is none of {', '.join(KINDS)}")
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
