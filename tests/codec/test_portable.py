"""Files of portable models: every quality, the same symbols whatever computes them."""

from __future__ import annotations

import dataclasses
import functools
import tracemalloc

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.codec import bitstream, codec, memory, partition_coding, qualities, tiles
from rdonet_jax.codec.bitstream import FormatError
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.codec.portable import engines, jax_engine, numpy_engine
from rdonet_jax.core import partition, presets
from rdonet_jax.core.defaults import MAX_PIXELS
from rdonet_jax.entropy import distributions
from rdonet_jax.models import registry
from rdonet_jax.runtime import system_memory
from tests import compiled, portable_params
from tests.codec.test_codec import KINDS, SIZES, assert_same_symbols, image_of, unreachable


@pytest.fixture(scope="module")
def strip(photograph):
    """Two rows of 19 positions of the finest level, in five blocks."""
    return image_of(photograph, 17, 300)


@pytest.fixture(scope="module")
def large(photograph):
    return image_of(photograph, *SIZES[-1])


def partition_of(model, image, kind, quality=None, seed=0):
    if kind != "random":
        return codec.choose_partition(model, image, kind, quality)
    key = jax.random.key(seed, impl="unsafe_rbg")
    return partition.random(key, partition.block_grid(*image.shape[:2]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_the_decoder_gets_the_encoders_symbols_and_image(mini_model, photograph, size, kind):
    quality = 25 * KINDS.index(kind)
    image = image_of(photograph, *size)
    p = partition_of(mini_model, image, kind, quality)
    encoded = codec.encode(mini_model, image, p, quality)
    decoded = codec.decode(mini_model, encoded.data)
    assert_same_symbols(decoded, encoded)
    np.testing.assert_array_equal(decoded.image, encoded.image)
    assert decoded.image.shape == image.shape
    assert decoded.quality == quality
    for theirs, ours in zip(decoded.partition, partition.trim(p, *size), strict=True):
        np.testing.assert_array_equal(theirs, ours)


def changed_model(model, **changes):
    """The model with another configuration of the same parameters, and its tables."""
    other = dataclasses.replace(model.config, **changes)
    return model.replace(config=other, tables=distributions.scale_tables(other.distribution))


@pytest.mark.parametrize("changes", [{"distribution": "gaussian", "context": 2}, {"context": 1}])
def test_other_tables_and_orders_of_planes_make_the_same_round_trip(mini_model, strip, changes):
    model = changed_model(mini_model, **changes)
    encoded = codec.encode(model, strip, partition_of(model, strip, "random"))
    decoded = codec.decode(model, encoded.data)
    assert_same_symbols(decoded, encoded)
    np.testing.assert_array_equal(decoded.image, encoded.image)


@pytest.mark.parametrize(
    ("changes", "planes"),
    [
        ({}, [10, 9, 9, 10]),
        ({"distribution": "gaussian", "context": 2}, [10, 9, 9, 10]),
        ({"context": 1}, [10, 9, 10, 9]),
    ],
)
def test_hyper_latents_come_first_and_then_the_planes_in_their_order(
    mini_model, strip, changes, planes
):
    """Planes of even columns have ten positions of the strip's, the others nine."""
    model = changed_model(mini_model, **changes)
    encoded = codec.encode(model, strip, partition_of(model, strip, "uniform-16"))
    latents, hyper = model.config.latents[0], model.config.hyper_latents[0]
    expected = [5 * hyper, *(latents * n for n in planes)]
    assert [run.size for run in encoded.symbols[0]] == expected
    assert [sum(run.size for run in level) for level in encoded.symbols[1:]] == [0, 0]


@functools.partial(jax.jit, static_argnums=0, compiler_options=portable_params.QUICKLY)
def estimated(model_config, params, pixels, masks, quality, sizes):
    x = pixels.astype(np.float32) / 255.0
    coded = registry.code(model_config, params, x, masks, quality, sizes=sizes)
    return sum(maps.sum() for maps in jax.tree_util.tree_leaves((coded.y_bits, coded.z_bits)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quality", [0, 60, 100])
def test_a_file_is_as_large_as_the_estimate_says(mini_model, large, kind, quality):
    p = partition_of(mini_model, large, kind, quality)
    size = len(codec.compress(mini_model, large, p, quality))
    masks = codec.coded_masks(p, *large.shape[:2])
    bits = estimated(
        mini_model.config,
        mini_model.params,
        partition.pad_image(large),
        tuple(mask[None] for mask in masks),
        np.array([qualities.stream_quality(mini_model.config, quality)], np.int32),
        np.array([large.shape[:2]], np.int32),
    )
    assert size == pytest.approx(float(bits) / 8, rel=0.005, abs=100)


@pytest.mark.slow
def test_a_higher_quality_makes_a_larger_file_and_a_better_image(mini_model, large):
    model = mini_model.replace(params=portable_params.start(mini_model.config))
    p = partition_of(model, large, "uniform-16")
    sizes, errors = [], []
    for quality in range(0, 101, 10):
        encoded = codec.encode(model, large, p, quality)
        sizes.append(len(encoded.data))
        errors.append(np.mean((encoded.image.astype(float) - large) ** 2))
    assert np.all(np.diff(sizes) > 0)
    assert sizes[-1] > 2 * sizes[0]
    assert errors == sorted(errors, reverse=True)


def test_without_a_quality_the_default_is_taken(mini_model, strip):
    p = codec.choose_partition(mini_model, strip, "variance")
    at_default = codec.choose_partition(mini_model, strip, "variance", qualities.DEFAULT_QUALITY)
    assert all(map(np.array_equal, p, at_default))
    data = codec.compress(mini_model, strip, p)
    assert data == codec.compress(mini_model, strip, p, qualities.DEFAULT_QUALITY)
    assert codec.decode(mini_model, data).quality == qualities.DEFAULT_QUALITY == 50


def test_a_quality_is_a_number_on_the_models_scale():
    scale = functools.partial(qualities.stream_quality, presets.mini())
    assert [scale(q) for q in (0, 0.05, 0.1, 12.5, 50, None, 99.95, 100)] == [
        0, 0, 1, 80, 320, 320, 640, 640,
    ]  # fmt: skip
    assert qualities.stream_quality(presets.tiny(), None) is None


@pytest.mark.parametrize("quality", [-0.01, 100.01, float("nan"), float("inf"), True])
def test_a_quality_that_the_model_does_not_have_is_refused(mini_model, photograph, quality):
    p = partition_of(mini_model, photograph, "uniform-64")
    with pytest.raises(EncodeError, match="between 0 and 100"):
        codec.compress(mini_model, photograph, p, quality)
    with pytest.raises(EncodeError, match="between 0 and 100"):
        codec.choose_partition(mini_model, photograph, "variance", quality)


def test_variance_masks_split_more_blocks_at_a_higher_quality(mini_model, large):
    faint = (large // 16 + 100).astype(np.uint8)
    splits = [
        sum(s.sum() for s in codec.choose_partition(mini_model, faint, "variance", quality))
        for quality in (0, 40, 100)
    ]
    assert splits[0] < splits[1] < splits[2]


@pytest.mark.slow
def test_windows_of_a_few_shapes_serve_all_images_and_qualities(
    mini_model, photograph, monkeypatch
):
    # Those that other tests compile as well: a large image takes no more work in large windows.
    monkeypatch.setattr(tiles, "TILE_SHAPES", ((8, 4), (4, 4)))

    def round_trip(height, width, kind, quality):
        image = image_of(photograph, height, width)
        p = partition_of(mini_model, image, kind, quality)
        data = codec.encode(mini_model, image, p, quality, reconstruct=False, engine="jax").data
        codec.decode(mini_model, data, engine="jax")

    sizes = {
        (4, 4): [(170, 200), (1, 1), (64, 700), (256, 250)],
        (8, 4): [(384, 380), (290, 1000)],
    }
    for shape, images in sizes.items():
        assert all(tiles.tile_shape_for(partition.block_grid(*size)) == shape for size in images)
        for kind in ("random", "variance"):
            round_trip(*images[0], kind, 100)
    before = compiled.counts()
    assert sum(before.values()) > 20
    for number, size in enumerate(size for images in sizes.values() for size in images):
        round_trip(*size, KINDS[number % len(KINDS)], 10.3 * number)
    assert compiled.counts() == before


@pytest.mark.slow
def test_the_bytes_are_the_same_without_a_reconstruction(mini_model, strip, monkeypatch):
    p = partition_of(mini_model, strip, "random")
    encoded = codec.encode(mini_model, strip, p, 70, engine="jax")
    monkeypatch.setattr(jax_engine, "synthesize", unreachable)
    alone = codec.encode(mini_model, strip, p, 70, reconstruct=False, engine="jax")
    assert alone.image is None
    assert alone.data == encoded.data
    assert_same_symbols(alone, encoded)


def test_the_models_tables_are_used_and_no_others(mini_model, photograph):
    image = photograph[:64, :64]
    others = mini_model.replace(tables=distributions.scale_tables("gaussian"))
    encoded = codec.encode(others, image, partition_of(others, image, "uniform-16"))
    assert_same_symbols(codec.decode(others, encoded.data), encoded)
    with pytest.raises(FormatError):
        codec.decode(mini_model, encoded.data)


def with_latent_bias(model, value):
    params = dict(model.params)
    unit = dict(params["units_0"])
    shape = unit["to_latent"]["bias"].shape
    unit["to_latent"] = dict(unit["to_latent"], bias=np.full(shape, value, np.float32))
    params["units_0"] = unit
    return model.replace(params=params)


@pytest.mark.parametrize("bias", [np.nan, np.inf, 1e12])
def test_weights_that_give_no_symbols_are_refused_by_the_encoder(mini_model, strip, bias):
    broken = with_latent_bias(mini_model, bias)
    p = partition_of(broken, strip, "uniform-16")
    with pytest.raises(EncodeError, match="cannot be right"):
        codec.compress(broken, strip, p)


def test_symbols_far_outside_their_tables_come_back(mini_model, photograph):
    strange = with_latent_bias(mini_model, 3e5)
    image = photograph[:64, :64]
    encoded = codec.encode(strange, image, partition_of(strange, image, "uniform-16"))
    assert np.abs(encoded.symbols[0][1]).max() > 2**20
    assert_same_symbols(codec.decode(strange, encoded.data), encoded)


@pytest.fixture(scope="module")
def compressed(mini_model, photograph):
    """An image of one block, every level of which holds something."""
    image = photograph[:64, :64]
    levels = np.zeros((4, 4), np.uint8)
    levels[:2, 2:] = 1
    return codec.compress(mini_model, image, partition.from_level_map(levels), 40)


def relabelled(data, **changes):
    """The file with other fields in its header, under a right checksum."""
    header, sections = bitstream.parse(data)
    return bitstream.pack(dataclasses.replace(header, **changes), sections)


def test_a_portable_file_names_its_quality_and_no_platform(compressed, mini_model):
    header, _ = bitstream.parse(compressed)
    assert (header.quality, header.platform) == (256, "")
    assert header.weights == mini_model.digest


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"platform": "cpu x86_64 jax 0.10.2"}, "names a platform"),
        ({"quality": None}, "no quality, not one of 0 to 640"),
        ({"quality": 641}, "quality 641, not one of 0 to 640"),
        ({"weights": bytes(4)}, "written with the weights 00000000"),
    ],
)
def test_a_header_that_the_model_never_writes_is_refused(mini_model, compressed, changes, cause):
    with pytest.raises(FormatError, match=cause):
        codec.decode(mini_model, relabelled(compressed, **changes))


def test_other_symbols_than_the_encoders_are_noticed(mini_model, compressed):
    header, _ = bitstream.parse(compressed)
    other = relabelled(compressed, symbols_crc=header.symbols_crc ^ 1)
    with pytest.raises(FormatError, match="not those that were encoded"):
        codec.decode(mini_model, other)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_rewritten_files_raise_one_type_of_exception_or_decode(mini_model, compressed, data):
    """Hostile bytes with valid checksums reach every decoder behind the container."""
    header, sections = bitstream.parse(compressed)
    field = data.draw(st.sampled_from(bitstream.Sections._fields))
    content = data.draw(st.binary(max_size=60))
    quality = data.draw(st.none() | st.integers(0, 700))
    hostile = bitstream.pack(
        dataclasses.replace(header, quality=quality), sections._replace(**{field: content})
    )
    try:
        image = codec.decode(mini_model, hostile).image
    except FormatError as error:
        assert "\n" not in str(error)
    else:
        assert image.shape == (64, 64, 3)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), quality=st.integers(0, 640))
def test_long_random_sections_raise_nothing_but_format_errors(
    mini_model, compressed, seed, quality
):
    """Enough bytes for every symbol, escapes of all sizes among them."""
    header, _ = bitstream.parse(compressed)
    rng = np.random.default_rng(seed)
    sections = [rng.bytes(2000).rstrip(b"\0") for _ in bitstream.Sections._fields]
    hostile = bitstream.pack(
        dataclasses.replace(header, quality=quality), bitstream.Sections(*sections)
    )
    with pytest.raises(FormatError):
        codec.decode(mini_model, hostile)


@settings(max_examples=60, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_flipped_byte_anywhere_is_a_format_error(mini_model, compressed, position, flip):
    damaged = bytearray(compressed)
    damaged[int(position * len(damaged))] ^= flip
    with pytest.raises(FormatError):
        codec.decode(mini_model, bytes(damaged))


def test_a_tiny_file_that_claims_a_huge_image_is_refused_before_work(mini_model, monkeypatch):
    for step in compiled.functions(jax_engine):
        monkeypatch.setattr(jax_engine, step, unreachable)
    enough = memory.working_set_bytes(mini_model.config, (16, 16))
    monkeypatch.setattr(system_memory, "available_bytes", lambda: enough)
    header = bitstream.Header(1, 16384, 65535, 320, mini_model.digest, "", 0)
    hostile = bitstream.pack(header, bitstream.Sections(b"", b"", b"", b""))
    with pytest.raises(FormatError, match=f"more than the limit of {MAX_PIXELS}"):
        codec.decode(mini_model, hostile)
    with pytest.raises(FormatError, match=r"65535x16384 pixels is too large: .* GiB of memory"):
        codec.decode(mini_model, hostile, max_pixels=2**30)
    with pytest.raises(EncodeError, match="GiB of memory"):
        codec.compress(
            mini_model,
            np.broadcast_to(np.uint8(0), (1024, 1025, 3)),
            partition.uniform(2, partition.block_grid(1024, 1025)),
        )


@pytest.mark.long
def test_a_file_decodes_uncompiled_to_the_same_symbols(mini_model, photograph, monkeypatch):
    """Operation by operation, all three levels."""
    monkeypatch.setattr(tiles, "TILE_SHAPES", ((4, 4),))
    image = photograph[:64, :128]
    p = partition.from_level_map(np.kron([[2, 2, 1, 0], [2, 2, 0, 1]], np.ones((2, 2), int)))
    encoded = codec.encode(mini_model, image, p, 60.0)
    assert all(sum(run.size for run in runs) for runs in encoded.symbols)
    with jax.disable_jit():
        decoded = codec.decode(mini_model, encoded.data, engine="jax")
    for runs, sent in zip(decoded.symbols, encoded.symbols, strict=True):
        assert all(map(np.array_equal, runs, sent))
    assert np.abs(decoded.image.astype(int) - encoded.image).max() <= 1


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("sections", [(b"", b"", b""), (b"\x11\x22", b"\x33", b"\x44\x55")])
@pytest.mark.parametrize("engine", engines.ENGINES)
def test_a_tiny_file_of_the_largest_legal_claim_is_refused_before_work(
    mini_model, monkeypatch, level, sections, engine
):
    for step in compiled.functions(jax_engine).keys() - {"at_quality"}:
        monkeypatch.setattr(jax_engine, step, unreachable)
    for step in ("compute_context", "predict", "update_plane", "upsample", "synthesize"):
        monkeypatch.setattr(numpy_engine.NumpyEngine, step, unreachable)
    monkeypatch.setattr(system_memory, "available_bytes", lambda: None)
    height, width = 8192, 16384
    tree = partition_coding.encode(
        partition.uniform(level, partition.block_grid(height, width)), height, width
    )
    header = bitstream.Header(1, height, width, 320, mini_model.digest, "", 0)
    hostile = bitstream.pack(header, bitstream.Sections(tree, *sections))
    assert len(hostile) < 50
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="coded data is invalid"):
            codec.decode(mini_model, hostile, engine=engine)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2**26  # what is zero and never touched included
