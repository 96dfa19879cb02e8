"""Convolutions against plain definitions, GDN, the causal network, small tensor functions."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.models.rdonet import causal_prior
from rdonet_jax.nn import layers, ops
from tests import hasty_xla


def reference(x, kernel, stride, padding):
    """The definition: output i sees inputs s i - 2 ... s i + 2 of the padded image."""
    mode = "edge" if padding == "edge" else "constant"
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (2, 2), (2, 2), (0, 0)), mode=mode)
    _, rows, columns, _ = x.shape
    out = np.zeros((x.shape[0], rows // stride, columns // stride, kernel.shape[-1]))
    for i, j in np.ndindex(out.shape[1:3]):
        window = padded[:, stride * i : stride * i + 5, stride * j : stride * j + 5]
        out[:, i, j] = np.tensordot(window, np.asarray(kernel, np.float64), 3)
    return out


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


GRIDS = [(2, 2), (2, 6), (8, 12)]
"""Also smaller than a kernel, as the coarse levels of a crop are."""

CONVOLUTIONS = {
    "same": layers.convolve,
    "same, edge": functools.partial(layers.convolve, padding="edge"),
    "down": layers.convolve_down,
    "down, edge": functools.partial(layers.convolve_down, padding="edge"),
    "up": layers.convolve_up,
}


@pytest.mark.parametrize("padding", ["zero", "edge"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [3, layers.FEW_CHANNELS + 1])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_convolution_is_its_definition_in_all_of_its_forms(grid, channels, stride, padding):
    x, kernel = (
        jnp.asarray(normal(0, 2, *grid, channels)),
        jnp.asarray(normal(1, 5, 5, channels, 4)),
    )
    convolve = layers.convolve if stride == 1 else layers.convolve_down

    def without(x, kernel):
        return convolve(x, kernel, padding)

    def with_gradient(x, kernel):
        return jax.vjp(jax.jit(without), x, kernel)[0]

    expected = reference(x, kernel, stride, padding)
    for form in (without, with_gradient):
        np.testing.assert_allclose(hasty_xla.jit(form)(x, kernel), expected, atol=1e-4)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize(
    ("grid", "inputs", "outputs"),
    [((2, 2), 9, 9), ((4, 4), 9, 9), ((8, 12), 9, 9), ((2, 6), 3, 9), ((8, 6), 9, 3)],
)
def test_gradients_of_convolutions_are_those_of_a_bilinear_function(name, grid, inputs, outputs):
    x, other_x = jnp.asarray(normal(0, 2, 2, *grid, inputs))
    kernel, other_kernel = jnp.asarray(normal(1, 2, 5, 5, inputs, outputs))
    convolve = hasty_xla.reused(CONVOLUTIONS[name])
    y = convolve(x, kernel)
    dy = jnp.asarray(normal(2, *y.shape))
    pulled_back = hasty_xla.jit(lambda x, k, dy: jax.vjp(CONVOLUTIONS[name], x, k)[1](dy))
    dx, dk = pulled_back(x, kernel, dy)
    tolerance = 1e-4 * float(jnp.linalg.norm(dy)) * float(jnp.linalg.norm(y))
    along_x, along_kernel = jnp.vdot(dx, other_x), jnp.vdot(dk, other_kernel)
    assert abs(along_x - jnp.vdot(dy, convolve(other_x, kernel))) < tolerance
    assert abs(along_kernel - jnp.vdot(dy, convolve(x, other_kernel))) < tolerance


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_and_their_gradients_keep_the_type_of_what_they_are_given(name):
    x, kernel = jnp.ones((2, 8, 8, 9), jnp.bfloat16), jnp.ones((5, 5, 9, 9), jnp.bfloat16)

    def both(x, kernel):
        y, pull_back = jax.vjp(CONVOLUTIONS[name], x, kernel)
        return y, *pull_back(y)

    assert {a.dtype for a in jax.eval_shape(both, x, kernel)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("name", ["same", "down", "up"])
@pytest.mark.parametrize("grid", GRIDS[:3])
def test_no_convolution_of_a_training_step_is_one_that_xla_has_only_a_plain_loop_for(name, grid):
    def both(x, kernel):
        y, pull_back = jax.vjp(CONVOLUTIONS[name], x, kernel)
        return y, pull_back(y)

    x, kernel = jnp.ones((2, *grid, 9)), jnp.ones((5, 5, 9, 9))
    assert "rhs_reversal" not in jax.jit(both).lower(x, kernel).compile().as_text()


def test_the_decoders_convolutions_are_single_ones_where_there_is_no_gradient():
    x, kernel = jnp.ones((1, 4, 4, 9)), jnp.ones((5, 5, 9, 9))
    for convolve in (layers.convolve, layers.convolve_up):
        text = jax.jit(convolve).lower(x, kernel).as_text()
        assert text.count("stablehlo.convolution") == 1 and "barrier" not in text


def test_the_transposed_convolution_is_the_adjoint_of_the_strided_one():
    kernel = jnp.asarray(normal(0, 5, 5, 9, 4))
    x = jnp.asarray(normal(1, 2, 8, 12, 9))
    down, adjoint = jax.vjp(lambda v: layers.convolve_down(v, kernel), x)
    y = jnp.asarray(normal(2, *down.shape))
    result = layers.convolve_up(y, kernel.transpose(0, 1, 3, 2))
    np.testing.assert_allclose(result, adjoint(y)[0], atol=1e-4)


def test_the_transposed_convolution_is_the_input_dilated_one():
    kernel, y = jnp.asarray(normal(0, 5, 5, 6, 4)), jnp.asarray(normal(1, 1, 5, 7, 6))
    dilated = jax.lax.conv_general_dilated(
        y,
        kernel[::-1, ::-1],
        (1, 1),
        ((2, 3), (2, 3)),
        lhs_dilation=(2, 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_allclose(layers.convolve_up(y, kernel), dilated, atol=1e-4)


def test_an_edge_padded_convolution_keeps_a_flat_image_flat():
    kernel = jnp.asarray(normal(0, 5, 5, 3, 4))
    flat = jnp.broadcast_to(jnp.array([0.2, 0.5, 0.9]), (1, 8, 8, 3))
    result = np.asarray(layers.convolve_down(flat, kernel, "edge"))
    np.testing.assert_allclose(result, np.broadcast_to(result[:, :1, :1], result.shape), atol=1e-5)


def test_gdn_divides_by_the_root_of_the_weighted_energies():
    x, beta, gamma = normal(0, 2, 3, 4, 5), abs(normal(1, 5)) + 0.1, abs(normal(2, 5, 5))
    expected = np.empty(x.shape)
    for channel in range(5):
        energy = sum(gamma[other, channel] * x[..., other] ** 2.0 for other in range(5))
        expected[..., channel] = x[..., channel] / np.sqrt(beta[channel] + energy)
    np.testing.assert_allclose(layers.gdn(x, beta, gamma), expected, rtol=1e-4)


def test_inverse_gdn_with_the_norm_of_gdn_undoes_it():
    x = jnp.asarray(normal(0, 1, 2, 2, 3))
    beta, gamma = jnp.ones(3), jnp.zeros((3, 3))
    np.testing.assert_allclose(
        layers.gdn(layers.gdn(x, 4 * beta, gamma), 4 * beta, gamma, inverse=True), x, rtol=1e-5
    )


def test_space_to_depth_and_depth_to_space_undo_each_other():
    x = jnp.asarray(normal(0, 2, 6, 4, 3))
    np.testing.assert_array_equal(ops.depth_to_space(ops.space_to_depth(x)), x)
    np.testing.assert_array_equal(ops.space_to_depth(x)[0, 1, 0, 9:], x[0, 3, 1])


def test_the_rounding_passes_gradients_and_the_bound_passes_those_that_lead_back():
    assert jax.grad(ops.straight_through_round)(0.3) == 1.0
    assert ops.straight_through_round(jnp.float32(2.5)) == 2.0
    assert jax.grad(lambda v: ops.lower_bound(v, 1.0))(0.5) == 0.0
    assert jax.grad(lambda v: -ops.lower_bound(v, 1.0))(0.5) == -1.0
    assert jax.grad(lambda v: ops.lower_bound(v, 1.0))(2.0) == 1.0


def test_the_noise_of_an_image_hangs_on_its_own_key_alone():
    keys = jax.random.split(jax.random.key(0), 4)
    together = ops.uniform_noise(keys, (3, 2))
    np.testing.assert_array_equal(ops.uniform_noise(keys[2:], (3, 2)), together[2:])
    assert np.abs(together).max() <= 0.5
    assert len(np.unique(together)) == together.size


@pytest.fixture
def causal_module():
    module = causal_prior.CausalPrior(3)
    z_hat = jnp.asarray(np.rint(5 * normal(0, 1, 5, 6, 4)))
    params = module.init(jax.random.key(0), z_hat)
    noisy = jax.tree_util.tree_map(
        lambda p: p + 0.3 * jax.random.normal(jax.random.key(p.size), p.shape), params
    )
    return module, noisy, z_hat


@pytest.mark.slow
def test_the_prior_on_z_sees_no_later_position_and_no_other_channel(causal_module):
    module, params, z_hat = causal_module
    row, column, channel = 2, 3, 1
    moved = z_hat.at[0, row, column, channel].add(7.0)
    for before, after in zip(module.apply(params, z_hat), module.apply(params, moved), strict=True):
        changed = np.argwhere(np.asarray(before != after)[0])
        assert len(changed), "later positions must depend on this one"
        assert all((r, c) > (row, column) and k == channel for r, c, k in changed)


@pytest.mark.slow
def test_the_prior_on_z_is_two_masked_convolutions_of_type_a(causal_module):
    module, params, z_hat = causal_module
    weights = causal_prior.CausalWeights(**params["params"])
    grid = np.asarray(z_hat[0], np.float64)

    def at(plane, row, column):
        inside = 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]
        return plane[row, column] if inside else np.zeros(plane.shape[2:])

    units = np.zeros((*grid.shape[:2], 3, 4))
    result = np.zeros((*grid.shape[:2], 2, 4))
    places = list(np.ndindex(grid.shape[:2]))
    for row, column in places:
        total = np.array(weights.hidden_bias, np.float64)
        for tap, (down, right) in enumerate(causal_prior.OFFSETS):
            total += at(grid, row + down, column + right) * np.asarray(weights.hidden[tap])
        units[row, column] = np.where(total > 0, total, 0.01 * total)
    for row, column in places:
        total = np.array(weights.output_bias, np.float64)
        for tap, (down, right) in enumerate(causal_prior.OFFSETS):
            seen = at(units, row + down, column + right)
            total += np.einsum("mc,mkc->kc", seen, np.asarray(weights.output[tap], np.float64))
        result[row, column] = total
    mu, raw = module.apply(params, z_hat)
    np.testing.assert_allclose(mu[0], result[..., 0, :], atol=1e-3)
    np.testing.assert_allclose(raw[0], result[..., 1, :], atol=1e-3)
