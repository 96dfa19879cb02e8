"""`jax.pmap` and `jit` over a mesh: the same steps, validations and crops, on any devices."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rdonet_jax.runtime import parallel
from tests.training.whole_runs.conftest import all_ended, cluster_of_two, ended, started

SCRIPT = """
import dataclasses, json, sys
import jax, numpy as np
from jax.tree_util import tree_leaves
from rdonet_jax.core import presets
from rdonet_jax.runtime import multihost
from rdonet_jax.imaging import dataset
from rdonet_jax.models import registry
from rdonet_jax.training.batches import device_crops
from rdonet_jax.training import sharding
from rdonet_jax.training.steps import train_state, validation
from rdonet_jax.training.steps import step as training_step
from rdonet_jax.training.config import TrainingConfig

folder, target, *cluster = sys.argv[1:]
if cluster:
    multihost.join(multihost.Cluster(cluster[1], int(cluster[3]), int(cluster[5])))
host, hosts = jax.process_index(), jax.process_count()
images = dataset.usable(dataset.find([folder]), 64)
network_config = presets.tiny()
shared = TrainingConfig(crop=64, batch_size=8, stage1_steps=2, stage2_steps=1, resident=True,
                        start="random", warmup_steps=0)
found = {}
for kind in ("pmap", "shard_map"):
    config = dataclasses.replace(shared, parallel=kind)
    params = registry.init_params(network_config, jax.random.key(0))
    start = train_state.state_of(network_config, config, params)
    state = sharding.replicate(start, kind)
    step = training_step.make_step(network_config, config)
    reader = device_crops.Reader(images, config, host, hosts)
    losses, crops = [], []
    for number in range(2):
        batch = next(reader)
        crops.append(int(np.asarray(jax.device_get(batch.crops)).astype(np.int64).sum()))
        state, metrics = step(state, batch, np.float32(number))
        losses.append([float(value[0]) for value in tree_leaves(jax.device_get(metrics))])
    held_out = np.stack([np.asarray(images.image(n))[:64, :64] for n in range(3)])
    result = validation.make(network_config, config, held_out)(state.ema)
    found[kind] = {"losses": losses, "crops": crops, "validation": [*result[:3], *result.shares]}
if host == 0:
    with open(target, "w") as file:
        json.dump({**found, "devices": jax.device_count()}, file)
"""
"""Two steps of both kinds on resident images, and a validation."""


LIGHT = """
import sys
import jax, numpy as np
from rdonet_jax.runtime import multihost, parallel

if cluster := sys.argv[1:]:
    multihost.join(multihost.Cluster(cluster[1], int(cluster[3]), int(cluster[5])))
devices, host = jax.local_device_count(), jax.process_index()

def step(state, batch, position):
    return state + jax.lax.pmean(batch.sum(), "devices") * position, batch * position

assert jax.device_count() == 8
for kind in parallel.KINDS:
    function = parallel.over_devices(step, kind, in_axes=(0, 0, None), donate_argnums=(0,))
    state = parallel.over_devices(lambda leaf: leaf, kind)(np.ones((devices, 3), np.float32))
    whole, expected = np.arange(16, dtype=np.float32).reshape(8, 2), 1.0
    for number in range(3):
        batch = (whole + number)[host * devices : (host + 1) * devices]
        state, seen = function(state, batch, np.float32(number))
        np.testing.assert_array_equal(seen, batch * number)
        expected += (whole + number).sum() / 8 * number
    np.testing.assert_array_equal(state, np.full((devices, 3), expected))
    assert len(state.addressable_shards) == devices
"""
"""Steps that only add, on eight devices, with a state that is donated."""


def test_both_ways_do_the_same_on_eight_devices():
    ended(started([], 8, ("-c", LIGHT)))


@pytest.mark.slow
def test_both_ways_do_the_same_on_two_hosts_of_four_devices():
    cluster = cluster_of_two()
    all_ended([started([*cluster, n], 4, ("-c", LIGHT)) for n in range(2)])


def check(path: Path) -> None:
    found = json.loads(path.read_text())
    one, other = (found[kind] for kind in parallel.KINDS)
    assert found["devices"] == 8
    assert one["crops"] == other["crops"]
    np.testing.assert_allclose(other["losses"], one["losses"], rtol=1e-5)
    np.testing.assert_allclose(other["validation"], one["validation"], rtol=1e-5)


@pytest.mark.long
def test_both_ways_have_equal_losses_on_eight_devices(photograph_folder, tmp_path):
    target = tmp_path / "found.json"
    ended(started([photograph_folder, target], 8, ("-c", SCRIPT)))
    check(target)


@pytest.mark.slow
@pytest.mark.once
def test_both_ways_have_equal_losses_on_two_hosts_of_four_devices(photograph_folder, tmp_path):
    target, cluster = tmp_path / "found.json", cluster_of_two()
    arguments = [photograph_folder, target, *cluster]
    all_ended([started([*arguments, n], 4, ("-c", SCRIPT)) for n in range(2)])
    check(target)
