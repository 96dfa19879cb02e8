"""Files of every model that was ever released stay readable."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from rdonet_jax.codec import codec
from rdonet_jax.models import zoo
from rdonet_jax.models.library import ModelLibrary
from tests.golden import make as golden
from tests.golden import released

SYMBOLS = json.loads(released.SYMBOLS.read_text())


@pytest.mark.parametrize("digest", SYMBOLS)
def test_a_file_of_a_released_model_decodes_to_its_symbols_and_its_image(digest):
    model = ModelLibrary().find(bytes.fromhex(digest))
    assert model is not None, "the package has lost weights that were released"
    data = released.compressed(digest).read_bytes()
    found = codec.decode(model, data, engine="numpy")
    assert golden.hashes(found.symbols) == SYMBOLS[digest]
    expected = np.asarray(Image.open(released.decoded(digest)))
    assert np.abs(found.image.astype(int) - expected).max() <= 1
    # The right image, and not merely the same one.
    assert np.abs(found.image.astype(int) - golden.strip()).mean() < 6


def test_every_model_of_the_package_has_a_golden_file():
    assert released.released().keys() == SYMBOLS.keys()


def test_models_of_earlier_releases_have_another_name_than_the_bundled():
    assert not zoo.earlier().keys() & zoo.bundled().keys()
    for name, path in zoo.earlier().items():
        assert zoo.load(name).digest.hex() == zoo.name_and_hash(path)[1][:8]
