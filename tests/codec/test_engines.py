"""The engines of portable models: equal integers, equal symbols, pixels within one gray level."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rdonet_jax.codec import codec, engine_choice
from rdonet_jax.codec.portable import engines, numpy_prior
from rdonet_jax.core import config, partition, presets
from rdonet_jax.entropy import distributions
from rdonet_jax.imaging import pixel_format
from rdonet_jax.imaging.pixel_format import ImageData
from rdonet_jax.models import registry, zoo
from rdonet_jax.models.family import Family
from rdonet_jax.models.portable import integer_format
from tests import portable_params
from tests.conftest import ROOT

FORMS = {
    "as it is": {},
    "gdn, one context step": {"nonlinearity": "gdn", "context": 1, "finish": 0},
    "linear, checkerboard": {"nonlinearity": "none", "context": 2},
    "groups of channels": {"channel_groups": ((3, 9), (4, 5), (1,)), "group_hidden": 10},
    "a part of the channels as context": {
        "channel_groups": ((3, 9), (4, 5), ()),
        "group_hidden": 10,
        "embedded": (5, 3, 1),
    },
}
BYTES = st.integers(-127, 127)


def model_of(**changes) -> zoo.Model:
    preset = dataclasses.replace(presets.mini(), **changes)
    params = portable_params.mini_parameters(preset)
    tables = distributions.scale_tables(preset.distribution)
    return zoo.Model("mini", preset, params, bytes(4), None, tables)


@pytest.fixture(scope="module", params=FORMS)
def model(request) -> zoo.Model:
    return model_of(**FORMS[request.param])


def both(model: zoo.Model, quality: int):
    """The reference engine, and the one that is compared with it."""
    qualities = np.array([quality])
    return engines.make("jax", model, qualities), engines.make("numpy", model, qualities)


def assert_close(found, expected):
    size = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * size)


def as_int8(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Values of the whole range of 8 bits, most of them at its ends or 0."""
    return rng.choice([-127, 127, 0, *rng.integers(-127, 128, 3)], shape).astype(np.int8)


@pytest.mark.slow
@settings(max_examples=6)
@given(st.integers(0, 640), st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_integer_steps_give_equal_numbers(model, quality, level, seed):
    rng, preset = np.random.default_rng(seed), model.config
    jax_engine, numpy_engine = both(model, quality)
    np.testing.assert_array_equal(numpy_engine.z_index(level), jax_engine.z_index(level))

    z = rng.choice([0, 1, -3, 200, -(2**20)], (16, 9 * preset.hyper_latents[level]))
    coarser = None
    if level < 2:
        coarser = (
            as_int8(rng, 16, 2, 2, 9, preset.embedding),
            as_int8(rng, 16, 2, 2, preset.conditioning),
        )
    context = [e.compute_context(level, z.astype(np.int32), coarser) for e in both(model, quality)]
    np.testing.assert_array_equal(*context)

    neighbors = as_int8(rng, 16, 8, preset.embedding)
    features = as_int8(rng, 16, 2 * preset.conditioning)
    for plane in range(4):
        hidden = numpy_engine.hidden_features(level, plane, neighbors, features)
        expected = jax_engine.hidden_features(level, plane, neighbors, features)
        np.testing.assert_array_equal(hidden, expected)
        assert hidden.dtype == np.int8
    for group, channels in enumerate(integer_format.channel_groups(preset, level)):
        symbols = rng.choice([0, 1, -2, 30, 2**31 - 1], (16, channels.start)).astype(np.int32)
        hidden = as_int8(rng, 16, 2 * preset.hidden)
        expected = jax_engine.predict(level, group, hidden, symbols)
        found = numpy_engine.predict(level, group, hidden, symbols)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype

    shape = (16, preset.latents[level])
    mu = rng.integers(-8191, 8192, shape).astype(np.int16)
    symbols = rng.choice([0, 1, -1, 900, -(2**31) + 1], shape).astype(np.int32)
    d = rng.normal(size=(16, preset.features[level])).astype(np.float32)
    ours = numpy_engine.update_plane(level, mu, symbols, d)
    theirs = jax_engine.update_plane(level, mu, symbols, d)
    np.testing.assert_array_equal(ours[0], theirs[0])
    assert_close(ours[1], np.asarray(theirs[1]))


@pytest.mark.slow
@pytest.mark.parametrize("extent", [(8, 8), (5, 8), (3, 1)])
def test_transforms_give_equal_numbers_up_to_rounding(model, extent):
    rng, preset = np.random.default_rng(0), model.config
    jax_engine, numpy_engine = both(model, 300)
    extent = np.array(extent, np.int32)

    def compare(step, *arguments):
        ours = getattr(numpy_engine, step)(*arguments)
        theirs = getattr(jax_engine, step)(*arguments)
        if not isinstance(ours, tuple):
            ours, theirs = (ours,), (theirs,)
        for mine, other in zip(ours, map(np.asarray, theirs), strict=True):
            assert (mine.shape, mine.dtype) == (other.shape, other.dtype)
            assert_close(mine, other)

    def draw(side, channels):
        return rng.normal(size=(1, side, side, channels)).astype(np.float32)

    for dtype in (np.uint8, np.uint16):
        pixels = rng.integers(0, np.iinfo(dtype).max + 1, (1, 128, 128, 3)).astype(dtype)
        compare("analyze", pixels, 16 * extent)
    updated = rng.random((1, 8, 8)) < 0.5
    for level, channels in enumerate(preset.features):
        compare("encode_latents", level, draw(8, channels), draw(8, channels), extent)
        if level:
            compare("coarsen", level, draw(16, preset.features[level - 1]), 2 * extent)
            compare("upsample", level, draw(8, channels), updated, extent)
    for is_16bit in (False, True):
        arguments = is_16bit, draw(8, preset.features[0]), updated, extent
        ours = numpy_engine.synthesize(*arguments).astype(int)
        assert np.abs(ours - np.asarray(jax_engine.synthesize(*arguments))).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (17, 300), (77, 109), (192, 256)])
@pytest.mark.parametrize("kind", ["variance", "random", "uniform-64"])
def test_a_file_of_either_engine_decodes_with_the_other_one(mini_model, photograph, size, kind):
    image = np.ascontiguousarray(np.resize(photograph, (*size, 3)))
    if kind == "random":
        rng, grid = np.random.default_rng(0), partition.block_grid(*size)
        split64 = rng.random(grid) < 0.7
        split32 = rng.random([2 * side for side in grid]) < 0.5
        p = partition.Partition(split64, split32 & split64.repeat(2, 0).repeat(2, 1))
    else:
        p = codec.choose_partition(mini_model, image, kind, 60)
    for writer, reader in (("numpy", "jax"), ("jax", "numpy")):
        encoded = codec.encode(mini_model, image, p, 60, engine=writer)
        decoded = codec.decode(mini_model, encoded.data, engine=reader)
        for ours, theirs in zip(decoded.symbols, encoded.symbols, strict=True):
            for run, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(run, other)
        assert np.abs(decoded.image.astype(int) - encoded.image).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("form", ["gray", "16 bits", "alpha"])
def test_images_of_any_form_decode_with_the_other_engine(mini_model, photograph, form):
    pixels = photograph[:70, :90]
    image = {
        "gray": ImageData(np.ascontiguousarray(pixels[..., 1])),
        "16 bits": ImageData(pixel_format.to_uint16(pixels)),
        "alpha": ImageData(np.ascontiguousarray(pixels), np.ascontiguousarray(pixels[..., 0])),
    }[form]
    p = codec.choose_partition(mini_model, pixel_format.as_rgb8(image), "variance", 50)
    encoded = codec.encode(mini_model, image, p, 50, engine="jax")
    content = codec.decode(mini_model, encoded.data, engine="numpy").content
    one = 257 if form == "16 bits" else 1
    assert np.abs(content.pixels.astype(int) - encoded.image).max() <= one
    assert content.pixels.dtype == image.pixels.dtype
    if form == "alpha":
        np.testing.assert_array_equal(content.alpha, image.alpha)


def test_the_variance_mask_needs_no_jax_and_is_that_of_jax(mini_model, photograph):
    import jax.numpy as jnp

    x = np.float32(photograph[None]) / np.float32(255)
    thresholds = (40.0, 20.0)
    for ours, theirs in zip(
        partition.variance(x, thresholds),
        partition.variance(jnp.asarray(x), thresholds),
        strict=True,
    ):
        assert isinstance(ours, np.ndarray)
        np.testing.assert_array_equal(ours, theirs)


BLOCKED = """
import sys
import tracemalloc

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("jax", "jaxlib", "flax", "optax", "orbax", "tensorflow"):
            raise ModuleNotFoundError(f"{name} is not to be loaded", name=name)

sys.meta_path.insert(0, Blocked())
from rdonet_jax import __main__
sys.argv = ["rdonet", *sys.argv[1:]]
sys.exit(__main__.main())
"""


def without_jax(folder, *arguments) -> tuple[int, str]:
    """The exit code of a command where JAX cannot be imported, and its error stream."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr


def test_where_there_is_no_jax_one_sentence_says_what_needs_it(tmp_path, photograph, mini_weights):
    Image.fromarray(photograph).save(tmp_path / "a.png")
    code, errors = without_jax(tmp_path, "compress", "a.png", "--rdo", 1, "--model", mini_weights)
    assert (code, errors.count("\n")) == (1, 1)
    assert errors.startswith("rdonet: this needs jax, which is not installed: pip install jax")
    search = ["--init", "uniform", "--model", mini_weights]
    code, errors = without_jax(tmp_path, "compress", "a.png", "--out-dir", "out", *search)
    assert code == 1
    assert "this needs jax" in errors and "unforeseen" not in errors


@pytest.mark.slow
def test_commands_code_images_where_there_is_no_jax(tmp_path, photograph, mini_weights):
    Image.fromarray(photograph).save(tmp_path / "a.png")
    for arguments in (
        ["compress", "a.png", "-v"],
        ["info", "a.png.rdo"],
        ["decompress", "a.png.rdo", "b.png", "--model", mini_weights],
        ["compare", "a.png", "b.png"],
        ["models"],
    ):
        if arguments[0] == "compress":
            arguments += ["--model", mini_weights]
        assert without_jax(tmp_path, *arguments) == (0, ""), arguments
    restored = np.asarray(Image.open(tmp_path / "b.png"))
    assert restored.shape == photograph.shape


def test_an_engine_that_a_model_does_not_have_is_refused(tiny_model, mini_model):
    assert engine_choice.choose(mini_model.config) == "numpy"
    assert engine_choice.choose(mini_model.config, "jax") == "jax"
    assert engine_choice.choose(tiny_model.config) == "jax"
    with pytest.raises(engine_choice.EngineError, match="JAX alone"):
        engine_choice.choose(tiny_model.config, "numpy")
    with pytest.raises(engine_choice.EngineError, match="no engine 'abacus'"):
        engine_choice.choose(mini_model.config, "abacus")


@pytest.mark.parametrize("changes", [{"hidden": 481}, {"embedding": 110}])
def test_weights_whose_sums_could_be_inexact_are_refused(tmp_path, changes):
    preset = dataclasses.replace(presets.mini(), **changes)
    with pytest.raises(config.ConfigError, match="at most 960 are exact"):
        registry.family_of(preset).param_shapes(preset)


@pytest.mark.slow
def test_the_shapes_without_flax_are_those_of_the_modules(model):
    family = registry.family_of(model.config)
    assert family.param_shapes(model.config) == Family.param_shapes(family, model.config)


def test_a_platform_that_jax_cannot_use_does_not_matter_to_numpy(mini_model, monkeypatch):
    def fails():
        raise RuntimeError("no such platform")

    monkeypatch.setattr("jax.default_backend", fails)
    assert engine_choice.choose(mini_model.config) == "numpy"


def test_a_cpu_that_is_the_default_device_is_no_accelerator(mini_model, monkeypatch):
    import jax

    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    with jax.default_device(jax.devices("cpu")[0]):
        assert engine_choice.choose(mini_model.config) == "numpy"


def test_an_accelerator_that_jax_uses_is_used(mini_model, monkeypatch):
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    assert engine_choice.choose(mini_model.config) == "jax"


def test_knots_are_interpolated_as_by_hat_functions():
    rng = np.random.default_rng(3)
    knots = rng.integers(-2047, 2048, (6, 40)).astype(np.float32)
    every = np.arange(5 * 128 + 1)
    weights = np.maximum(128 - np.abs(every[:, None] - 128 * np.arange(6)), 0)
    expected = weights @ knots.astype(np.int64) / 128
    np.testing.assert_array_equal(numpy_prior.interpolate(knots, every), expected)


def test_interpolating_many_knots_needs_no_more_memory_than_its_result():
    knots, few = np.zeros((512, 64), np.float32), np.arange(0, 65409, 64)
    tracemalloc.start()
    found = numpy_prior.interpolate(knots, few)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * found.nbytes


def test_an_engine_of_some_qualities_computes_at_them_as_one_of_all():
    model = model_of()
    some, every = np.array([3, 200, 201, 384]), np.arange(641)
    at = np.array([384, 3, 3, 201, 200])
    for name in engines.ENGINES:
        few, all_of_them = engines.make(name, model, some), engines.make(name, model, every)
        for level in range(3):
            expected = all_of_them.z_index(level, at)
            np.testing.assert_array_equal(few.z_index(level, at), expected)
            assert expected.shape[0] == len(at)
