"""The forward pass as a function: what it takes, and what it gives for padded images."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from rdonet_jax import models
from rdonet_jax.codec import codec
from rdonet_jax.codec.qualities import stream_quality
from rdonet_jax.core import partition, presets
from rdonet_jax.models import network

X = np.full((70, 100, 3), 0.5, np.float32)
FIXED = models.Network(None, presets.tiny())
VARIABLE = models.Network(None, presets.mini())


@pytest.mark.parametrize(
    "wrong",
    [X[..., :1], X[0], X[None, None], (255 * X).astype(np.uint8)],
    ids=["channels", "axes", "more axes", "integers"],
)
def test_arrays_that_are_no_images_are_refused(wrong):
    with pytest.raises(ValueError, match="x is an image"):
        models.forward(FIXED, wrong)


def test_masks_of_another_image_are_refused():
    grid = partition.block_grid(*X.shape[:2])
    for wrong in (
        partition.level_masks(partition.uniform(0, (1, 1))),
        partition.level_masks(partition.uniform(0, grid, (1,))),
        partition.level_masks(partition.uniform(0, grid))[:2],
        tuple(mask.astype(int) for mask in partition.level_masks(partition.uniform(0, grid))),
    ):
        with pytest.raises(ValueError, match="masks are arrays of bool"):
            models.forward(FIXED, X, masks=wrong)


def test_a_quality_is_for_variable_rate_models_alone():
    with pytest.raises(ValueError, match="takes none"):
        models.forward(FIXED, X, quality=50)
    with pytest.raises(ValueError, match="needs a quality"):
        models.forward(VARIABLE, X)
    for wrong in (-1, 100.5, float("nan")):
        with pytest.raises(ValueError, match="0 to 100"):
            models.forward(VARIABLE, X, quality=wrong)
    with pytest.raises(ValueError, match="one number or"):
        models.forward(VARIABLE, X, quality=np.array([10.0, 20.0]))


def test_qualities_are_those_of_files_traced_or_not():
    qualities = np.arange(101.0, dtype=np.float32)
    expected = [stream_quality(VARIABLE.config, float(q)) for q in qualities]
    given = network._quality_steps(VARIABLE.config, qualities, 101)
    traced = jax.jit(lambda q: network._quality_steps(VARIABLE.config, q, 101))(qualities)
    np.testing.assert_array_equal(given, expected)
    np.testing.assert_array_equal(traced, expected)


@pytest.mark.slow
def test_an_image_of_any_size_costs_the_bits_of_its_own_positions(tiny_model, photograph):
    x = photograph[:70, :100].astype(np.float32) / 255
    output = models.forward(tiny_model, x)
    assert output.x_hat.shape == x.shape
    bits = np.asarray(output.bits_by_area())
    np.testing.assert_allclose(bits.sum(), output.bpp * 7000, rtol=1e-4)
    for mask, inside in zip(output.masks, partition.inside_masks(70, 100), strict=True):
        assert not np.any(mask & ~inside)
    batch = jax.tree_util.tree_map(lambda leaf: leaf[0], models.forward(tiny_model, x[None]))
    jax.tree_util.tree_map(np.testing.assert_array_equal, batch, output)


@pytest.mark.slow
@pytest.mark.parametrize("level", [0, 1, 2])
def test_rounded_hyper_latents_are_the_symbols_of_the_codec(mini_model, photograph, level):
    pixels = photograph[:100, :170]
    p = partition.uniform(level, partition.block_grid(*pixels.shape[:2]))
    masks = partition.level_masks(p)
    encoded = codec.encode(mini_model, pixels, p, 60, engine="jax", reconstruct=False)
    found = models.compute_latents(mini_model, pixels / np.float32(255), masks, quality=60)
    assert [part.y.shape[:2] for part in found] == [mask.shape for mask in masks]
    coded = partition.hyper_mask(masks[level] & partition.inside_masks(100, 170)[level])
    z = np.rint(np.asarray(found[level].z)[np.asarray(coded)]).ravel()
    symbols = encoded.symbols[level][0]
    assert z.shape == symbols.shape
    # What lies on the border between two symbols may round either way.
    assert np.mean(z != symbols) < 0.01
    assert np.any(symbols) or level == 2  # where the small model codes nothing


def test_networks_without_levels_have_no_latents_by_level():
    config = presets.preset("mbt2018-tiny")
    small = models.Network(models.init_params(config, jax.random.key(0)), config)
    with pytest.raises(ValueError, match="no latents by level"):
        models.compute_latents(small, X)
