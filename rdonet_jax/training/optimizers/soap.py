"""SOAP: Adam in the eigenbases of Shampoo's preconditioner, for the kernels of a network.

[Vyas et al. 2024](https://arxiv.org/abs/2409.11321). A kernel is an array of taps, inputs and
outputs. Each axis has a basis: the eigenvectors of the mean product of gradients with themselves
over the other axes. The gradient is rotated into these bases, Adam's update is made there and
rotated back. Bases change slowly, so they are renewed only after some steps, by one power iteration
and a QR decomposition.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

LONGEST_SIDE = 512
"""Longer axes are not rotated: the products grow with the square of the side."""

BASES_EVERY = 10
"""Steps after which bases are renewed."""

DECAY = 0.95
"""Of the means of gradients, of their squares, and of their products, as in the paper."""

EPSILON = 1e-8

_EXACT = jax.lax.Precision.HIGHEST


class KernelState(NamedTuple):
    """The state of one kernel. Tuples have an array [side, side] for each axis that is rotated."""

    mean: jax.Array  # of gradients, [taps, inputs, outputs]
    squares: jax.Array  # means of squares of rotated gradients, of the same shape
    products: tuple[jax.Array, ...]
    bases: tuple[jax.Array, ...]  # their columns are the directions


class State(NamedTuple):
    """The state of `scale_by_soap`."""

    count: jax.Array  # type: ignore[assignment] # int32, steps done
    kernels: Any


def scale_by_soap() -> optax.GradientTransformation:
    """Updates by SOAP. The first step only finds the bases, as in the code of the authors."""

    def init(params: Any) -> State:
        return State(jnp.zeros((), jnp.int32), jax.tree_util.tree_map(_begin, params))

    def update(updates: Any, state: State, params: Any = None) -> tuple[Any, State]:
        tree_map, count = jax.tree_util.tree_map, state.count

        def with_gradient(gradient: jax.Array, of_kernel: KernelState) -> KernelState:
            return _with_gradient(gradient.reshape(_axes(gradient)), of_kernel, count)

        def moved(gradient: jax.Array, of_kernel: KernelState) -> jax.Array:
            return _update(of_kernel, count).reshape(gradient.shape)

        states = tree_map(with_gradient, updates, state.kernels)
        found = tree_map(moved, updates, states)
        way = jnp.where(count == 0, 2, (count % BASES_EVERY == 0).astype(jnp.int32))
        ways = (lambda kept: kept, _of_each(_renew), _of_each(_first))
        return found, State(count + 1, jax.lax.switch(way, ways, states))

    return optax.GradientTransformation(init, update)


def _axes(kernel: Any) -> tuple[int, ...]:
    """The shape [taps, inputs, outputs] of a kernel, or [inputs, outputs] of one without taps."""
    taps = math.prod(kernel.shape[:-2])
    return (taps, *kernel.shape[-2:]) if taps > 1 else tuple(kernel.shape[-2:])


def _rotated_axes(shape: tuple[int, ...]) -> list[int]:
    return [axis for axis, side in enumerate(shape) if 1 < side <= LONGEST_SIDE]


def _begin(kernel: jax.Array) -> KernelState:
    shape = _axes(kernel)
    sides = [shape[axis] for axis in _rotated_axes(shape)]
    products = tuple(jnp.zeros((side, side)) for side in sides)
    bases = tuple(jnp.eye(side) for side in sides)
    return KernelState(jnp.zeros(shape), jnp.zeros(shape), products, bases)


def _with_gradient(gradient: jax.Array, state: KernelState, count: jax.Array) -> KernelState:
    """The state with a gradient in its means. The first one is in those of the products alone."""
    axes = _rotated_axes(gradient.shape)
    products = tuple(
        _mean(old, _product(gradient, axis)) for old, axis in zip(state.products, axes, strict=True)
    )
    squares = _mean(state.squares, jnp.square(_rotate(gradient, state.bases, 0)))
    return KernelState(
        jnp.where(count > 0, _mean(state.mean, gradient), state.mean),
        jnp.where(count > 0, squares, state.squares),
        products,
        state.bases,
    )


def _mean(old: jax.Array, new: jax.Array) -> jax.Array:
    return DECAY * old + (1 - DECAY) * new


def _product(gradient: jax.Array, axis: int) -> jax.Array:
    others = [other for other in range(gradient.ndim) if other != axis]
    return jnp.tensordot(gradient, gradient, (others, others), precision=_EXACT)


def _rotate(values: jax.Array, bases: tuple[jax.Array, ...], side: int) -> jax.Array:
    """Into the bases (`side` 0), or back from them (1)."""
    for axis, basis in zip(_rotated_axes(values.shape), bases, strict=True):
        rotated = jnp.tensordot(values, basis, (axis, side), precision=_EXACT)
        values = jnp.moveaxis(rotated, -1, axis)
    return values


def _update(state: KernelState, count: jax.Array) -> jax.Array:
    """Adam's update in the bases. Zero at the first step, which has none yet."""
    share = 1 - DECAY ** jnp.maximum(count, 1)  # of gradients in the means
    mean, squares = _rotate(state.mean, state.bases, 0) / share, state.squares / share
    moved = _rotate(mean / (jnp.sqrt(squares) + EPSILON), state.bases, 1)
    return jnp.where(count > 0, moved, 0.0)


def _of_each(function: Callable[[KernelState], KernelState]) -> Callable[[Any], Any]:
    """The function, for a tree of states."""

    def of_tree(states: Any) -> Any:
        return jax.tree_util.tree_map(
            function, states, is_leaf=lambda part: isinstance(part, KernelState)
        )

    return of_tree


def _first(state: KernelState) -> KernelState:
    """With the eigenvectors of the products as bases, those of the largest values first."""
    return state._replace(bases=tuple(jnp.linalg.eigh(p)[1][:, ::-1] for p in state.products))


def _renew(state: KernelState) -> KernelState:
    """With bases one power iteration further."""
    squares, bases = state.squares, []
    parts = zip(_rotated_axes(squares.shape), state.products, state.bases, strict=True)
    for axis, product, basis in parts:
        powers = jnp.matmul(product, basis, precision=_EXACT)
        # The order keeps directions of large values from being made orthogonal to small ones.
        order = jnp.argsort(-jnp.sum(basis * powers, axis=0))
        squares = jnp.take(squares, order, axis)
        bases.append(jnp.linalg.qr(powers[:, order])[0])
    return state._replace(squares=squares, bases=tuple(bases))
