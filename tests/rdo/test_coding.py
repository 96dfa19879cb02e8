"""One request to encode or decode: each part of it is done once."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import rdonet_jax
from rdonet_jax import pillow_plugin
from rdonet_jax.cli import main as cli_main
from rdonet_jax.codec import bitstream, codec, compressed_file, preparation, side_data
from rdonet_jax.imaging import pixel_format, srgb
from rdonet_jax.models import zoo
from rdonet_jax.models.library import ModelLibrary
from rdonet_jax.rdo import coding, encoder, rate_control
from rdonet_jax.rdo.encode_options import EncodeOptions, Plan, Target

pytestmark = pytest.mark.usefixtures("mini_as_standard")


@pytest.fixture
def image(photograph):
    return np.ascontiguousarray(photograph[:64, :64])


@pytest.fixture
def count(monkeypatch):
    """Counts the calls of a function that is an attribute of a module."""

    def counted(module, name):
        calls = []
        function = getattr(module, name)

        def counting(*arguments, **named):
            calls.append(arguments)
            return function(*arguments, **named)

        monkeypatch.setattr(module, name, counting)
        return calls

    return counted


def by_command(data, folder):
    (folder / "a.rdo").write_bytes(data)
    assert cli_main.main(["decompress", str(folder / "a.rdo"), str(folder / "a.png")]) == 0
    return srgb.load(folder / "a.png")


def by_pillow(data, _):
    return np.asarray(Image.open(io.BytesIO(data), formats=[pillow_plugin.FORMAT]))


def by_function(data, _):
    return rdonet_jax.decompress(data)


@pytest.mark.parametrize("decompress", [by_command, by_pillow, by_function])
def test_every_way_to_decode_parses_the_file_once(image, count, tmp_path, decompress):
    data = rdonet_jax.compress(image)
    parsed, decoded = count(bitstream, "parse"), count(codec, "decode_file")
    pixels = decompress(data, tmp_path)
    assert (len(parsed), len(decoded)) == (1, 1)
    np.testing.assert_array_equal(pixels, rdonet_jax.decompress(data))


def test_the_command_and_the_function_write_the_same_file(image, tmp_path):
    srgb.save(tmp_path / "a.png", image)
    size = len(rdonet_jax.compress(image, 40))
    for options, arguments in (
        ({"quality": 40}, ["--quality", "40"]),
        ({"target": Target(size=size)}, ["--target-size", str(size)]),
    ):
        target = str(tmp_path / "a.rdo")
        arguments = ["compress", str(tmp_path / "a.png"), target, *arguments, "--force"]
        assert cli_main.main(arguments) == 0
        assert (tmp_path / "a.rdo").read_bytes() == rdonet_jax.compress(image, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [EncodeOptions(40), EncodeOptions(40, plan=Plan(passes=1)), EncodeOptions(target=Target(1500))],
)
def test_an_image_is_checked_and_its_metadata_packed_once(mini_model, image, count, options):
    alpha = np.full(image.shape[:2], 77, np.uint8)
    checked, packed = count(preparation, "_require_size"), count(side_data, "pack")
    coding.encode(mini_model, pixel_format.ImageData(image, alpha), options)
    assert (len(checked), len(packed)) == (1, 1)


def test_a_result_says_its_quality_and_its_psnr(mini_model, image):
    result = coding.encode(mini_model, image, EncodeOptions(40, reconstruct=True))
    decoded = codec.decode(mini_model, result.encoded.data)
    assert result.encoded.quality == decoded.quality == pytest.approx(40, abs=0.5)
    assert result.prepared.psnr(decoded.image) == pixel_format.psnr(image, decoded.image)


def test_the_steps_are_those_of_the_options(mini_model, image):
    for options in (EncodeOptions(40), EncodeOptions(target=Target(2000))):
        steps = []
        coding.encode(mini_model, image, options, steps.append)
        assert steps == list(coding.encode_steps(options))


def test_a_quality_and_a_target_exclude_each_other(mini_model, image):
    with pytest.raises(ValueError, match="not both"):
        EncodeOptions(40, Target(2000))
    with pytest.raises(ValueError, match="no target"):
        encoder.encode(mini_model, image, EncodeOptions(target=Target(2000)))
    with pytest.raises(ValueError, match="needs a target"):
        rate_control.encode(mini_model, image, EncodeOptions(40))


def test_a_file_of_unknown_weights_names_them(image, monkeypatch):
    file = compressed_file.parse(rdonet_jax.compress(image))
    monkeypatch.setattr(zoo, "bundled", dict)
    with pytest.raises(coding.UnknownWeightsError, match=file.header.weights.hex()):
        coding.decode(file, ModelLibrary())
