"""What is said of a loss that is not finite, when what led to it cannot be kept."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rdonet_jax.training import divergence
from rdonet_jax.training.folder import checkpoints

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    "error", [OSError("odd"), ValueError("odd"), MemoryError("odd\nand more lines")]
)
def test_a_divergence_that_cannot_be_kept_is_still_the_error(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(checkpoints, "save_alone", fail)
    failed = divergence.FailedStep(None, None, SimpleNamespace(step=3), None, None, 3.0)
    found = divergence.save_and_make_error(tmp_path, failed)
    assert str(found) == (
        "the loss or its gradient is not finite at step 4; the state before it and the crops could "
        "not be kept (odd); the last checkpoint is kept"
    )
