"""What every range coder does with symbols and bytes, whichever it is."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.entropy import distributions, likelihoods, range_coder
from rdonet_jax.entropy.distributions import CdfTables
from rdonet_jax.entropy.runs import CoderError

LAPLACE = distributions.scale_tables("laplace")
GAUSSIAN = distributions.scale_tables("gaussian")
BINARY = distributions.binary_tables()
# Off-center, short and lopsided: nothing in the coder may lean on symmetric tables.
ODD = CdfTables(
    cdfs=tuple(np.array(c, np.int32) for c in ([0, 1, 65536], [0, 9, 65000, 65536], [0, 7, 65536])),
    offsets=(7, -(2**31), 2**31 - 1),
    has_escape=True,
)
EXTREMES = (-(2**31), 1 - 2**31, -1, 0, 1, 2**31 - 2, 2**31 - 1)

symbols = st.one_of(
    st.sampled_from(EXTREMES), st.integers(-(2**31), 2**31 - 1), st.integers(-40, 40)
)


def run_of(pairs):
    pairs = np.array(pairs, np.int64).reshape(-1, 2)
    return pairs[:, 0].astype(np.int32), pairs[:, 1]


def runs_of(count):
    run = st.lists(st.tuples(symbols, st.integers(0, count - 1)), max_size=30)
    return st.lists(run.map(run_of), max_size=8)


def laplace_run(count, seed=0, middle=-1.0, spread=1.5):
    """Laplace symbols of widely spread scales with their table indices and information content."""
    rng = np.random.default_rng(seed)
    scale = np.exp(rng.normal(middle, spread, count)).astype(np.float32)
    drawn = np.rint(rng.laplace(0, scale)).astype(np.int32)
    index = np.asarray(likelihoods.scale_index(scale, "laplace"))
    bits = np.asarray(
        likelihoods.bits(drawn.astype(np.float32), scale, "laplace"), np.float64
    ).sum()
    return (drawn, index), bits


def assert_round_trip(runs, tables, coder_name):
    take = range_coder.decoder(
        range_coder.encode(iter(runs), tables, coder_name), tables, coder_name
    )
    for expected, indices in runs:
        decoded = take(indices)
        assert decoded.dtype == np.int32
        np.testing.assert_array_equal(decoded, expected)


@pytest.mark.slow
@given(runs_of(64))
@settings(deadline=None)
def test_any_int32_symbol_with_any_table_round_trips(coder_name, runs):
    assert_round_trip(runs, LAPLACE, coder_name)
    assert_round_trip(runs, GAUSSIAN, coder_name)


@given(runs_of(3))
@settings(deadline=None)
def test_tables_at_the_ends_of_the_integers_round_trip(coder_name, runs):
    assert_round_trip(runs, ODD, coder_name)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 63)), max_size=99).map(run_of))
)
@settings(deadline=None)
def test_flags_round_trip(coder_name, runs):
    assert_round_trip(runs, BINARY, coder_name)


@pytest.mark.parametrize("tables", [LAPLACE, GAUSSIAN, ODD])
def test_extreme_symbols_round_trip_with_every_table(tables, coder_name):
    count = len(tables.cdfs)
    index = np.repeat(np.arange(count), len(EXTREMES))
    assert_round_trip([(np.tile(EXTREMES, count).astype(np.int32), index)] * 2, tables, coder_name)


@pytest.mark.parametrize("index", range(0, 64, 7))
def test_symbols_around_the_ends_of_a_table_round_trip(index, coder_name):
    end = LAPLACE.offsets[index]
    around = np.arange(-300, 301)
    for drawn in (around + end, around - end):
        assert_round_trip([(drawn, np.full(len(drawn), index))], LAPLACE, coder_name)


def test_many_runs_of_all_lengths_including_none_round_trip(coder_name):
    (drawn, index), _ = laplace_run(5000)
    cuts = np.sort(np.random.default_rng(1).integers(0, 5000, 400))
    runs = list(zip(np.split(drawn, cuts), np.split(index, cuts), strict=True))
    assert any(len(s) == 0 for s, _ in runs)
    assert_round_trip(runs, LAPLACE, coder_name)


def test_runs_can_depend_on_earlier_runs(coder_name):
    rng = np.random.default_rng(0)
    index, runs = np.zeros(50, np.int64), []
    for _ in range(20):
        runs.append((rng.integers(-4, 5, 50).astype(np.int32), index))
        index = np.abs(runs[-1][0]) * 12
    take = range_coder.decoder(range_coder.encode(runs, LAPLACE, coder_name), LAPLACE, coder_name)
    index = np.zeros(50, np.int64)
    for expected, _ in runs:
        decoded = take(index)
        np.testing.assert_array_equal(decoded, expected)
        index = np.abs(decoded) * 12


def test_nothing_to_code_takes_no_bytes(coder_name):
    empty = np.zeros(0, np.int32)
    assert range_coder.encode([], LAPLACE, coder_name) == b""
    assert range_coder.encode([(empty, empty)] * 3, LAPLACE, coder_name) == b""
    assert range_coder.decoder(b"", LAPLACE, coder_name)(empty).shape == (0,)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64, np.uint8])
def test_every_integer_type_is_taken(dtype, coder_name):
    drawn, index = np.arange(60).astype(dtype), np.arange(60)[::-1].astype(dtype)
    data = range_coder.encode([(drawn, index)], LAPLACE, coder_name)
    np.testing.assert_array_equal(range_coder.decoder(data, LAPLACE, coder_name)(index), drawn)


@pytest.mark.parametrize("count", [1, 2, 5, 20, 300])
def test_no_shorter_bytes_would_decode_to_the_same(count, coder_name):
    for seed in range(40):
        (drawn, index), _ = laplace_run(count, seed)
        data = range_coder.encode([(drawn, index)], LAPLACE, coder_name)
        if not data:
            continue
        assert data[-1] != 0
        # The numbers that decode to the same lie in one interval. If it held any shorter number,
        # it would hold one of the two that enclose the coded one.
        below = int.from_bytes(data[:-1], "big")
        for shorter in (below, below + 1):
            if shorter < 256 ** (len(data) - 1):
                attempt = shorter.to_bytes(len(data) - 1, "big").rstrip(b"\0")
                decoded = range_coder.decoder(attempt, LAPLACE, coder_name)(index)
                assert not np.array_equal(decoded, drawn)


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_a_stream_is_less_than_one_byte_longer_than_its_tables_demand(count, coder_name):
    excess = []
    for seed in range(50):
        (drawn, index), _ = laplace_run(count, seed, middle=0.0, spread=1.0)
        bits = 0.0
        for symbol, table in zip(drawn, index, strict=True):
            cdf, entry = LAPLACE.cdfs[table], symbol - LAPLACE.offsets[table]
            if not 0 <= entry < len(cdf) - 2:
                break
            bits -= np.log2((cdf[entry + 1] - cdf[entry]) / 2**16)
        else:
            excess.append(len(range_coder.encode([(drawn, index)], LAPLACE, coder_name)) - bits / 8)
    assert len(excess) > 20
    assert max(excess) < 1.5 and np.mean(excess) < 1


@pytest.mark.parametrize("b", [0.06, 0.1, 0.3, 1, 3, 20, 200])
def test_coded_size_is_close_to_the_information_content_at_every_scale(b, coder_name):
    run, bits = laplace_run(60000, middle=np.log(b), spread=0.1)
    assert 8 * len(range_coder.encode([run], LAPLACE, coder_name)) < 1.002 * bits + 32


def test_heavy_tails_cost_bits_not_exactness(coder_name):
    drawn = np.rint(np.random.default_rng(0).standard_cauchy(3000) * 3).astype(np.int32)
    index = np.full(3000, likelihoods.scale_index(np.float32(3), "laplace"))
    data = range_coder.encode([(drawn, index)], LAPLACE, coder_name)
    np.testing.assert_array_equal(range_coder.decoder(data, LAPLACE, coder_name)(index), drawn)
    # An escape costs about its table entry and twice the logarithm of the excess.
    far = np.abs(drawn[np.abs(drawn) > 25])
    assert 8 * len(data) < 6.5 * 3000 + (16 + 2 * np.log2(far)).sum()


def survives(data, tables, runs, coder_name):
    """Decode whatever comes; CoderError and wrong symbols are both fine."""
    try:
        take = range_coder.decoder(data, tables, coder_name)
        for indices in runs:
            decoded = take(indices)
            assert decoded.dtype == np.int32 and decoded.shape == indices.shape
    except CoderError:
        pass


HOSTILE_RUNS = [np.arange(64), np.zeros(0, np.int64), np.full(500, 63), np.arange(640) % 64]


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_random_bytes_raise_coder_error_or_give_symbols(coder_name, data):
    survives(data, LAPLACE, HOSTILE_RUNS, coder_name)
    survives(data, BINARY, HOSTILE_RUNS, coder_name)
    survives(data, ODD, [np.arange(300) % 3] * 3, coder_name)


@pytest.mark.parametrize("byte", [0x00, 0x01, 0x7F, 0x80, 0xFF])
def test_endless_equal_bytes_raise_coder_error_or_give_symbols(byte, coder_name):
    for length in (0, 1, 3, 4, 9, 5000):
        for tables in (LAPLACE, BINARY):
            survives(bytes([byte]) * length, tables, HOSTILE_RUNS * 5, coder_name)


def test_truncated_and_flipped_streams_raise_coder_error_or_give_symbols(coder_name):
    run, _ = laplace_run(600, middle=0.5, spread=2.0)
    data = range_coder.encode([run], LAPLACE, coder_name)
    for length in range(len(data)):
        survives(data[:length], LAPLACE, [run[1]] * 2, coder_name)
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        survives(bytes(flipped), LAPLACE, [run[1]] * 2, coder_name)


def test_a_stream_that_asks_for_far_more_than_it_holds_is_refused(coder_name):
    (drawn, indices), _ = laplace_run(20_000)
    data = range_coder.encode([(drawn, indices)] * 2, LAPLACE, coder_name)
    take = range_coder.decoder(data, LAPLACE, coder_name, max_excess_bits=64)
    for _ in range(2):
        np.testing.assert_array_equal(take(indices), drawn)
    with pytest.raises(CoderError, match="ends long before its last symbol"):
        take(indices)
    for hostile in (b"", b"\x01", data[: len(data) // 2]):
        take = range_coder.decoder(hostile, LAPLACE, coder_name, max_excess_bits=4096)
        with pytest.raises(CoderError):
            for _ in range(3):
                take(indices)


@given(runs_of(64))
@settings(deadline=None)
def test_what_an_encoder_writes_is_never_far_shorter_than_its_symbols_cost(coder_name, runs):
    data = range_coder.encode(iter(runs), LAPLACE, coder_name)
    take = range_coder.decoder(data, LAPLACE, coder_name, max_excess_bits=4096)
    for expected, indices in runs:
        np.testing.assert_array_equal(take(indices), expected)


def test_escapes_from_strangers_take_little_memory():
    tables = distributions.scale_tables("laplace")
    count = 100_000
    indices = np.full(count, 5)
    symbols = np.full(count, 2**31 - 1)
    data = range_coder.encode([(symbols, indices)], tables)
    tracemalloc.start()
    found = range_coder.decoder(data, tables)(indices)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(found, symbols)
    assert peak < 250 * count


def test_asking_for_more_than_was_coded_ends(coder_name):
    run, _ = laplace_run(100)
    survives(
        range_coder.encode([run], LAPLACE, coder_name),
        LAPLACE,
        [run[1]] + [np.arange(100000) % 64],
        coder_name,
    )


def test_a_needless_zero_byte_at_the_end_is_refused(coder_name):
    run, _ = laplace_run(100)
    with pytest.raises(CoderError, match="zero byte"):
        range_coder.decoder(
            range_coder.encode([run], LAPLACE, coder_name) + b"\0", LAPLACE, coder_name
        )


def test_bytes_that_no_symbol_leads_to_are_refused():
    with pytest.raises(CoderError, match="invalid"):
        range_coder.decoder(b"\xff" * 100, BINARY, "constriction")(np.full(1000, 32))


def test_an_escape_beyond_32_bits_is_refused(coder_name):
    far = CdfTables(LAPLACE.cdfs[:1], (2**31 + 5,), True)
    near = CdfTables(LAPLACE.cdfs[:1], (2**31 - 5,), True)
    data = range_coder.encode([(np.array([2**31 - 1]), np.array([0]))], near, coder_name)
    with pytest.raises(CoderError, match="32 bits"):
        range_coder.decoder(data, far, coder_name)(np.array([0]))


@pytest.mark.parametrize(
    ("bad", "indices", "message"),
    [
        ([0.5], [0], "integer"),
        ([0], [0.0], "integer"),
        ([0, 0], [0], "as long as"),
        ([[0]], [[0]], "1-D"),
        ([0], [64], "out of range"),
        ([0], [-1], "out of range"),
        ([2**31], [0], "32 bits"),
        ([-(2**31) - 1], [0], "32 bits"),
    ],
)
def test_what_cannot_be_coded_is_refused(bad, indices, message, coder_name):
    with pytest.raises(ValueError, match=message):
        range_coder.encode([(np.array(bad), np.array(indices))], LAPLACE, coder_name)


def test_a_symbol_outside_a_table_without_escape_is_refused(coder_name):
    for symbol in (-1, 2):
        with pytest.raises(ValueError, match="no escape"):
            range_coder.encode([(np.array([symbol]), np.array([5]))], BINARY, coder_name)


def test_table_indices_are_checked_when_decoding_too(coder_name):
    take = range_coder.decoder(b"", LAPLACE, coder_name)
    for indices in ([64], [-1]):
        with pytest.raises(ValueError, match="out of range"):
            take(np.array(indices))


def test_an_unknown_coder_is_named():
    with pytest.raises(ValueError, match="morse"):
        range_coder.encode([], LAPLACE, "morse")
    with pytest.raises(ValueError, match="morse"):
        range_coder.decoder(b"", LAPLACE, "morse")


def test_coder_numbers_fit_the_header():
    numbers = range_coder.CODERS.values()
    assert len(set(numbers)) == len(range_coder.CODERS) and all(1 <= n <= 255 for n in numbers)
