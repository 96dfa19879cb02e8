"""What is raised where JAX cannot use the platform of JAX_PLATFORMS."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rdonet_jax
from rdonet_jax.runtime import compilation
from rdonet_jax.runtime.platform import PlatformError, require_platform

SENTENCE = "^JAX_PLATFORMS=cuda: JAX finds no such platform here$"


@pytest.fixture
def no_platform(monkeypatch):
    """JAX as it is with JAX_PLATFORMS=cuda and no such device."""

    def fail():
        raise AssertionError

    monkeypatch.setattr(jax, "default_backend", fail)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")


def test_a_platform_that_is_there_is_no_error():
    require_platform()


def test_a_platform_that_is_not_there_is_named(no_platform):
    with pytest.raises(PlatformError, match=SENTENCE):
        require_platform()


def test_functions_are_not_compiled_without_a_platform(no_platform):
    with pytest.raises(PlatformError, match=SENTENCE):
        compilation.jit(jnp.sin)(1.0)


def test_what_is_wrong_in_compress_is_a_value_error(no_platform, monkeypatch, mini_weights):
    pixels = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(ValueError, match=SENTENCE):
        rdonet_jax.compress(pixels, model=mini_weights, rdo_passes=1)


def test_a_weights_file_is_not_blamed_for_the_platform(no_platform, tiny_weights):
    with pytest.raises(ValueError, match=SENTENCE):
        rdonet_jax.compress(np.zeros((64, 64, 3), np.uint8), model=tiny_weights)
