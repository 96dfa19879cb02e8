"""A model whose latents can be refined in few iterations."""

from __future__ import annotations

import pytest

from rdonet_jax.core import presets
from rdonet_jax.models import zoo
from tests import portable_params


@pytest.fixture(scope="session")
def start_model(tmp_path_factory):
    """At the orthonormal start, where a change of a latent changes no mean at random."""
    preset = presets.mini()
    folder = tmp_path_factory.mktemp("start")
    params = portable_params.start(preset)
    return zoo.load(str(zoo.save(folder, "mini", preset, params, {"preset": "mini"})))
