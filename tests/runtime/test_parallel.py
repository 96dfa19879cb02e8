"""Functions over all devices: compiled once, for the shapes of their first call."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.runtime import compilation, parallel

pytestmark = pytest.mark.optimized


@pytest.fixture
def traced():
    """A pmapped function that notes how often it was traced."""
    notes = []

    def double(state, x):
        notes.append(x.shape)
        return state + 2 * x

    devices = jax.local_device_count()
    state = jax.pmap(lambda v: v)(jnp.zeros((devices, 3)))
    x = np.ones((devices, 3), np.float32)
    return jax.pmap(double, donate_argnums=(0,)), notes, state, x


def test_fixed_shapes_compute_the_function_and_compile_it_once(traced):
    function, notes, state, x = traced
    step = parallel.FixedShapes(function)
    for _ in range(3):
        state = step(state, x)
    np.testing.assert_array_equal(state, 6 * x)
    assert len(notes) == 1


def test_a_function_is_called_once_between_compilation_and_the_first_run(traced):
    function, notes, state, x = traced
    calls = []
    step = parallel.FixedShapes(function, lambda: calls.append((len(notes), state.is_deleted())))
    again = step(step(state, x), x)
    np.testing.assert_array_equal(again, 4 * x)
    assert calls == [(1, False)] and state.is_deleted()


def test_a_compiler_without_the_options_compiles_all_the_same(traced, monkeypatch):
    monkeypatch.setattr(compilation, "CPU_OPTIONS", {"xla_cpu_no_such_option": ""})
    function, _, state, x = traced
    np.testing.assert_array_equal(parallel.FixedShapes(function)(state, x), 2 * x)


def test_other_shapes_than_the_first_are_an_error(traced):
    function, _, state, x = traced
    step = parallel.FixedShapes(function)
    step(state, x)
    with pytest.raises(TypeError):
        step(x[:, :2], x[:, :2])


def test_the_compiled_function_tells_its_cost(traced):
    function, _, state, x = traced
    assert parallel.FixedShapes(function).compiled(state, x).cost_analysis()


@pytest.mark.parametrize("kind", parallel.KINDS)
def test_a_function_of_one_device_is_one_of_all(kind):
    devices = jax.local_device_count()

    def scaled(tree, factor):
        total = jax.lax.psum(tree["a"].sum(), "devices")
        return {"a": tree["a"] * factor, "total": total}

    function = parallel.over_devices(scaled, kind, in_axes=(0, None))
    a = np.arange(devices * 6, dtype=np.float32).reshape(devices, 2, 3)
    for factor in (2, 3):
        found = function({"a": a}, np.float32(factor))
        np.testing.assert_array_equal(found["a"], factor * a)
        np.testing.assert_array_equal(found["total"], np.full(devices, a.sum()))


def test_another_way_is_no_way():
    with pytest.raises(ValueError, match="is none of pmap, shard_map"):
        parallel.over_devices(lambda x: x, "vmap")
