"""Hyper-latents in coarser steps: their scale tables follow, and nothing else changes."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from rdonet_jax.core import presets
from rdonet_jax.entropy import distributions
from rdonet_jax.models.portable import integer_format
from tests import portable_params
from tests.conftest import ROOT

MODEL = presets.mini()


@pytest.fixture
def hyper_steps(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("hyper_steps")


def test_coarser_steps_divide_z_and_its_scales_alike(hyper_steps):
    params = portable_params.acting(MODEL)
    octaves = np.linspace(-0.5, 2.0, MODEL.knots)
    coarser = hyper_steps.coarsen_z(params, MODEL, octaves)
    scales = distributions.scale_table(MODEL.distribution).astype(float)
    for level in range(3):
        before, after = (p[f"units_{level}"] for p in (params, coarser))
        divided = 2.0 ** np.asarray(before["z_gain"] - after["z_gain"])
        np.testing.assert_allclose(divided, np.broadcast_to(2.0 ** octaves[:, None], divided.shape),
                                   rtol=1e-5)  # fmt: skip
        entries = [integer_format.Z_INDEX_UNIT * p["prior"]["z_index"] for p in (before, after)]
        ratio = np.log2(scales[1] / scales[0]) * np.asarray(entries[0] - entries[1])
        assert ratio == pytest.approx(np.broadcast_to(octaves[:, None], ratio.shape), abs=1e-4)


def test_coarser_steps_leave_all_else(hyper_steps):
    params = portable_params.acting(MODEL)
    coarser = hyper_steps.coarsen_z(params, MODEL, [1.0] * MODEL.knots)
    before, after = (flatten_dict(p) for p in (params, coarser))
    changed = {path[-1] for path in before if np.any(np.asarray(before[path] != after[path]))}
    assert changed == {"z_gain", "z_index"}
