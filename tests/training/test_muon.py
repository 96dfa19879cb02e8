"""Muon: large kernels get updates of equal singular values, everything else Adam's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rdonet_jax.core import presets
from rdonet_jax.core.config import ConfigError
from rdonet_jax.training.optimizers import kernels, optimizer
from tests import portable_params
from tests.training import kernel_params

pytestmark = pytest.mark.skipif(
    not hasattr(optax.contrib, "MuonDimensionNumbers"), reason="this optax has no Muon"
)

SHAPES = {"wide": (3, 3, 16, 24), "tall": (2, 2, 64, 16), "colors": (1, 1, 3, 32)}


def schedule(**changes):
    return kernel_params.schedule(**({"optimizer": "muon"} | changes))


def optimizer_of(**changes):
    return optimizer.make(presets.mini(), schedule(**changes))


@pytest.fixture
def params():
    return kernel_params.with_kernels(SHAPES)


def updates(made, params, count=1):
    """The last of so many updates."""
    state = made.init(params)
    for step in range(count):
        found, state = made.update(kernel_params.gradients(params, step), state, params)
    return found


@pytest.mark.slow
def test_the_update_of_a_kernel_has_nearly_equal_singular_values_of_the_size_of_adams(params):
    found = updates(optimizer_of(), params)
    for name in ("wide", "tall"):
        matrix = np.asarray(found[name]["kernel"]).reshape(-1, SHAPES[name][-1])
        values = np.linalg.svd(matrix, compute_uv=False)
        expected = 1e-2 * 0.2 * np.sqrt(max(matrix.shape))
        np.testing.assert_allclose(values, expected, rtol=0.35)  # five Newton-Schulz steps
        spread = np.sqrt(np.mean(matrix**2))
        assert spread == pytest.approx(1e-2 * 0.2, rel=0.35)


@pytest.mark.slow
def test_the_update_goes_against_the_gradient(params):
    given, found = kernel_params.gradients(params), updates(optimizer_of(), params)
    for name in ("wide", "tall"):
        product = np.sum(np.asarray(found[name]["kernel"]) * np.asarray(given[name]["kernel"]))
        sizes = [
            np.linalg.norm(np.asarray(tree[name]["kernel"]).ravel()) for tree in (found, given)
        ]
        assert product < -0.5 * sizes[0] * sizes[1]


@pytest.mark.slow
def test_small_kernels_and_all_other_parameters_get_adams_updates(params):
    ours = updates(optimizer_of(), params, count=3)
    adams = updates(optimizer_of(optimizer="adam"), params, count=3)
    np.testing.assert_array_equal(ours["colors"]["kernel"], adams["colors"]["kernel"])
    for name in ("gain", "bias"):
        np.testing.assert_array_equal(ours["prior"][name], adams["prior"][name])


def test_a_kernel_without_a_gradient_stays(params):
    made = optimizer_of()
    zeros = jax.tree_util.tree_map(jnp.zeros_like, params)
    found, _ = made.update(zeros, made.init(params), params)
    assert not any(np.any(leaf) for leaf in jax.tree_util.tree_leaves(found))


def test_a_restart_forgets_the_momentum(params):
    restarted = updates(optimizer_of(switch="restart"), params, count=7)
    made = optimizer_of()
    first, _ = made.update(kernel_params.gradients(params, 6), made.init(params), params)
    np.testing.assert_allclose(
        restarted["wide"]["kernel"], first["wide"]["kernel"], rtol=1e-4, atol=1e-7
    )


@pytest.mark.slow
def test_most_parameters_of_a_portable_network_are_in_its_kernels():
    shapes = portable_params.shapes(presets.standard())
    chosen = kernels.are_matrices(shapes)
    sizes = jax.tree_util.tree_map(lambda leaf: int(np.prod(leaf.shape)), shapes)
    pairs = list(zip(*map(jax.tree_util.tree_leaves, (chosen, sizes)), strict=True))
    assert sum(size for is_matrix, size in pairs if is_matrix) > 0.9 * sum(s for _, s in pairs)


def test_training_a_part_of_kernels_is_refused():
    with pytest.raises(ConfigError, match="moves whole kernels"):
        schedule(learn="added", widened_from=(96, 6))


def test_an_optax_without_muon_is_named(monkeypatch):
    monkeypatch.delattr(optax.contrib, "MuonDimensionNumbers")
    with pytest.raises(ConfigError, match="needs optax 0.2.6"):
        optimizer_of()
