"""One-level networks: portable models with the finest level alone."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import jax
import numpy as np
import pytest

from rdonet_jax.codec import codec, qualities
from rdonet_jax.codec.bitstream import FormatError
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.core import config, partition, presets
from rdonet_jax.entropy import distributions
from rdonet_jax.models import macs, registry, zoo
from rdonet_jax.models.training_record import TrainingRecord
from rdonet_jax.rdo import encoder
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan
from rdonet_jax.training.config import TrainingConfig
from rdonet_jax.training.steps import draws
from tests import portable_params


@pytest.fixture(scope="module")
def model() -> zoo.Model:
    preset = presets.mini_one_level()
    params = portable_params.mini_parameters(preset)
    tables = distributions.scale_tables(preset.distribution)
    return zoo.Model("one-level", preset, params, bytes(4), TrainingRecord({}), tables)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(75, 100), (64, 64), (1, 130), (190, 150)])
def test_a_file_of_one_level_decodes_with_both_engines(model, photograph, size):
    image = photograph[: size[0], : size[1]]
    p = codec.choose_partition(model, image, "variance", 60)
    encoded = codec.encode(model, image, p, 60, engine="numpy")
    assert len(encoded.symbols) == 3 and encoded.symbols[1] == encoded.symbols[2] == ()
    for engine in ("numpy", "jax"):
        decoded = codec.decode(model, encoded.data, engine=engine)
        assert all(map(np.array_equal, decoded.symbols[0], encoded.symbols[0]))
        assert abs(decoded.image.astype(int) - encoded.image).max() <= 1
        assert partition.block_shares(decoded.partition, *size) == (1, 0, 0)


@pytest.mark.slow
def test_the_estimate_is_the_size_of_the_file(model, photograph):
    image = photograph[:180, :190]
    p = codec.choose_partition(model, image, "variance", 80)
    masks = tuple(mask[None] for mask in codec.coded_masks(p, *image.shape[:2]))
    x = partition.pad_image(image) / np.float32(255)
    quality = np.array([qualities.stream_quality(model.config, 80)], np.int32)
    sizes = np.array([image.shape[:2]], np.int32)
    coded = jax.jit(
        functools.partial(registry.code, model.config), compiler_options=portable_params.QUICKLY
    )(model.params, x, masks, quality, sizes=sizes)
    assert [bits.shape for bits in coded.y_bits] == [(1, 12, 12), (1, 6, 6), (1, 3, 3)]
    assert all(not np.any(bits) for bits in (*coded.y_bits[1:], *coded.z_bits[1:]))
    bits = float(np.sum(coded.y_bits[0]) + np.sum(coded.z_bits[0]))
    assert len(codec.compress(model, image, p, 80)) == pytest.approx(bits / 8, rel=0.005, abs=60)


def test_masks_and_searches_are_refused_in_one_sentence(model, photograph):
    image = photograph[:130, :130]
    coarse = partition.uniform(1, (3, 3))
    with pytest.raises(EncodeError, match="one-level has one level, 16x16"):
        codec.compress(model, image, coarse, 50)
    for plan in (Plan(passes=1), Plan(init="uniform-32")):
        with pytest.raises(EncodeError, match="one level"):
            encoder.encode(model, image, EncodeOptions(50, plan=plan))


def test_a_file_whose_partition_has_other_levels_is_refused(model, photograph):
    """Its bytes are those of a model with three levels, whose hash is that of this one."""
    preset = presets.mini()
    three = model.replace(config=preset, params=portable_params.mini_parameters(preset))
    data = codec.compress(three, photograph[:130, :130], partition.uniform(1, (3, 3)), 50)
    with pytest.raises(FormatError, match="levels that one-level does not have"):
        codec.decode(model, data)


def test_the_partition_of_an_encoding_can_be_given_to_the_next_one(model, photograph):
    """As rate control does after a refinement."""
    image = photograph[:130, :130]
    first = encoder.encode(model, image, EncodeOptions(50))
    again = encoder.encode(model, image, EncodeOptions(50, plan=Plan(first.partition)))
    assert again.encoded.data == first.encoded.data
    with pytest.raises(EncodeError, match="one level"):
        encoder.encode(model, image, EncodeOptions(50, plan=Plan(partition.uniform(1, (3, 3)))))


@pytest.mark.slow
def test_latents_of_one_level_are_refined(model, photograph):
    options = EncodeOptions(60, plan=Plan(refinements=10), reconstruct=True)
    found = encoder.encode(model, photograph[:64, :100], options)
    assert found.searched.after <= found.searched.before
    decoded = codec.decode(model, found.encoded.data)
    assert all(map(np.array_equal, decoded.symbols[0], found.encoded.symbols[0]))


def test_every_schedule_trains_the_finest_level_alone(model):
    x = np.random.default_rng(0).random((2, 128, 64, 3), np.float32)
    keys = jax.random.split(jax.random.key(0), 2)
    config = TrainingConfig(stage1_steps=5, stage2_steps=0)
    masks = draws.masks_of_step(model.config, config, np.int32(0), x, np.zeros(2, np.int32), keys)
    assert np.all(masks[0]) and not any(np.any(mask) for mask in masks[1:])


def test_the_shapes_without_flax_are_those_of_the_modules(model):
    shapes = registry.family_of(model.config).param_shapes(model.config)
    params = jax.eval_shape(lambda: registry.init_params(model.config, jax.random.key(0)))
    found = {
        "/".join(key.key for key in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    assert found == dict(shapes)
    assert not any(path.startswith(("units_1", "units_2")) for path in shapes)


@pytest.mark.parametrize("name", ["features", "latents", "hyper_latents", "residual"])
def test_a_network_has_three_levels_or_the_finest_alone(name):
    for preset, other in itertools.permutations((presets.mini(), presets.mini_one_level())):
        with pytest.raises(config.ConfigError, match="channel counts must be positive"):
            dataclasses.replace(preset, **{name: getattr(other, name)})


@pytest.mark.slow
def test_the_one_level_network_takes_as_many_macs_to_decode():
    of_three, of_one = (
        macs.of_decoder(macs.per_pixel(preset))
        for preset in (presets.compact(), presets.compact_one_level())
    )
    assert of_one == pytest.approx(of_three, rel=0.05)
