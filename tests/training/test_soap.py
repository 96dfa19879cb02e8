"""SOAP: kernels get Adam's updates in the eigenbases of their gradients, everything else Adam's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rdonet_jax.core import presets
from rdonet_jax.core.config import ConfigError
from rdonet_jax.runtime import compilation
from rdonet_jax.training.optimizers import optimizer, soap
from tests.training import kernel_params

SHAPES = {"convolution": (3, 3, 12, 16), "pointwise": (24, 10), "colors": (1, 1, 3, 32)}


def schedule(**changes):
    given = {"stage1_steps": 30, "stage2_steps": 30, "optimizer": "soap"}
    return kernel_params.schedule(**(given | changes))


def optimizer_of(**changes):
    return optimizer.make(presets.mini(), schedule(**changes))


@pytest.fixture
def params():
    return kernel_params.with_kernels(SHAPES)


def run(made, params, count):
    """The last of so many updates, and the state."""
    state, update = made.init(params), compilation.jit(made.update)
    for step in range(count):
        found, state = update(kernel_params.gradients(params, step), state, params)
    return found, state


def kernel_states(state):
    is_one = lambda leaf: isinstance(leaf, soap.KernelState)  # noqa: E731
    leaves = jax.tree_util.tree_leaves(state, is_leaf=is_one)
    return [leaf for leaf in leaves if is_one(leaf)]


def plain_soap(gradients: list[np.ndarray]) -> np.ndarray:
    """The last update of a matrix, written out for its two sides, in float64."""
    decay, eps = 0.95, 1e-8
    rows, columns = gradients[0].shape
    mean, squares = np.zeros((rows, columns)), np.zeros((rows, columns))
    left, right = np.zeros((rows, rows)), np.zeros((columns, columns))
    q_left, q_right = np.eye(rows), np.eye(columns)
    for step, gradient in enumerate(gradients):
        left = decay * left + (1 - decay) * gradient @ gradient.T
        right = decay * right + (1 - decay) * gradient.T @ gradient
        if step == 0:
            q_left, q_right = (np.linalg.eigh(side)[1][:, ::-1] for side in (left, right))
            continue
        mean = decay * mean + (1 - decay) * gradient
        squares = decay * squares + (1 - decay) * (q_left.T @ gradient @ q_right) ** 2
        share = 1 - decay**step
        inner = (q_left.T @ mean @ q_right / share) / (np.sqrt(squares / share) + eps)
        update = q_left @ inner @ q_right.T
        if step % 10 == 0:
            order = np.argsort(-np.diag(q_left.T @ left @ q_left))
            squares, q_left = squares[order], np.linalg.qr(left @ q_left[:, order])[0]
            order = np.argsort(-np.diag(q_right.T @ right @ q_right))
            squares, q_right = squares[:, order], np.linalg.qr(right @ q_right[:, order])[0]
    return update


@pytest.mark.parametrize("count", [2, 11, 12, 25])
def test_the_update_of_a_matrix_is_that_of_the_algorithm_written_out(count):
    rng = np.random.default_rng(3)
    grads = [rng.normal(size=(12, 12)) * np.arange(1, 13) for _ in range(count)]
    made = soap.scale_by_soap()
    state, update = made.init(jnp.zeros((12, 12))), compilation.jit(made.update)
    for gradient in grads:
        found, state = update(jnp.asarray(gradient, jnp.float32), state)
    np.testing.assert_allclose(found, plain_soap(grads), rtol=2e-3, atol=2e-3)


def test_the_first_step_moves_no_kernel(params):
    found, _ = run(optimizer_of(), params, 1)
    assert not np.any(found["convolution"]["kernel"])
    assert np.any(found["prior"]["gain"])


def test_small_kernels_and_all_other_parameters_get_adams_updates(params):
    ours, _ = run(optimizer_of(), params, 3)
    adams, _ = run(optimizer_of(optimizer="adam"), params, 3)
    np.testing.assert_allclose(ours["colors"]["kernel"], adams["colors"]["kernel"], rtol=1e-6)
    for name in ("gain", "bias"):
        np.testing.assert_allclose(ours["prior"][name], adams["prior"][name], rtol=1e-6)


def test_rotated_problems_are_solved_as_fast_as_unrotated_ones():
    """Adam is not rotated with the problem: it is slow where steep directions lie across axes."""
    rng = np.random.default_rng(0)
    rows, columns = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (16, 24))
    scales = jnp.asarray(np.outer(10.0 ** np.linspace(0, -2, 16), 10.0 ** np.linspace(0, -2, 24)))
    start = rng.normal(size=(16, 24))

    def loss_after(made, turn, steps=300):
        left, right = (jnp.asarray(q) if turn else jnp.eye(len(q)) for q in (rows, columns))
        params = left @ start @ right.T

        def loss(params):
            return 0.5 * jnp.sum(scales * jnp.square(left.T @ params @ right))

        @compilation.jit
        def step(params, state, rate):
            found, state = made.update(jax.grad(loss)(params), state)
            return params - rate * found, state

        state = made.init(params)
        for rate in np.linspace(0.05, 0, steps, dtype=np.float32):
            params, state = step(params, state, rate)
        return float(loss(params))

    ours = [loss_after(soap.scale_by_soap(), turn) for turn in (False, True)]
    adams = [loss_after(optax.scale_by_adam(0.95, 0.95), turn) for turn in (False, True)]
    assert ours[1] < 1.5 * ours[0]
    assert adams[1] > 3 * ours[1]


def test_bases_are_renewed_every_ten_steps_and_stay_orthonormal(params):
    made = optimizer_of()
    state, update = made.init(params), compilation.jit(made.update)
    changed = []
    for step in range(45):
        before = kernel_states(state)
        _, state = update(kernel_params.gradients(params, step), state, params)
        pairs = zip(before, kernel_states(state), strict=True)
        if any(np.any(old.bases[0] != new.bases[0]) for old, new in pairs):
            changed.append(step)
    assert changed == [0, 10, 20, 30, 40]
    assert sorted(len(of_kernel.bases) for of_kernel in kernel_states(state)) == [2, 3]
    for of_kernel in kernel_states(state):
        for basis in of_kernel.bases:
            np.testing.assert_allclose(basis.T @ basis, np.eye(len(basis)), atol=1e-5)


def test_long_sides_are_not_rotated(monkeypatch):
    monkeypatch.setattr(soap, "LONGEST_SIDE", 11)
    params = {"conv": {"kernel": jnp.zeros((3, 3, 12, 16))}}
    found, state = run(optimizer_of(), params, 12)
    (of_kernel,) = kernel_states(state)
    assert [basis.shape for basis in of_kernel.bases] == [(9, 9)]
    assert np.isfinite(found["conv"]["kernel"]).all()


@pytest.mark.slow
def test_a_kernel_without_a_gradient_stays(params):
    made = optimizer_of()
    zeros, state = jax.tree_util.tree_map(jnp.zeros_like, params), made.init(params)
    for _ in range(12):
        found, state = made.update(zeros, state, params)
        assert not any(np.any(leaf) for leaf in jax.tree_util.tree_leaves(found))


@pytest.mark.slow
def test_a_restart_begins_anew(params):
    _, state = run(optimizer_of(switch="restart", stage1_steps=5), params, 6)
    made = optimizer_of()
    _, fresh = made.update(kernel_params.gradients(params, 5), made.init(params), params)
    for ours, expected in zip(kernel_states(state), kernel_states(fresh), strict=True):
        for part, other in zip(ours.products, expected.products, strict=True):
            np.testing.assert_allclose(part, other, rtol=1e-5, atol=1e-6)
        assert not np.any(ours.mean) and not np.any(ours.squares)


def test_training_a_part_of_kernels_is_refused():
    with pytest.raises(ConfigError, match="'soap' moves whole kernels"):
        schedule(learn="added", widened_from=(96, 6))
