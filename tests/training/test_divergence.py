"""What is said of a loss that is not finite, when what led to it cannot be kept."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rdonet_jax.training import checkpoints, divergence

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    "error", [OSError("odd"), ValueError("odd"), MemoryError("odd\nand more lines")]
)
def test_whatever_goes_wrong_when_it_is_kept_the_divergence_is_told(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(checkpoints, "save_alone", fail)
    state = SimpleNamespace(step=3)
    told = divergence.examined(tmp_path, None, None, state, None, None)
    assert str(told) == (
        "the loss or its gradient is not finite at step 4; the state before it and the crops could "
        "not be kept (odd); the last checkpoint is kept"
    )
