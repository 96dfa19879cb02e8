"""The estimate of the memory that an image takes, against the compiler's own account."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import pytest

from rdonet_jax.codec import memory, tiles
from rdonet_jax.codec import rdonet as rdonet_codec
from rdonet_jax.codec.portable import jax_engine
from rdonet_jax.core import partition, presets
from rdonet_jax.metrics import loss
from rdonet_jax.models import registry
from rdonet_jax.models.portable.network import LevelLatents
from rdonet_jax.rdo import cost, encoder_tiles, file_cost, refinement_step
from rdonet_jax.runtime import system_memory

pytestmark = [pytest.mark.optimized, pytest.mark.once]

# So large an image that rearranged weights, which are not counted, do not matter.
GRID = (64, 48)


def shaped(per_block, channels, dtype=jnp.float32):
    """An array for the image's blocks, with so many positions along a block's side."""
    return jax.ShapeDtypeStruct((1, per_block * GRID[0], per_block * GRID[1], channels), dtype)


def parameters(preset):
    return jax.eval_shape(lambda: registry.init_params(preset, jax.random.key(0)))


def taken(lowered, given):
    """Bytes that a compiled step takes, together with the tree of arrays that it is given."""
    account = lowered.compile().memory_analysis()
    sizes = [leaf.size * leaf.dtype.itemsize for leaf in jax.tree_util.tree_leaves(given)]
    return account.temp_size_in_bytes + account.output_size_in_bytes + sum(sizes)


@pytest.mark.parametrize("name", ["paper", "small", "tiny"])
def test_the_estimate_covers_what_the_compiled_synthesis_takes(name):
    preset = presets.preset(name)
    state = shaped(8, preset.trunk[2])
    actual = taken(rdonet_codec.synthesize.lower(preset, False, parameters(preset), state), state)
    assert actual <= memory.working_set_bytes(preset, GRID) <= 1.5 * actual


@pytest.mark.slow
@pytest.mark.parametrize("name", ["standard", "mini"])
def test_the_estimate_covers_the_largest_steps_of_a_portable_coder(name):
    preset = presets.preset(name)
    params = parameters(preset)
    rows, columns = tiles.tile_sides(max(tiles.TILE_SHAPES, key=math.prod), 0)

    def window(factor, channels, dtype=jnp.float32):
        return jax.ShapeDtypeStruct((1, factor * rows, factor * columns, channels), dtype)

    extent = jax.ShapeDtypeStruct((2,), jnp.int32)
    pixels, d = window(16, 3, jnp.uint8), window(1, preset.features[0])
    updated = jax.ShapeDtypeStruct((1, rows, columns), bool)
    actual = max(
        taken(jax_engine.analyze.lower(preset, params, pixels, extent), pixels),
        taken(jax_engine.synthesize.lower(preset, False, params, d, updated, extent), (d, updated)),
    )
    # What libraries of convolutions take for themselves is in the estimate, not in the account.
    assert actual <= memory.working_set_bytes(preset, (1, 1)) <= 4 * actual


def test_a_hundred_megapixels_fit_in_five_gigabytes_in_tiles_but_not_as_a_whole():
    grid = partition.block_grid(8192, 12288)
    preset, tile = presets.standard(), encoder_tiles.TILE_SHAPES[-1]
    assert memory.working_set_bytes(preset, grid) < 2.5 * 2**30
    assert memory.searching_bytes(preset, grid, tile) < 3 * 2**30
    assert memory.searching_bytes(preset, grid, grid) > 20 * 2**30


def test_a_search_of_24_megapixels_takes_less_than_two_gigabytes():
    grid, tile = partition.block_grid(4000, 6000), encoder_tiles.TILE_SHAPES[-1]
    assert memory.searching_bytes(presets.standard(), grid, tile) < 1.5 * 2**30


@pytest.mark.long
def test_the_estimate_covers_an_evaluation_of_a_search():
    preset, side = presets.preset("standard"), 16

    def shape(*sides, dtype=jnp.float32):
        return jax.ShapeDtypeStruct((1, *sides), dtype)

    def level(number, channels, dtype=jnp.float32):
        positions = side * partition.BLOCK // partition.STRIDES[number]
        return shape(positions, positions, *channels, dtype=dtype)

    features = tuple(level(number, (n,)) for number, n in enumerate(preset.features))
    masks = tuple(level(number, (), bool) for number in range(len(features)))
    pixels = shape(side * partition.BLOCK, side * partition.BLOCK, 3, dtype=jnp.uint8)
    sizes, quality = shape(2, dtype=jnp.int32), jax.ShapeDtypeStruct((1,), jnp.int32)
    distortions = tuple(term.distortion for term in loss.Loss(1.0, "both", 0.5).terms())
    originals = jax.eval_shape(lambda pixels: file_cost.originals(distortions, pixels), pixels)
    inputs, kept = (features, sizes, masks, quality), (features, originals)
    decoded = jax.ShapeDtypeStruct(pixels.shape[1:], jnp.uint8)
    size = jax.ShapeDtypeStruct((2,), jnp.int32)
    actual = max(
        taken(cost._code.lower(preset, parameters(preset), *inputs), (inputs, originals)),
        taken(file_cost.maps_of.lower(distortions, originals, decoded, size), (kept, decoded)),
    )
    assert actual <= memory.searching_bytes(preset, (side, side), (side, side)) <= 4 * actual


def test_a_portable_coder_needs_memory_by_the_positions_of_the_finest_level():
    """Features, the guess of them and latents as floats, and the caller's pixels."""
    preset = presets.standard()
    small, large = (memory.working_set_bytes(preset, (1, n)) for n in (1000, 2000))
    floats = 4 * 16 * (2 * preset.features[0] + preset.latents[0])
    assert floats + 3 * 64**2 < (large - small) / 1000 < 1.1 * (floats + 3 * 64**2)


def test_the_papers_network_takes_some_400_bytes_per_pixel():
    # At half the image's size, 192 channels twice: as phases and as pixels.
    expected = 3 + 4 * (2 * 192 / 4 + 192 / 64 + 192 / 16**2 + 192 / 32**2 + 192 / 64**2)
    assert memory.working_set_bytes(presets.paper(), (5, 7)) == expected * 5 * 7 * 64**2


def test_the_memory_is_read_where_linux_tells_it(monkeypatch, tmp_path):
    state = tmp_path / "meminfo"
    monkeypatch.setattr(system_memory, "MEMORY_STATE", state)
    monkeypatch.setattr(system_memory, "CONTROL_GROUP", tmp_path / "none")
    assert system_memory.available_bytes() is None
    state.write_text("MemTotal:       16000 kB\n")
    assert system_memory.available_bytes() is None
    state.write_text("MemTotal:       16000 kB\nMemAvailable:    1234 kB\nHugePages_Total:  0\n")
    assert system_memory.available_bytes() == 1234 * 1024


def test_a_container_has_what_its_limit_leaves(monkeypatch, tmp_path):
    state, group = tmp_path / "meminfo", tmp_path / "cgroup"
    monkeypatch.setattr(system_memory, "MEMORY_STATE", state)
    monkeypatch.setattr(system_memory, "CONTROL_GROUP", group)
    state.write_text("MemAvailable:    9000 kB\n")
    group.mkdir()
    for name, text in (("max", "5000000"), ("current", "3000000")):
        (group / f"memory.{name}").write_text(text + "\n")
    (group / "memory.stat").write_text("anon 7\ninactive_file 400000\n")
    assert system_memory.available_bytes() == 2_400_000
    (group / "memory.max").write_text("max\n")
    assert system_memory.available_bytes() == 9000 * 1024


def test_only_a_known_lack_on_the_cpu_is_a_shortage(monkeypatch):
    preset, grid = presets.tiny(), (10, 10)
    needed = memory.working_set_bytes(preset, grid)
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    monkeypatch.setattr(system_memory, "available_bytes", lambda: needed)
    assert memory.shortage(preset, grid) is None
    monkeypatch.setattr(system_memory, "available_bytes", lambda: needed - 1)
    assert "GiB" in memory.shortage(preset, grid)
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert memory.shortage(preset, grid) is None
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    monkeypatch.setattr(system_memory, "available_bytes", lambda: None)
    assert memory.shortage(preset, grid) is None


@pytest.mark.long
def test_the_estimate_covers_a_step_of_refinement():
    preset, side = presets.preset("mini"), 8

    def shape(*sides, dtype=jnp.float32):
        return jax.ShapeDtypeStruct((1, *sides), dtype)

    def latents_of(level, y, z, dtype=jnp.float32):
        positions = side * partition.BLOCK // partition.STRIDES[level]
        areas = positions // partition.HYPER_STRIDE
        return LevelLatents(
            shape(positions, positions, y, dtype=dtype), shape(areas, areas, z, dtype=dtype)
        )

    channels = zip(preset.latents, preset.hyper_latents, strict=True)
    latents = tuple(latents_of(level, *counts) for level, counts in enumerate(channels))
    variable = tuple(latents_of(level, 1, 1, bool) for level in range(len(latents)))
    masks = tuple(jax.ShapeDtypeStruct(of_level.y.shape[:3], jnp.bool_) for of_level in variable)
    distortions = tuple(term.distortion for term in loss.Loss(1.0, "both", 0.5).terms())
    weights = tuple(jax.ShapeDtypeStruct((count,), jnp.float32) for count in (1, 2 * 5))
    pixels = shape(side * partition.BLOCK, side * partition.BLOCK, 3, dtype=jnp.uint8)
    size, quality = (jax.ShapeDtypeStruct((n,), jnp.int32) for n in (2, 1))
    originals = jax.eval_shape(lambda pixels: file_cost.originals(distortions, pixels), pixels)
    inputs = refinement_step.TileInputs(originals, size, masks, variable, quality, weights)
    steps = jax.ShapeDtypeStruct((), jnp.int32)
    descent = refinement_step.Descent(latents, latents, latents, steps)
    key = jax.eval_shape(lambda: jax.random.key(0))
    actual = taken(
        refinement_step.step.lower(preset, distortions, parameters(preset), inputs, descent, key),
        (inputs, descent),
    )
    assert actual <= memory.refining_bytes(preset, (side, side), side**2) <= 6 * actual
