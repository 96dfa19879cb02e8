"""A trained network with more channels: what the old ones do stays, what was lost is coded."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from experiments.widening import __main__ as command
from experiments.widening import coarser, fitting, restored
from rdonet_jax.codec import codec
from rdonet_jax.core import partition, presets
from rdonet_jax.core.config import ConfigError
from rdonet_jax.models import registry, zoo
from rdonet_jax.models.portable import network as portable
from rdonet_jax.models.portable import quality_range, widening
from tests import portable_params

pytestmark = [pytest.mark.once, pytest.mark.slow]

OLD = presets.mini()
TRUNK, LATENTS = 4, 8
NEW = widening.widened(OLD, TRUNK, LATENTS)
LEVELS = np.array([[0, 0, 1, 1], [0, 0, 1, 1], *2 * [4 * [0]], *4 * [4 * [2]]])
"""Of an image of 128×64 pixels, with blocks of all levels."""


def textured(height: int, width: int) -> np.ndarray:
    """An image of waves of all directions, uint8."""
    y, x, color = np.mgrid[:height, :width, :3] / np.array([1, 1, 0.2]).reshape(3, 1, 1, 1)
    waves = sum(np.sin(k * (np.cos(k) * x + np.sin(k) * y) + color) for k in (0.02, 0.3, 1.1, 2.3))
    return np.uint8(128 + 28 * waves)


@pytest.fixture(scope="module")
def crops():
    return list(fitting.square_crops([textured(256, 320), textured(130, 500)], 2, 128, 0))


@pytest.fixture(scope="module")
def params():
    return portable_params.acting(OLD)


@pytest.fixture(scope="module")
def transform(params, crops):
    return fitting.fit(params, OLD, crops, TRUNK, LATENTS)


@pytest.fixture(scope="module")
def wide(params, transform):
    return widening.widen(params, OLD, NEW, transform, jax.random.key(0))


def test_a_widened_network_has_the_parameters_of_its_configuration(wide):
    shapes = portable_params.shapes(NEW)
    assert jax.tree_util.tree_map(np.shape, wide) == jax.tree_util.tree_map(np.shape, shapes)


def test_with_new_latents_of_zero_a_widened_network_does_what_the_old_one_does(params, transform):
    silent = transform._replace(
        to_latent=np.zeros_like(transform.to_latent), bias=np.zeros_like(transform.bias)
    )
    wide = widening.widen(params, OLD, NEW, silent, jax.random.key(0))
    x = jnp.asarray(np.random.default_rng(1).random((2, 128, 64, 3)), jnp.float32)
    mixed = partition.from_level_map(LEVELS)
    masks = partition.level_masks(jax.tree_util.tree_map(lambda leaf: np.stack([leaf] * 2), mixed))
    quality = jnp.asarray([0, 600])
    before, after = (
        portable_params.code(config, weights, x, masks, quality)
        for config, weights in ((OLD, params), (NEW, wide))
    )
    np.testing.assert_allclose(after.x_hat, before.x_hat, atol=1e-5)
    for old, new in zip(before.z_bits, after.z_bits, strict=True):
        np.testing.assert_allclose(new, old, atol=1e-3)
    # What is the same for the old channels costs the same; each new symbol of 0 costs a little.
    more = np.asarray(after.y_bits[0] - before.y_bits[0])
    assert (more > -1e-3).all() and (more <= 4 * LATENTS).all()


def test_the_new_latents_code_what_the_old_network_loses(params, wide, crops):
    before, after = (
        command.ceiling(weights, config, crops) for config, weights in ((OLD, params), (NEW, wide))
    )
    assert after > before + 1


def test_new_directions_are_orthonormal(transform):
    for matrix in transform[:2]:
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(matrix.shape[1]), atol=1e-6)


def test_a_regression_finds_a_linear_map_and_its_bias():
    rng = np.random.default_rng(0)
    matrix, bias = rng.normal(size=(5, 3)), rng.normal(size=3)
    inputs = rng.normal(size=(400, 5)) + 2
    found, offset = fitting.regression(inputs, inputs @ matrix + bias)
    np.testing.assert_allclose(found, matrix, atol=1e-3)
    np.testing.assert_allclose(offset, bias, atol=1e-3)


def test_files_of_a_widened_network_decode_to_what_its_encoder_saw(wide, tmp_path):
    model = zoo.load(zoo.save(tmp_path, "wide", NEW, wide, {}))
    image = textured(48, 100)
    encoded = codec.encode(model, image, codec.choose_partition(model, image, "variance", 60), 60)
    assert any(np.any(plane[..., OLD.latents[0] :]) for plane in encoded.symbols[0][1:])
    for engine in ("numpy", "jax"):
        decoded = codec.decode(model, encoded.data, engine=engine)
        assert all(map(np.array_equal, decoded.symbols[0], encoded.symbols[0]))
        assert abs(decoded.image.astype(int) - encoded.image).max() <= 1


def test_a_network_is_widened_once_and_to_the_widths_of_the_transform(params, transform):
    with pytest.raises(ConfigError, match="widened already"):
        widening.widened(NEW, TRUNK, LATENTS)
    other = dataclasses.replace(NEW, trunk=NEW.trunk + 1)
    with pytest.raises(ConfigError, match="does not fit"):
        widening.widen(params, OLD, other, transform, jax.random.key(0))


def test_the_wide_preset_is_the_standard_one_widened_with_qualities_above_its_own():
    standard, wide = presets.standard(), presets.wide()
    continued = command.continued(standard, wide.knots)
    assert quality_range.is_same_network(widening.widened(continued, 48, 176), wide)
    assert continued.lmbdas == pytest.approx(wide.lmbdas)
    assert registry.family_of(wide).convert_params({}, standard, wide) is None


def test_more_knots_above_the_old_ones_change_nothing_at_the_old_qualities(params):
    more = command.continued(OLD, OLD.knots + 2)
    moved = quality_range.resample_knots(params, OLD, more)
    assert jax.tree_util.tree_map(np.shape, moved) == jax.tree_util.tree_map(
        np.shape, portable_params.shapes(more)
    )
    x = jnp.asarray(np.random.default_rng(1).random((1, 64, 64, 3)), jnp.float32)
    masks = partition.level_masks(partition.uniform(0, (1, 1), (1,)))
    quality = jnp.asarray([300])
    before, after = (
        portable_params.code(config, weights, x, masks, quality)
        for config, weights in ((OLD, params), (more, moved))
    )
    np.testing.assert_allclose(after.x_hat, before.x_hat, atol=1e-5)
    np.testing.assert_allclose(after.y_bits[0], before.y_bits[0], atol=1e-3)


def test_what_widening_added_leaves_out_all_that_the_old_network_has(wide, params):
    """What is not added are the old parameters in their order, and zeros among them.

    But for the last stage of the synthesis, which makes pixels of new channels too.
    """
    old = widening.narrowed(NEW, OLD.trunk, OLD.knots)
    assert old == OLD
    added, before = flatten_dict(widening.added(wide, NEW, old)), flatten_dict(params)
    for path, leaf in flatten_dict(wide).items():
        if path == ("g_s", "kernel"):
            continue
        kept = np.asarray(leaf)[~added[path]]
        expected = np.ravel(before[path]) if path in before else np.zeros(0)
        np.testing.assert_array_equal(kept[kept != 0], expected[expected != 0])


def test_whatever_is_added_the_old_channels_are_coded_as_before(wide, params):
    added = widening.added(wide, NEW, OLD)
    rng = np.random.default_rng(0)
    changed = jax.tree_util.tree_map(
        lambda leaf, new: np.where(new, leaf + 0.05 * rng.normal(size=leaf.shape), leaf),
        wide, added,
    )  # fmt: skip
    x = jnp.asarray(textured(128, 64)[None] / 255, jnp.float32)
    with_old = portable.network(OLD).apply({"params": params}, x, method="analyze")
    with_new = portable.network(NEW).apply({"params": changed}, x, method="analyze")
    for level, (ours, theirs) in enumerate(zip(with_new, with_old, strict=True)):
        np.testing.assert_allclose(ours[..., : OLD.features[level]], theirs, atol=1e-5)
    np.testing.assert_allclose(with_new[2], with_old[2], atol=1e-5)


@pytest.mark.parametrize(("trunk", "knots"), [(NEW.trunk, 2), (0, 2), (4, NEW.knots + 1)])
def test_what_no_widening_gives_is_refused(trunk, knots):
    with pytest.raises(ConfigError, match="was not widened from one with"):
        widening.narrowed(NEW, trunk, knots)


def test_a_network_without_added_channels_is_refused():
    with pytest.raises(ConfigError, match="no channels that widening has added"):
        widening.narrowed(OLD, OLD.trunk - 1, OLD.knots)


def test_restored_weights_have_the_old_symbols_and_the_trained_synthesis(wide):
    trained = jax.tree_util.tree_map(lambda leaf: leaf + 1.0, wide)
    found = flatten_dict(restored.restored(trained, wide, NEW, OLD), sep="/")
    before, added = (flatten_dict(t, sep="/") for t in (wide, widening.added(wide, NEW, OLD)))
    for path, leaf in found.items():
        changed = np.asarray(leaf != before[path])
        if path.startswith(("g_s", "units_0/from_latent", "units_0/restore", "units_0/hand_over")):
            assert changed.all()
        else:
            np.testing.assert_array_equal(changed, added[path], err_msg=path)


def test_coarser_steps_are_those_of_the_added_channels_alone(wide):
    octaves = [0.5, 2.0, *[0.0] * (NEW.knots - 2)]
    found = coarser.coarser(wide, OLD.latents[0], octaves)
    gain, before = (params["units_0"]["prior"]["gain"] for params in (found, wide))
    np.testing.assert_array_equal(gain[:, : OLD.latents[0]], before[:, : OLD.latents[0]])
    rows = np.repeat(np.array(octaves)[:, None], LATENTS, axis=1)
    np.testing.assert_allclose(
        before[:, OLD.latents[0] :] - gain[:, OLD.latents[0] :], rows, atol=1e-6
    )
