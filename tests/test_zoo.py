"""Weights files: what is saved is what is loaded, and damage is noticed."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save as serialise

from rdonet_jax import config, files, zoo
from rdonet_jax.models import rdonet


def test_weights_come_back_in_half_precision_with_their_configuration(tiny_weights, tiny_model):
    params = jax.eval_shape(lambda: rdonet.initialise(config.tiny(), jax.random.key(0)))
    assert jax.tree_util.tree_structure(params) == jax.tree_util.tree_structure(tiny_model.params)
    assert tiny_model.config == config.tiny()
    assert tiny_model.record == {"preset": "tiny"}
    leaves = jax.tree_util.tree_leaves(tiny_model.params)
    assert all(leaf.dtype == np.float32 for leaf in leaves)
    assert all(np.array_equal(leaf, leaf.astype(np.float16)) for leaf in leaves)


def test_a_file_is_named_by_its_hash(tiny_weights, tiny_model):
    digest = hashlib.sha256(tiny_weights.read_bytes()).digest()[:8]
    assert tiny_weights.name == f"tiny-{digest.hex()}.safetensors"
    assert tiny_model.digest == digest


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


def forged(tmp_path, model, name="forged", **changes):
    """A weights file with a right hash, but other tensors or metadata than `zoo.save` writes."""
    tensors = {
        key: np.asarray(value, np.float16)
        for key, value in flatten_dict(model.params, sep="/").items()
    }
    tensors = {key: value for key, value in {**tensors, **changes}.items() if value is not None}
    metadata = {"name": name, "config": dataclasses.asdict(model.config), "record": {}}
    content = serialise(tensors, {zoo.METADATA_KEY: json.dumps(metadata)})
    return renamed(tmp_path / "forged", content)


def test_weights_are_on_the_device_before_they_are_used(tiny_model):
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree_util.tree_leaves(tiny_model.params))


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"g_a_0/bias": None}, "g_a_0/bias is missing"),
        ({"extra": np.zeros(3, np.float16)}, "extra is unknown"),
        ({"g_a_0/bias": np.zeros(3, np.float16)}, r"g_a_0/bias has the shape \[3\], not \[8\]"),
        ({"name": "../x"}, "no file can carry"),
        ({"name": "x" * 65}, "no file can carry"),
        ({"name": 7}, "no file can carry"),
    ],
)
def test_weights_that_are_not_those_of_their_configuration_are_refused(
    tiny_model, tmp_path, changes, cause
):
    assert zoo.load(str(forged(tmp_path, tiny_model))).name == "forged"
    with pytest.raises(zoo.ZooError, match=cause):
        zoo.load(str(forged(tmp_path, tiny_model, **changes)))


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


@pytest.mark.parametrize("name", ["a-b", "../x", "", "é", "_x", "x" * 65])
def test_a_name_that_no_file_can_carry_is_refused(tiny_model, tmp_path, name):
    with pytest.raises(zoo.ZooError, match="letters"):
        zoo.save(tmp_path, name, tiny_model.config, tiny_model.params, {})


def test_weights_beyond_half_precision_are_refused(tiny_model, tmp_path):
    params = dict(tiny_model.params, g_a_0={"kernel": np.full((1,), 1e6, np.float32)})
    with pytest.raises(zoo.ZooError, match="not finite"):
        zoo.save(tmp_path, "big", tiny_model.config, params, {})


def test_every_bundled_model_loads_and_says_how_it_was_trained():
    assert "small" in zoo.bundled()
    for name in zoo.bundled():
        model = zoo.load(name)
        assert model.name == name
        assert model.record["steps_done"] > 0
        expected = jax.eval_shape(lambda c=model.config: rdonet.initialise(c, jax.random.key(0)))
        shapes = jax.tree_util.tree_map(np.shape, model.params)
        assert shapes == jax.tree_util.tree_map(lambda leaf: leaf.shape, expected)
