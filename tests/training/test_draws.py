"""What a step draws for its crops: masks by stage, and where images end."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data

from rdonet_jax.core import partition, presets
from rdonet_jax.training import config as training_config
from rdonet_jax.training import masks as training_masks
from rdonet_jax.training.folder import run_dir
from rdonet_jax.training.steps import draws


@pytest.mark.slow
def test_masks_are_random_in_stage_1_and_follow_the_variance_in_stage_2():
    network_config = presets.tiny()
    config = training_config.TrainingConfig(stage1_steps=10, stage2_steps=10)
    x = jnp.asarray(skimage.data.astronaut()[None, :256, :256] / 255.0, jnp.float32)
    x = jnp.concatenate([x, x[:, :, ::-1]])
    keys = draws.crop_keys(config, jnp.int32(3), jnp.arange(2))
    stage1, again = (
        draws.masks_of_step(network_config, config, jnp.int32(step), x, None, keys)
        for step in (9, 9)
    )
    stage2 = draws.masks_of_step(network_config, config, jnp.int32(10), x, None, keys)
    expected = partition.level_masks(partition.variance(x, network_config.thresholds))
    for level in range(3):
        np.testing.assert_array_equal(stage1[level], again[level])
        np.testing.assert_array_equal(stage2[level], expected[level])
    assert any(np.any(stage1[level] != expected[level]) for level in range(3))
    other = draws.crop_keys(config, jnp.int32(4), jnp.arange(2))
    moved = draws.masks_of_step(network_config, config, jnp.int32(9), x, None, other)
    assert any(np.any(stage1[level] != moved[level]) for level in range(3))


def test_blocks_that_a_schedule_splits_within_whole_ones_stay_whole(monkeypatch):
    def broken(network_config, config, position, x, quality, keys):
        rows, cols = partition.block_grid(*x.shape[1:3])
        split32 = jnp.ones((len(x), 2 * rows, 2 * cols), bool)
        return partition.Partition(jnp.zeros((len(x), rows, cols), bool), split32)

    monkeypatch.setitem(training_masks.SCHEDULES, "broken", broken)
    schedule = training_config.TrainingConfig(masks="broken")
    x, keys = jnp.zeros((2, 128, 64, 3)), jax.random.split(jax.random.key(0), 2)
    fine, middle, coarse = draws.masks_of_step(
        presets.tiny(), schedule, jnp.int32(0), x, None, keys
    )
    assert coarse.all() and not fine.any() and not middle.any()


@pytest.mark.slow
def test_a_share_of_the_crops_keeps_random_masks_in_stage_2():
    network_config = presets.tiny()
    config = training_config.TrainingConfig(stage1_steps=1, stage2_steps=9, random_share=0.25)
    x = jnp.full((200, 64, 64, 3), 0.5)  # flat: its variance mask is the coarsest level
    keys = draws.crop_keys(config, jnp.int32(3), jnp.arange(200))
    fine, middle, coarse = draws.masks_of_step(network_config, config, jnp.int32(3), x, None, keys)
    # A random mask is the coarsest level for a third of the blocks.
    split = 1 - float(jnp.mean(coarse))
    assert 0.08 < split < 0.26
    assert float(jnp.mean(fine)) == pytest.approx(split / 2, abs=0.05)
    assert float(jnp.mean(middle)) == pytest.approx(split / 2, abs=0.05)


@pytest.mark.slow
def test_a_share_of_the_crops_has_images_that_end_before_them():
    config = training_config.TrainingConfig(cut_share=0.25)
    keys = draws.crop_keys(config, jnp.int32(3), jnp.arange(2000))
    sizes = np.asarray(draws.sizes_of_step(config, keys, (256, 320)))
    whole = np.all(sizes == (256, 320), axis=1)
    assert np.mean(~whole) == pytest.approx(0.25, abs=0.04)
    for side, drawn in zip((256, 320), sizes[~whole].T, strict=True):
        assert (drawn.min(), drawn.max()) == (side - 63, side)
        assert np.mean(drawn) == pytest.approx(side - 31.5, abs=3)
    again = draws.sizes_of_step(config, keys[5:9], (256, 320))
    np.testing.assert_array_equal(again, sizes[5:9])
    assert draws.sizes_of_step(training_config.TrainingConfig(cut_share=0), keys, (64, 64)) is None


@pytest.mark.slow
def test_images_that_end_before_their_crops_keep_what_ms_ssim_needs():
    config = training_config.TrainingConfig(cut_share=1.0, metric="both", crop=192)
    keys = draws.crop_keys(config, jnp.int32(3), jnp.arange(500))
    sizes = np.asarray(draws.sizes_of_step(config, keys, (192, 192)))
    assert (sizes.min(), sizes.max()) == (176, 192)


def test_runs_from_before_images_ended_within_crops_go_on_as_they_began(tmp_path):
    config = training_config.TrainingConfig(lmbda=0.01)
    run = json.loads(run_dir.Run(presets.tiny(), config, "tiny").to_json())
    del run["training"]["cut_share"]
    (tmp_path / run_dir.CONFIG_FILE).write_text(json.dumps(run))
    held = run_dir.Run.load(tmp_path).training
    assert (held.cut_share, held.lmbda) == (0.0, 0.01)
