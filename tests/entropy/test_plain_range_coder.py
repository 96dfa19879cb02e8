"""The range coder in Python does what constriction does, and stands in where that is missing."""

import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.codec import codec
from rdonet_jax.entropy import constriction_library, plain_range_coder, range_coder
from rdonet_jax.entropy.constriction_library import Library
from rdonet_jax.entropy.distributions import TOTAL, CdfTables
from rdonet_jax.entropy.runs import CoderError
from rdonet_jax.imaging import srgb
from rdonet_jax.models import zoo
from tests.conftest import ROOT
from tests.entropy.test_range_coder import BINARY, GAUSSIAN, LAPLACE, laplace_run, run_of, symbols
from tests.golden import make as golden

constriction = pytest.importorskip("constriction")

WHEEL = constriction_library.load()
PLAIN = Library(
    plain_range_coder.Categorical, plain_range_coder.RangeEncoder, plain_range_coder.RangeDecoder
)


def encoded(library, runs, tables):
    with mock.patch.object(constriction_library, "load", lambda: library):
        return range_coder.encode(runs, tables)


def outcomes(library, data, tables, runs, max_excess_bits=np.inf):
    """What each run decodes to: symbols, or the message of the error. Reading goes on after it."""
    with mock.patch.object(constriction_library, "load", lambda: library):
        read = range_coder.decoder(data, tables, max_excess_bits=max_excess_bits)
    found = []
    for indices in runs:
        try:
            decoded = read(indices)
            assert decoded.dtype == np.int32
            found.append(decoded.tolist())
        except CoderError as error:
            found.append(str(error))
    return found


def assert_same(data, tables, runs, **options):
    found = outcomes(PLAIN, data, tables, runs, **options)
    assert found == outcomes(WHEEL, data, tables, runs, **options)
    return found


@st.composite
def tables_of_all_lengths(draw):
    """From one symbol and the escape to hundreds, which may be as unlikely as can be."""
    cdfs = []
    for _ in range(draw(st.integers(1, 4))):
        inner = draw(st.sets(st.integers(1, TOTAL - 1), max_size=12))
        inner |= set(range(1, draw(st.sampled_from((1, 1, 300)))))
        cdfs.append(np.array([0, *sorted(inner), TOTAL], np.int32))
    cdfs = [cdf if len(cdf) > 2 else np.array([0, 1, TOTAL], np.int32) for cdf in cdfs]
    offsets = tuple(draw(st.integers(-300, 10)) for _ in cdfs)
    return CdfTables(tuple(cdfs), offsets, has_escape=True)


@st.composite
def streams(draw):
    """Tables and runs; some runs are empty."""
    tables = draw(tables_of_all_lengths())
    index = st.integers(0, len(tables.cdfs) - 1)
    run = st.lists(st.tuples(symbols, index), max_size=30).map(run_of)
    return tables, draw(st.lists(run, max_size=5))


def test_constriction_is_what_codes_where_it_can_be_imported():
    assert WHEEL.RangeDecoder is constriction.stream.queue.RangeDecoder


@pytest.mark.slow
@given(streams())
@settings(max_examples=150, deadline=None)
def test_any_symbols_with_any_tables_have_the_bytes_of_constriction_and_come_back(stream):
    tables, runs = stream
    data = encoded(WHEEL, runs, tables)
    assert encoded(PLAIN, runs, tables) == data
    found = assert_same(data, tables, [indices for _, indices in runs])
    assert found == [run.tolist() for run, _ in runs]


@pytest.mark.parametrize("tables", [LAPLACE, GAUSSIAN])
def test_a_long_stream_has_the_bytes_of_constriction_and_comes_back(tables):
    runs = [laplace_run(n, seed=n, middle=0.5, spread=2.5)[0] for n in (0, 20_000, 1, 700)]
    data = encoded(WHEEL, runs, tables)
    assert encoded(PLAIN, runs, tables) == data
    found = assert_same(data, tables, [indices for _, indices in runs])
    assert found == [run.tolist() for run, _ in runs]


def test_carries_through_many_words_are_those_of_constriction():
    """Symbols whose interval holds 2**63, then one that lies below that number or above it.

    The lower end of the interval is 0x7fffffff and words of one bits alone, until a symbol above
    carries through all of them.
    """
    heads = set()
    for count in (5, 20, 60):
        indices = np.full(count, 40)
        (around,) = outcomes(WHEEL, b"\x80", LAPLACE, [indices])
        for last in (-12, -3, 0, 3, 12):
            run = np.array([*around, last, 1, 1], np.int32), np.full(count + 3, 40)
            data = encoded(WHEEL, [run], LAPLACE)
            assert encoded(PLAIN, [run], LAPLACE) == data
            heads.add(data[:8].hex())
    assert {"7fffffffffffffff", "8000000000000000"} <= heads


@pytest.mark.parametrize("library", [WHEEL, PLAIN])
def test_a_table_of_a_single_entry_is_refused(library):
    tables = CdfTables((np.array([0, TOTAL], np.int32),), (0,), has_escape=True)
    with pytest.raises(ValueError):
        encoded(library, [], tables)
    with pytest.raises(ValueError):
        outcomes(library, b"", tables, [])


@given(st.binary(max_size=300), st.sampled_from([LAPLACE, BINARY]), st.sampled_from([4096, np.inf]))
@settings(max_examples=150, deadline=None)
def test_random_bytes_give_the_same_symbols_or_the_same_error_in_the_same_run(data, tables, limit):
    data = data.rstrip(b"\0")
    runs = [np.arange(64), np.zeros(0, int), np.full(300, 63), np.arange(640) % 64]
    assert_same(data, tables, runs, max_excess_bits=limit)


@pytest.mark.parametrize("tables", [LAPLACE, BINARY])
def test_data_that_no_symbols_lead_to_is_refused_from_the_same_entry_on(tables):
    """Single entries show where the error begins; the bytes begin as valid ones do, or do not."""
    for head in (b"", b"\x12\x34\x56\x78" * 5, b"\x80"):
        data = head + b"\xff" * 400
        found = assert_same(data, tables, [np.full(1, i % 64) for i in range(400)])
        assert assert_same(data, tables, [np.full(200, 31), np.full(2, 3), np.full(1, 0)])
        if not head:
            assert "the coded data is invalid" in found


def test_bytes_past_the_end_count_as_zeros():
    data = encoded(PLAIN, [laplace_run(500)[0]], LAPLACE)
    for length in (0, 1, 2, 3, 4, 5, 7, 8, 9, len(data) // 2):
        assert_same(data[:length].rstrip(b"\0"), LAPLACE, [np.full(3000, 40)])


WITHOUT = """
import sys
sys.modules["constriction"] = None
from rdonet_jax.__main__ import main
sys.exit(main())
"""
NOTE = (
    "rdonet: warning: the package constriction cannot be imported, so range coding is done in "
    "Python, with the same result in more time; pip install constriction brings the faster coder\n"
)


def rdonet_without_constriction(folder, *arguments):
    """Standard output and error of the command in a process that cannot import constriction."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})" + WITHOUT]
        + [str(argument) for argument in arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.slow
def test_files_are_coded_to_the_same_pixels_and_bytes_without_constriction_with_one_note(tmp_path):
    weights, data = golden.weights_file(), golden.FILES["constriction"].read_bytes()
    decoded = codec.decode(zoo.load(str(weights)), data)
    for name in ("a.rdo", "b.rdo"):
        (tmp_path / name).write_bytes(data)
    model = ("--model", weights, "--out-dir", ".")
    _, err = rdonet_without_constriction(tmp_path, "decompress", "a.rdo", "b.rdo", *model)
    assert err.count(NOTE) == 1 and err.count("\n") == err.count("rdonet: ")
    for name in ("a.png", "b.png"):
        np.testing.assert_array_equal(srgb.load(tmp_path / name), decoded.image)
    rdonet_without_constriction(
        tmp_path, "compress", "a.png", "c.rdo", "--model", weights, "--init", "variance", "--quiet"
    )
    with_it = subprocess.run(
        [sys.executable, "-m", "rdonet_jax", "compress", tmp_path / "a.png", tmp_path / "d.rdo"]
        + ["--model", weights, "--init", "variance", "--quiet"],
        cwd=ROOT,
    )
    assert with_it.returncode == 0
    assert (tmp_path / "c.rdo").read_bytes() == (tmp_path / "d.rdo").read_bytes()


@pytest.mark.slow
def test_what_tells_about_files_and_models_works_without_constriction(tmp_path):
    (tmp_path / "a.rdo").write_bytes(golden.FILES["constriction"].read_bytes())
    for arguments in (["--version"], ["models"]):
        out, err = rdonet_without_constriction(tmp_path, *arguments)
        assert out and not err
    out, err = rdonet_without_constriction(tmp_path, "info", "a.rdo")
    assert "constriction" in out and err == NOTE


def test_quiet_commands_do_not_say_that_constriction_is_missing(tmp_path):
    (tmp_path / "a.rdo").write_bytes(golden.FILES["constriction"].read_bytes())
    arguments = ["a.rdo", "a.png", "--model", golden.weights_file(), "--quiet"]
    assert rdonet_without_constriction(tmp_path, "decompress", *arguments) == ("", "")
