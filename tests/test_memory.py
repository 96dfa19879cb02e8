"""The estimate of the memory that a picture takes, against the compiler's own account."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from rdonet_jax import codec, config, memory
from rdonet_jax.models import rdonet


@pytest.mark.parametrize("name", config.PRESETS)
def test_the_estimate_covers_what_the_compiled_synthesis_takes(name):
    preset = config.preset(name)
    key = jax.random.key(0)
    params = jax.eval_shape(lambda: rdonet.initialise(preset, key))
    # So large a picture that rearranged weights, which are not counted, do not matter.
    grid = (64, 48)
    state = jax.ShapeDtypeStruct((1, 8 * grid[0], 8 * grid[1], preset.trunk[2]), jnp.float32)
    account = codec.synthesise.lower(preset, params, state).compile().memory_analysis()
    state_bytes = 4 * state.size
    actual = account.temp_size_in_bytes + account.output_size_in_bytes + state_bytes
    assert actual <= memory.working_set_bytes(preset, grid) <= 1.5 * actual


def test_the_papers_network_takes_some_400_bytes_per_pixel():
    # At half the picture's size, 192 channels twice: as phases and as pixels.
    expected = 3 + 4 * (2 * 192 / 4 + 192 / 64 + 192 / 16**2 + 192 / 32**2 + 192 / 64**2)
    assert memory.working_set_bytes(config.paper(), (5, 7)) == expected * 5 * 7 * 64**2


def test_the_memory_is_read_where_linux_tells_it(monkeypatch, tmp_path):
    state = tmp_path / "meminfo"
    monkeypatch.setattr(memory, "MEMORY_STATE", state)
    assert memory.available_bytes() is None
    state.write_text("MemTotal:       16000 kB\n")
    assert memory.available_bytes() is None
    state.write_text("MemTotal:       16000 kB\nMemAvailable:    1234 kB\nHugePages_Total:  0\n")
    assert memory.available_bytes() == 1234 * 1024


def test_only_a_known_lack_on_the_cpu_is_a_shortage(monkeypatch):
    preset, grid = config.tiny(), (10, 10)
    needed = memory.working_set_bytes(preset, grid)
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    monkeypatch.setattr(memory, "available_bytes", lambda: needed)
    assert memory.shortage(preset, grid) is None
    monkeypatch.setattr(memory, "available_bytes", lambda: needed - 1)
    assert "GiB" in memory.shortage(preset, grid)
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert memory.shortage(preset, grid) is None
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    assert memory.shortage(preset, grid) is None
