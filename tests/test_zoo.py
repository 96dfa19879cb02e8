"""Weights files: what is saved is what is loaded, and damage is noticed."""

from __future__ import annotations

import hashlib

import jax
import numpy as np
import pytest

from rdonet_jax import config, zoo
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


def test_a_file_that_holds_no_weights_is_refused(tmp_path):
    content = b"not weights"
    path = tmp_path / f"x-{hashlib.sha256(content).digest()[:8].hex()}.safetensors"
    path.write_bytes(content)
    with pytest.raises(zoo.ZooError, match="no weights file"):
        zoo.load(str(path))


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(zoo.ZooError, match="bundled are"):
        zoo.load("nothing")


@pytest.mark.parametrize("name", ["a-b", "../x", "", "é"])
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
