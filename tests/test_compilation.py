"""Functions compiled for the shapes of their first call."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax import compilation


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


def test_it_computes_the_function_and_compiles_it_once(traced):
    function, notes, state, x = traced
    step = compilation.FixedShapes(function)
    for _ in range(3):
        state = step(state, x)
    np.testing.assert_array_equal(state, 6 * x)
    assert len(notes) == 1


def test_it_is_told_once_that_it_is_compiled_before_it_runs(traced):
    function, notes, state, x = traced
    told = []
    step = compilation.FixedShapes(function, lambda: told.append((len(notes), state.is_deleted())))
    again = step(step(state, x), x)
    np.testing.assert_array_equal(again, 4 * x)
    assert told == [(1, False)] and state.is_deleted()


def test_a_compiler_without_the_options_compiles_all_the_same(traced, monkeypatch):
    monkeypatch.setattr(compilation, "CPU_OPTIONS", {"xla_cpu_no_such_option": ""})
    function, _, state, x = traced
    np.testing.assert_array_equal(compilation.FixedShapes(function)(state, x), 2 * x)


def test_other_shapes_than_the_first_are_an_error(traced):
    function, _, state, x = traced
    step = compilation.FixedShapes(function)
    step(state, x)
    with pytest.raises(TypeError):
        step(x[:, :2], x[:, :2])


def test_the_compiled_function_tells_its_cost(traced):
    function, _, state, x = traced
    assert compilation.FixedShapes(function).compiled(state, x).cost_analysis()
