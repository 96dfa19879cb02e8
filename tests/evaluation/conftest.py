"""Fixtures of evaluations."""

from __future__ import annotations

import pytest

from rdonet_jax.evaluation import real_files
from rdonet_jax.evaluation.real_files import Settings
from rdonet_jax.models import zoo
from tests import curve_samples


@pytest.fixture
def evaluated(monkeypatch, tiny_model, mini_model) -> list[tuple[str, Settings]]:
    """What is evaluated, without doing it: files are half a percent larger than estimates."""
    models = {
        "mini": mini_model,
        "low": tiny_model.replace(name="low", digest=b"low0"),
        "high": tiny_model.replace(name="high", digest=b"high"),
    }
    calls: list[tuple[str, Settings]] = []

    def evaluate(model, folders, settings):
        calls.append((model.name, settings))
        rate = 0.1 + 0.01 * (settings.quality or 0) + (model.name == "high")
        rows = [curve_samples.row(name, rate) for name in ("a.png", "b.png")]
        if settings.estimate:
            return [r._replace(encoding_time=None, decoding_time=None) for r in rows]
        return [r._replace(bpp=1.005 * r.bpp) for r in rows]

    monkeypatch.setattr(zoo, "load", models.__getitem__)
    monkeypatch.setattr(real_files, "evaluate", evaluate)
    return calls
