"""Weights files: what is saved is what is loaded, and damage is noticed."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import pickle

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save as serialize

from rdonet_jax.codec import codec
from rdonet_jax.core import config, defaults, presets
from rdonet_jax.entropy import distributions
from rdonet_jax.models import registry, zoo
from rdonet_jax.models.rdonet import network as rdonet
from rdonet_jax.models.step_batches import StepBatches
from rdonet_jax.storage import files


def test_weights_come_back_in_half_precision_with_their_configuration(tiny_weights, tiny_model):
    params = jax.eval_shape(lambda: rdonet.init_params(presets.tiny(), jax.random.key(0)))
    assert jax.tree_util.tree_structure(params) == jax.tree_util.tree_structure(tiny_model.params)
    assert tiny_model.config == presets.tiny()
    assert tiny_model.record.stored == {"preset": "tiny"}
    leaves = jax.tree_util.tree_leaves(tiny_model.params)
    assert all(leaf.dtype == np.float32 for leaf in leaves)
    assert all(np.array_equal(leaf, leaf.astype(np.float16)) for leaf in leaves)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy,
                                    lambda model: pickle.loads(pickle.dumps(model))])  # fmt: skip
def test_copies_and_pickles_of_a_model_compress_to_the_same_bytes(mini_model, photograph, copied):
    image = photograph[:64, :64]
    chosen = codec.choose_partition(mini_model, image, "variance")
    other = copied(mini_model.replace(batches=StepBatches()))
    assert other.batches is None
    expected = codec.compress(mini_model, image, chosen)
    assert codec.compress(other, image, chosen) == expected
    assert len(jax.tree.leaves(other.device_params)) == len(jax.tree.leaves(mini_model.params))
    assert codec.compress(copied(other), image, chosen) == expected  # once it is on a device


def test_the_repr_of_a_model_is_short(mini_model):
    assert "mini" in repr(mini_model) and len(repr(mini_model)) < 2000


def test_a_file_is_named_by_its_hash(tiny_weights, tiny_model):
    digest = hashlib.sha256(tiny_weights.read_bytes()).digest()
    assert tiny_weights.name == f"tiny-{digest[:8].hex()}.safetensors"
    assert tiny_model.digest == digest[:4]


def test_a_bundled_file_is_found_by_the_hash_that_compressed_files_hold(
    tiny_weights, mini_weights, mini_model, monkeypatch
):
    monkeypatch.setattr(zoo, "bundled", lambda: {"tiny": tiny_weights, "mini": mini_weights})
    assert zoo.find(mini_model.digest) == mini_weights
    assert zoo.find(bytes(4)) is None


def test_saving_the_same_weights_twice_gives_the_same_file(tiny_model, tmp_path):
    paths = [
        zoo.save(tmp_path / name, "twin", tiny_model.config, tiny_model.params, {"a": 1})
        for name in ("one", "two")
    ]
    assert paths[0].name == paths[1].name
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("position", [0, 100, -1])
def test_a_damaged_file_is_refused(tiny_weights, tmp_path, position):
    content = bytearray(tiny_weights.read_bytes())
    content[position] ^= 1
    damaged = tmp_path / tiny_weights.name
    damaged.write_bytes(content)
    with pytest.raises(zoo.ZooError, match="damaged or renamed"):
        zoo.load(str(damaged))


def renamed(path, content):
    """The content under the name that its hash asks for."""
    digest = hashlib.sha256(content).digest()[:8].hex()
    path = path.with_name(f"{path.stem}-{digest}.safetensors")
    path.write_bytes(content)
    return path


def tables_of(model):
    """The tables of a portable model's file as tensors."""
    cdfs = model.tables.cdfs
    return {
        "tables/cumulative": np.concatenate([cdf[:-1] for cdf in cdfs]).astype(np.uint16),
        "tables/entries": np.array([len(cdf) - 1 for cdf in cdfs], np.uint16),
        "tables/offsets": np.array(model.tables.offsets, np.int32),
    }


def forged(tmp_path, model, name="forged", **changes):
    """A weights file with a right hash, but other tensors or metadata than `zoo.save` writes."""
    tensors = {
        key: np.asarray(value, np.float16)
        for key, value in flatten_dict(model.params, sep="/").items()
    }
    if isinstance(model.config, config.PortableConfig):
        tensors |= tables_of(model)
    tensors = {key: value for key, value in {**tensors, **changes}.items() if value is not None}
    metadata = {"name": name, "config": dataclasses.asdict(model.config), "record": {}}
    content = serialize(tensors, {zoo.METADATA_KEY: json.dumps(metadata)})
    return renamed(tmp_path / "forged", content)


def test_weights_are_placed_on_the_device_once(tiny_model):
    placed = jax.tree_util.tree_leaves(tiny_model.device_params)
    assert all(isinstance(leaf, jax.Array) for leaf in placed)
    assert tiny_model.device_params is tiny_model.device_params
    for leaf, own in zip(placed, jax.tree_util.tree_leaves(tiny_model.params), strict=True):
        assert isinstance(own, np.ndarray)
        np.testing.assert_array_equal(leaf, own)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"g_a_0/bias": None}, "g_a_0/bias is missing"),
        ({"extra": np.zeros(3, np.float16)}, "extra is unknown"),
        ({"g_a_0/bias": np.zeros(3, np.float16)}, r"g_a_0/bias has the shape \[3\], not \[8\]"),
        ({"g_a_0/bias": np.full(8, np.nan, np.float16)}, "not finite"),
        ({"name": "../x"}, "no model may have"),
        ({"name": "x" * 65}, "no model may have"),
        ({"name": 7}, "no model may have"),
    ],
)
def test_weights_that_are_not_those_of_their_configuration_are_refused(
    tiny_model, tmp_path, changes, cause
):
    assert zoo.load(str(forged(tmp_path, tiny_model))).name == "forged"
    with pytest.raises(zoo.ZooError, match=cause):
        zoo.load(str(forged(tmp_path, tiny_model, **changes)))


def test_a_portable_model_brings_its_own_tables(mini_model, tmp_path):
    expected = distributions.scale_tables(mini_model.config.distribution)
    assert mini_model.tables is not expected
    assert mini_model.tables.offsets == expected.offsets and mini_model.tables.has_escape
    for theirs, ours in zip(mini_model.tables.cdfs, expected.cdfs, strict=True):
        np.testing.assert_array_equal(theirs, ours)
    other = tables_of(mini_model)
    other["tables/cumulative"][1] += 1
    assert zoo.load(str(forged(tmp_path, mini_model, **other))).tables.cdfs[0][1] == 1 + int(
        expected.cdfs[0][1]
    )


def test_a_model_of_one_quality_has_the_tables_of_its_distribution(tiny_model):
    assert tiny_model.tables is distributions.scale_tables(tiny_model.config.distribution)


def changed(values, position, value):
    values = values.copy()
    values[position] = value
    return values


@pytest.mark.parametrize(
    ("name", "change", "cause"),
    [
        ("cumulative", lambda v: None, "tables/cumulative is missing"),
        ("offsets", lambda v: None, "tables/offsets is missing"),
        ("cumulative", lambda v: changed(v, 0, 1), "rise from 0"),
        ("cumulative", lambda v: changed(v, 2, v[1]), "rise from 0"),
        ("cumulative", lambda v: changed(v.astype(np.int32), 3, 65536), "rise from 0"),
        ("cumulative", lambda v: v[:-1], "add up"),
        ("cumulative", lambda v: v.astype(np.float32), "rows of integers"),
        ("cumulative", lambda v: v[None], "rows of integers"),
        ("entries", lambda v: v[:-1], "64"),
        ("entries", lambda v: changed(v, 0, 1), "add up"),
        ("entries", lambda v: changed(v.astype(np.int64), 0, -(2**63)), "add up"),
        ("offsets", lambda v: v[:-1], "64"),
        ("offsets", lambda v: changed(v, 5, 1), "symbol 0"),
        ("offsets", lambda v: changed(v, 5, -(2**31)), "symbol 0"),
    ],
)
def test_tables_that_no_range_coder_can_use_are_refused(mini_model, tmp_path, name, change, cause):
    key = f"tables/{name}"
    changes = {key: change(tables_of(mini_model)[key])}
    with pytest.raises(zoo.ZooError, match=f"tables for a range coder.*{cause}"):
        zoo.load(str(forged(tmp_path, mini_model, **changes)))


def test_the_network_of_a_portable_file_is_checked_as_well(mini_model, tmp_path):
    assert zoo.load(str(forged(tmp_path, mini_model))).config == mini_model.config
    with pytest.raises(zoo.ZooError, match="units_0/z_gain is missing"):
        zoo.load(str(forged(tmp_path, mini_model, **{"units_0/z_gain": None})))


def test_two_bundled_models_of_one_name_are_an_error(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    monkeypatch.setattr(zoo.resources, "files", lambda _: tmp_path)
    for name in ("a-1", "b-2"):
        (tmp_path / "weights" / f"{name}.safetensors").touch()
    assert list(zoo.bundled()) == ["a", "b"]
    (tmp_path / "weights" / "b-3.safetensors").touch()
    with pytest.raises(zoo.ZooError, match=r"both b-2\.safetensors and b-3\.safetensors"):
        zoo.bundled()


def test_weights_that_cannot_be_written_whole_are_not_written(tiny_model, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        zoo.save(tmp_path, "whole", tiny_model.config, tiny_model.params, {})
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_holds_no_weights_is_refused(tmp_path):
    path = renamed(tmp_path / "x", b"not weights")
    with pytest.raises(zoo.ZooError, match="no weights file"):
        zoo.load(str(path))


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(zoo.ZooError, match="bundled are"):
        zoo.load("nothing")


def test_parameters_come_back_however_they_lie_in_memory(tiny_model, tmp_path):
    in_columns = jax.tree_util.tree_map(np.asfortranarray, tiny_model.params)
    paths = [
        zoo.save(tmp_path, "tiny", tiny_model.config, params, {})
        for params in (tiny_model.params, in_columns)
    ]
    assert paths[0] == paths[1]


@pytest.mark.parametrize("name", ["a-b", "../x", "", "é", "_x", "x" * 65])
def test_a_name_that_no_file_can_carry_is_refused(tiny_model, tmp_path, name):
    with pytest.raises(zoo.ZooError, match="letters"):
        zoo.save(tmp_path, name, tiny_model.config, tiny_model.params, {})


def test_weights_beyond_half_precision_are_refused(tiny_model, tmp_path):
    params = dict(tiny_model.params, g_a_0={"kernel": np.full((1,), 1e6, np.float32)})
    with pytest.raises(zoo.ZooError, match="not finite"):
        zoo.save(tmp_path, "big", tiny_model.config, params, {})


@pytest.mark.slow
def test_every_bundled_model_loads_and_says_how_it_was_trained():
    assert "standard" in zoo.bundled()
    for name in zoo.bundled():
        model = zoo.load(name)
        assert model.name == name
        assert model.record.steps_done > 0
        expected = jax.eval_shape(lambda c=model.config: registry.init_params(c, jax.random.key(0)))
        shapes = jax.tree_util.tree_map(np.shape, model.params)
        assert shapes == jax.tree_util.tree_map(lambda leaf: leaf.shape, expected)


def test_the_weights_that_come_with_the_package_are_few_and_the_default_serves_every_quality():
    paths = [*zoo.bundled().values(), *zoo.earlier().values()]
    assert sum(path.stat().st_size for path in paths) <= 30e6
    assert all(path.stat().st_size <= 8e6 for path in zoo.bundled().values())
    standard = zoo.load(defaults.DEFAULT_MODEL)
    assert isinstance(standard.config, config.PortableConfig)
    assert registry.parameter_count(standard.params) <= 6_500_000
