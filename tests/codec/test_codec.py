"""The whole chain: what the encoder saw is what the decoder gives, for every size and mask."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.codec import bitstream, codec, fixed_rate, memory, partition_coding
from rdonet_jax.codec import rdonet as rdonet_codec
from rdonet_jax.codec.bitstream import FormatError
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.core import config, partition, presets
from rdonet_jax.core.defaults import MAX_PIXELS
from rdonet_jax.entropy import range_coder
from rdonet_jax.runtime import system_memory
from tests import compiled
from tests.conftest import quick_key

SIZES = [(1, 1), (17, 300), (64, 64), (511, 769)]
KINDS = [*codec.MASKS, "random"]


def image_of(photograph, height, width):
    """The photograph repeated to any size, so that even large images hold real detail."""
    rows, columns = np.arange(height) % photograph.shape[0], np.arange(width) % photograph.shape[1]
    return np.ascontiguousarray(photograph[np.ix_(rows, columns)])


def partition_of(model, image, kind, seed=0):
    if kind != "random":
        return codec.choose_partition(model, image, kind)
    return partition.random(quick_key(seed), partition.block_grid(*image.shape[:2]))


def unreachable(*_, **__):
    raise AssertionError("this work should not have begun")


def assert_same_symbols(decoded, encoded):
    assert len(decoded.symbols) == len(encoded.symbols) == 3
    for theirs, ours in zip(decoded.symbols, encoded.symbols, strict=True):
        assert len(theirs) == len(ours)
        for a, b in zip(theirs, ours, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_the_decoder_gets_the_encoders_symbols_and_image_bit_for_bit(
    tiny_model, photograph, size, kind
):
    image = image_of(photograph, *size)
    p = partition_of(tiny_model, image, kind)
    encoded = codec.encode(tiny_model, image, p)
    decoded = codec.decode(tiny_model, encoded.data)
    assert_same_symbols(decoded, encoded)
    np.testing.assert_array_equal(decoded.image, encoded.image)
    assert decoded.image.shape == image.shape
    for theirs, ours in zip(decoded.partition, partition.trim(p, *size), strict=True):
        np.testing.assert_array_equal(theirs, ours)


@pytest.mark.slow
def test_the_gaussian_model_with_edge_padding_makes_the_same_round_trip(tiny_model, photograph):
    """Together, since each configuration is compiled anew."""
    other = tiny_model.replace(config=presets.tiny(distribution="gaussian", padding="edge"))
    p = partition_of(other, photograph, "random")
    encoded = codec.encode(other, photograph, p)
    decoded = codec.decode(other, encoded.data)
    assert_same_symbols(decoded, encoded)
    np.testing.assert_array_equal(decoded.image, encoded.image)


def test_an_image_is_compressed_and_still_recognizable(tiny_model, photograph):
    data = codec.compress(
        tiny_model, photograph, codec.choose_partition(tiny_model, photograph, "uniform-16")
    )
    image = codec.decompress(tiny_model, data)
    error = np.mean((image.astype(float) - photograph) ** 2)
    assert len(data) < photograph.size / 8
    assert error < 0.2 * np.var(photograph)


@pytest.mark.slow
def test_no_symbol_is_coded_outside_the_image(tiny_model, photograph):
    """A strip of 17 rows has two rows of 16×16 positions, not the four of its padded blocks."""
    image = image_of(photograph, 17, 300)
    encoded = codec.encode(
        tiny_model, image, codec.choose_partition(tiny_model, image, "uniform-16")
    )
    latents = encoded.symbols[0][-1].size // tiny_model.config.latents[0]
    assert latents == 2 * 19
    assert [sum(run.size for run in level) for level in encoded.symbols[1:]] == [0, 0]


@pytest.mark.slow
def test_hyper_latents_are_coded_only_where_a_latent_is(tiny_model, photograph):
    image = image_of(photograph, 256, 256)
    levels = np.zeros((16, 16), np.uint8)
    levels[:, 8:] = 2
    encoded = codec.encode(tiny_model, image, partition.from_level_map(levels))
    channels = tiny_model.config.hyper_latents
    counts = [sum(run.size for run in level[:-1]) // channels for level in encoded.symbols]
    # Level 0: 4×4 cells of 16×16 latents, half of them; level 1: none; level 2: one cell in all.
    assert counts == [8, 0, 1]


def test_compiled_steps_serve_all_images_of_one_padded_size(tiny_model, photograph):
    def round_trip(height, width, kind):
        image = image_of(photograph, height, width)
        encoded = codec.encode(tiny_model, image, partition_of(tiny_model, image, kind))
        codec.decode(tiny_model, encoded.data)

    round_trip(130, 200, "random")
    assert (before := compiled.counts())
    for height, width, kind in [
        (192, 256, "random"),
        (129, 193, "uniform-32"),
        (150, 250, "random"),
    ]:
        round_trip(height, width, kind)
    assert compiled.counts() == before


def test_an_unknown_mask_is_refused(tiny_model, photograph):
    with pytest.raises(ValueError, match="uniform-16"):
        codec.choose_partition(tiny_model, photograph, "uniform-8")


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4), np.uint8)]
)
def test_an_array_that_is_no_image_is_refused(tiny_model, image):
    with pytest.raises(EncodeError, match="uint8 or uint16 array"):
        codec.compress(tiny_model, image, partition.uniform(0, (1, 1)))


def test_an_image_with_a_side_that_no_file_can_hold_is_refused_before_work(tiny_model):
    image = np.zeros((1, bitstream.MAX_SIDE + 1, 3), np.uint8)
    with pytest.raises(EncodeError, match="65536"):
        codec.encode(tiny_model, image, partition.uniform(0, (1, 1)))


def test_a_partition_of_another_size_is_refused(tiny_model, photograph):
    with pytest.raises(partition.PartitionError):
        codec.compress(tiny_model, photograph, partition.uniform(0, (1, 1)))


@pytest.mark.parametrize(
    ("split64", "split32", "cause"),
    [(np.uint8(1), np.uint8(1), "arrays of bool"), (False, True, "only where it splits the 64x64")],
)
def test_what_is_no_partition_is_refused_before_work(
    tiny_model, photograph, monkeypatch, split64, split32, cause
):
    monkeypatch.setattr(codec, "_level_coder", lambda *_: pytest.fail("the coding began"))
    wrong = partition.Partition(np.full((1, 1), split64), np.full((2, 2), split32))
    with pytest.raises(partition.PartitionError, match=cause):
        codec.encode(tiny_model, photograph[:64, :64], wrong)


@pytest.fixture(scope="module")
def compressed(tiny_model, photograph):
    image = photograph[:64, :64]
    return codec.compress(tiny_model, image, partition_of(tiny_model, image, "uniform-16"))


def test_a_file_of_other_weights_is_refused_with_both_hashes(tiny_model, compressed):
    other = tiny_model.replace(name="other", digest=bytes(4))
    mine = tiny_model.digest.hex()
    with pytest.raises(FormatError, match=rf"the weights {mine}, .*of other \(00000000\)"):
        codec.decode(other, compressed)


def relabelled(data, **changes):
    """The file with other fields in its header, under a right checksum."""
    header, sections = bitstream.parse(data)
    return bitstream.pack(dataclasses.replace(header, **changes), sections)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [({"quality": 0}, "names a quality"), ({"platform": ""}, "names no platform")],
)
def test_a_header_that_a_model_of_one_quality_never_writes_is_refused(
    tiny_model, compressed, changes, cause
):
    with pytest.raises(FormatError, match=cause):
        codec.decode(tiny_model, relabelled(compressed, **changes))


def test_a_model_of_one_quality_takes_no_other(tiny_model, photograph):
    p = partition_of(tiny_model, photograph, "uniform-64")
    with pytest.raises(EncodeError, match="one quality"):
        codec.compress(tiny_model, photograph, p, 50.0)
    with pytest.raises(EncodeError, match="one quality"):
        codec.choose_partition(tiny_model, photograph, "variance", 50.0)
    assert codec.decode(tiny_model, codec.compress(tiny_model, photograph, p)).quality is None


ELSEWHERE = "tpu riscv64 jax 9.8.7"


def test_a_file_that_another_platform_wrote_is_decoded_where_its_symbols_come_out(
    tiny_model, compressed
):
    header, _ = bitstream.parse(compressed)
    assert header.platform == fixed_rate.this_platform()
    there = relabelled(compressed, platform=ELSEWHERE)
    np.testing.assert_array_equal(
        codec.decompress(tiny_model, there), codec.decompress(tiny_model, compressed)
    )


def test_where_they_do_not_come_out_both_platforms_are_named(tiny_model, compressed):
    header, sections = bitstream.parse(compressed)
    bound = f"bound to the platform .*{ELSEWHERE}.* this one is {fixed_rate.this_platform()}"
    wrong = {"symbols_crc": header.symbols_crc ^ 1}
    with pytest.raises(FormatError, match=bound):
        codec.decode(tiny_model, relabelled(compressed, **wrong, platform=ELSEWHERE))
    with pytest.raises(FormatError, match="not those that were encoded; .* another processor"):
        codec.decode(tiny_model, relabelled(compressed, **wrong))
    broken = bitstream.pack(header, sections._replace(level0=sections.level0 + b"\0"))
    with pytest.raises(FormatError, match=bound):
        codec.decode(tiny_model, relabelled(broken, platform=ELSEWHERE))
    with pytest.raises(FormatError, match="coded data is invalid"):
        codec.decode(tiny_model, broken)


def test_weights_that_predict_otherwise_are_noticed_not_shown(tiny_model, photograph):
    """The same file where floats come out differently: garbage must become an error."""
    image = photograph[:64, :64]
    data = codec.compress(tiny_model, image, partition_of(tiny_model, image, "uniform-16"))
    params = dict(tiny_model.params)
    unit = dict(params["units_0"])
    decoder = dict(unit["hyper_decoder"])
    prior = dict(decoder["prior"])
    prior["bias"] = prior["bias"] + 1.0
    decoder["prior"], unit["hyper_decoder"], params["units_0"] = prior, decoder, unit
    with pytest.raises(FormatError):
        codec.decode(tiny_model.replace(params=params), data)


def test_the_bytes_are_the_same_without_a_reconstruction(tiny_model, photograph, monkeypatch):
    p = partition_of(tiny_model, photograph, "random")
    encoded = codec.encode(tiny_model, photograph, p)
    monkeypatch.setattr(rdonet_codec, "synthesize", unreachable)
    alone = codec.encode(tiny_model, photograph, p, reconstruct=False)
    assert alone.image is None
    assert alone.data == encoded.data == codec.compress(tiny_model, photograph, p)
    assert_same_symbols(alone, encoded)


def test_the_steps_are_reported_in_their_order(tiny_model, photograph):
    p = partition_of(tiny_model, photograph, "variance")
    encoding, reconstructing, decoding = [], [], []
    data = codec.encode(tiny_model, photograph, p, report=encoding.append, reconstruct=False).data
    codec.encode(tiny_model, photograph, p, report=reconstructing.append)
    codec.decode(tiny_model, data, decoding.append)
    assert tuple(encoding) == codec.ENCODING_STEPS
    assert (*encoding, "synthesis") == tuple(reconstructing)
    assert tuple(decoding) == codec.DECODING_STEPS


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_rewritten_sections_raise_one_type_of_exception_or_decode(tiny_model, compressed, data):
    """Hostile bytes with valid checksums reach every decoder behind the container."""
    header, sections = bitstream.parse(compressed)
    field = data.draw(st.sampled_from(bitstream.Sections._fields))
    content = data.draw(st.binary(max_size=40))
    hostile = bitstream.pack(header, sections._replace(**{field: content}))
    try:
        image = codec.decode(tiny_model, hostile).image
    except FormatError as error:
        assert "\n" not in str(error)
    else:
        assert image.shape == (64, 64, 3)


@settings(max_examples=60, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_flipped_byte_anywhere_is_a_format_error(tiny_model, compressed, position, flip):
    damaged = bytearray(compressed)
    damaged[int(position * len(damaged))] ^= flip
    with pytest.raises(FormatError):
        codec.decode(tiny_model, bytes(damaged))


@pytest.fixture
def no_work(monkeypatch):
    """No compiled step may be called, and there is memory for images of a million pixels."""
    for step in ("analyze", "encode_latents", "predict", "quantize", "advance", "synthesize"):
        monkeypatch.setattr(rdonet_codec, step, unreachable)
    enough = memory.working_set_bytes(presets.tiny(), (16, 16))
    monkeypatch.setattr(system_memory, "available_bytes", lambda: enough)


def test_a_tiny_file_that_claims_a_huge_image_is_refused_before_work(tiny_model, no_work):
    header = bitstream.Header(1, 16384, 65535, None, tiny_model.digest, "here", 0)
    hostile = bitstream.pack(header, bitstream.Sections(b"", b"", b"", b""))
    assert len(hostile) < 40
    with pytest.raises(FormatError, match=f"more than the limit of {MAX_PIXELS}"):
        codec.decode(tiny_model, hostile)
    with pytest.raises(FormatError, match=r"65535x16384 pixels is too large: .* GiB of memory"):
        codec.decode(tiny_model, hostile, max_pixels=2**30)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_tiny_file_of_a_legal_claim_is_refused_before_work(
    tiny_model, no_work, monkeypatch, level
):
    monkeypatch.setattr(system_memory, "available_bytes", lambda: None)
    size = 4000, 6000
    tree = partition_coding.encode(partition.uniform(level, partition.block_grid(*size)), *size)
    platform = fixed_rate.this_platform()
    header = bitstream.Header(1, *size, None, tiny_model.digest, platform, 0)
    hostile = bitstream.pack(header, bitstream.Sections(tree, b"", b"\x11", b"\x22\x33"))
    with pytest.raises(FormatError, match="coded data is invalid"):
        codec.decode(tiny_model, hostile)


@pytest.mark.parametrize(
    ("height", "width", "cause"),
    [(2**13 + 1, 2**14, f"area over {2**27} pixels"), (1024, 1025, "GiB of memory")],
)
def test_an_image_too_large_to_be_coded_is_refused_before_work(
    tiny_model, no_work, height, width, cause
):
    image = np.broadcast_to(np.uint8(0), (height, width, 3))
    p = partition.uniform(2, partition.block_grid(height, width))
    with pytest.raises(EncodeError, match=cause):
        codec.compress(tiny_model, image, p)


def test_a_larger_image_than_allowed_is_refused_before_work(tiny_model, compressed):
    with pytest.raises(FormatError, match="limit"):
        codec.decode(tiny_model, compressed, max_pixels=64 * 64 - 1)


def test_weights_that_give_no_numbers_are_refused_by_the_encoder(tiny_model, photograph):
    params = dict(tiny_model.params)
    unit = dict(params["units_0"])
    unit["to_latent"] = dict(unit["to_latent"], bias=np.full(8, np.nan, np.float32))
    params["units_0"] = unit
    broken = tiny_model.replace(params=params)
    with pytest.raises(EncodeError, match="cannot be right"):
        codec.compress(broken, photograph, codec.choose_partition(broken, photograph, "uniform-16"))


def test_a_configuration_with_unknown_names_is_refused():
    values = dataclasses.asdict(presets.tiny())
    with pytest.raises(config.ConfigError, match="color"):
        config.from_dict(config.RDONetConfig, {**values, "color": 1})


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tiny_model", "mini_model"])
def test_every_range_coder_sends_the_same_symbols_in_as_many_bytes(
    request, model, photograph, coder_name
):
    model = request.getfixturevalue(model)
    p = partition_of(model, photograph, "random")
    usual = codec.encode(model, photograph, p)
    encoded = codec.encode(model, photograph, p, coder_name=coder_name)
    decoded = codec.decode(model, encoded.data)
    assert_same_symbols(decoded, usual)
    np.testing.assert_array_equal(decoded.image, usual.image)
    for theirs, ours in zip(decoded.partition, partition.trim(p, *photograph.shape[:2]),
                            strict=True):  # fmt: skip
        np.testing.assert_array_equal(theirs, ours)
    assert bitstream.parse(encoded.data)[0].coder == range_coder.CODERS[coder_name]
    # By as much as the bytes of four sections may be fuller or emptier.
    assert len(encoded.data) == pytest.approx(len(usual.data), rel=0.002, abs=4)
