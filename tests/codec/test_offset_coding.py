"""The quality offsets of blocks in the stream: what goes in comes out, and it costs little."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.codec import bitstream, codec, family_codec, offset_coding, qualities
from rdonet_jax.codec.bitstream import FormatError, Header, Sections
from rdonet_jax.codec.errors import EncodeError
from rdonet_jax.core import partition, presets
from rdonet_jax.entropy.runs import CoderError

sides = st.integers(1, 24)
KINDS = ("noise", "extremes", "patches", "slope", "flat")
HEADER = Header(1, 200, 300, 320, bytes(4), "", 0)
GRID = (4, 5)


def offsets_of(kind: str, grid: tuple[int, int], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(grid)
    return {
        "noise": rng.integers(-127, 128, grid),
        "extremes": rng.choice([-127, 127], grid),
        "patches": np.where((rows // 4 + columns // 3) % 2, 20, -8),
        "slope": (3 * rows - 2 * columns).clip(-127, 127),
        "flat": np.full(grid, rng.integers(-127, 128)),
    }[kind]


@pytest.mark.slow
@given(sides, sides, st.sampled_from(KINDS), st.integers(0, 2**32 - 1))
def test_decoded_offsets_are_those_that_were_encoded(rows, columns, kind, seed):
    offsets = offsets_of(kind, (rows, columns), seed)
    data = offset_coding.encode(offsets)
    found = offset_coding.decode(data, (rows, columns))
    np.testing.assert_array_equal(found, offsets)
    assert found.dtype == np.int32
    assert bool(data) == bool(offsets.any())


def test_both_range_coders_hold_them(coder_name):
    offsets = offsets_of("noise", (9, 14), 0)
    data = offset_coding.encode(offsets, coder_name)
    np.testing.assert_array_equal(offset_coding.decode(data, (9, 14), coder_name), offsets)


def test_a_box_in_a_photograph_costs_a_dozen_bytes_and_a_slope_two_bits_per_block():
    box = np.zeros((8, 12), int)
    box[2:6, 3:9] = 20
    assert len(offset_coding.encode(box)) <= 14
    slope = offsets_of("slope", (16, 24), 0)
    assert len(offset_coding.encode(slope)) <= slope.size / 4


@pytest.mark.slow
@given(st.binary(max_size=60), sides, sides)
def test_any_bytes_are_offsets_within_bounds_or_the_one_error(data, rows, columns):
    try:
        found = offset_coding.decode(data, (rows, columns))
    except CoderError:
        return
    assert found.shape == (rows, columns)
    assert np.abs(found).max() <= qualities.MAX_OFFSET


@pytest.mark.parametrize(
    ("section", "cause"),
    [(b"\x01\x00", "offsets are invalid"), (b"\x00\x00\x00\x01", "all 0")],
)
def test_a_section_that_no_encoder_writes_is_a_format_error(section, cause):
    with pytest.raises(FormatError, match=cause):
        offset_coding.read(HEADER, Sections(b"", b"", b"", b"", offsets=section))


def test_a_file_without_the_section_has_no_offsets():
    assert offset_coding.read(HEADER, Sections(b"", b"", b"", b"")) is None


def test_a_fixed_rate_model_takes_no_offsets_in_either_direction(tiny_model, photograph):
    grid = partition.block_grid(*photograph.shape[:2])
    p = partition.uniform(0, grid)
    with pytest.raises(EncodeError, match="no region can have another"):
        codec.encode(tiny_model, photograph, p, gains=np.ones(grid))
    platform = family_codec.of(tiny_model.config).platform()
    header = dataclasses.replace(HEADER, quality=None, weights=tiny_model.digest, platform=platform)
    offsets = offset_coding.encode(np.ones(GRID, int))
    hostile = bitstream.pack(header, Sections(b"", b"", b"", b"", offsets=offsets))
    with pytest.raises(FormatError, match="regions of other qualities"):
        codec.decode(tiny_model, hostile)


@pytest.mark.parametrize(
    ("gains", "cause"),
    [
        (np.ones((4, 3)), "3 rows of 4"),
        (np.ones(3), "3 rows of 4"),
        (np.full((3, 4), np.nan), "-100 to 100"),
        (np.full((3, 4), 100.5), "-100 to 100"),
        (np.full((3, 4), -np.inf), "-100 to 100"),
    ],
)
def test_gains_that_are_none_are_refused(mini_model, photograph, gains, cause):
    p = partition.uniform(0, partition.block_grid(*photograph.shape[:2]))
    with pytest.raises(EncodeError, match=cause):
        codec.encode(mini_model, photograph, p, 50, gains=gains)


@settings(max_examples=20)
@given(st.floats(-100, 100), st.floats(0, 100))
def test_a_gain_comes_back_as_the_nearest_offset_and_qualities_end_with_the_scale(gain, quality):
    config = presets.mini()
    parsed = qualities.parse_quality(config, quality, np.array([[gain, 0.0]]), (64, 128))
    on_scale = np.clip(quality + gain, 0, 100) - quality
    offset = 100 * 8 / config.steps_of_quality
    if parsed.offsets is None:
        assert abs(on_scale) <= offset / 2
        return
    found = parsed.gains[0, 0]
    assert abs(found - on_scale) <= (offset / 2 if on_scale == gain else offset) + 1e-9
    blocks = parsed.blocks
    assert blocks[0, 1] == parsed.number
    expected = np.clip(quality + gain, 0, 100) / 100 * config.steps_of_quality
    assert abs(blocks[0, 0] - expected) <= 4 + 1


@pytest.mark.parametrize(("quality", "gain"), [(100, 30), (0, -30)])
def test_a_gain_that_leads_beyond_the_scale_alone_makes_no_other_file(
    mini_model, photograph, quality, gain
):
    p = codec.choose_partition(mini_model, photograph, "variance", quality)
    gains = np.zeros(partition.block_grid(*photograph.shape[:2]))
    plain = codec.encode(mini_model, photograph, p, quality, gains=gains, reconstruct=False)
    gains[0] = gain
    found = codec.encode(mini_model, photograph, p, quality, gains=gains, reconstruct=False)
    assert found.data == plain.data


@pytest.mark.parametrize("gains", [[["a"]], [[1, 2], [3]], np.ones((3, 3), complex)])
def test_gains_that_are_no_numbers_are_refused(gains):
    with pytest.raises(EncodeError, match="two-dimensional array of numbers"):
        qualities.stream_offsets(presets.mini(), gains, (3, 3))


def test_gains_without_the_size_of_an_image_are_refused():
    with pytest.raises(ValueError, match="gains of blocks need the size of the image"):
        qualities.parse_quality(presets.mini(), 50, np.ones((1, 1)))


def test_gains_beyond_what_the_files_of_a_model_hold_are_refused():
    fine = presets.mini(knots=17, thresholds=17 * ((10.0, 100.0),))
    assert qualities.stream_offsets(fine, np.full((1, 1), 49.0), (1, 1)) is not None
    with pytest.raises(EncodeError, match="from -49 to 49 at most"):
        qualities.stream_offsets(fine, np.full((1, 1), 51.0), (1, 1))
    bundled = presets.standard()
    assert qualities.stream_offsets(bundled, np.full((1, 1), 100.0), (1, 1)) is not None
