"""Types of arguments, metadata that comes back, files of models that are not bundled."""

from __future__ import annotations

import io
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import rdonet_jax
import rdonet_jax.pillow_plugin
from rdonet_jax import api, codec
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.resolution import Resolution
from rdonet_jax.models import zoo
from rdonet_jax.rdo import roi
from rdonet_jax.rdo.encode_options import Target
from tests.conftest import ROOT
from tests.image_samples import SRGB, exif_block


@pytest.fixture
def image(photograph):
    return np.ascontiguousarray(photograph[:70, :90])


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_bytes_of_other_types_are_taken(mini_as_standard, mini_model, image, kind):
    plain = rdonet_jax.compress(image, icc=SRGB, exif=exif_block(), xmp=b"<x/>")
    data = rdonet_jax.compress(image, icc=kind(SRGB), exif=kind(exif_block()), xmp=kind(b"<x/>"))
    assert data == plain
    expected = rdonet_jax.decompress(plain)
    np.testing.assert_array_equal(rdonet_jax.decompress(kind(plain)), expected)
    np.testing.assert_array_equal(codec.decode(mini_model, kind(plain)).image, expected)


@pytest.mark.parametrize("data", [None, 5, "text", [1, 2]])
def test_what_is_no_bytes_is_a_format_error_of_a_decoder(mini_model, data):
    with pytest.raises(codec.FormatError, match="bytes are needed, not"):
        codec.decode(mini_model, data)


@pytest.mark.parametrize("number", [Decimal(30), Fraction(30), np.float32(30), np.array(30.0)])
def test_a_target_keeps_a_number_of_python(number):
    target = Target(psnr=number)
    assert target == Target(psnr=30.0)
    assert type(target.value) is float


def test_a_target_of_another_type_is_met(mini_as_standard, image):
    assert rdonet_jax.compress(image, target=Target(psnr=Decimal(20))) == rdonet_jax.compress(
        image, target=Target(psnr=20)
    )
    assert type(Target(size=np.int64(40)).size) is int


def test_pixels_that_a_mask_hides_are_refused(mini_as_standard, image):
    hidden = np.ma.MaskedArray(image, np.zeros(image.shape, bool))
    assert rdonet_jax.compress(hidden) == rdonet_jax.compress(image)
    hidden.mask[0, 0] = True
    with pytest.raises(ValueError, match="pixels of a masked array are missing"):
        rdonet_jax.compress(hidden)


def test_an_array_that_was_deleted_is_a_value_error(mini_as_standard, image):
    array = jnp.asarray(image)
    array.delete()
    with pytest.raises(ValueError, match="these are no pixels: "):
        rdonet_jax.compress(array)
    with pytest.raises(roi.RoiError, match="two-dimensional array of numbers"):
        rdonet_jax.compress(image, roi=array)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4, 4)), r"not float64 \(4, 4, 4\); scale floats to 0...255 and round them"),
        (np.zeros((4, 4, 2), int), r"not int64 \(4, 4, 2\)$"),
        (np.zeros((4, 4, 5), np.uint8), r"not uint8 \(4, 4, 5\)$"),
        (np.zeros((0, 4), np.uint8), r"not uint8 \(0, 4\)$"),
    ],
)
def test_a_wrong_array_is_named_as_it_was_given_beside_what_is_allowed(array, words):
    allowed = r"\[height, width\] or \[height, width, 1 to 4\], which is gray, gray and alpha, "
    with pytest.raises(ValueError, match=allowed + ".*" + words):
        rdonet_jax.compress(array)


def test_all_that_is_stored_with_an_image_comes_back(mini_as_standard, image):
    alpha = np.arange(image[..., 0].size, dtype=np.uint8).reshape(image.shape[:2])
    stored = {
        "icc": SRGB, "exif": exif_block(1), "xmp": b"<x/>", "cicp": Cicp(12, 13),
        "resolution": Resolution(300, 150, True),
    }  # fmt: skip
    data = rdonet_jax.compress(np.dstack([image, alpha]), **stored)
    found = rdonet_jax.decompress_image(data)
    assert {name: getattr(found, name) for name in stored} == stored
    np.testing.assert_array_equal(found.alpha, alpha)
    np.testing.assert_array_equal(rdonet_jax.decompress(data)[..., :3], found.pixels)


def test_files_of_a_registered_model_open_without_naming_it(monkeypatch, mini_weights, image):
    monkeypatch.setattr(zoo, "bundled", dict)
    api._library.clear()
    try:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "RDO", model=mini_weights)
        for read in (lambda: Image.open(file).load(),
                     lambda: rdonet_jax.decompress(file.getvalue())):  # fmt: skip
            with pytest.raises((OSError, codec.FormatError), match="which are not bundled"):
                read()
        monkeypatch.chdir(mini_weights.parent)
        rdonet_jax.register_model(mini_weights.name)
        monkeypatch.chdir(ROOT)
        expected = rdonet_jax.decompress(file.getvalue(), model=mini_weights)
        np.testing.assert_array_equal(np.asarray(Image.open(file)), expected)
        np.testing.assert_array_equal(rdonet_jax.decompress(file.getvalue()), expected)
        with pytest.raises(zoo.ZooError, match="no model"):
            rdonet_jax.register_model("nothing")
    finally:
        api._library.clear()


WITHOUT_JAX = """
import io
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("jax", "jaxlib", "flax"):
            raise ModuleNotFoundError(f"{name} is not to be loaded", name=name)

sys.meta_path.insert(0, Blocked())
import numpy as np
from PIL import Image
import rdonet_jax
import rdonet_jax.pillow_plugin

model = sys.argv[1]
pixels = np.random.default_rng(0).integers(0, 256, (176, 180, 3), np.uint8)
data = rdonet_jax.compress(pixels, model=model)

def refused(kind, function, *arguments, **options):
    try:
        function(*arguments, **options)
    except kind as error:
        assert "this needs jax, which is not installed: pip install jax flax" in str(error), error
    else:
        raise AssertionError(options)

for options in (
    {"effort": 1}, {"refinements": 1}, {"init": "uniform"}, {"engine": "jax"},
    {"target": rdonet_jax.Target(ms_ssim=0.9)},
):
    refused(ValueError, rdonet_jax.compress, pixels, model=model, **options)
    refused(OSError, Image.fromarray(pixels).save, io.BytesIO(), "RDO", model=model, **options)
refused(ValueError, rdonet_jax.decompress, data, model=model, engine="jax")
assert rdonet_jax.decompress(data, model=model).shape == pixels.shape
"""


@pytest.mark.once
def test_where_there_is_no_jax_one_sentence_says_what_needs_it(mini_weights):
    subprocess.run([sys.executable, "-c", WITHOUT_JAX, str(mini_weights)], cwd=ROOT, check=True)
