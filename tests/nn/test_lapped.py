"""Lapped stages against their definitions, and what surrounds them."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.nn import lapped
from tests import portable_params
from tests.conftest import quick_key

GRIDS = [(2, 2), (2, 6), (4, 8)]


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def continued(x: np.ndarray, margin: int) -> np.ndarray:
    around = ((0, 0), (margin, margin), (margin, margin), (0, 0))
    return np.pad(np.asarray(x, np.float64), around, mode="edge")


def plain_down(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Output i sees inputs 2 i - 1 ... 2 i + 2."""
    padded = continued(x, 1)
    out = np.zeros((x.shape[0], x.shape[1] // 2, x.shape[2] // 2, kernel.shape[3]))
    for i, j in np.ndindex(out.shape[1:3]):
        window = padded[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4]
        out[:, i, j] = np.tensordot(window, np.asarray(kernel, np.float64), 3)
    return out


def plain_up(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Input i is seen by outputs 2 i - 1 ... 2 i + 2, and so are inputs beyond the border."""
    padded = continued(x, 1)
    rows, columns = x.shape[1:3]
    canvas = np.zeros((x.shape[0], 2 * rows + 8, 2 * columns + 8, kernel.shape[3]))
    for i, j in np.ndindex(rows + 2, columns + 2):
        patch = np.einsum("bi,yxio->byxo", padded[:, i, j], np.asarray(kernel, np.float64))
        canvas[:, 2 * i + 1 : 2 * i + 5, 2 * j + 1 : 2 * j + 5] += patch
    return canvas[:, 4 : 4 + 2 * rows, 4 : 4 + 2 * columns]


STAGES = {"down": (jax.jit(lapped.down), plain_down), "up": (jax.jit(lapped.up), plain_up)}


@pytest.mark.parametrize("kind", STAGES)
@pytest.mark.parametrize("grid", GRIDS)
def test_a_stage_is_its_definition(kind, grid):
    stage, plain = STAGES[kind]
    x, kernel = normal(0, 2, *grid, 3), normal(1, 4, 4, 3, 5)
    found = stage(x, kernel)
    factor = {"down": 0.5, "up": 2}[kind]
    assert found.shape == (2, int(factor * grid[0]), int(factor * grid[1]), 5)
    np.testing.assert_allclose(found, plain(x, kernel), atol=1e-4)


def test_up_is_the_transpose_of_down_away_from_the_borders():
    down, up = STAGES["down"][0], STAGES["up"][0]
    kernel = normal(2, 4, 4, 3, 5)
    x, y = np.zeros((1, 12, 16, 3), np.float32), np.zeros((1, 6, 8, 5), np.float32)
    x[:, 2:-2, 2:-2] = normal(3, 1, 8, 12, 3)
    y[:, 1:-1, 1:-1] = normal(4, 1, 4, 6, 5)
    forward = np.vdot(np.asarray(down(x, kernel), np.float64), y)
    backward = np.vdot(np.asarray(up(y, kernel.transpose(0, 1, 3, 2)), np.float64), x)
    assert forward == pytest.approx(backward, rel=1e-5)
    assert abs(forward) > 1


@pytest.mark.parametrize("kind", STAGES)
def test_a_flat_image_stays_flat_up_to_its_borders(kind):
    stage, _ = STAGES[kind]
    found = np.asarray(stage(np.ones((1, 4, 6, 3), np.float32), normal(1, 4, 4, 3, 5)))
    period = {"down": 1, "up": 2}[kind]
    for row, column in np.ndindex(period, period):
        phase = found[0, row::period, column::period]
        np.testing.assert_allclose(phase, np.broadcast_to(phase[0, 0], phase.shape), atol=1e-5)


@pytest.mark.parametrize("kind", STAGES)
def test_gradients_of_a_stage_are_those_of_finite_differences(kind):
    stage, plain = STAGES[kind]
    x, kernel = normal(0, 1, 4, 4, 2), normal(1, 4, 4, 2, 3)
    weights = normal(2, *stage(x, kernel).shape)

    def loss(x, kernel):
        return jnp.vdot(stage(x, kernel), weights)

    slopes = jax.jit(jax.grad(loss, argnums=(0, 1)))(x, kernel)
    for argument, slope in enumerate(slopes):
        values = [x, kernel]
        direction = normal(3 + argument, *slope.shape).astype(np.float64)
        # The plain stage is linear in either argument: a difference of any size is its slope.
        moved = [v + direction if i == argument else v for i, v in enumerate(values)]
        expected = np.vdot(plain(*moved) - plain(*values), weights)
        assert np.vdot(np.asarray(slope, np.float64), direction) == pytest.approx(
            expected, rel=1e-4
        )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("kind", STAGES)
def test_a_stage_computes_in_its_precision_and_adds_its_bias(kind, dtype):
    _, plain = STAGES[kind]
    module = lapped.Stage(5, kind, dtype)
    x = normal(0, 1, 4, 4, 3)
    params = {"kernel": normal(1, 4, 4, 3, 5), "bias": normal(2, 5)}
    found = module.apply({"params": params}, x)
    assert found.dtype == dtype
    expected = plain(x, params["kernel"]) + params["bias"]
    # Input, kernel and bias are rounded, and each of the additions of 48 products may be.
    rounding = 51 * (2**-24 if dtype == jnp.float32 else 2**-9)
    largest = plain(np.abs(x), np.abs(params["kernel"])) + np.abs(params["bias"])
    assert np.all(np.abs(np.asarray(found, np.float64) - expected) <= rounding * largest)


def test_stages_keep_the_size_of_random_signals_at_first():
    for kind, grid in (("down", (32, 32)), ("up", (16, 16))):
        x = normal(0, 1, *grid, 32)
        y, _ = lapped.Stage(32, kind).init_with_output(quick_key(0), x)
        assert float(jnp.std(y)) == pytest.approx(1.0, rel=0.1)


@pytest.mark.slow
def test_a_residual_block_is_the_identity_at_first_and_learns_to_be_more():
    module = lapped.Residual(6)
    x = normal(0, 2, 3, 4, 5)
    params = module.init(quick_key(0), x)["params"]
    np.testing.assert_array_equal(module.apply({"params": params}, x), x)
    slope = jax.grad(lambda p: jnp.sum(module.apply({"params": p}, x) ** 2))(params)
    assert float(jnp.abs(slope["out"]["kernel"]).max()) > 0.1


def test_a_residual_block_adds_what_its_hidden_channels_see():
    module = lapped.Residual(6)
    x = normal(0, 1, 3, 4, 5)
    params = module.init(quick_key(0), x)["params"]
    params = {
        **params,
        "bias": normal(1, 6),
        "out": {"kernel": normal(2, 6, 5), "bias": normal(3, 5)},
    }
    padded, kernel = continued(x, 1), np.asarray(params["kernel"], np.float64)
    hidden = np.zeros((1, 3, 4, 6))
    for i, j in np.ndindex(3, 4):
        hidden[:, i, j] = np.tensordot(padded[:, i : i + 3, j : j + 3], kernel, 3)
    hidden = np.maximum(hidden + params["bias"], 0)
    expected = x + hidden @ params["out"]["kernel"] + params["out"]["bias"]
    np.testing.assert_allclose(module.apply({"params": params}, x), expected, atol=1e-4)


def test_a_gentle_gdn_divides_little_at_first_and_its_inverse_multiplies():
    x = normal(0, 1, 3, 4, 5)
    for inverse in (False, True):
        module = lapped.NearIdentityGDN(inverse)
        y, variables = module.init_with_output(quick_key(0), x)
        np.testing.assert_allclose(y, x, rtol=0.05)
        gamma = np.square(np.asarray(variables["params"]["gamma"], np.float64))
        divisor = np.sqrt(1 + np.square(x, dtype=np.float64) @ gamma)
        np.testing.assert_allclose(y, x * divisor if inverse else x / divisor, rtol=1e-5)
        assert np.all((np.abs(y) > np.abs(x)) == inverse)


def test_what_is_no_layer_changes_nothing():
    apply = functools.partial(lapped.Identity().apply, {})
    x = normal(0, 1, 2, 2, 1)
    np.testing.assert_array_equal(apply(x), x)


@functools.partial(jax.jit, static_argnums=0, compiler_options=portable_params.QUICKLY)
def layer(module, x, extent=None):
    params = module.init(quick_key(0), x)["params"]
    params = jax.tree_util.tree_map(lambda leaf: leaf + 0.1, params)  # none is the identity
    return module.apply({"params": params}, x, extent)


LAYERS = {
    "down": lapped.Stage(5, "down"),
    "up": lapped.Stage(5, "up"),
    "residual": lapped.Residual(4),
    "gdn": lapped.NearIdentityGDN(inverse=False),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("grid", [(2, 2), (6, 2), (4, 8), (8, 8)])
def test_an_image_in_a_larger_array_is_continued_where_it_ends(name, grid):
    """Whatever the array holds beyond, even where the image fills it."""
    whole = normal(5, 2, 8, 8, 3)
    alone = np.asarray(layer(LAYERS[name], whole[:, : grid[0], : grid[1]]))
    inside = np.asarray(layer(LAYERS[name], whole, np.array(grid, np.int32)))
    np.testing.assert_allclose(inside[:, : alone.shape[1], : alone.shape[2]], alone, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_every_image_of_a_batch_is_continued_where_it_ends(name):
    whole, grids = normal(6, 3, 8, 8, 3), np.array([(4, 8), (6, 2), (8, 8)], np.int32)
    found = layer(LAYERS[name], whole, grids)
    for number, grid in enumerate(grids):
        alone = layer(LAYERS[name], whole[number : number + 1], grid)[0]
        np.testing.assert_allclose(found[number], alone, atol=1e-5)
