"""Validation: means over crops, whatever the batches, and images that add up to the rate."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rdonet_jax.core import partition, presets
from rdonet_jax.models import hierarchy, registry
from rdonet_jax.training import config as training_config
from rdonet_jax.training import sharding
from rdonet_jax.training.steps import validation

THRESHOLDS = (60.0, 180.0)


@pytest.fixture(scope="module")
def crops(photograph):
    return np.stack([photograph[:128, at : at + 128] for at in (0, 60, 128)])


@pytest.fixture(scope="module")
def preview(tiny_model, crops):
    return validation.preview(tiny_model.config, tiny_model.params, crops)


@pytest.mark.slow
def test_the_means_are_those_of_the_crops_one_by_one(tiny_model, crops, preview):
    config = training_config.TrainingConfig(batch_size=2, crop=128)
    validate = validation.make(tiny_model.config, config, crops)
    result = validate(sharding.replicate(tiny_model.params))
    bpp = preview.density.mean(axis=(1, 2))
    squares = np.square(preview.x.astype(float) - preview.x_hat).mean(axis=(1, 2, 3))
    rounding = crops[0].size * 2**-24  # of as many additions
    assert result.bpp == pytest.approx(bpp.mean(), rel=rounding)
    assert result.psnr == pytest.approx(np.mean(10 * np.log10(255**2 / squares)), rel=rounding)
    assert result.loss == pytest.approx(np.mean(bpp + config.lmbda * squares), rel=rounding)
    shares = [np.mean(preview.levels == level) for level in range(3)]
    assert result.shares == pytest.approx(shares)


@pytest.mark.parametrize("count", [1, 4, 6, 7])
def test_every_quality_counts_equally_however_few_crops_there_are(monkeypatch, count):
    network_config = presets.mini()

    def code(network_config, params, x, levels, quality):
        """Costs as many bits as the number of the quality."""
        bits = jnp.zeros((len(x), 4, 4)).at[:, 0, 0].set(quality)
        maps = (bits, bits[:, :2, :2] * 0, bits[:, :1, :1] * 0)
        return hierarchy.Coded(x, maps, tuple(0 * level for level in maps))

    monkeypatch.setattr(registry, "code", code)
    crops = np.arange(count * 64 * 64 * 3, dtype=np.uint32).astype(np.uint8)
    config = training_config.TrainingConfig(batch_size=2, crop=64)
    validate = validation.make(network_config, config, crops.reshape(count, 64, 64, 3))
    result = validate({"a": np.zeros((jax.local_device_count(), 1))})
    knots = np.linspace(0, network_config.steps_of_quality, network_config.knots)
    assert result.bpp == pytest.approx(knots.mean() / 64**2)


@pytest.mark.slow
def test_the_preview_shows_the_masks_of_the_variance(tiny_model, crops, preview):
    expected = partition.level_map(partition.variance(crops / 255.0, THRESHOLDS))
    np.testing.assert_array_equal(preview.levels, expected)
    assert preview.x_hat.shape == preview.x.shape == crops.shape
