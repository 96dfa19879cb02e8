from __future__ import annotations

import pytest

from rdonet_jax.imaging.errors import ImageError
from tests.image_samples import load


@pytest.fixture(scope="session")
def imagecodecs():
    """The package, of the version with which tifffile packs bits. Skips where it is missing."""
    return pytest.importorskip("imagecodecs", minversion="2026.3.6")


def refused(tmp_path, data, reason, name="a.png"):
    with pytest.raises(ImageError, match=reason) as caught:
        load(tmp_path, data, name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ") and "\n" not in str(caught.value)
